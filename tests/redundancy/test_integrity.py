import hashlib

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from redundancy.errors import IntegrityMismatch
from redundancy.integrity import block_checksums, fragment_key, verify_blocks, verify_chunk
from redundancy.rows import BLOCK_BYTES

PAYLOAD = bytes(range(256)) * (3 * BLOCK_BYTES // 256) + b"tail" * 16


def test_a_checksum_is_the_xxh3_of_each_16_kib_block():
    assert block_checksums(PAYLOAD) == tuple(
        xxhash.xxh3_64(PAYLOAD[start : start + 16384]).intdigest()
        for start in (0, 16384, 32768, 49152)
    )
    assert block_checksums(b"") == ()


@given(st.integers(0, len(PAYLOAD) * 8 - 1), st.integers(0, 3))
def test_a_flipped_bit_is_found_in_its_block_and_only_there(bit, first):
    damaged = bytearray(PAYLOAD)
    damaged[bit // 8] ^= 1 << bit % 8
    bad = bit // 8 // BLOCK_BYTES
    found = verify_blocks(damaged[first * BLOCK_BYTES :], first, block_checksums(PAYLOAD))
    assert found == ([bad] if bad >= first else [])


@given(st.integers(1, BLOCK_BYTES - 1))
def test_a_block_cut_short_is_bad(missing):
    cut = PAYLOAD[: 2 * BLOCK_BYTES - missing]
    assert verify_blocks(cut, 0, block_checksums(PAYLOAD)) == [1]


def test_blocks_past_the_end_are_bad_not_an_accident():
    checksums = block_checksums(PAYLOAD)
    assert verify_blocks(PAYLOAD, 1, checksums)[-1] == 4
    assert verify_blocks(PAYLOAD, -1, checksums)[0] == -1
    assert verify_blocks(PAYLOAD, 0, []) == [0, 1, 2, 3]


def test_a_key_is_the_sha256_of_all_parts():
    assert fragment_key([b"pay", bytearray(b"load"), b""]) == hashlib.sha256(b"payload").hexdigest()


def test_a_chunk_that_is_not_the_stored_one_is_refused_by_name():
    verify_chunk(b"chunk", hashlib.sha256(b"chunk").digest())
    with pytest.raises(IntegrityMismatch) as caught:
        verify_chunk(b"chunk", hashlib.sha256(b"other").digest())
    assert caught.value.detail["found"] == hashlib.sha256(b"chunk").hexdigest()
