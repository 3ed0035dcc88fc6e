"""Where a file is cut into chunks, and when each chunk plays. Pure.

Cuts are byte offsets near keyframes, so that joined chunks are the file, bit for bit, and each
chunk still has a start and a duration: real deadlines for any file a player can open.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from redundancy.rows import CHUNK_BYTES_MAX
from smart_client.cmaf.index import Segment

# The unit placed, named and hashed: at most ten seconds, about two mebibytes, never over four. A
# higher bitrate means shorter chunks, not larger ones.
CHUNK_SECONDS_MAX = 10.0
CHUNK_BYTES_TARGET = 2 * 1024 * 1024

# Segments that play ten seconds and a little (five of 2.002 s) are one chunk.
_SECONDS_SLACK = 0.25

# A last chunk of less than this share of the one before is a part of it: small objects cost a
# request and a register entry as large ones do.
_TAIL_SHARE_MIN = 0.5

# A cut may move this far from the target to meet a keyframe.
SNAP_LOW, SNAP_HIGH = 0.5, 1.5


@dataclass(frozen=True, slots=True)
class Keyframe:
    """Where a keyframe starts in the file, and when it is shown."""

    offset: int
    time_s: float


@dataclass(frozen=True, slots=True)
class Cut:
    """One chunk to be: its bytes and its time."""

    offset: int
    size: int
    start_s: float
    duration_s: float


class ByteClock:
    """Responsible for the media time of a byte offset, from keyframes or from the duration alone.

    Times never fall as offsets grow. Before the first keyframe (headers) time stands still, as it
    does after the end of the media (tables at the end of the file).
    """

    def __init__(
        self,
        size: int,
        duration_s: float,
        keyframes: Sequence[Keyframe] = (),
        media_end: int | None = None,
    ) -> None:
        end = size if media_end is None else min(size, media_end)
        self._offsets: list[int] = [0]
        self._times: list[float] = [0.0]
        last_s = 0.0
        for key in sorted(keyframes, key=lambda k: k.offset):
            if not 0 <= key.offset < end:
                continue
            last_s = min(max(last_s, key.time_s), duration_s)
            if key.offset > self._offsets[-1]:
                self._offsets.append(key.offset)
                self._times.append(last_s)
        self.keyframe_offsets = self._offsets[1:]
        self._offsets.append(end)
        self._times.append(duration_s)
        if end < size:
            self._offsets.append(size)
            self._times.append(duration_s)

    def time_at(self, offset: int) -> float:
        """Return the media time of a byte, in seconds."""
        right = bisect_right(self._offsets, offset)
        if right >= len(self._offsets):
            return self._times[-1]
        low, high = self._offsets[right - 1], self._offsets[right]
        share = (offset - low) / (high - low)
        return self._times[right - 1] + share * (self._times[right] - self._times[right - 1])

    def offset_at(self, time_s: float) -> int:
        """Return the last byte offset that plays no later than a media time."""
        right = bisect_right(self._times, time_s)
        if right >= len(self._times):
            return self._offsets[-1]
        span_s = self._times[right] - self._times[right - 1]
        share = (time_s - self._times[right - 1]) / span_s
        low, high = self._offsets[right - 1], self._offsets[right]
        return low + int(share * (high - low))


def plan_cuts(size: int, clock: ByteClock) -> list[Cut]:
    """Cut a file of ``size`` bytes into chunks; the empty file has none."""
    cuts: list[Cut] = []
    offset = 0
    while offset < size:
        end = _next_cut(offset, size, clock)
        start_s = clock.time_at(offset)
        cuts.append(Cut(offset, end - offset, start_s, max(0.0, clock.time_at(end) - start_s)))
        offset = end
    return cuts


def _next_cut(offset: int, size: int, clock: ByteClock) -> int:
    by_time = clock.offset_at(clock.time_at(offset) + CHUNK_SECONDS_MAX)
    if by_time <= offset:
        by_time = size
    goal = min(offset + CHUNK_BYTES_TARGET, by_time)
    if size - offset <= min(SNAP_HIGH * (goal - offset), CHUNK_BYTES_MAX) and size <= by_time:
        return size  # a small rest joins the last chunk
    low = offset + int((goal - offset) * SNAP_LOW)
    high = min(offset + int((goal - offset) * SNAP_HIGH), offset + CHUNK_BYTES_MAX, by_time)
    keys = clock.keyframe_offsets
    near = keys[bisect_left(keys, max(low, offset + 1)) : bisect_right(keys, high)]
    best = min(near, key=lambda key: abs(key - goal), default=goal)
    return max(offset + 1, min(best, size, offset + CHUNK_BYTES_MAX))


def plan_segment_cuts(header_bytes: int, segments: Sequence[Segment]) -> list[Cut]:
    """Cut a rendition object into chunks of whole segments, about ten seconds each.

    Args: header_bytes: of what comes before the first segment; it is a part of the first chunk.
    """
    parts = [
        part for number, each in enumerate(segments) for part in _parts(header_bytes, number, each)
    ]
    cuts: list[Cut] = []
    for part in parts:
        joined = _joined(cuts[-1], part) if cuts else None
        is_long = joined is None or joined.duration_s > CHUNK_SECONDS_MAX + _SECONDS_SLACK
        if joined is None or is_long or joined.size > CHUNK_BYTES_MAX:
            cuts.append(part)
        else:
            cuts[-1] = joined
    if len(cuts) > 1 and cuts[-1].size < _TAIL_SHARE_MIN * cuts[-2].size:
        joined = _joined(cuts[-2], cuts[-1])
        if joined.size <= CHUNK_BYTES_MAX:
            cuts[-2:] = [joined]
    return cuts


def _parts(header_bytes: int, number: int, segment: Segment) -> Iterator[Cut]:
    """Yield a segment, in pieces only if it is larger than a chunk may be."""
    begin = segment.offset - (header_bytes if number == 0 else 0)
    end = segment.offset + segment.size

    def time_at(offset: int) -> float:
        share = max(0, offset - segment.offset) / segment.size
        return segment.start_s + share * segment.duration_s

    while begin < end:
        stop = min(begin + CHUNK_BYTES_MAX, end)
        yield Cut(begin, stop - begin, time_at(begin), time_at(stop) - time_at(begin))
        begin = stop


def _joined(first: Cut, second: Cut) -> Cut:
    end_s = second.start_s + second.duration_s
    return Cut(first.offset, first.size + second.size, first.start_s, end_s - first.start_s)
