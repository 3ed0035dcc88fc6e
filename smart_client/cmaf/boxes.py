"""Boxes of ISO base media files, read and written, as far as a ladder needs them. Pure.

Source: ISO/IEC 14496-12 (boxes), 14496-15 (avcC), 14496-1 (esds), RFC 6381 (codecs).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from smart_client.errors import InvalidMedia

# Boxes on the way to what is looked for; the number is how many bytes come before their children.
_CONTAINERS = {
    b"moov": 0,
    b"trak": 0,
    b"mdia": 0,
    b"minf": 0,
    b"stbl": 0,
    b"stsd": 8,
    b"moof": 0,
    b"traf": 0,
    b"mvex": 0,
    b"avc1": 78,
    b"mp4a": 28,
}

HEAD_BYTES = 8


@dataclass(frozen=True, slots=True)
class Box:
    """Where one box lies in some bytes."""

    kind: bytes
    begin: int  # of its head
    body: int
    end: int


def box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box with this body."""
    body = b"".join(parts)
    return struct.pack(">I4s", HEAD_BYTES + len(body), kind) + body


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """Return a box whose body begins with a version and flags."""
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def read_head(data: bytes, at: int, end: int) -> Box:
    """Return the box at a position; it may end after ``data``, but not after ``end``.

    Raises: InvalidMedia: no box can be like that.
    """
    if at + HEAD_BYTES > len(data):
        raise InvalidMedia(f"the head of a box at byte {at} is cut off")
    size, kind = struct.unpack_from(">I4s", data, at)
    body = at + HEAD_BYTES
    if size == 1:
        if body + 8 > len(data):
            raise InvalidMedia(f"the head of a box at byte {at} is cut off")
        (size,) = struct.unpack_from(">Q", data, body)
        body += 8
    elif size == 0:
        size = end - at
    if size < body - at or at + size > end:
        raise InvalidMedia(f"box {kind!r} at byte {at} claims {size} bytes of {end - at}")
    return Box(kind, at, body, at + size)


def boxes_in(data: bytes, begin: int = 0, end: int | None = None) -> Iterator[Box]:
    """Yield the boxes side by side in a range. Raises: InvalidMedia."""
    stop = len(data) if end is None else end
    at = begin
    while at < stop:
        found = read_head(data, at, stop)
        yield found
        at = found.end


def find_all(
    data: bytes, path: Sequence[bytes], begin: int = 0, end: int | None = None
) -> list[Box]:
    """Return all boxes at a path such as (moov, trak, tkhd). Raises: InvalidMedia."""
    found = [each for each in boxes_in(data, begin, end) if each.kind == path[0]]
    if len(path) == 1:
        return found
    inner = []
    for each in found:
        skipped = _CONTAINERS[each.kind]
        inner += find_all(data, path[1:], min(each.body + skipped, each.end), each.end)
    return inner


def find(data: bytes, *path: bytes) -> Box:
    """Return the only box at a path. Raises: InvalidMedia: there is none, or more than one."""
    found = find_all(data, path)
    if len(found) != 1:
        where = "/".join(each.decode("latin-1") for each in path)
        raise InvalidMedia(f"{len(found)} boxes {where}, expected one")
    return found[0]


def without(data: bytes, kind: bytes) -> bytes:
    """Return boxes with every box of one kind left out, at any depth that is looked into."""
    kept = []
    for each in boxes_in(data):
        if each.kind == kind:
            continue
        if each.kind in (b"moov", b"trak"):
            kept.append(box(each.kind, without(data[each.body : each.end], kind)))
        else:
            kept.append(data[each.begin : each.end])
    return b"".join(kept)


@dataclass(frozen=True, slots=True)
class Track:
    """What a header says of its only track."""

    is_video: bool
    timescale: int  # ticks a second
    codecs: str  # as RFC 6381 writes it
    width: int = 0
    height: int = 0
    default_duration: int = 0  # ticks
    default_size: int = 0
    default_flags: int = 0


def read_track(moov: bytes) -> Track:
    """Return what a moov box says of the one track it describes. Raises: InvalidMedia."""
    try:
        return _read_track(moov)
    except (struct.error, IndexError) as error:
        raise InvalidMedia("the header is cut off") from error


def _read_track(moov: bytes) -> Track:
    trex = find(moov, b"moov", b"mvex", b"trex")
    _, _, duration, size, flags = struct.unpack_from(">5I", moov, trex.body + 4)
    mdhd = find(moov, b"moov", b"trak", b"mdia", b"mdhd")
    at = mdhd.body + 4 + (16 if moov[mdhd.body] == 1 else 8)
    (timescale,) = struct.unpack_from(">I", moov, at)
    entry = next(_entries(moov))
    if timescale == 0 or entry.kind not in (b"avc1", b"mp4a"):
        raise InvalidMedia(f"a track of {entry.kind!r} with {timescale} ticks a second")
    if entry.kind == b"mp4a":
        codecs = f"mp4a.40.{_audio_object_type(moov)}"
        return Track(False, timescale, codecs, 0, 0, duration, size, flags)
    width, height = struct.unpack_from(">2H", moov, entry.body + 24)
    avcc = find(moov, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1", b"avcC")
    profile = moov[avcc.body + 1 : avcc.body + 4]
    codecs = f"avc1.{profile.hex().upper()}"
    return Track(True, timescale, codecs, width, height, duration, size, flags)


def _entries(moov: bytes) -> Iterator[Box]:
    stsd = find(moov, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    return boxes_in(moov, stsd.body + 8, stsd.end)


def _audio_object_type(moov: bytes) -> int:
    """Return what kind of MPEG-4 audio an esds box describes: 2 is AAC-LC."""
    esds = find(moov, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"mp4a", b"esds")
    at = esds.body + 4
    while at < esds.end:
        tag = moov[at]
        at += 1
        length = 0
        while True:  # seven bits a byte
            byte = moov[at]
            at += 1
            length = length << 7 | byte & 0x7F
            if not byte & 0x80:
                break
        if tag == 3:  # the elementary stream: its number and flags, then what it consists of
            at += 3
        elif tag == 4:  # how it is to be decoded: 13 bytes, then what is special
            at += 13
        elif tag == 5:
            return moov[at] >> 3
        else:
            at += length
    raise InvalidMedia("the header does not say what kind of AAC it is")
