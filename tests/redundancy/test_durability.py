import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from redundancy.durability import (
    Estimate,
    FailureRates,
    ZoneFacts,
    binomial_loss,
    markov_loss,
    monte_carlo_loss,
    nines,
    repair_bytes_per_year,
    spread,
    unavailability,
)
from redundancy.errors import UsageError
from redundancy.scheme import Layout, Scheme

OFTEN = FailureRates(2.0, 168.0)  # so often that chance shows it

layouts = st.builds(
    lambda k, extra, copies: Layout(Scheme(k, k + extra), copies),
    st.integers(1, 6),
    st.integers(0, 4),
    st.integers(0, 2),
)


def test_backblazes_published_figure_for_17_of_20_is_reproduced():
    loss = binomial_loss(Layout.parse("rs:17+3"), FailureRates(0.00405, 6.5 * 24))
    assert loss == pytest.approx(7.354e-12, rel=1e-4)


def test_the_markov_model_says_what_it_said():
    loss = markov_loss(Layout.parse("rs:17+3"), FailureRates(0.00405, 6.5 * 24))
    assert loss == pytest.approx(2.84e-11, rel=0.01)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("rep:3", (10.12, 7.65, 5.97, 5.27)),
        ("rs:3+2", (9.12, 6.65, 4.98, 4.27)),
        ("rs:3+3", (13.21, 9.91, 7.40, 6.58)),
        ("rs:4+2", (8.82, 6.35, 4.68, 3.98)),
        ("rs:6+3", (12.28, 8.99, 6.47, 5.66)),
        ("rs:6+4", (16.27, 12.15, 8.80, 7.88)),
        ("rs:8+4", (15.77, 11.66, 8.30, 7.38)),
        ("rs:10+4", (15.37, 11.25, 7.90, 6.98)),
    ],
)
def test_nines_by_failure_rate_and_repair_time(layout, expected):
    rates = [(0.015, 24), (0.1, 24), (0.1, 168), (0.3, 72)]
    found = [nines(markov_loss(Layout.parse(layout), FailureRates(*each))) for each in rates]
    assert found == pytest.approx(expected, abs=0.006)


@pytest.mark.parametrize("layout", ["rs:3+2", "rep:3", "rs:4+2", "rs:3+2+1copy"])
def test_drawing_every_failure_agrees_with_the_markov_model(layout):
    drawn = monte_carlo_loss(Layout.parse(layout), OFTEN, np.random.default_rng(7), trials=20_000)
    assert drawn.low <= markov_loss(Layout.parse(layout), OFTEN) <= drawn.high


def test_repairs_of_fixed_length_lose_about_as_much_and_the_binomial_model_much_less():
    """At the last failure the others must be under repair: only the mean repair time matters.

    The binomial model misses what meets across the cuts of its year: all but 1 in n - k + 1.
    """
    layout, rates = Layout.parse("rs:3+2"), FailureRates(1.0, 168.0)
    rng = np.random.default_rng(7)
    fixed = monte_carlo_loss(layout, rates, rng, trials=30_000, fixed_repair=True)
    markov = markov_loss(layout, rates)
    assert markov == pytest.approx(fixed.value, rel=0.15)
    assert 2.5 < markov / binomial_loss(layout, rates) < 3.5


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(3)
    hits = rng.binomial(500, 0.01, 4000)
    covered = [(found := Estimate.of(int(hit), 500)).low <= 0.01 <= found.high for hit in hits]
    assert 0.93 <= np.mean(covered) <= 0.985


@settings(max_examples=40)
@given(layouts, st.floats(0.01, 5.0), st.floats(1.0, 2000.0))
def test_uniformisation_agrees_with_a_matrix_exponential(layout, failures, repair_h):
    """Where that has digits: scipy's subtracts, so its error is about 1e-13 absolute."""
    rates = FailureRates(failures, repair_h)
    assert markov_loss(layout, rates) == pytest.approx(
        _by_scipy(layout, rates), rel=1e-6, abs=1e-11
    )


def _by_scipy(layout, rates) -> float:
    """Write the generator down anew: every set of living pieces is a state."""
    pieces, n, k = layout.fragments_total, layout.scheme.n, layout.scheme.k
    alive = [(coded, copies) for coded in range(n + 1) for copies in range(layout.copies + 1)]
    dead = {each for each in alive if each[0] < k and each[1] == 0}
    number = {each: i for i, each in enumerate(each for each in alive if each not in dead)}
    matrix = np.zeros((len(number) + 1, len(number) + 1))
    for (coded, copies), row in number.items():
        ways = [
            ((coded - 1, copies), coded * rates.failures_per_year),
            ((coded, copies - 1), copies * rates.failures_per_year),
            ((coded + 1, copies), (n - coded) * rates.repairs_per_year),
            ((coded, copies + 1), (layout.copies - copies) * rates.repairs_per_year),
        ]
        for after, rate in ways:
            if rate and min(after) >= 0:
                matrix[row, number.get(after, len(number))] += rate
        matrix[row, row] -= matrix[row].sum()
    assert pieces
    return float(expm(matrix)[number[(n, layout.copies)], -1])


def test_tiny_losses_keep_their_digits():
    """To first order: the rate of each failure in turn over the repairs that must not come."""
    failures, repairs = 1e-3, FailureRates(1e-3, 24).repairs_per_year
    expected = failures * 10
    for gone in range(1, 7):
        expected *= (10 - gone) * failures / (gone * repairs)
    loss = markov_loss(Layout.parse("rs:4+6"), FailureRates(failures, 24))
    assert loss < 1e-30
    assert loss == pytest.approx(expected, rel=1e-3)


@given(layouts)
def test_another_copy_loses_less_and_fails_less(layout):
    more = Layout(layout.scheme, layout.copies + 1)
    rates, zones = FailureRates(0.3, 72), ZoneFacts(3, 0.99, 0.9)
    assert markov_loss(more, rates) < markov_loss(layout, rates)
    assert unavailability(more, zones) <= unavailability(layout, zones)


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("rep:3", (0.99900, 0.999875, 0.99999900)),
        ("rs:3+2", (0.99144, 0.998842, 0.99999015)),
        ("rs:4+2", (0.98415, 0.997770, 0.99998045)),
        ("rs:6+3", (0.99167, 0.999357, 0.99999879)),
        ("rs:10+4", (0.99077, 0.999573, 0.99999981)),
    ],
)
def test_availability_without_zones_is_the_binomial(layout, expected):
    found = [
        1 - unavailability(Layout.parse(layout), ZoneFacts(1, 1.0, a)) for a in (0.9, 0.95, 0.99)
    ]
    assert found == pytest.approx(expected, abs=6e-6)


def test_zone_outages_are_what_wide_codes_fail_by():
    """Four zones, up 99.8 % of the time; nodes 97 %."""
    found = {
        name: unavailability(Layout.parse(name), ZoneFacts(4, 0.998, 0.97))
        for name in ("rep:3", "rs:6+4", "rs:3+2", "rs:6+3")
    }
    assert found["rep:3"] == pytest.approx(3.3e-5, rel=0.02)
    assert found["rs:6+4"] == pytest.approx(9.9e-5, rel=0.02)
    assert found["rs:3+2"] == pytest.approx(4.7e-4, rel=0.02)
    assert found["rs:6+3"] == pytest.approx(5.5e-4, rel=0.02)


@settings(max_examples=40)
@given(layouts, st.integers(1, 4), st.floats(0.5, 1.0), st.floats(0.5, 1.0))
def test_convolution_agrees_with_counting_every_state(layout, zones, zone_up, node_up):
    if layout.fragments_total > 9:
        layout = Layout(Scheme(3, 5), 1)
    places = [
        (zone, is_copy)
        for zone, (coded, copies) in enumerate(spread(layout, zones))
        for is_copy in [False] * coded + [True] * copies
    ]
    chance = 0.0
    for zones_state in itertools.product((False, True), repeat=zones):
        zone_weight = math.prod(zone_up if up else 1 - zone_up for up in zones_state)
        for state in itertools.product((False, True), repeat=len(places)):
            weight = zone_weight * math.prod(node_up if up else 1 - node_up for up in state)
            here = [
                is_copy
                for (zone, is_copy), up in zip(places, state, strict=True)
                if up and zones_state[zone]
            ]
            if not any(here) and len(here) < layout.scheme.k:
                chance += weight
    found = unavailability(layout, ZoneFacts(zones, zone_up, node_up))
    assert found == pytest.approx(chance, rel=1e-9, abs=1e-15)


@given(layouts, st.integers(1, 7))
def test_pieces_are_dealt_out_evenly_over_zones(layout, zones):
    dealt = spread(layout, zones)
    each = [coded + copies for coded, copies in dealt]
    assert sum(each) == layout.fragments_total
    assert sum(coded for coded, _ in dealt) == layout.scheme.n
    assert max(each) - min(each) <= 1


def test_repair_traffic_grows_with_the_number_of_pieces():
    rates = FailureRates(0.1, 24)
    found = [
        repair_bytes_per_year(Layout.parse(name), rates)
        for name in ("rep:3", "rs:3+2", "rs:6+3", "rs:8+4", "rs:10+4")
    ]
    assert found == pytest.approx([0.3, 0.5, 0.9, 1.2, 1.4])


@pytest.mark.parametrize(
    "make",
    [
        lambda: FailureRates(0.0, 24),
        lambda: FailureRates(0.1, 0.0),
        lambda: FailureRates(math.nan, 1.0),
        lambda: ZoneFacts(0),
        lambda: ZoneFacts(1, 1.1),
        lambda: ZoneFacts(1, 1.0, -0.1),
    ],
)
def test_rates_that_cannot_be_are_refused(make):
    with pytest.raises(UsageError):
        make()
