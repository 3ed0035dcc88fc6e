"""A view is what was shown: reports are believed, bytes are bounded by the time they took."""

import pytest

from smart_client.gateway.views import ViewCounter


class Counted:
    """A counter of a video of ``duration_s`` and what it told."""

    def __init__(self, duration_s: float = 3600.0, *, has_time: bool = True) -> None:
        self.told: list[tuple[str, float]] = []
        minted = iter(f"{n:032x}" for n in range(100))
        self.views = ViewCounter(
            "a" * 32,
            duration_s,
            has_time=has_time,
            mint=lambda: next(minted),
            report=lambda view: self.told.append((view.playback, view.played_s)),
        )


def test_a_film_that_is_swallowed_in_seconds_is_no_view():
    counted = Counted()
    counted.views.opened("mpv", 0.0)
    for second in range(1, 8):
        counted.views.sent("mpv", 500.0, float(second))
    counted.views.closed("mpv", 8.0)
    assert counted.told == []


def test_bytes_taken_over_half_a_minute_are_one_view_however_long_it_goes_on():
    counted = Counted()
    counted.views.opened("vlc", 0.0)
    for second in range(1, 200):
        counted.views.sent("vlc", 1.0, float(second))
    assert [played_s for _, played_s in counted.told] == [30.0]


def test_time_without_a_connection_does_not_count_and_seeks_continue_the_playback():
    counted = Counted()
    for start_s in (0.0, 100.0, 200.0):
        counted.views.opened("vlc", start_s)
        counted.views.sent("vlc", 60.0, start_s + 9.0)
        counted.views.closed("vlc", start_s + 9.0)
    assert counted.told == []
    counted.views.opened("vlc", 300.0)
    counted.views.sent("vlc", 60.0, 303.0)
    assert len(counted.told) == 1


def test_viewers_are_counted_each_and_a_later_playback_again():
    counted = Counted()
    for peer, start_s in (("a", 0.0), ("b", 10.0), ("a", 1000.0)):
        counted.views.opened(peer, start_s)
        counted.views.sent(peer, 60.0, start_s + 31.0)
        counted.views.closed(peer, start_s + 32.0)
    assert len({playback for playback, _ in counted.told}) == 3


def test_a_player_that_reports_is_believed_and_its_bytes_are_not_counted_beside():
    counted = Counted()
    counted.views.opened("chromium", 0.0)
    counted.views.shown("player-1", "chromium", 3.0)
    counted.views.sent("chromium", 500.0, 60.0)
    assert counted.told == []
    for shown_s in (29.0, 31.0, 45.0):
        counted.views.shown("player-1", "chromium", shown_s)
    assert [played_s for _, played_s in counted.told] == [31.0]


def test_the_same_player_is_the_same_playback_when_the_stream_was_closed_meanwhile():
    told = set()
    for _ in range(2):
        counted = Counted()
        counted.views.shown("player-1", "chromium", 31.0)
        told |= {playback for playback, _ in counted.told}
    assert len(told) == 1


@pytest.mark.parametrize(("has_time", "played_s"), [(True, 10.0), (False, 30.0)])
def test_a_quarter_of_a_short_video_is_a_view(has_time, played_s):
    counted = Counted(40.0, has_time=has_time)
    counted.views.shown("p", "", 9.0)
    assert counted.told == []
    counted.views.shown("p", "", 10.0)
    assert [told_s for _, told_s in counted.told] == [played_s]
