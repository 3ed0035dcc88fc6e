"""The index of a rendition object: a sidx box with one entry a segment. Pure.

Source: ISO/IEC 14496-12, 8.16.3.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from smart_client.cmaf.boxes import full_box, read_head
from smart_client.errors import InvalidMedia

_ENTRY_BYTES = 12
_STARTS_WITH_IDR = 1 << 31 | 1 << 28  # starts with a stream access point of type 1

# The number of entries has 16 bits: 36 hours of segments of two seconds.
SEGMENTS_MAX = 0xFFFF


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of a rendition object."""

    offset: int  # of its moof box in the object
    size: int
    start_s: float
    duration_s: float


def make_index(timescale: int, sizes: Sequence[int], durations: Sequence[int]) -> bytes:
    """Return the sidx box for segments that follow it at once, the first at time 0.

    Args: durations: in ticks.
    Raises: InvalidMedia: more segments than an index can hold.
    """
    if len(sizes) > SEGMENTS_MAX:
        raise InvalidMedia(
            f"{len(sizes)} segments; an index holds {SEGMENTS_MAX}",
            hint="cut the film into parts of less than 36 hours",
        )
    entries = b"".join(
        struct.pack(">3I", size, duration, _STARTS_WITH_IDR)
        for size, duration in zip(sizes, durations, strict=True)
    )
    head = struct.pack(">2I2Q2H", 1, timescale, 0, 0, 0, len(sizes))
    return full_box(b"sidx", 1, 0, head, entries)


def index_bytes(segments: int) -> int:
    """Return the size of an index of so many segments."""
    return len(make_index(1, [], [])) + _ENTRY_BYTES * segments


def read_index(data: bytes, at: int) -> list[Segment]:
    """Return the segments that the index at a position of an object lists.

    Args:
        data: the object's first bytes, with the whole index.
        at: where the index begins.
    Raises: InvalidMedia.
    """
    box = read_head(data, at, len(data))
    if box.kind != b"sidx" or data[box.body] != 1:
        raise InvalidMedia(f"no index at byte {at}, but {box.kind!r}")
    try:
        _, scale, begin, ahead, _, count = struct.unpack_from(">2I2Q2H", data, box.body + 4)
        rows = [
            struct.unpack_from(">2I", data, box.body + 32 + _ENTRY_BYTES * row)
            for row in range(count)
        ]
    except struct.error as error:
        raise InvalidMedia("the index is cut off") from error
    if scale == 0:
        raise InvalidMedia("the index has no time scale")
    starts = accumulate((ticks for _, ticks in rows), initial=begin)
    offsets = accumulate((size for size, _ in rows), initial=box.end + ahead)
    return [
        Segment(offset, size, start / scale, (start + ticks) / scale - start / scale)
        for offset, start, (size, ticks) in zip(offsets, starts, rows, strict=False)
    ]
