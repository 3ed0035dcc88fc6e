"""How a chunk's bytes lie in its fragments: interleaved in rows.

Row j of a chunk is k consecutive blocks of 16 KiB; block i of it is block j of data fragment i. So
the first bytes of every fragment together are the first bytes of the chunk, and a row is checked,
decoded and handed on as soon as k of its blocks are there. The last row's blocks are equal and
shorter: ceil(rest / k) rounded up to 64 bytes, padded with zeros. With k = 1 the payload is the
chunk itself, padded to 64: a whole copy.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from redundancy.buffers import (
    ByteArray,
    ReadableBuffer,
    WritableBuffer,
    as_bytes,
    as_writable_bytes,
    locate,
    require_disjoint,
)
from redundancy.codec import Codec
from redundancy.errors import InsufficientFragments, InvalidBuffer, InvalidFragment, InvalidScheme
from redundancy.scheme import FRAGMENTS_MAX, Layout

# Small enough that a player starts on the first row (released in units of 2 MiB it starts 1.5-3.6 s
# later at 4-10 Mbit/s), large enough that a checksum of 8 bytes and a system call vanish beside it.
BLOCK_BYTES = 16 * 1024

# A node takes one fragment per request into memory, and a whole copy is the largest fragment.
CHUNK_BYTES_MAX = 4 * 1024 * 1024

# SIMD kernels work on 64 bytes at a time; a length that is a multiple never takes their slow tail.
ALIGNMENT_BYTES = 64


@dataclass(frozen=True, slots=True)
class RowGeometry:
    """Where every byte of a chunk lies in k data fragments; parity fragments have the same shape.

    A chunk of 0 bytes has no rows and empty fragments.
    """

    chunk_bytes: int
    k: int
    row_bytes: int = field(init=False, compare=False)  # of the chunk in a full row
    rows: int = field(init=False, compare=False)  # of the chunk; blocks of every fragment
    payload_bytes: int = field(init=False, compare=False)  # length of every fragment's payload

    def __post_init__(self) -> None:
        if not 0 <= self.chunk_bytes <= CHUNK_BYTES_MAX:
            raise InvalidScheme(f"a chunk has 0 to {CHUNK_BYTES_MAX} bytes, got {self.chunk_bytes}")
        if not 1 <= self.k <= FRAGMENTS_MAX:
            raise InvalidScheme(f"need 1 <= k <= {FRAGMENTS_MAX}, got {self.k}")
        # Worked out once: a session asks for them at every step.
        row_bytes = self.k * BLOCK_BYTES
        rows = -(-self.chunk_bytes // row_bytes)
        object.__setattr__(self, "row_bytes", row_bytes)
        object.__setattr__(self, "rows", rows)
        whole = (rows - 1) * BLOCK_BYTES + self.block_bytes(rows - 1) if rows else 0
        object.__setattr__(self, "payload_bytes", whole)

    @property
    def copy_bytes(self) -> int:
        """Length of a whole copy's payload."""
        return -(-self.chunk_bytes // ALIGNMENT_BYTES) * ALIGNMENT_BYTES

    def block_bytes(self, row: int) -> int:
        """Return the length of the row's block in every fragment."""
        self._require_rows(row, 1)
        if row < self.rows - 1:
            return BLOCK_BYTES
        rest_bytes = self.chunk_bytes - row * self.row_bytes
        return -(-rest_bytes // (self.k * ALIGNMENT_BYTES)) * ALIGNMENT_BYTES

    def payload_range(self, first_row: int, rows: int) -> tuple[int, int]:
        """Return (start, stop) of these rows in a fragment's payload."""
        self._require_rows(first_row, rows)
        stop_row = first_row + rows
        start = min(first_row * BLOCK_BYTES, self.payload_bytes)
        return start, self.payload_bytes if stop_row == self.rows else stop_row * BLOCK_BYTES

    def chunk_range(self, first_row: int, rows: int) -> tuple[int, int]:
        """Return (start, stop) of these rows in the chunk."""
        self._require_rows(first_row, rows)
        start = min(first_row * self.row_bytes, self.chunk_bytes)
        return start, min((first_row + rows) * self.row_bytes, self.chunk_bytes)

    def copy_range(self, first_row: int, rows: int) -> tuple[int, int]:
        """Return (start, stop) of these rows in a whole copy's payload, in whole blocks."""
        start, stop = self.chunk_range(first_row, rows)
        return start, self.copy_bytes if stop == self.chunk_bytes else stop

    def row_at(self, chunk_offset: int) -> int:
        """Return the row that holds the chunk's byte at ``chunk_offset``."""
        if not 0 <= chunk_offset < self.chunk_bytes:
            raise InvalidFragment(
                f"offset {chunk_offset} is not in a chunk of {self.chunk_bytes} bytes"
            )
        return chunk_offset // self.row_bytes

    def _require_rows(self, first_row: int, rows: int) -> None:
        if first_row < 0 or rows < 0 or first_row + rows > self.rows:
            raise InvalidFragment(
                f"rows {first_row}..{first_row + rows} are not in a chunk of {self.rows} rows"
            )

    def _full_rows(self, first_row: int, rows: int) -> int:
        """Return how many of these rows hold k whole blocks of the chunk: all, or all but one."""
        return max(0, min(rows, self.chunk_bytes // self.row_bytes - first_row))


def split_chunk_into(
    chunk: ReadableBuffer, geometry: RowGeometry, payloads: Sequence[WritableBuffer]
) -> None:
    """Deal a chunk out to its k data payloads, padding included."""
    source = as_bytes(chunk)
    targets = [as_writable_bytes(payload) for payload in payloads]
    _require_length("chunk", source, geometry.chunk_bytes)
    if len(targets) != geometry.k:
        raise InvalidBuffer(f"need {geometry.k} data payloads, got {len(targets)}")
    full = geometry._full_rows(0, geometry.rows)
    grid = source[: full * geometry.row_bytes].reshape(full, geometry.k, BLOCK_BYTES)
    rest = source[full * geometry.row_bytes :]
    for index, target in enumerate(targets):
        _require_length("payload", target, geometry.payload_bytes)
        target[: full * BLOCK_BYTES].reshape(full, BLOCK_BYTES)[...] = grid[:, index]
        block = target[full * BLOCK_BYTES :]
        piece = rest[index * block.size : (index + 1) * block.size]
        block[: piece.size] = piece
        block[piece.size :] = 0


def join_rows_into(
    out: WritableBuffer,
    geometry: RowGeometry,
    blocks: Sequence[ReadableBuffer],
    *,
    first_row: int,
    rows: int,
) -> None:
    """Write rows of a chunk from the blocks of its k data fragments.

    Args:
        out: exactly the chunk's bytes of these rows, ``chunk_range(first_row, rows)``.
        blocks: for each data fragment in order, exactly ``payload_range(first_row, rows)`` of it.
    """
    target = as_writable_bytes(out)
    sources = [as_bytes(block) for block in blocks]
    chunk_start, chunk_stop = geometry.chunk_range(first_row, rows)
    start, stop = geometry.payload_range(first_row, rows)
    _require_length("output", target, chunk_stop - chunk_start)
    if len(sources) != geometry.k:
        raise InvalidBuffer(f"need the blocks of {geometry.k} fragments, got {len(sources)}")
    require_disjoint(map(locate, sources), [locate(target)])
    full = geometry._full_rows(first_row, rows)
    grid = target[: full * geometry.row_bytes].reshape(full, geometry.k, BLOCK_BYTES)
    rest = target[full * geometry.row_bytes :]
    for index, source in enumerate(sources):
        _require_length("payload", source, stop - start)
        grid[:, index] = source[: full * BLOCK_BYTES].reshape(full, BLOCK_BYTES)
        block = source[full * BLOCK_BYTES :]
        piece = rest[index * block.size : (index + 1) * block.size]
        piece[:] = block[: piece.size]


def assemble_rows_into(
    out: WritableBuffer,
    geometry: RowGeometry,
    codec: Codec,
    payloads: Mapping[int, ReadableBuffer],
    *,
    first_row: int,
    rows: int,
) -> None:
    """Write rows of a chunk from any k of its coded fragments.

    Args:
        out: exactly the chunk's bytes of these rows, ``chunk_range(first_row, rows)``.
        payloads: index in [0, n) -> a buffer as long as the *whole* payload, of which only the
            bytes of these rows are read; so a client keeps one bytearray per fragment and fills it
            from the network. A whole copy is not given here: its bytes are the chunk's.
    The blocks must have been verified: nothing here can tell wrong bytes from right ones.
    Raises: InsufficientFragments: fewer than k. InvalidBuffer, InvalidFragment: wrong lengths,
        rows or indices.
    """
    k = geometry.k
    if codec.scheme.k != k:
        raise InvalidFragment(f"a codec for k={codec.scheme.k} cannot decode a chunk with k={k}")
    if len(payloads) < k:
        raise InsufficientFragments(f"need {k} fragments, got {len(payloads)}: {sorted(payloads)}")
    span = slice(*geometry.payload_range(first_row, rows))
    blocks: dict[int, ByteArray] = {}
    for index, payload in payloads.items():
        view = as_bytes(payload)
        _require_length("payload", view, geometry.payload_bytes)
        blocks[index] = view[span]
    if k == 1:  # every fragment is the data
        blocks[0] = next(iter(blocks.values()))
    missing = [index for index in range(k) if index not in blocks]
    decoded = np.empty((len(missing), span.stop - span.start), dtype=np.uint8)
    if missing:
        codec.decode_into(blocks, dict(zip(missing, decoded, strict=True)))
        blocks.update(zip(missing, decoded, strict=True))
    data = [blocks[index] for index in range(k)]
    join_rows_into(out, geometry, data, first_row=first_row, rows=rows)


def encode_chunk(
    chunk: ReadableBuffer, layout: Layout, codec: Codec, *, memory: ByteArray | None = None
) -> list[ByteArray]:
    """Return the payloads of all fragments of a chunk: n coded ones, then the copies.

    Whole copies share one buffer, the chunk's own where its length is a multiple of 64.

    Args:
        memory: where the coded payloads go, n times a payload's bytes or more; without it they
            get memory of their own, whose first use costs as much as the coding.
    """
    if codec.scheme != layout.scheme:
        raise InvalidFragment(f"a codec for {codec.scheme} cannot encode {layout}")
    source = as_bytes(chunk)
    k, n = layout.scheme.k, layout.scheme.n
    geometry = RowGeometry(source.size, k)
    copy: list[ByteArray] = []
    if k == 1 or layout.copies:
        copy = [_padded(source, geometry.copy_bytes)]
    if k == 1:
        return copy * layout.fragments_total
    size_bytes = n * geometry.payload_bytes
    if memory is None:
        memory = np.empty(size_bytes, dtype=np.uint8)
    elif memory.size < size_bytes:
        raise InvalidBuffer(f"the payloads need {size_bytes} bytes, got {memory.size}")
    payloads = list(memory[:size_bytes].reshape(n, geometry.payload_bytes))
    split_chunk_into(source, geometry, payloads[:k])
    codec.encode_into(payloads[:k], payloads[k:])
    return payloads + copy * layout.copies


def _padded(source: ByteArray, size_bytes: int) -> ByteArray:
    if source.size == size_bytes:
        return source
    padded = np.zeros(size_bytes, dtype=np.uint8)
    padded[: source.size] = source
    return padded


def _require_length(what: str, view: ByteArray, size_bytes: int) -> None:
    if view.size != size_bytes:
        raise InvalidBuffer(f"the {what} must have {size_bytes} bytes, got {view.size}")
