"""The bytes of version 1 never change, and hostile bytes are never taken for a record."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_server.node.errors import InvalidSuperblock, UnknownFormat
from storage_server.node.superblock_format import (
    FRAGMENT_BYTES_MAX,
    FileHeader,
    RecordHeader,
    crc32c,
    data_is_intact,
    find_record,
    parse_record_header,
    record_space_bytes,
)

TAG = b"T" * 8
uuids = st.binary(min_size=16, max_size=16)
keys = st.binary(min_size=32, max_size=32)


@st.composite
def record_headers(draw):
    is_tombstone = draw(st.booleans())
    sequence = draw(st.integers(1, 2**64 - 1))
    return RecordHeader(
        key=draw(keys),
        length_bytes=0 if is_tombstone else draw(st.integers(1, FRAGMENT_BYTES_MAX)),
        sequence=sequence,
        batch_position=draw(st.integers(0, min(sequence - 1, 0xFFFF))),
        is_tombstone=is_tombstone,
    )


@given(uuids, uuids, st.integers(1, 2**64 - 1), st.text(min_size=1, max_size=15))
def test_a_file_header_reads_back_unchanged(file_uuid, store_uuid, number, node_id):
    header = FileHeader(file_uuid, store_uuid, number, node_id)
    assert len(header.pack()) == 4096
    assert FileHeader.unpack(header.pack()) == header


@given(record_headers())
def test_a_record_header_reads_back_unchanged(header):
    assert len(header.pack(TAG)) == 64
    assert parse_record_header(header.pack(TAG), TAG) == header


@given(record_headers(), st.integers(0, 64 * 8 - 1))
def test_one_flipped_bit_makes_a_record_header_no_header(header, bit):
    damaged = bytearray(header.pack(TAG))
    damaged[bit // 8] ^= 1 << (bit % 8)
    assert parse_record_header(bytes(damaged), TAG) is None


@given(st.integers(0, 4096 * 8 - 1))
def test_one_flipped_bit_makes_a_file_header_invalid_and_never_an_unknown_version(bit):
    damaged = bytearray(FileHeader(b"f" * 16, b"s" * 16, 1, "node").pack())
    damaged[bit // 8] ^= 1 << (bit % 8)
    with pytest.raises(InvalidSuperblock):
        FileHeader.unpack(bytes(damaged))


@given(st.binary(max_size=200), st.binary(max_size=5000))
def test_arbitrary_bytes_are_neither_record_nor_file_header(head, body):
    assert parse_record_header(head, TAG) is None
    assert find_record(lambda o, n: (b"EVfr" + body)[o : o + n], 0, TAG, after=0) is None
    with pytest.raises(InvalidSuperblock):
        FileHeader.unpack(b"\x89EVFSB\r\n" + body)


def test_a_header_of_a_later_version_is_named_as_such():
    packed = bytearray(FileHeader(b"f" * 16, b"s" * 16, 1, "node").pack())
    packed[8] = 2
    packed[4092:] = crc32c(bytes(packed[:4092])).to_bytes(4, "little")
    with pytest.raises(UnknownFormat, match="format 2"):
        FileHeader.unpack(bytes(packed))


@given(record_headers(), st.binary(min_size=8, max_size=8))
def test_a_record_of_another_file_is_no_record(header, other_tag):
    found = parse_record_header(header.pack(other_tag), TAG)
    assert (found == header) if other_tag == TAG else found is None


def whole_record(data, sequence=7):
    header = RecordHeader(hashlib.sha256(data).digest(), len(data), sequence, 2)
    return header, header.pack(TAG) + data + header.pack_footer(data)


@given(st.binary(min_size=1, max_size=9000))
def test_a_whole_record_is_found_and_fills_its_space(data):
    header, packed = whole_record(data)
    assert len(packed) == header.space_bytes == record_space_bytes(len(data))
    assert len(packed) % 4096 == 0

    def read(offset, length):
        return packed[offset : offset + length]

    found = find_record(read, 0, TAG, after=6)
    assert found is not None
    assert found.header == header
    assert packed[found.data_offset :][: len(data)] == data
    assert data_is_intact(read, found)
    assert find_record(read, 0, TAG, after=7) is None  # an older write, left over


@given(st.binary(min_size=1, max_size=9000), st.data())
def test_a_record_cut_anywhere_is_no_record(data, draw):
    _, packed = whole_record(data)
    cut = packed[: draw.draw(st.integers(0, 64 + len(data) + 15))]
    assert find_record(lambda o, n: cut[o : o + n], 0, TAG, after=0) is None


@given(st.binary(min_size=1, max_size=9000), st.data())
def test_one_flipped_bit_in_data_or_footer_is_seen(data, draw):
    _, packed = whole_record(data)
    bit = draw.draw(st.integers(64 * 8, (64 + len(data) + 16) * 8 - 1))
    damaged = bytearray(packed)
    damaged[bit // 8] ^= 1 << (bit % 8)

    def read(offset, length):
        return bytes(damaged[offset : offset + length])

    found = find_record(read, 0, TAG, after=0)
    assert found is None or not data_is_intact(read, found)


def test_the_bytes_of_version_1_are_what_they_were():
    header = FileHeader(bytes(range(16)), bytes(range(16, 32)), 3, "box-1").pack()
    assert header[:72].hex() == (
        "8945564653420d0a0100000000100000"
        "000102030405060708090a0b0c0d0e0f"
        "101112131415161718191a1b1c1d1e1f"
        "0300000000000000"
        "05626f782d3100000000000000000000"
    )
    assert header[4092:].hex() == "adc1ff8e"
    record, packed = whole_record(b"hello", sequence=258)
    assert packed[:64].hex() == (
        "45566672160f67b30000020005000000"
        "02010000000000002cf24dba5fb0a30e"
        "26e83b2ac5b9e29e1b161e5c1fa7425e"
        "73043362938b98245454545454545454"
    )
    assert packed[64:85].hex() == "68656c6c6f455666744cbb719a0201000000000000"
    tombstone = RecordHeader(record.key, 0, 259, 0, is_tombstone=True)
    assert tombstone.pack(TAG)[:24].hex() == "455666725869d21a01000000000000000301000000000000"
    assert tombstone.pack_footer(b"")[:16].hex() == "45566674000000000301000000000000"


@pytest.mark.parametrize(
    ("length", "sequence", "position", "is_tombstone"),
    [
        (1, 0, 0, False),
        (1, 5, 5, False),
        (FRAGMENT_BYTES_MAX + 1, 1, 0, False),
        (1, 1, 0, True),
        (-1, 1, 0, False),
        (1, 70_000, 65_536, False),
    ],
)
def test_a_record_that_cannot_be_cannot_be_built(length, sequence, position, is_tombstone):
    with pytest.raises(InvalidSuperblock):
        RecordHeader(b"k" * 32, length, sequence, position, is_tombstone)
