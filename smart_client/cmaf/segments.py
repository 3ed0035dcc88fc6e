"""Segments and the header of a rendition object, byte by byte. Pure.

    ftyp   brands iso6, cmfc, dash
    moov   one track, nothing in it but its description
    sidx   one entry a segment, see ``index``
    moof   mfhd, traf: tfhd, tfdt, trun      one pair a segment; the first picture is an IDR
    mdat   its samples, in decoding order
    ...

Pictures are decoded in another order than they are shown in, so each is shown later than it is
decoded. An edit list of one entry takes that delay back: the first picture is shown at 0, as the
first sample of sound is. (Shifts below 0 would do without, but libav then delays pictures itself.)
"""

import struct
from collections.abc import Sequence

from smart_client.cmaf.boxes import box, boxes_in, full_box, without
from smart_client.cmaf.samples import Sample

TRACK = 1

_FTYP = box(b"ftyp", b"iso6", struct.pack(">I", 0), b"iso6", b"cmfc", b"dash")

_KEY, _NO_KEY = 0x02000000, 0x01010000

_DEFAULT_BASE_IS_MOOF, _DURATION, _FLAGS = 0x20000, 0x8, 0x20
_OFFSET, _FIRST_FLAGS, _DURATIONS, _SIZES, _SHIFTS = 0x1, 0x4, 0x100, 0x200, 0x800


def make_header(moov: bytes, delay: int) -> bytes:
    """Return the initialization segment for the moov box of an encoder.

    Args: delay: ticks from when the first sample is decoded to when it is shown.
    """
    return _FTYP + (_edited(without(moov, b"edts"), delay) if delay else without(moov, b"edts"))


def _edited(boxes: bytes, delay: int) -> bytes:
    """Return boxes with an edit list behind the track's head."""
    edits = box(b"edts", full_box(b"elst", 0, 0, struct.pack(">2Ii2H", 1, 0, delay, 1, 0)))
    parts = []
    for each in boxes_in(boxes):
        inner = boxes[each.body : each.end]
        if each.kind in (b"moov", b"trak"):
            parts.append(box(each.kind, _edited(inner, delay)))
        else:
            parts.append(boxes[each.begin : each.end])
            parts.append(edits if each.kind == b"tkhd" else b"")
    return b"".join(parts)


def make_moof(number: int, begins: int, samples: Sequence[Sample], *, is_video: bool) -> bytes:
    """Return the moof box of a segment; its mdat box follows with the samples' bytes.

    Args:
        number: of the segment, from 1.
        begins: ticks at which its first sample is decoded.
    """
    durations = {sample.duration for sample in samples}
    same = durations.pop() if len(durations) == 1 else None
    given = _OFFSET | _SIZES
    given |= _FIRST_FLAGS | _SHIFTS if is_video else 0
    given |= _DURATIONS if same is None else 0
    rows = []
    for sample in samples:
        rows.append(b"" if same is not None else struct.pack(">I", sample.duration))
        rows.append(struct.pack(">I", sample.size))
        rows.append(struct.pack(">i", sample.shift) if is_video else b"")
    first = struct.pack(">I", _KEY) if is_video else b""
    table = b"".join(rows)
    header = full_box(
        b"tfhd",
        0,
        _DEFAULT_BASE_IS_MOOF | _DURATION | _FLAGS,
        struct.pack(">3I", TRACK, same or 0, _NO_KEY if is_video else _KEY),
    )
    time = full_box(b"tfdt", 1, 0, struct.pack(">Q", begins))

    def moof(ahead: int) -> bytes:
        start = struct.pack(">Ii", len(samples), ahead)
        run = full_box(b"trun", 1, given, start, first, table)
        sequence = full_box(b"mfhd", 0, 0, struct.pack(">I", number))
        return box(b"moof", sequence, box(b"traf", header, time, run))

    return moof(len(moof(0)) + 8)


def make_mdat_head(samples: Sequence[Sample]) -> bytes:
    """Return the head of a segment's mdat box."""
    return struct.pack(">I4s", 8 + sum(sample.size for sample in samples), b"mdat")
