import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.backends import best_codec, codec_with
from redundancy.errors import (
    InsufficientFragments,
    InvalidBuffer,
    InvalidFragment,
    InvalidScheme,
)
from redundancy.rows import (
    BLOCK_BYTES,
    CHUNK_BYTES_MAX,
    RowGeometry,
    assemble_rows_into,
    encode_chunk,
    join_rows_into,
    split_chunk_into,
)
from redundancy.scheme import Layout, Scheme


def edge_sizes(k):
    """Chunk sizes around every change of shape."""
    row = k * BLOCK_BYTES
    around = [0, 64, 64 * k, BLOCK_BYTES, row, 2 * row, 3 * row]
    return sorted({max(0, size + step) for size in around for step in (-1, 0, 1)} | {12345})


def naive_fragments(chunk: bytes, k: int) -> list[bytes]:
    """Deal a chunk out as the format's description says it, block by block."""
    fragments = [b""] * k
    while chunk:
        row, chunk = chunk[: k * BLOCK_BYTES], chunk[k * BLOCK_BYTES :]
        block = BLOCK_BYTES
        if not chunk:  # the last row: ceil(rest / k), rounded up to 64
            block = -(-len(row) // k)
            block += -block % 64
        row = row.ljust(k * block, b"\0")
        for i in range(k):
            fragments[i] += row[i * block : (i + 1) * block]
    return fragments


def pattern(size, seed=0):
    return np.random.default_rng([seed, size]).integers(0, 256, size, dtype=np.uint8).tobytes()


cases = [(k, size) for k in (1, 2, 3, 10) for size in edge_sizes(k)]


@pytest.mark.parametrize(("k", "size"), cases)
def test_a_chunk_is_dealt_out_as_the_format_says(k, size):
    chunk = pattern(size)
    geometry = RowGeometry(size, k)
    payloads = [bytearray(b"\xaa" * geometry.payload_bytes) for _ in range(k)]
    split_chunk_into(chunk, geometry, payloads)
    assert payloads == naive_fragments(chunk, k)


@pytest.mark.parametrize(("k", "size"), cases)
def test_the_geometry_agrees_with_the_fragments(k, size):
    geometry = RowGeometry(size, k)
    length = len(naive_fragments(pattern(size), k)[0])
    assert geometry.payload_bytes == length
    assert geometry.payload_bytes % 64 == 0
    assert sum(geometry.block_bytes(row) for row in range(geometry.rows)) == length
    assert geometry.rows == -(-length // BLOCK_BYTES)
    assert geometry.payload_range(0, geometry.rows) == (0, length)
    assert geometry.chunk_range(0, geometry.rows) == (0, size)
    assert geometry.copy_range(0, geometry.rows) == (0, RowGeometry(size, 1).payload_bytes)
    for row in range(geometry.rows):
        start, stop = geometry.payload_range(row, 1)
        assert stop - start == geometry.block_bytes(row)
        chunk_start, chunk_stop = geometry.chunk_range(row, 1)
        assert geometry.row_at(chunk_start) == geometry.row_at(chunk_stop - 1) == row
        copy_start, copy_stop = geometry.copy_range(row, 1)
        assert copy_start == chunk_start
        assert copy_start % BLOCK_BYTES == 0
        assert copy_stop >= chunk_stop


def test_a_fragment_of_any_chunk_is_at_most_a_copy_of_it():
    for k in (1, 2, 3, 255, 256):
        assert RowGeometry(CHUNK_BYTES_MAX, k).payload_bytes * k >= CHUNK_BYTES_MAX
        assert RowGeometry(CHUNK_BYTES_MAX, k).payload_bytes <= CHUNK_BYTES_MAX


@pytest.mark.parametrize(("size", "k"), [(-1, 3), (CHUNK_BYTES_MAX + 1, 3), (10, 0), (10, 257)])
def test_an_impossible_geometry_cannot_be_built(size, k):
    with pytest.raises(InvalidScheme):
        RowGeometry(size, k)


@pytest.mark.parametrize(("first", "rows"), [(-1, 1), (0, 4), (3, 1), (0, -1)])
def test_rows_that_are_not_there_are_refused(first, rows):
    geometry = RowGeometry(3 * 3 * BLOCK_BYTES, 3)
    for ask in (geometry.payload_range, geometry.chunk_range, geometry.copy_range):
        with pytest.raises(InvalidFragment, match="are not in a chunk of 3 rows"):
            ask(first, rows)
    for offset in (-1, geometry.chunk_bytes):
        with pytest.raises(InvalidFragment):
            geometry.row_at(offset)


@st.composite
def _reads(draw):
    k = draw(st.sampled_from([1, 2, 3, 6]))
    n = k + draw(st.integers(0, 3))
    size = draw(st.one_of(st.sampled_from(edge_sizes(k)), st.integers(0, 4 * k * BLOCK_BYTES)))
    rows = RowGeometry(size, k).rows
    first = draw(st.integers(0, rows))
    count = draw(st.integers(0, rows - first))
    have = draw(st.permutations(range(n)))[: draw(st.integers(k, n))]
    return k, n, size, first, count, have


@settings(max_examples=150, deadline=None)
@given(_reads(), st.sampled_from(["numpy", "zfec"]))
def test_any_rows_come_back_from_any_k_payloads_that_hold_only_those_rows(read, backend):
    k, n, size, first, count, have = read
    codec = codec_with(Scheme(k, n), backend)
    chunk = pattern(size)
    geometry = RowGeometry(size, k)
    start, stop = geometry.payload_range(first, count)
    payloads = {}
    for index in have:  # as a client holds them: everything outside these rows is not there yet
        payloads[index] = bytearray(pattern(geometry.payload_bytes, seed=index + 1))
        whole = encode_chunk(chunk, Layout(Scheme(k, n)), codec)[index]
        payloads[index][start:stop] = whole[start:stop].tobytes()
    chunk_start, chunk_stop = geometry.chunk_range(first, count)
    out = bytearray(chunk_stop - chunk_start)
    assemble_rows_into(out, geometry, codec, payloads, first_row=first, rows=count)
    assert out == chunk[chunk_start:chunk_stop]


@pytest.mark.parametrize("text", ["rs:3+2", "rs:3+2+2copies", "rep:3", "rep:2+1copy", "rs:4+0"])
@pytest.mark.parametrize("size", [0, 1, 63, 64, 100_000])
def test_every_copy_is_the_chunk_and_every_coded_fragment_has_one_length(text, size):
    layout = Layout.parse(text)
    chunk = pattern(size)
    payloads = encode_chunk(chunk, layout, best_codec(layout.scheme))
    assert len(payloads) == layout.fragments_total
    for index, payload in enumerate(payloads):
        if layout.is_copy(index):
            assert payload[:size].tobytes() == chunk
            assert not payload[size:].any()
            assert payload.size == RowGeometry(size, 1).payload_bytes
        else:
            assert payload.size == RowGeometry(size, layout.scheme.k).payload_bytes


def test_copies_alias_the_chunk_where_it_needs_no_padding():
    chunk = np.frombuffer(pattern(6400), np.uint8)
    payloads = encode_chunk(chunk, Layout.parse("rep:3"), best_codec(Scheme(1, 3)))
    assert all(np.shares_memory(payload, chunk) for payload in payloads)


def test_coded_payloads_go_into_the_callers_memory():
    codec = best_codec(Scheme(3, 5))
    chunk = pattern(100_000)
    memory = np.full(5 * RowGeometry(100_000, 3).payload_bytes + 7, 0xAA, np.uint8)
    payloads = encode_chunk(chunk, Layout(Scheme(3, 5)), codec, memory=memory)
    assert all(np.shares_memory(payload, memory) for payload in payloads)
    fresh = encode_chunk(chunk, Layout(Scheme(3, 5)), codec)
    assert all(map(np.array_equal, payloads, fresh))
    with pytest.raises(InvalidBuffer):
        encode_chunk(chunk, Layout(Scheme(3, 5)), codec, memory=memory[:100])


class TestWrongCalls:
    geometry = RowGeometry(100_000, 3)
    codec = best_codec(Scheme(3, 5))

    @pytest.fixture
    def payloads(self):
        chunk = pattern(100_000)
        return dict(enumerate(encode_chunk(chunk, Layout(Scheme(3, 5)), self.codec)))

    def assemble(self, payloads, size=100_000, geometry=geometry, **rows):
        rows = {"first_row": 0, "rows": geometry.rows} | rows
        assemble_rows_into(bytearray(size), geometry, self.codec, payloads, **rows)

    def test_too_few_fragments(self, payloads):
        with pytest.raises(InsufficientFragments):
            self.assemble({0: payloads[0], 4: payloads[4]})

    def test_an_output_of_another_length(self, payloads):
        with pytest.raises(InvalidBuffer, match="output"):
            self.assemble(payloads, size=99_999)

    def test_a_payload_cut_short(self, payloads):
        with pytest.raises(InvalidBuffer, match="payload"):
            self.assemble(payloads | {1: payloads[1][:-64]})

    def test_payloads_that_are_all_too_long(self, payloads):
        longer = {i: np.append(payload, np.zeros(64, np.uint8)) for i, payload in payloads.items()}
        with pytest.raises(InvalidBuffer, match="payload"):
            assemble_rows_into(
                bytearray(3 * BLOCK_BYTES), self.geometry, self.codec, longer, first_row=0, rows=1
            )

    def test_an_index_that_does_not_exist(self, payloads):
        with pytest.raises(InvalidFragment):
            self.assemble({0: payloads[0], 1: payloads[1], 5: payloads[4]})

    def test_rows_that_are_not_there(self, payloads):
        with pytest.raises(InvalidFragment):
            self.assemble(payloads, first_row=1)

    def test_a_codec_of_another_scheme(self, payloads):
        with pytest.raises(InvalidFragment, match="k=3"):
            self.assemble(payloads, geometry=RowGeometry(100_000, 2))
        with pytest.raises(InvalidFragment):
            encode_chunk(b"x", Layout(Scheme(3, 6)), self.codec)

    def test_an_output_that_overlaps_a_payload(self, payloads):
        payloads = {i: payloads[i] for i in range(3)}
        memory = np.zeros(200_000, np.uint8)
        memory[50_000 : 50_000 + payloads[1].size] = payloads[1]
        payloads[1] = memory[50_000 : 50_000 + payloads[1].size]
        with pytest.raises(InvalidBuffer, match="overlaps"):
            assemble_rows_into(
                memory[:100_000],
                self.geometry,
                self.codec,
                payloads,
                first_row=0,
                rows=self.geometry.rows,
            )

    def test_the_wrong_number_of_data_fragments(self):
        with pytest.raises(InvalidBuffer):
            split_chunk_into(bytes(100_000), self.geometry, [])
        with pytest.raises(InvalidBuffer):
            join_rows_into(bytearray(100_000), self.geometry, [], first_row=0, rows=3)
