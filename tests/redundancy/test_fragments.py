import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.backends import available_backends, best_codec, codec_with
from redundancy.errors import InsufficientFragments, IntegrityMismatch, InvalidFragment
from redundancy.fragment_format import ChunkLabel, Footer, read_footer_at_end
from redundancy.fragments import build_fragments, code_chunk, decode_chunk, rebuild_fragment
from redundancy.rows import BLOCK_BYTES
from redundancy.scheme import Layout

LABEL = ChunkLabel(
    b"0123456789abcdef",
    "original",
    3,
    offset_bytes=6_291_456,
    start_us=30_000_000,
    duration_us=10_000_000,
    descriptor=json.dumps({"name": "film.mp4", "last": False}).encode(),
)
LAYOUTS = ["rs:3+2", "rep:3", "rs:3+2+2copies", "rs:6+3", "rs:2+0+1copy", "rep:1"]
SIZES = [0, 1, 63, 64, 3 * BLOCK_BYTES - 1, 3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 1, 200_001]


def build(text, size, seed=0):
    layout = Layout.parse(text)
    chunk = np.random.default_rng([seed, size]).integers(0, 256, size, dtype=np.uint8).tobytes()
    return chunk, build_fragments(chunk, layout, best_codec(layout.scheme), LABEL)


@pytest.mark.parametrize("text", LAYOUTS)
@pytest.mark.parametrize("size", SIZES)
def test_a_fragment_tells_everything_about_itself(text, size):
    chunk, fragments = build(text, size)
    layout = Layout.parse(text)
    assert [fragment.index for fragment in fragments] == [*range(layout.fragments_total)]
    for fragment in fragments:
        stored = b"".join(fragment.parts)
        assert len(stored) == fragment.size_bytes
        assert fragment.key == hashlib.sha256(stored).hexdigest()
        footer = read_footer_at_end(stored)
        assert footer == fragment.footer
        assert (footer.label, footer.layout, footer.index) == (LABEL, layout, fragment.index)
        assert footer.chunk_sha256 == hashlib.sha256(chunk).digest()
        assert Footer.unpack(stored[footer.payload_bytes :]) == footer
        assert footer.bad_blocks(fragment.index, stored[: footer.payload_bytes], 0) == []
    assert len({fragment.key for fragment in fragments}) == len(fragments)


def test_one_footer_checks_ranges_of_all_coded_fragments():
    _, fragments = build("rs:3+2", 200_001)
    for judge in fragments:
        for fragment in fragments:
            part = fragment.payload[BLOCK_BYTES : 3 * BLOCK_BYTES]
            assert judge.footer.bad_blocks(fragment.index, part, 1) == []
            damaged = part.copy()
            damaged[BLOCK_BYTES] ^= 1
            assert judge.footer.bad_blocks(fragment.index, damaged, 1) == [2]


@pytest.mark.parametrize("backend", available_backends())
def test_the_same_chunk_gives_the_same_bytes_with_every_backend(backend):
    layout = Layout.parse("rs:3+2+1copy")
    chunk, expected = build(str(layout), 123_456)
    again = build_fragments(chunk, layout, codec_with(layout.scheme, backend), LABEL)
    assert [f.key for f in again] == [f.key for f in expected]


def test_the_keys_of_a_known_chunk_never_change():
    """Stored fragments carry these names: other keys mean another format."""
    _, fragments = build("rs:3+2+1copy", 100_000)
    digest = hashlib.sha256("".join(fragment.key for fragment in fragments).encode())
    assert digest.hexdigest()[:16] == "4c40fe356d2fab8e"


@st.composite
def _repairs(draw):
    text = draw(st.sampled_from(LAYOUTS[:5]))
    layout = Layout.parse(text)
    total = layout.fragments_total
    have = draw(st.lists(st.integers(0, total - 1), min_size=1, unique=True))
    return text, draw(st.sampled_from(SIZES)), have, draw(st.integers(0, total - 1))


@settings(max_examples=150, deadline=None)
@given(_repairs(), st.integers(0, 99))
def test_a_rebuilt_fragment_is_the_stored_one_bit_for_bit(repair, which_footer):
    text, size, have, index = repair
    layout = Layout.parse(text)
    chunk, fragments = build(text, size)
    payloads = {i: fragments[i].payload for i in have}
    footer = fragments[which_footer % len(fragments)].footer
    codec = best_codec(layout.scheme)
    enough = any(layout.is_copy(i) for i in have) or len(have) >= layout.scheme.k
    if not enough:
        with pytest.raises(InsufficientFragments):
            rebuild_fragment(index, footer, payloads, codec)
        return
    rebuilt = rebuild_fragment(index, footer, payloads, codec)
    assert b"".join(rebuilt.parts) == b"".join(fragments[index].parts)
    assert rebuilt.key == fragments[index].key
    assert decode_chunk(footer, payloads, codec).tobytes() == chunk


@pytest.mark.parametrize(("index", "source"), [(0, 1), (4, 0), (5, 2), (0, 5)])
def test_a_damaged_source_never_becomes_a_fragment(index, source):
    _, fragments = build("rs:3+2+1copy", 200_001)
    others = [0, 1, 2, 3] if source != 5 else [5]
    payloads = {i: fragments[i].payload.copy() for i in others if i != index} | {}
    payloads[source] = fragments[source].payload.copy()
    payloads[source][17] ^= 4
    with pytest.raises(IntegrityMismatch):
        rebuild_fragment(
            index, fragments[1].footer, payloads, best_codec(fragments[0].footer.layout.scheme)
        )


def test_a_fragment_that_does_not_exist_is_not_rebuilt():
    _, fragments = build("rs:3+2", 1000)
    payloads = {f.index: f.payload for f in fragments}
    with pytest.raises(InvalidFragment):
        rebuild_fragment(
            5, fragments[0].footer, payloads, best_codec(fragments[0].footer.layout.scheme)
        )


def test_a_payload_is_not_copied_into_a_joined_buffer():
    layout = Layout.parse("rep:2")
    chunk = bytes(64_000)
    pieces = code_chunk(chunk, layout, best_codec(layout.scheme), LABEL)
    view = np.frombuffer(chunk, np.uint8)
    assert all(np.shares_memory(piece.payload, view) for piece in pieces)
