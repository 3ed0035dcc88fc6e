"""How much of the time a node answers: what was seen fades, and little is not believed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redundancy.errors import UsageError
from redundancy.uptime import ASSUMED_SHARE, HALF_LIFE_S, Uptime

HOUR_S = 3600.0
spans = st.floats(0, 1e7)


def test_nothing_seen_is_what_home_machines_reach():
    assert Uptime().measured is None
    assert Uptime().expected == ASSUMED_SHARE


def test_a_first_crash_is_not_taken_for_a_broken_machine_and_a_year_is_believed():
    seen = Uptime().plus(HOUR_S, 0.0, HOUR_S)
    assert seen.measured == 0.0
    assert seen.expected == pytest.approx(ASSUMED_SHARE, abs=0.01)
    for hour in range(1, 24 * 365):
        seen = seen.plus(HOUR_S, HOUR_S / 2, hour * HOUR_S)
    assert seen.expected == pytest.approx(0.5, abs=0.07)


def test_half_of_what_was_seen_is_forgotten_after_a_half_life():
    seen = Uptime().plus(100.0, 50.0, 1000.0).plus(0.0, 0.0, 1000.0 + HALF_LIFE_S)
    assert (seen.watched_s, seen.up_s) == (pytest.approx(50.0), pytest.approx(25.0))


@given(st.lists(st.tuples(spans, st.floats(0, 1), st.floats(0, 1e10)), max_size=20))
def test_a_share_stays_a_share_whatever_the_clock_does(seen_then):
    found = Uptime()
    for watched_s, share, at_s in seen_then:
        found = found.plus(watched_s, watched_s * share, at_s)
    assert 0 <= found.expected <= 1
    assert found.measured is None or 0 <= found.measured <= 1 + 1e-9


def test_more_up_than_watched_cannot_be():
    with pytest.raises(UsageError):
        Uptime(1.0, 2.0)
