import itertools

from hypothesis import given
from hypothesis import strategies as st

from redundancy.rows import CHUNK_BYTES_MAX
from smart_client.ingest.segment import (
    CHUNK_BYTES_TARGET,
    CHUNK_SECONDS_MAX,
    ByteClock,
    Keyframe,
    plan_cuts,
)

MEBI = 1024 * 1024


@st.composite
def files(draw):
    size = draw(st.one_of(st.integers(0, 5 * MEBI), st.integers(0, 400 * MEBI)))
    duration_s = draw(st.one_of(st.just(0.0), st.floats(0.1, 7200)))
    keyframes = draw(
        st.lists(
            st.builds(Keyframe, st.integers(0, 2 * size + 1), st.floats(0, 2 * duration_s + 1)),
            max_size=30,
        )
    )
    media_end = draw(st.one_of(st.none(), st.integers(0, 2 * size)))
    return size, ByteClock(size, duration_s, keyframes, media_end), duration_s


@given(files())
def test_chunks_joined_are_the_file_and_none_is_too_large(case) -> None:
    size, clock, _ = case
    cuts = plan_cuts(size, clock)
    offset = 0
    for cut in cuts:
        assert cut.offset == offset
        assert 1 <= cut.size <= CHUNK_BYTES_MAX
        offset += cut.size
    assert offset == size


@given(files())
def test_times_never_fall_and_end_with_the_media(case) -> None:
    size, clock, duration_s = case
    cuts = plan_cuts(size, clock)
    for before, after in itertools.pairwise(cuts):
        assert after.start_s >= before.start_s - 1e-9
        assert abs(before.start_s + before.duration_s - after.start_s) < 1e-6
    if cuts:
        assert cuts[-1].start_s + cuts[-1].duration_s <= duration_s + 1e-6


@given(st.integers(1, 300), st.floats(0.2, 40))
def test_a_steady_bitrate_gives_chunks_of_ten_seconds_or_two_mebibytes(
    minutes_tenths: int, mbit_per_s: float
) -> None:
    duration_s = minutes_tenths * 6.0
    size = int(duration_s * mbit_per_s * 1e6 / 8)
    cuts = plan_cuts(size, ByteClock(size, duration_s))
    for cut in cuts:
        assert cut.duration_s <= CHUNK_SECONDS_MAX * 1.001
        assert cut.size <= 1.5 * CHUNK_BYTES_TARGET
    for cut in cuts[:-1]:
        assert cut.duration_s >= 9.9 or cut.size >= CHUNK_BYTES_TARGET * 0.99


def test_cuts_meet_keyframes_where_they_are_near() -> None:
    size, duration_s = 60 * MEBI, 300.0
    keyframes = [Keyframe(i * MEBI + 1000, 5.0 * i) for i in range(60)]
    cuts = plan_cuts(size, ByteClock(size, duration_s, keyframes))
    at_keyframe = {key.offset for key in keyframes}
    assert all(cut.offset in at_keyframe for cut in cuts[1:])


def test_tables_behind_the_media_take_no_time() -> None:
    clock = ByteClock(1000, 10.0, [Keyframe(100, 0.0), Keyframe(500, 5.0)], media_end=900)
    assert clock.time_at(0) == 0.0
    assert clock.time_at(100) == 0.0
    assert clock.time_at(500) == 5.0
    assert clock.time_at(700) == 7.5
    assert clock.time_at(950) == 10.0
    assert clock.time_at(5000) == 10.0


def test_the_empty_file_has_no_chunks() -> None:
    assert plan_cuts(0, ByteClock(0, 0.0)) == []
