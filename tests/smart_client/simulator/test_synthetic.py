"""Synthetic traces: the same everywhere, and like the measured ones they were fitted to."""

import numpy as np
import pytest

from smart_client.simulator.synthetic import (
    FAMILIES,
    TRACES_PER_FAMILY,
    LinkFamily,
    make_trace,
    synthetic_library,
)
from smart_client.simulator.trace_library import statistics_of

# Medians over a family of the measured traces: mean in Mbit/s, coefficient of variation, fifth
# percentile and share of dead seconds, each with the range that still counts as alike.
MEASURED = {
    "dsl": ((1.3, 2.8), (0.10, 0.30), (0.55, 0.80), (0.0, 0.001)),
    "cable": (((10, 20)), (0.55, 0.75), (0.05, 0.15), (0.0, 0.001)),
    "3g": ((0.8, 1.5), (0.35, 0.5), (0.3, 0.5), (0.0, 0.001)),
    "lte": ((25, 40), (0.4, 0.8), (0.1, 0.4), (0.0, 0.01)),
    "5g": ((350, 600), (0.8, 1.1), (0.0, 0.06), (0.01, 0.03)),
}


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_a_family_resembles_its_measurements(family: LinkFamily) -> None:
    figures = [
        statistics_of(trace.bytes_per_s)
        for trace in synthetic_library().traces
        if trace.family == family.name
    ]
    assert len(figures) == TRACES_PER_FAMILY
    mean, cv, p5, dead = MEASURED[family.name]
    assert mean[0] < np.median([f.mean_bytes_per_s * 8e-6 for f in figures]) < mean[1]
    assert cv[0] < np.median([f.cv for f in figures]) < cv[1]
    assert p5[0] <= np.median([f.p5_bytes_per_s / f.mean_bytes_per_s for f in figures]) < p5[1]
    assert dead[0] <= np.median([f.dead_share for f in figures]) < dead[1]


def test_a_trace_depends_on_family_seed_and_number_alone() -> None:
    lte = FAMILIES[3]
    first = make_trace(lte, 7, 3).bytes_per_s
    assert (first == make_trace(lte, 7, 3).bytes_per_s).all()
    assert (first != make_trace(lte, 8, 3).bytes_per_s).any()
    assert (first != make_trace(lte, 7, 4).bytes_per_s).any()
    assert (first != make_trace(FAMILIES[4], 7, 3).bytes_per_s).any()


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_even_the_shortest_trace_carries_something(family: LinkFamily) -> None:
    for number in range(200):
        assert make_trace(family, 1, number, seconds=1).mean_bytes_per_s > 0


@pytest.mark.parametrize(
    "broken",
    [
        {"levels": ()},
        {"levels": (1.0, 0.0)},
        {"dwell_s": 0.0},
        {"wobble_sigma": -1.0},
        {"fade_every_s": 0.0},
        {"dead_share": 1.5},
    ],
)
def test_a_family_cannot_be_built_wrong(broken) -> None:
    sound = {
        "name": "x",
        "mean_mbit_per_s": 1.0,
        "mean_sigma": 0.1,
        "levels": (1.0,),
        "dwell_s": 5.0,
        "wobble_sigma": 0.1,
        "wobble_half_life_s": 5.0,
    }
    LinkFamily(**sound)
    with pytest.raises(ValueError, match="x: "):
        LinkFamily(**{**sound, **broken})
