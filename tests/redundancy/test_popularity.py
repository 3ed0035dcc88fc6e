import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redundancy.errors import InvalidRecord
from redundancy.popularity import HALF_LIFE_S, WEEK_S, Popularity, PopularityTable, is_view

NOW_S = 1.8e9  # Unix time, so that digits are really used up
HOUR_S = 3600.0

counted = st.lists(
    st.tuples(st.integers(1, 1000), st.floats(NOW_S - 60 * WEEK_S, NOW_S)), min_size=1, max_size=30
)


def of_all(views) -> Popularity:
    found = Popularity()
    for count, at_s in views:
        found = found.merged(Popularity.of(count, at_s))
    return found


def naive_views_per_week(views, now_s: float) -> float:
    faded = math.fsum(count * 2.0 ** ((at_s - now_s) / HALF_LIFE_S) for count, at_s in views)
    return faded * math.log(2) * WEEK_S / HALF_LIFE_S


@pytest.mark.parametrize(
    ("played_s", "duration_s", "counts"),
    [
        (30.0, 7200.0, True),
        (29.9, 7200.0, False),
        (15.0, 60.0, True),
        (14.9, 60.0, False),
        (29.9, 0.0, False),
        (30.0, 0.0, True),
        (0.0, 0.0, False),
    ],
)
def test_a_playback_is_a_view_after_half_a_minute_or_a_quarter(played_s, duration_s, counts):
    assert is_view(played_s, duration_s) is counts


@given(counted)
def test_views_fade_as_they_would_if_each_were_kept(views):
    assert of_all(views).views_per_week(NOW_S) == pytest.approx(
        naive_views_per_week(views, NOW_S), rel=1e-9
    )


def test_half_of_it_is_gone_after_a_week():
    one = Popularity.of(100, NOW_S)
    assert one.views_per_week(NOW_S + WEEK_S) == pytest.approx(one.views_per_week(NOW_S) / 2)


def test_a_steady_stream_of_views_reads_as_its_rate():
    views = [(1, NOW_S - hours * HOUR_S) for hours in range(24 * 7 * 30)]
    assert of_all(views).views_per_week(NOW_S) == pytest.approx(24 * 7, rel=0.01)


@given(counted, counted, st.randoms())
def test_counts_merge_in_any_order_to_the_same(ours, theirs, rng):
    everything = [*ours, *theirs]
    rng.shuffle(everything)
    merged = of_all(ours).merged(of_all(theirs))
    assert merged.level == pytest.approx(of_all(everything).level, abs=1e-9)
    assert merged.level == pytest.approx(of_all(theirs).merged(of_all(ours)).level, abs=1e-9)


@given(counted)
def test_eight_bytes_keep_it(views):
    found = of_all(views)
    assert len(found.to_bytes()) == 8
    assert Popularity.from_bytes(found.to_bytes()) == found
    assert Popularity.from_bytes(Popularity().to_bytes()) == Popularity()


@pytest.mark.parametrize("data", [b"", b"1234567", b"\xff" * 8, b"\x00" * 6 + b"\xf0\x7f"])
def test_what_is_no_popularity_is_refused(data):
    with pytest.raises(InvalidRecord):
        Popularity.from_bytes(data)


def test_what_was_never_watched_has_no_views():
    assert Popularity().views_per_week(NOW_S) == 0.0
    assert Popularity.of(0, NOW_S) == Popularity()


def test_years_before_or_after_are_numbers_too():
    one = Popularity.of(1, NOW_S)
    assert one.views_per_week(NOW_S + 1e11) == 0.0
    assert one.views_per_week(0.0) > 1e300


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(NOW_S, NOW_S + WEEK_S)), max_size=40))
def test_two_tables_that_shared_the_playbacks_know_what_one_would(playbacks):
    alone, left, right = PopularityTable(), PopularityTable(), PopularityTable()
    for number, (video, at_s) in enumerate(playbacks):
        alone.count(video, at_s)
        (left if number % 2 else right).count(video, at_s)
    durable = PopularityTable()
    for table in (left, right, left):  # what was taken is not given again
        durable.merge(table.take_batch())
    later_s = NOW_S + 2 * WEEK_S
    assert durable.views_per_week("abc", later_s) == pytest.approx(
        alone.views_per_week("abc", later_s), rel=1e-9
    )
    assert alone.views_per_week("abc", later_s) == {
        video: pytest.approx(alone.popularity(video).views_per_week(later_s)) for video in "abc"
    }


def test_a_forgotten_video_is_in_no_batch():
    table = PopularityTable()
    table.count("gone", NOW_S)
    table.forget("gone")
    assert table.take_batch() == {}
    assert table.popularity("gone") == Popularity()
