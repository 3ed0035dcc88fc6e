"""Boxes, samples, segments and indexes, byte by byte."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redundancy.rows import CHUNK_BYTES_MAX
from smart_client.cmaf.boxes import Track, box, boxes_in, find, full_box, read_head
from smart_client.cmaf.index import index_bytes, make_index, read_index
from smart_client.cmaf.samples import Sample, read_samples
from smart_client.cmaf.segments import make_mdat_head, make_moof
from smart_client.errors import InvalidMedia
from smart_client.ingest.segment import plan_segment_cuts

segments = st.lists(
    st.tuples(st.integers(1, 3_000_000), st.integers(1, 100_000)), min_size=1, max_size=60
)


@given(segments, st.integers(0, 5000))
def test_an_index_reads_back(rows, header) -> None:
    sizes, durations = [size for size, _ in rows], [ticks for _, ticks in rows]
    index = make_index(24_000, sizes, durations)
    assert len(index) == index_bytes(len(rows))
    found = read_index(bytes(header) + index, header)
    assert [each.size for each in found] == sizes
    assert found[0].offset == header + len(index)
    assert found[0].start_s == 0.0
    for before, after in pairwise(found):
        assert after.offset == before.offset + before.size
        assert after.start_s == pytest.approx(before.start_s + before.duration_s)


@given(st.binary(max_size=200))
def test_nonsense_is_no_index(data) -> None:
    with pytest.raises(InvalidMedia):
        read_index(data, 0)


def test_a_cut_off_index_is_refused() -> None:
    index = make_index(1000, [10, 20], [5, 5])
    for length in range(len(index)):
        with pytest.raises(InvalidMedia):
            read_index(index[:length], 0)


def test_an_index_holds_no_more_than_its_counter_counts() -> None:
    with pytest.raises(InvalidMedia, match="holds 65535"):
        make_index(1000, [1] * 65_536, [1] * 65_536)


samples = st.lists(
    st.builds(
        Sample,
        offset=st.just(0),
        size=st.integers(1, 1000),
        duration=st.sampled_from([1001, 1001, 1001, 2002]),
        shift=st.integers(0, 9000),
        is_key=st.just(False),
    ),
    min_size=1,
    max_size=40,
)


@given(samples, st.booleans())
def test_what_a_segment_says_of_its_samples_reads_back(rows, is_video) -> None:
    moof = make_moof(7, 123_456, rows, is_video=is_video)
    track = Track(is_video, 24_000, "")
    found = list(read_samples(moof, 0, track))
    assert [(each.size, each.duration) for each in found] == [
        (each.size, each.duration) for each in rows
    ]
    assert found[0].offset == len(moof) + len(make_mdat_head(rows))
    assert found[-1].offset + found[-1].size == found[0].offset + sum(each.size for each in rows)
    if is_video:
        assert [each.shift for each in found] == [each.shift for each in rows]
        assert [each.is_key for each in found] == [True] + [False] * (len(rows) - 1)
    else:
        assert all(each.is_key and each.shift == 0 for each in found)
    time = find(moof, b"moof", b"traf", b"tfdt")
    assert struct.unpack_from(">Q", moof, time.body + 4) == (123_456,)


def test_large_and_open_boxes_are_read() -> None:
    large = struct.pack(">I4sQ", 1, b"mdat", 20) + b"1234"
    found = list(boxes_in(box(b"free") + large + struct.pack(">I4s", 0, b"mdat") + b"rest"))
    assert [(each.kind, each.end - each.body) for each in found] == [
        (b"free", 0),
        (b"mdat", 4),
        (b"mdat", 4),
    ]
    with pytest.raises(InvalidMedia, match="claims"):
        read_head(struct.pack(">I4s", 99, b"moov"), 0, 20)
    with pytest.raises(InvalidMedia, match="expected one"):
        find(full_box(b"sidx", 1, 0), b"moov")


@given(segments, st.integers(0, 60_000))
def test_chunks_of_segments_join_to_the_object(rows, header) -> None:
    index = make_index(24_000, [size for size, _ in rows], [48_000 for _ in rows])
    found = read_index(bytes(header) + index, header)
    cuts = plan_segment_cuts(header + len(index), found)
    offset, time_s = 0, 0.0
    for cut in cuts:
        assert cut.offset == offset
        assert 0 < cut.size <= CHUNK_BYTES_MAX
        assert cut.start_s == pytest.approx(time_s)
        assert cut.duration_s <= 20.5, "ten seconds, and a tail that joined"
        offset, time_s = cut.offset + cut.size, cut.start_s + cut.duration_s
    assert offset == found[-1].offset + found[-1].size
    assert time_s == pytest.approx(found[-1].start_s + found[-1].duration_s)
    if max(size for size, _ in rows) < CHUNK_BYTES_MAX - header - len(index):
        begins = {each.offset for each in found[1:]} | {0}
        assert {cut.offset for cut in cuts} <= begins, "a chunk begins where a segment does"


def test_a_small_tail_is_no_object_of_its_own() -> None:
    index = make_index(1000, [100_000] * 11 + [900], [2000] * 11 + [10])
    cuts = plan_segment_cuts(len(index), read_index(index, 0))
    assert [round(cut.duration_s, 2) for cut in cuts] == [10.0, 12.01]


def test_a_long_segment_is_cut_by_bytes() -> None:
    index = make_index(1000, [9_000_000, 10], [2000, 2000])
    cuts = plan_segment_cuts(len(index), read_index(index, 0))
    assert [cut.size for cut in cuts[:2]] == [CHUNK_BYTES_MAX, CHUNK_BYTES_MAX]
    assert sum(cut.duration_s for cut in cuts) == pytest.approx(4.0)
