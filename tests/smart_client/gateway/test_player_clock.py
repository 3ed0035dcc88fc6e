"""What players report, put together: a stall is a wait while playing, and a seek is none."""

import pytest

from smart_client.gateway.player_clock import PlayerClock


def played(*reports: tuple[str, float, float]) -> PlayerClock:
    """Take reports of (event, instant, position)."""
    clock = PlayerClock()
    for event, at_s, position_s in reports:
        clock.take(event, at_s, position_s, 0.0)
    return clock


OPENED = (("open", 10.0, 0.0), ("waiting", 10.1, 0.0), ("playing", 10.5, 0.0))


def test_the_start_is_no_stall():
    clock = played(*OPENED)
    assert clock.startup_s == pytest.approx(0.5)
    assert (clock.stalls, clock.stalled_s()) == (0, 0.0)


def test_a_wait_while_playing_is_a_stall_until_it_plays_again():
    clock = played(*OPENED, ("progress", 11.5, 1.0), ("waiting", 12.0, 1.5), ("playing", 13.7, 1.5))
    assert (clock.stalls, clock.state) == (1, "playing")
    assert clock.stalled_s() == pytest.approx(1.7)
    assert clock.last_stall_s == pytest.approx(1.7)


def test_a_stall_that_goes_on_is_counted_so_far():
    clock = played(*OPENED, ("waiting", 12.0, 1.5))
    assert clock.stalled_s(15.0) == pytest.approx(3.0)


@pytest.mark.parametrize(
    "wait", [("waiting", 20.1, 90.0), ("waiting", 19.99, 1.0)], ids=["after", "just before"]
)
def test_the_wait_of_a_seek_is_the_seeks(wait):
    reports = sorted(
        [("seeking", 20.0, 90.0), wait, ("seeked", 21.0, 90.0), ("playing", 21.2, 90.0)],
        key=lambda report: report[1],
    )
    clock = played(*OPENED, *reports)
    assert clock.seeks == 1
    assert clock.stalled_s() < 0.02, "a wait a moment before the seek ends with it"
    assert clock.state == "playing"


def test_pause_and_end_close_a_stall_and_waiting_while_paused_opens_none():
    clock = played(*OPENED, ("waiting", 12.0, 1.0), ("pause", 12.5, 1.0), ("waiting", 13.0, 1.0))
    assert (clock.stalls, clock.state) == (1, "paused")
    assert clock.stalled_s(99.0) == pytest.approx(0.5)


def test_a_lost_report_of_playing_is_told_by_the_position():
    clock = played(*OPENED, ("waiting", 12.0, 1.0), ("progress", 13.0, 1.0))
    assert clock.state == "stalled"
    clock.take("progress", 14.0, 1.5, 0.0)
    assert clock.state == "playing"
    assert clock.stalled_s() == pytest.approx(2.0)


def test_what_was_shown_counts_each_second_once_and_jumps_not_at_all():
    clock = played(
        *OPENED,
        *(("progress", 10.5 + t, float(t)) for t in range(1, 11)),
        ("seeking", 21.0, 100.0),
        ("seeked", 21.1, 100.0),
        ("playing", 21.2, 100.0),
        *(("progress", 21.2 + t, 100.0 + t) for t in range(1, 6)),
        ("seeking", 27.0, 5.0),
        ("playing", 27.1, 5.0),
        *(("progress", 27.1 + t, 5.0 + t) for t in range(1, 6)),
    )
    assert clock.shown_s == pytest.approx(15.0)


def test_a_position_that_leaps_without_a_seek_was_not_shown():
    assert played(*OPENED, ("progress", 11.0, 500.0)).shown_s == 0.0


def test_reports_that_overtake_each_other_do_not_turn_time_back():
    clock = played(*OPENED, ("progress", 15.0, 4.5), ("waiting", 12.0, 1.5))
    assert (clock.stalls, clock.position_s) == (0, 4.5)
