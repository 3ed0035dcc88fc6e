"""Samples of a fragmented MP4, as any encoder's muxer writes it. Pure."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from smart_client.cmaf.boxes import Box, Track, boxes_in, find
from smart_client.errors import InvalidMedia

_BASE_OFFSET, _DESCRIPTION, _DURATION, _SIZE, _FLAGS = 0x1, 0x2, 0x8, 0x10, 0x20
_RUN_OFFSET, _RUN_FIRST_FLAGS = 0x1, 0x4
_RUN_DURATION, _RUN_SIZE, _RUN_FLAGS, _RUN_SHIFT = 0x100, 0x200, 0x400, 0x800

_IS_NO_KEY = 0x10000


@dataclass(frozen=True, slots=True)
class Sample:
    """One coded picture, or one frame of sound, in decoding order."""

    offset: int  # in the file
    size: int
    duration: int  # ticks
    shift: int  # ticks from when it is decoded to when it is shown
    is_key: bool


def read_samples(moof: bytes, at: int, track: Track) -> Iterator[Sample]:
    """Yield the samples that a moof box lists.

    Args:
        moof: the whole box.
        at: where it begins in the file.
    Raises: InvalidMedia.
    """
    traf = find(moof, b"moof", b"traf")
    inner = list(boxes_in(moof, traf.body, traf.end))
    header = next((each for each in inner if each.kind == b"tfhd"), None)
    if header is None:
        raise InvalidMedia("a fragment without a header")
    try:
        base, duration, size, flags = _defaults(moof, header, at, track)
        position = base
        for run in inner:
            if run.kind == b"trun":
                for sample in _run(moof, run, position, base, (duration, size, flags)):
                    position = sample.offset + sample.size
                    yield sample
    except struct.error as error:
        raise InvalidMedia("a fragment's table is cut off") from error


def _defaults(moof: bytes, header: Box, at: int, track: Track) -> tuple[int, int, int, int]:
    given = int.from_bytes(moof[header.body + 1 : header.body + 4])
    cursor = header.body + 8
    base = at  # default-base-is-moof, or the only fragment: the same
    if given & _BASE_OFFSET:
        (base,) = struct.unpack_from(">Q", moof, cursor)
        cursor += 8
    if given & _DESCRIPTION:
        cursor += 4
    values = []
    for bit, default in (
        (_DURATION, track.default_duration),
        (_SIZE, track.default_size),
        (_FLAGS, track.default_flags),
    ):
        value = default
        if given & bit:
            (value,) = struct.unpack_from(">I", moof, cursor)
            cursor += 4
        values.append(value)
    return base, values[0], values[1], values[2]


def _run(
    moof: bytes, run: Box, position: int, base: int, defaults: tuple[int, int, int]
) -> Iterator[Sample]:
    version = moof[run.body]
    given = int.from_bytes(moof[run.body + 1 : run.body + 4])
    (count,) = struct.unpack_from(">I", moof, run.body + 4)
    cursor = run.body + 8
    offset = position
    if given & _RUN_OFFSET:
        (ahead,) = struct.unpack_from(">i", moof, cursor)
        offset = base + ahead
        cursor += 4
    first_flags = None
    if given & _RUN_FIRST_FLAGS:
        (first_flags,) = struct.unpack_from(">I", moof, cursor)
        cursor += 4
    for number in range(count):
        duration, size, flags = defaults
        shift = 0
        if number == 0 and first_flags is not None:
            flags = first_flags
        if given & _RUN_DURATION:
            (duration,) = struct.unpack_from(">I", moof, cursor)
            cursor += 4
        if given & _RUN_SIZE:
            (size,) = struct.unpack_from(">I", moof, cursor)
            cursor += 4
        if given & _RUN_FLAGS:
            (flags,) = struct.unpack_from(">I", moof, cursor)
            cursor += 4
        if given & _RUN_SHIFT:
            (shift,) = struct.unpack_from(">i" if version else ">I", moof, cursor)
            cursor += 4
        yield Sample(offset, size, duration, shift, not flags & _IS_NO_KEY)
        offset += size
