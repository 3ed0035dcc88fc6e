import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.backends import best_codec
from redundancy.errors import InsufficientFragments, InvalidFragment
from redundancy.fragment_format import ChunkLabel
from redundancy.fragments import code_chunk
from redundancy.salvage import ChunkSalvage
from redundancy.scheme import Layout

LABEL = ChunkLabel(b"0123456789abcdef", "original", 0)


def coded(text, size):
    layout = Layout.parse(text)
    chunk = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    return layout, chunk, code_chunk(chunk, layout, best_codec(layout.scheme), LABEL)


@st.composite
def _wrecks(draw):
    text = draw(st.sampled_from(["rs:2+2", "rs:3+2", "rs:2+1+1copy", "rep:2", "rep:1+1copy"]))
    size = draw(st.sampled_from([0, 1, 40_000, 130_000, 170_001]))
    layout = Layout.parse(text)
    arrivals = draw(st.lists(st.integers(0, layout.fragments_total - 1), max_size=7))
    flips = [draw(st.lists(st.integers(0, 2**20), max_size=3)) for _ in arrivals]
    return text, size, arrivals, flips


@settings(max_examples=200, deadline=None)
@given(_wrecks())
def test_a_chunk_comes_back_exactly_when_every_row_has_enough_and_then_it_is_right(wreck):
    text, size, arrivals, flips = wreck
    layout, chunk, pieces = coded(text, size)
    k, n = layout.scheme.k, layout.scheme.n
    salvage = ChunkSalvage(layout, size)
    row_bytes = k * 16384
    rows = -(-size // row_bytes)
    good = {}  # (index, row): some arrival has it intact, counted block by block
    for index, bits in zip(arrivals, flips, strict=True):
        payload = pieces[index].payload.copy()
        bad_blocks = set()
        for bit in bits if payload.size else ():
            payload[bit % payload.size] ^= 1 << bit % 8
        for start in range(0, payload.size, 16384):
            span = slice(start, start + 16384)
            if not np.array_equal(payload[span], pieces[index].payload[span]):
                bad_blocks.add(start // 16384)
        assert salvage.add(pieces[index].footer, payload) == len(bad_blocks)
        per_row = k if index >= n else 1
        for row in range(rows):
            blocks = set(range(row * per_row, (row + 1) * per_row))
            good[index, row] = good.get((index, row), False) or not blocks & bad_blocks
    copies = range(n, layout.fragments_total)

    def tolerance_of(row):
        have = sum(good.get((i, row), False) for i in range(n))
        spare = sum(good.get((i, row), False) for i in copies)
        return have - k + spare if have >= k else spare - 1

    expected = min(map(tolerance_of, range(rows)), default=len(set(arrivals)) - 1)
    assert salvage.tolerance == expected
    out = np.empty(size, np.uint8)
    if expected < 0:
        with pytest.raises(InsufficientFragments):
            salvage.assemble_into(out, best_codec(layout.scheme))
    else:
        salvage.assemble_into(out, best_codec(layout.scheme))
        assert np.array_equal(out, chunk)


def test_two_damaged_copies_of_one_fragment_mend_each_other():
    layout, chunk, pieces = coded("rs:3+0", 170_001)
    salvage = ChunkSalvage(layout, 170_001)
    first, second = pieces[0].payload.copy(), pieces[0].payload.copy()
    first[0] ^= 1
    second[-1] ^= 1
    salvage.add(pieces[0].footer, first)
    salvage.add(pieces[1].footer, pieces[1].payload.copy())
    salvage.add(pieces[2].footer, pieces[2].payload.copy())
    assert not salvage.is_complete
    salvage.add(pieces[0].footer, second)
    out = np.empty(170_001, np.uint8)
    salvage.assemble_into(out, best_codec(layout.scheme))
    assert np.array_equal(out, chunk)


def test_a_fragment_of_another_chunk_is_refused():
    layout, _, pieces = coded("rs:3+2", 1000)
    for salvage in (ChunkSalvage(layout, 1001), ChunkSalvage(Layout.parse("rs:3+3"), 1000)):
        with pytest.raises(InvalidFragment):
            salvage.add(pieces[0].footer, pieces[0].payload)
