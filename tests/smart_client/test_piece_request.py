"""Bytes of a piece get to their place in the fragment, whether they landed there or are copied."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redundancy.backends import best_codec
from redundancy.fragment_format import ChunkLabel
from redundancy.fragments import build_fragments
from redundancy.rows import BLOCK_BYTES
from redundancy.scheme import Layout, Scheme
from smart_client import wire
from smart_client.chunk_buffers import ChunkBuffers
from smart_client.core import commands, events
from smart_client.piece_request import PieceRequest
from smart_client.transport.errors import TransportFailure

VIDEO = bytes(16)
CHUNK = hashlib.shake_128(b"chunk").digest(8 * BLOCK_BYTES)
LAYOUT = Layout(Scheme(2, 3))
FRAGMENTS = build_fragments(
    CHUNK, LAYOUT, best_codec(LAYOUT.scheme), ChunkLabel(VIDEO, "original", 0)
)
PAYLOAD = bytes(FRAGMENTS[0].payload)


def buffers():
    record = wire.ChunkRecord(
        number=0,
        offset=0,
        size=len(CHUNK),
        sha256=hashlib.sha256(CHUNK).hexdigest(),
        start_s=0.0,
        duration_s=1.0,
        layout=wire.LayoutRecord.of(LAYOUT),
        fragments=tuple(
            wire.FragmentRecord(index=i, node=f"n{i}", key=each.key)
            for i, each in enumerate(FRAGMENTS)
        ),
    )
    made = ChunkBuffers(record, VIDEO.hex(), "original")
    made.accept_footer(0, FRAGMENTS[0].footer_bytes)
    return made


def request(made, start=0, stop=None):
    told = []
    fetch = commands.Fetch(1, 0, 0, 0, start, stop or len(PAYLOAD))
    return PieceRequest(fetch, made, told.append), told


def land(piece, data):
    """Do what the transport does; return the block."""
    room = piece.room()
    count = min(len(room), len(data))
    room[:count] = data[:count]
    piece.landed(count)
    return room[:count]


sizes = st.lists(st.tuples(st.integers(1, 40_000), st.booleans()), max_size=12)


@given(sizes)
def test_however_the_bytes_come_they_end_in_their_place_and_are_checked(steps):
    made = buffers()
    piece, told = request(made)
    position, may_land = 0, True
    for size, lands in [*steps, (len(PAYLOAD), False)]:
        data = PAYLOAD[position : position + size]
        may_land = may_land and lands
        block = land(piece, data) if may_land else data
        if block:
            piece.data(block)
        position += len(block)
    assert piece.is_complete
    assert made.room(0, 0, len(PAYLOAD)) == PAYLOAD
    assert all(isinstance(each, events.BytesArrived) for each in told)


def test_there_is_room_for_the_piece_and_for_nothing_else():
    made = buffers()
    piece, _ = request(made, BLOCK_BYTES, 3 * BLOCK_BYTES)
    assert len(piece.room()) == 2 * BLOCK_BYTES
    piece.data(land(piece, PAYLOAD[BLOCK_BYTES : BLOCK_BYTES + 100]))
    assert len(piece.room()) == 2 * BLOCK_BYTES - 100
    piece.stop = 2 * BLOCK_BYTES
    assert len(piece.room()) == BLOCK_BYTES - 100
    piece.data(land(piece, PAYLOAD[BLOCK_BYTES + 100 :]))
    assert piece.is_complete
    assert len(piece.room()) == 0
    with pytest.raises(TransportFailure, match="shortened"):
        piece.data(b"more")
    assert not any(made.room(0, 2 * BLOCK_BYTES, len(PAYLOAD)))


def test_a_footer_is_collected_apart():
    piece = PieceRequest(commands.FetchFooter(1, 0, 0, 0, 0), buffers(), lambda _: None)
    assert len(piece.room()) == 0
    piece.data(b"abc")
    assert piece.footer == b"abc"


def test_bytes_that_landed_in_what_was_thrown_away_are_put_into_the_new_place():
    made = buffers()
    piece, _ = request(made)
    block = land(piece, PAYLOAD[:BLOCK_BYTES])
    made.clear()
    made.accept_footer(0, FRAGMENTS[0].footer_bytes)
    piece.data(block)
    assert made.room(0, 0, BLOCK_BYTES) == PAYLOAD[:BLOCK_BYTES]


def test_a_wrong_block_that_landed_is_found():
    made = buffers()
    piece, _ = request(made)
    wrong = bytearray(PAYLOAD[: 2 * BLOCK_BYTES])
    wrong[BLOCK_BYTES + 5] ^= 1
    with pytest.raises(TransportFailure, match="checksum"):
        piece.data(land(piece, wrong))
    assert piece.good_bytes == BLOCK_BYTES
