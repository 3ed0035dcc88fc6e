"""A chunk put together from whatever of it is intact, row by row.

A block that fails its checksum costs its row one fragment, not the chunk: every other row of that
fragment is still used.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from redundancy.buffers import ByteArray, WritableBuffer, as_writable_bytes
from redundancy.codec import Codec
from redundancy.errors import InsufficientFragments, InvalidFragment
from redundancy.fragment_format import Footer
from redundancy.rows import RowGeometry, assemble_rows_into
from redundancy.scheme import Layout

Flags = npt.NDArray[np.bool_]


class ChunkSalvage:
    """One chunk's payloads as they come in: responsible for which rows can be rebuilt from them."""

    def __init__(self, layout: Layout, chunk_bytes: int) -> None:
        self._layout = layout
        self._geometry = RowGeometry(chunk_bytes, layout.scheme.k)
        self._payloads: dict[int, ByteArray] = {}
        self._good_rows: dict[int, Flags] = {}

    def add(self, footer: Footer, payload: ByteArray) -> int:
        """Take in one fragment and return how many of its blocks are bad.

        Args:
            payload: the whole payload; kept, and mended where the same fragment comes again.
        """
        if (footer.layout, footer.chunk_bytes) != (self._layout, self._geometry.chunk_bytes):
            raise InvalidFragment("this fragment is of another chunk")
        good_blocks = np.ones(footer.geometry.rows, dtype=np.bool_)
        good_blocks[footer.bad_blocks(footer.index, payload, 0)] = False
        good = self._rows_of(footer, good_blocks)
        if footer.index in self._payloads:
            self._mend(footer.index, payload, good)
        else:
            self._payloads[footer.index] = payload
            self._good_rows[footer.index] = good
        return int((~good_blocks).sum())

    def _rows_of(self, footer: Footer, good_blocks: Flags) -> Flags:
        """Return which rows of the chunk these blocks hold; k blocks of a copy make a row."""
        if footer.geometry == self._geometry:
            return good_blocks
        starts = np.arange(self._geometry.rows) * self._geometry.k
        rows: Flags = np.logical_and.reduceat(good_blocks, starts) if len(starts) else good_blocks
        return rows

    def _mend(self, index: int, payload: ByteArray, good: Flags) -> None:
        for row in np.flatnonzero(good & ~self._good_rows[index]):
            if index < self._layout.scheme.n:
                span = slice(*self._geometry.payload_range(int(row), 1))
            else:
                span = slice(*self._geometry.copy_range(int(row), 1))
            self._payloads[index][span] = payload[span]
        self._good_rows[index] |= good

    @property
    def tolerance(self) -> int:
        """How many more fragments may be lost, whichever they are; -1: the chunk is lost."""
        coded, copies = self._counts()
        k = self._layout.scheme.k
        by_row = np.where(coded >= k, coded - k + copies, copies - 1)
        if by_row.size:
            return int(by_row.min())
        # A chunk of 0 bytes has no rows; any fragment of it says so.
        return len(self._payloads) - 1

    @property
    def is_complete(self) -> bool:
        """Whether every row can be rebuilt."""
        return self.tolerance >= 0

    @property
    def intact_fragments(self) -> int:
        """How many fragments are there without a bad row."""
        return sum(bool(good.all()) for good in self._good_rows.values())

    def _counts(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        coded = np.zeros(self._geometry.rows, dtype=np.int64)
        copies = np.zeros(self._geometry.rows, dtype=np.int64)
        for index, good in self._good_rows.items():
            if index < self._layout.scheme.n:
                coded += good
            else:
                copies += good
        return coded, copies

    def assemble_into(self, out: WritableBuffer, codec: Codec) -> None:
        """Write the chunk, not verified as a whole yet, into ``out``, exactly as long as it is.

        Raises: InsufficientFragments: some row has fewer than k blocks and no copy.
        """
        if not self.is_complete:
            raise InsufficientFragments(
                f"only {self.intact_fragments} of the {self._layout.scheme.k} fragments needed "
                "are intact"
            )
        target = as_writable_bytes(out)
        for first_row, rows, usable in self._runs():
            start, stop = self._geometry.chunk_range(first_row, rows)
            copy = next((i for i in usable if i >= self._layout.scheme.n), None)
            if copy is not None:
                target[start:stop] = self._payloads[copy][start:stop]
                continue
            payloads = {index: self._payloads[index] for index in usable}
            assemble_rows_into(
                target[start:stop],
                self._geometry,
                codec,
                payloads,
                first_row=first_row,
                rows=rows,
            )

    def _runs(self) -> Iterator[tuple[int, int, list[int]]]:
        """Return (first row, rows, usable indices) of runs of rows with the same blocks intact."""
        indices = sorted(self._good_rows)
        table = np.array([self._good_rows[index] for index in indices])
        changes = np.flatnonzero((table[:, 1:] != table[:, :-1]).any(axis=0)) + 1
        bounds = [0, *changes.tolist(), self._geometry.rows]
        for first_row, stop_row in pairwise(bounds):
            if first_row < stop_row:
                usable = [i for i, good in zip(indices, table[:, first_row], strict=True) if good]
                yield first_row, stop_row - first_row, usable
