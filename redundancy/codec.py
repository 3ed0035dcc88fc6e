"""The contract of a codec: fragments from a chunk's data, and any fragment from any k others.

A codec works on byte slices of equal length, so a range of rows is coded like a whole fragment.
``CheckedCodec`` refuses everything that would hang a backend or give wrong bytes; an ``Engine``
below it does the arithmetic and may rely on what was checked. All engines give the same bytes.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from redundancy.buffers import (
    ByteArray,
    ReadableBuffer,
    Span,
    WritableBuffer,
    as_bytes,
    as_writable_bytes,
    locate,
    require_disjoint,
)
from redundancy.errors import InsufficientFragments, InvalidBuffer, InvalidFragment
from redundancy.matrix import decode_matrix, products_of
from redundancy.scheme import Scheme

# A table lookup is fastest on spans that stay in the L2 cache with their 8-byte indices, and large
# enough to hide the cost of a call: measured 16 KiB 1.3, 256 KiB 1.5 GB/s for (3, 5).
_LOOKUP_SPAN_BYTES = 256 * 1024


class Codec(Protocol):
    """Codes and decodes under one scheme into the caller's buffers; safe to share by threads."""

    @property
    def scheme(self) -> Scheme:
        """The (k, n) of every call."""

    @property
    def backend(self) -> str:
        """Which engine does the arithmetic, for people and reports."""

    def encode_into(self, data: Sequence[ReadableBuffer], parity: Sequence[WritableBuffer]) -> None:
        """Fill the n - k parity buffers from the k data buffers, in order of their indices."""

    def decode_into(
        self, have: Mapping[int, ReadableBuffer], want: Mapping[int, WritableBuffer]
    ) -> None:
        """Fill wanted data buffers (indices below k) from any k fragments."""

    def rebuild_into(
        self, have: Mapping[int, ReadableBuffer], want: Mapping[int, WritableBuffer]
    ) -> None:
        """Fill any wanted buffers, data or parity, from any k fragments.

        Args:
            have: index in [0, n) -> the same byte range of that fragment; k or more.
            want: index in [0, n) -> where that range of that fragment goes.
        All buffers have one length and no output overlaps another buffer.
        Raises: InsufficientFragments: fewer than k. InvalidFragment: an index out of range.
            InvalidBuffer: lengths differ, or an output is read-only or overlaps.
        """


class Engine(Protocol):
    """Computes fragments from exactly k others; called with checked arguments only."""

    @property
    def name(self) -> str:
        """The backend's name."""

    def produce(self, scheme: Scheme, have: Mapping[int, Span], want: Mapping[int, Span]) -> None:
        """Fill ``want`` (not empty, none of it in ``have``) from the k fragments of ``have``."""


class CheckedCodec:
    """A codec over any engine: responsible for checking every argument before arithmetic."""

    def __init__(self, scheme: Scheme, engine: Engine) -> None:
        self._scheme = scheme
        self._engine = engine

    @property
    def scheme(self) -> Scheme:
        """The (k, n) of every call."""
        return self._scheme

    @property
    def backend(self) -> str:
        """The engine's name."""
        return self._engine.name

    def encode_into(self, data: Sequence[ReadableBuffer], parity: Sequence[WritableBuffer]) -> None:
        """Fill the n - k parity buffers from the k data buffers."""
        k, n = self._scheme.k, self._scheme.n
        if len(data) != k or len(parity) != n - k:
            raise InvalidFragment(
                f"encoding ({k}, {n}) takes {k} data and {n - k} parity buffers, "
                f"got {len(data)} and {len(parity)}"
            )
        self.rebuild_into(dict(enumerate(data)), dict(enumerate(parity, start=k)))

    def decode_into(
        self, have: Mapping[int, ReadableBuffer], want: Mapping[int, WritableBuffer]
    ) -> None:
        """Fill wanted data buffers from any k fragments."""
        parity = [index for index in want if index >= self._scheme.k]
        if parity:
            raise InvalidFragment(f"only data fragments are decoded, asked for {parity}")
        self.rebuild_into(have, want)

    def rebuild_into(
        self, have: Mapping[int, ReadableBuffer], want: Mapping[int, WritableBuffer]
    ) -> None:
        """Fill any wanted buffers from any k fragments."""
        k, n = self._scheme.k, self._scheme.n
        for index in (*have, *want):
            if not 0 <= index < n:
                raise InvalidFragment(f"fragment index {index} is not in [0, {n})")
        if len(have) < k:
            raise InsufficientFragments(f"need {k} fragments, got {len(have)}: {sorted(have)}")
        sources = {index: locate(as_bytes(buffer)) for index, buffer in have.items()}
        targets = {index: locate(as_writable_bytes(buffer)) for index, buffer in want.items()}
        lengths = {span.view.size for span in (*sources.values(), *targets.values())}
        if len(lengths) > 1:
            raise InvalidBuffer(f"buffers of one call differ in length: {sorted(lengths)}")
        if not targets or lengths == {0}:
            return
        require_disjoint(sources.values(), targets.values())
        for index in targets.keys() & sources.keys():
            targets.pop(index).view[:] = sources[index].view
        if targets:
            # The lowest indices are data: with them the fewest coefficients are not 0 or 1.
            chosen = {index: sources[index] for index in sorted(sources)[:k]}
            self._engine.produce(self._scheme, chosen, targets)


@lru_cache(maxsize=256)
def _pair_products(coefficient: int) -> npt.NDArray[np.uint16]:
    """Return the products of ``coefficient`` with all 65,536 pairs of bytes, as pairs (128 KiB)."""
    products: npt.NDArray[np.uint16] = products_of(coefficient).astype(np.uint16)
    pairs: npt.NDArray[np.uint16]
    pairs = np.bitwise_or(products[:, None] << 8, products[None, :], dtype=np.uint16).ravel()
    pairs.flags.writeable = False
    return pairs


class NumpyEngine:
    """GF(2^8) arithmetic by looking up two bytes at a time; needs nothing but numpy."""

    name = "numpy"

    def produce(self, scheme: Scheme, have: Mapping[int, Span], want: Mapping[int, Span]) -> None:
        """Fill ``want`` from the k fragments of ``have``."""
        matrix = decode_matrix(scheme.k, tuple(have), tuple(want))
        views = [span.view for span in have.values()]
        outputs = [span.view for span in want.values()]
        size_bytes = views[0].size
        paired_bytes = size_bytes - size_bytes % 2
        for start in range(0, paired_bytes, _LOOKUP_SPAN_BYTES):
            span = slice(start, min(start + _LOOKUP_SPAN_BYTES, paired_bytes))
            _multiply_pairs(matrix, [view[span] for view in views], [out[span] for out in outputs])
        if paired_bytes < size_bytes:  # one byte is left over
            for coefficients, output in zip(matrix, outputs, strict=True):
                terms = zip(coefficients, views, strict=True)
                last = [products_of(int(factor))[view[-1]] for factor, view in terms]
                output[-1] = np.bitwise_xor.reduce(last)


def _multiply_pairs(
    matrix: ByteArray, sources: Sequence[ByteArray], targets: Sequence[ByteArray]
) -> None:
    sums = [target.view(np.uint16) for target in targets]
    product = np.empty_like(sums[0])
    for total in sums:
        total[:] = 0
    for column, source in enumerate(sources):
        pairs = source.view(np.uint16)
        indices: npt.NDArray[np.intp] | None = None
        for row, total in enumerate(sums):
            coefficient = int(matrix[row, column])
            if coefficient > 1:
                if indices is None:  # widened once for all rows: take would do it at each call
                    indices = pairs.astype(np.intp)
                # Every index is in the table; "wrap" only keeps take from buffering its output.
                _pair_products(coefficient).take(indices, out=product, mode="wrap")
            if coefficient:
                np.bitwise_xor(total, product if coefficient > 1 else pairs, out=total)
