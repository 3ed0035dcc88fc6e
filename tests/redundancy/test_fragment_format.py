import json
import struct
from dataclasses import replace

import google_crc32c
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from redundancy.errors import InvalidFragment
from redundancy.fragment_format import (
    DESCRIPTOR_BYTES_MAX,
    FOOTER_BYTES_MAX,
    FOOTER_BYTES_MIN,
    ChunkLabel,
    Footer,
    footer_length,
    footer_length_from_start,
    footer_offset,
    read_footer_at_end,
)
from redundancy.rows import BLOCK_BYTES, CHUNK_BYTES_MAX, RowGeometry
from redundancy.scheme import Layout, Scheme

LABEL = ChunkLabel(b"0123456789abcdef", "original", 7, descriptor=b'{"name": "film"}')

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60)
descriptors = st.dictionaries(names, st.one_of(st.integers(), names, st.booleans()), max_size=4)


@st.composite
def footers(draw):
    k = draw(st.integers(1, 6))
    layout = Layout(Scheme(k, draw(st.integers(k, 9))), draw(st.integers(0, 2)))
    index = draw(st.integers(0, layout.fragments_total - 1))
    chunk_bytes = draw(st.sampled_from([0, 1, 64, 100_000, 2 << 20, CHUNK_BYTES_MAX]))
    rows = RowGeometry(chunk_bytes, 1 if layout.is_copy(index) else k).rows
    count = rows if layout.is_copy(index) else rows * layout.scheme.n
    rng = draw(st.randoms(use_true_random=False))
    label = ChunkLabel(
        video_id=draw(st.binary(min_size=16, max_size=16)),
        rendition=draw(names),
        number=draw(st.integers(0, 2**32 - 1)),
        generation=draw(st.integers(0, 2**32 - 1)),
        offset_bytes=draw(st.integers(0, 2**64 - 1)),
        start_us=draw(st.integers(0, 2**64 - 1)),
        duration_us=draw(st.integers(0, 2**64 - 1)),
        descriptor=json.dumps(draw(descriptors), ensure_ascii=False).encode(),
    )
    return Footer(
        label=label,
        layout=layout,
        index=index,
        chunk_bytes=chunk_bytes,
        chunk_sha256=draw(st.binary(min_size=32, max_size=32)),
        checksums=tuple(rng.getrandbits(64) for _ in range(count)),
    )


@given(footers())
def test_a_footer_reads_back_as_it_was(footer):
    packed = footer.pack()
    assert Footer.unpack(packed) == footer
    assert read_footer_at_end(b"payload" + packed) == footer
    assert footer_length(packed[-12:]) == len(packed)
    assert footer_length_from_start(packed[:FOOTER_BYTES_MIN]) == len(packed)
    assert FOOTER_BYTES_MIN <= len(packed) <= FOOTER_BYTES_MAX


def test_the_bytes_of_a_footer_are_those_the_design_gives():
    """Written field by field: a change of these bytes is a new version of the format."""
    footer = Footer(
        label=replace(
            LABEL, generation=2, offset_bytes=14_680_064, start_us=60_000_000, duration_us=9_500_000
        ),
        layout=Layout(Scheme(2, 3), 1),
        index=2,
        chunk_bytes=100,
        chunk_sha256=bytes(range(32)),
        checksums=(1, 2, 0xFFFF_FFFF_FFFF_FFFF),
    )
    body = b"".join(
        [
            b"EvenFrag",
            struct.pack("<HBB", 1, 1, 0),
            struct.pack("<HHHH", 2, 3, 2, 1),
            struct.pack("<II", 7, 2),
            struct.pack("<IIII", 100, 64, 16384, 3),
            b"0123456789abcdef",
            bytes(range(32)),
            struct.pack("<QQQ", 14_680_064, 60_000_000, 9_500_000),
            struct.pack("<HH", 8, 16),
            b"original",
            b'{"name": "film"}',
            struct.pack("<QQQ", 1, 2, 0xFFFF_FFFF_FFFF_FFFF),
        ]
    )
    crc = google_crc32c.value(body)
    whole = body + struct.pack("<II", crc, len(body) + 16) + b"EvenFEnd"
    assert footer.pack() == whole


def test_a_copy_is_flagged_and_holds_its_own_blocks():
    footer = Footer(LABEL, Layout(Scheme(2, 3), 1), 3, 40_000, bytes(32), (1, 2, 3))
    assert footer.pack()[11] == 1
    assert footer.payload_bytes == 40_000
    assert footer.checksums_of(3) == (1, 2, 3)
    with pytest.raises(InvalidFragment, match="cannot check"):
        footer.checksums_of(0)


def test_any_coded_footer_knows_the_checksums_of_all_coded_fragments():
    footer = Footer(LABEL, Layout(Scheme(2, 3), 1), 0, 40_000, bytes(32), tuple(range(6)))
    assert [footer.checksums_of(i) for i in range(3)] == [(0, 1), (2, 3), (4, 5)]
    for index in (3, -1, 4):
        with pytest.raises(InvalidFragment):
            footer.checksums_of(index)


@given(footers())
def test_the_footer_starts_where_the_manifest_lets_a_client_expect_it(footer):
    offset = footer_offset(footer.chunk_bytes, footer.layout.scheme.k, footer.is_copy)
    assert offset == footer.payload_bytes


@pytest.mark.parametrize(
    "change",
    [
        {"video_id": b"short"},
        {"rendition": ""},
        {"rendition": "r" * 256},
        {"rendition": "\ud800"},
        {"number": -1},
        {"number": 2**32},
        {"generation": 2**32},
        {"offset_bytes": 2**64},
        {"start_us": -1},
        {"duration_us": 2**64},
        {"descriptor": b""},
        {"descriptor": b"[]"},
        {"descriptor": b"{"},
        {"descriptor": b"\xff{}"},
        {"descriptor": b'{"a": NaN}'},
        {"descriptor": b"[" * DESCRIPTOR_BYTES_MAX},
        {"descriptor": b'{"a": "' + b"x" * DESCRIPTOR_BYTES_MAX + b'"}'},
    ],
    ids=lambda change: next(iter(change)) + str(next(iter(change.values())))[:20],
)
def test_a_label_that_cannot_be_written_cannot_be_built(change):
    with pytest.raises(InvalidFragment):
        replace(LABEL, **change)


@pytest.mark.parametrize(
    "change",
    [
        {"index": 4},
        {"index": -1},
        {"chunk_sha256": bytes(31)},
        {"checksums": (1, 2)},
        {"checksums": (1, 2, 2**64)},
        {"checksums": (1, 2, -1)},
    ],
)
def test_a_footer_that_contradicts_itself_cannot_be_built(change):
    fields = {
        "label": LABEL,
        "layout": Layout(Scheme(2, 3), 1),
        "index": 0,
        "chunk_bytes": 100,
        "chunk_sha256": bytes(32),
        "checksums": (1, 2, 3),
    }
    Footer(**fields)
    with pytest.raises(InvalidFragment):
        Footer(**(fields | change))


GOOD = Footer(LABEL, Layout(Scheme(3, 5)), 1, 100_000, bytes(32), tuple(range(15))).pack()


def test_every_single_flipped_bit_is_noticed():
    for bit in range(len(GOOD) * 8):
        damaged = bytearray(GOOD)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(InvalidFragment):
            Footer.unpack(damaged)


def test_every_truncation_is_noticed():
    for length in range(len(GOOD)):
        with pytest.raises(InvalidFragment):
            Footer.unpack(GOOD[:length])
        with pytest.raises(InvalidFragment):
            Footer.unpack(GOOD[length + 1 :])


def sealed(body: bytes) -> bytes:
    """Finish a forged footer: right length, right checksum, right magic."""
    crc = google_crc32c.value(body)
    return body + struct.pack("<II", crc, len(body) + 16) + b"EvenFEnd"


@settings(max_examples=400)
@given(st.integers(8, len(GOOD) - 17), st.binary(min_size=1, max_size=8))
@example(8, b"\x02")  # version 2
@example(10, b"\x09")  # an unknown matrix
@example(11, b"\x01")  # "a copy"
@example(11, b"\x80")  # an unknown flag
@example(12, b"\xff\xff")  # k = 65535
@example(16, b"\xff\xff")  # index
@example(28, b"\xff\xff\xff\xff")  # 4 GiB
@example(32, b"\x01")  # payload length
@example(36, b"\x01")  # block size
@example(40, b"\xff\xff\xff\xff")  # 4 billion checksums
@example(116, b"\xff\xff\xff\xff")  # names of 64 KiB
def test_a_forged_footer_is_refused_or_means_what_it_says(at, patch):
    body = bytearray(GOOD[:-16])
    body[at : at + len(patch)] = patch[: len(body) - at]
    forged = sealed(bytes(body))
    try:
        footer = Footer.unpack(forged)
    except InvalidFragment:
        return
    assert footer.pack() == forged


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_random_bytes_are_no_footer(data):
    for hostile in (data, sealed(data), sealed(b"EvenFrag" + data)):
        with pytest.raises(InvalidFragment):
            Footer.unpack(hostile)
        with pytest.raises(InvalidFragment):
            read_footer_at_end(hostile)


@given(st.integers(0, 2**32 - 1))
def test_a_claimed_length_never_makes_anybody_read_more_than_a_footer(length):
    tail = struct.pack("<I", length) + b"EvenFEnd"
    try:
        assert FOOTER_BYTES_MIN <= footer_length(tail) <= FOOTER_BYTES_MAX
    except InvalidFragment:
        assert not FOOTER_BYTES_MIN <= length <= FOOTER_BYTES_MAX
    with pytest.raises(InvalidFragment):
        read_footer_at_end(tail)
    with pytest.raises(InvalidFragment, match="too short"):
        footer_length(tail[1:])


def test_the_largest_footer_is_as_large_as_the_bound_says():
    layout = Layout(Scheme(2, 256))
    rows = CHUNK_BYTES_MAX // (2 * BLOCK_BYTES)
    label = replace(
        LABEL,
        rendition="r" * 255,
        descriptor=b'{"": "' + b"x" * (DESCRIPTOR_BYTES_MAX - 8) + b'"}',
    )
    footer = Footer(label, layout, 0, CHUNK_BYTES_MAX, bytes(32), (0,) * 256 * rows)
    assert len(footer.pack()) == FOOTER_BYTES_MAX
    assert Footer.unpack(footer.pack()) == footer
    with pytest.raises(InvalidFragment):
        Footer.unpack(bytes(FOOTER_BYTES_MAX + 1))
