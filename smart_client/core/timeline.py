"""Media time of every byte of a rendition, and the other way round."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from smart_client.wire import ChunkRecord

# A file without a known duration has no deadlines; its bytes get a nominal pace only so that
# windows (in seconds) mean something: about the rate of a 1080p film.
NOMINAL_BYTES_PER_S: Final = 1_000_000


class Timeline:
    """Responsible for the mapping between bytes, chunks and media time.

    Inside a chunk, time is linear in bytes: the container's index gives the chunk's ends only.
    Where a chunk of another rendition plays instead (``replace``), positions stay those of the
    chunk it stands for, so that they mean the same media time before and after.
    """

    __slots__ = ("chunk_sizes", "durations_s", "end_s", "has_time", "offsets", "size", "starts_s")

    def __init__(self, chunks: Sequence[ChunkRecord]) -> None:
        sizes = [chunk.size for chunk in chunks]
        self.chunk_sizes = sizes  # of what plays there
        self.offsets = [0, *accumulate(sizes)]
        self.size = self.offsets[-1]
        # A chunk of container tables alone takes no time; a file of them has none at all.
        self.has_time = any(chunk.duration_s > 0 for chunk in chunks)
        if self.has_time:
            self.starts_s = [chunk.start_s for chunk in chunks]
            self.durations_s = [chunk.duration_s for chunk in chunks]
        else:
            self.starts_s = [offset / NOMINAL_BYTES_PER_S for offset in self.offsets[:-1]]
            self.durations_s = [size / NOMINAL_BYTES_PER_S for size in sizes]
        self.end_s = self.starts_s[-1] + self.durations_s[-1] if chunks else 0.0

    def chunk_at(self, offset: int) -> int:
        """Return the chunk that holds byte ``offset``; past the end, the number of chunks."""
        if offset >= self.size:
            return len(self.starts_s)
        return bisect_right(self.offsets, offset) - 1

    def time_at(self, offset: int) -> float:
        """Return the media time of a byte, in seconds."""
        chunk = self.chunk_at(offset)
        if chunk == len(self.starts_s):
            return self.end_s
        return self.time_in(chunk, self.byte_in(chunk, offset))

    def time_in(self, chunk: int, offset_in_chunk: int) -> float:
        """Return the media time of a byte of this chunk, in seconds."""
        share = offset_in_chunk / self.chunk_sizes[chunk]
        return self.starts_s[chunk] + self.durations_s[chunk] * share

    def replace(self, chunk: int, size: int) -> None:
        """Let a chunk of another rendition play here; it is no larger than the one it stands for.

        None of its bytes may be ready.
        """
        assert 0 < size <= self.offsets[chunk + 1] - self.offsets[chunk]
        self.chunk_sizes[chunk] = size

    def byte_in(self, chunk: int, offset: int) -> int:
        """Return which byte of this chunk is at a position in it."""
        inside, size = offset - self.offsets[chunk], self.chunk_sizes[chunk]
        span = self.offsets[chunk + 1] - self.offsets[chunk]
        return inside if size == span else inside * size // span

    def offset_of(self, chunk: int, byte: int) -> int:
        """Return the first position at which this byte of the chunk is; inverse of ``byte_in``."""
        size, span = self.chunk_sizes[chunk], self.offsets[chunk + 1] - self.offsets[chunk]
        return self.offsets[chunk] + (byte if size == span else -(-byte * span // size))

    def offset_at(self, time_s: float) -> int:
        """Return the byte that plays at a media time."""
        if not self.starts_s or time_s >= self.end_s:
            return self.size
        chunk = max(0, bisect_right(self.starts_s, time_s) - 1)
        duration_s = self.durations_s[chunk]
        share = (time_s - self.starts_s[chunk]) / duration_s if duration_s else 0.0
        size = self.offsets[chunk + 1] - self.offsets[chunk]
        return self.offsets[chunk] + min(size - 1, max(0, int(share * size)))
