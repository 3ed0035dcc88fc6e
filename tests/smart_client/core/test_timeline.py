from hypothesis import given
from hypothesis import strategies as st

from smart_client.core.timeline import Timeline
from smart_client.wire import ChunkRecord, LayoutRecord


@st.composite
def timelines(draw) -> Timeline:
    sizes = draw(st.lists(st.integers(1, 3_000_000), min_size=1, max_size=20))
    durations = draw(
        st.lists(
            st.one_of(st.just(0.0), st.floats(0.01, 10)), min_size=len(sizes), max_size=len(sizes)
        )
    )
    chunks, offset, start_s = [], 0, 0.0
    for number, (size, duration_s) in enumerate(zip(sizes, durations, strict=True)):
        chunks.append(
            ChunkRecord(
                number=number,
                offset=offset,
                size=size,
                sha256="0" * 64,
                start_s=start_s,
                duration_s=duration_s,
                layout=LayoutRecord(k=1, n=1),
                fragments=(),
            )
        )
        offset += size
        start_s += duration_s
    return Timeline(chunks)


@given(timelines(), st.floats(0, 1))
def test_media_time_never_falls_as_bytes_go_on(timeline: Timeline, share: float) -> None:
    offset = int(share * timeline.size)
    assert 0 <= timeline.time_at(offset) <= timeline.time_at(min(offset + 1, timeline.size))
    assert timeline.time_at(timeline.size) == timeline.end_s


@given(timelines(), st.floats(0, 1))
def test_a_byte_is_found_again_by_its_time(timeline: Timeline, share: float) -> None:
    offset = int(share * (timeline.size - 1))
    time_s = timeline.time_at(offset)
    back = timeline.offset_at(time_s)
    # Rounding may cost a byte; a chunk without duration shares its instant with its neighbours.
    assert timeline.time_at(max(0, back - 1)) <= time_s <= timeline.time_at(back + 1)


@given(timelines(), st.integers(0, 10**8))
def test_a_byte_lies_in_its_chunk(timeline: Timeline, offset: int) -> None:
    chunk = timeline.chunk_at(offset)
    if offset >= timeline.size:
        assert chunk == len(timeline.starts_s)
    else:
        assert timeline.offsets[chunk] <= offset < timeline.offsets[chunk + 1]
