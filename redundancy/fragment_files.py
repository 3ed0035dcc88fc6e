"""Files of fragments: one fragment of every chunk of a file, one after the other.

Such a file is walked from its end, footer by footer. Where that breaks off, because the end is cut
or a footer is damaged, the rest is searched from the front, so one bad place costs one fragment.
"""

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Self

import numpy as np

from redundancy.buffers import ByteArray
from redundancy.errors import InvalidFragment
from redundancy.fragment_format import (
    FOOTER_BYTES_MIN,
    START_MAGIC,
    Footer,
    footer_length,
    footer_length_from_start,
)

# Most footers are shorter (of 2 MiB at (10, 14): 1.7 KiB), so that one read gets all of one.
_TAIL_BYTES = 8 * 1024
_SEARCH_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class FileKey:
    """What all fragments of one file have in common."""

    video_id: bytes
    rendition: str


@dataclass(frozen=True, slots=True)
class FoundFooter:
    """A footer and where it lies in its file."""

    start: int
    length_bytes: int
    footer: Footer

    @property
    def stop(self) -> int:
        """Where the fragment ends."""
        return self.start + self.length_bytes

    @property
    def begin(self) -> int:
        """Where its payload begins."""
        return self.start - self.footer.payload_bytes


class FragmentFile:
    """A file of fragments: responsible for where in it each fragment lies, and for reading them.

    In memory it keeps 24 bytes for each fragment; footers and payloads are read when asked for,
    inside ``with``, and by several threads at once if need be.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys: set[FileKey] = set()
        self.indices: set[int] = set()
        self.last_footer: Footer | None = None  # of the highest chunk
        self._file: BufferedReader | None = None
        rows = array("q")
        with path.open("rb") as file:
            for found in walk(file.fileno()):
                rows.extend((found.footer.label.number, found.start, found.length_bytes))
                self._note(found.footer)
        # One row for each fragment: chunk number, footer's offset, footer's length.
        table = np.array(rows, dtype=np.int64).reshape(-1, 3)
        self._table = table[np.argsort(table[:, 0], kind="stable")]

    def __enter__(self) -> Self:
        self._file = self.path.open("rb")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def fragments(self) -> int:
        """How many fragments were found."""
        return len(self._table)

    def numbers(self) -> set[int]:
        """Return the numbers of the chunks that have a fragment here."""
        return set(self._table[:, 0].tolist())

    def footers(self, number: int | None = None) -> Iterator[tuple[int, Footer]]:
        """Return (offset of the payload, footer) of the fragments of a chunk, or of all."""
        first, stop = 0, len(self._table)
        if number is not None:
            first, stop = np.searchsorted(self._table[:, 0], [number, number + 1]).tolist()
        for _, start, length_bytes in self._table[first:stop].tolist():
            footer = Footer.unpack(_read(self._fd(), start, length_bytes))
            yield start - footer.payload_bytes, footer

    def read_payload(self, offset: int, size_bytes: int) -> ByteArray:
        """Return a payload in memory of its own; what the file no longer holds is zeros."""
        payload = np.zeros(size_bytes, dtype=np.uint8)
        done_bytes = 0
        while done_bytes < size_bytes:
            got = os.preadv(self._fd(), [payload[done_bytes:].data], offset + done_bytes)
            if not got:
                break
            done_bytes += got
        return payload

    def _fd(self) -> int:
        assert self._file is not None, "open the file with `with`"
        return self._file.fileno()

    def _note(self, footer: Footer) -> None:
        self.keys.add(FileKey(footer.label.video_id, footer.label.rendition))
        self.indices.add(footer.index)
        if self.last_footer is None or footer.label.number > self.last_footer.label.number:
            self.last_footer = footer


def walk(fd: int) -> Iterator[FoundFooter]:
    """Return every footer of an open file that can be found, each once."""
    stop = os.fstat(fd).st_size
    later: FoundFooter | None = None
    while stop:
        found = _footer_before(fd, stop)
        if found is None:
            # The fragment that begins here may have lost bytes itself and not begin here at all.
            yield from _search(fd, later.stop if later else stop)
            return
        if later:
            yield later
        later, stop = found, found.begin
    if later:
        yield later


def _read(fd: int, offset: int, size_bytes: int) -> bytes:
    return os.pread(fd, size_bytes, offset)


def _footer_before(fd: int, stop: int) -> FoundFooter | None:
    """Return the footer that ends at ``stop``, if one does."""
    tail_start = max(0, stop - _TAIL_BYTES)
    tail = _read(fd, tail_start, stop - tail_start)
    try:
        length_bytes = footer_length(tail)
    except InvalidFragment:
        return None
    start = stop - length_bytes
    raw = tail[start - tail_start :] if start >= tail_start else None
    return _footer_at(fd, start, length_bytes, raw)


def _footer_at(
    fd: int, start: int, length_bytes: int, raw: bytes | None = None
) -> FoundFooter | None:
    """Return the footer at ``start`` if there is one and its payload fits before it."""
    if start < 0:
        return None
    try:
        footer = Footer.unpack(_read(fd, start, length_bytes) if raw is None else raw)
    except InvalidFragment:
        return None
    if footer.payload_bytes > start:
        return None
    return FoundFooter(start, length_bytes, footer)


def _search(fd: int, stop: int) -> Iterator[FoundFooter]:
    """Return what lies in [0, stop), found by the first bytes of footers.

    Where two fragments overlap, the first is right: the other has lost bytes. Unless the other
    begins where one ends: then the first lay inside its payload, for fragments can be encoded too.
    """
    ends = [0]  # of the fragments found, rising
    places = [(0, 0)]  # offset and length of the footers that end there
    for start in _magic_offsets(fd, stop):
        try:
            length_bytes = footer_length_from_start(_read(fd, start, FOOTER_BYTES_MIN))
        except InvalidFragment:
            continue
        found = _footer_at(fd, start, length_bytes)
        if found is None or found.stop > stop:
            continue
        kept = bisect_right(ends, found.begin)
        if kept == len(ends) or ends[kept - 1] == found.begin:
            ends[kept:] = [found.stop]
            places[kept:] = [(start, length_bytes)]
    for start, length_bytes in places[1:]:
        found = _footer_at(fd, start, length_bytes)
        if found is not None:
            yield found


def _magic_offsets(fd: int, stop: int) -> Iterator[int]:
    """Return where in [0, stop) the magic stands that footers start with; each byte read once."""
    overlap = len(START_MAGIC) - 1  # the magic may lie across two windows
    for base in range(0, stop, _SEARCH_BYTES):
        window = _read(fd, base, min(_SEARCH_BYTES + overlap, stop - base))
        hit = window.find(START_MAGIC)
        while hit >= 0:
            yield base + hit
            hit = window.find(START_MAGIC, hit + 1)
