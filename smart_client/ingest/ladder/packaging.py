"""From what an encoder wrote to a rendition object: header, index, equal segments.

The encoder's file may be cut in any way; its samples are put into segments anew, so that all
renditions have the same ones, whoever encoded them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from smart_client.cmaf.boxes import HEAD_BYTES, Track, read_head, read_track
from smart_client.cmaf.index import Segment, make_index, read_index
from smart_client.cmaf.samples import Sample, read_samples
from smart_client.cmaf.segments import make_header, make_mdat_head, make_moof
from smart_client.errors import InvalidMedia

# A last segment of less than this much of the others' duration is a part of the one before it.
_REST_MIN = Fraction(1, 4)

# AAC's encoder puts one frame of nothing before the sound, which players would play as a delay.
_PRIMING_FRAMES = 1

_COPY_BYTES = 1024 * 1024
_MOOV_BYTES_MAX = 64 * 1024
_LARGE_HEAD_BYTES = 16


@dataclass(frozen=True, slots=True)
class Packaged:
    """What a rendition object turned out to be."""

    size: int
    codecs: str
    width: int
    height: int
    init_bytes: int
    index_bytes: int
    segments: tuple[Segment, ...]

    @property
    def duration_s(self) -> float:
        """Return how long it plays."""
        last = self.segments[-1]
        return last.start_s + last.duration_s

    @property
    def peak_bits_per_s(self) -> int:
        """Return the rate of the segment that needs most."""
        return max(_bits_per_s(each.size, each.duration_s) for each in self.segments)

    @property
    def average_bits_per_s(self) -> int:
        """Return the rate of all segments together."""
        return _bits_per_s(sum(each.size for each in self.segments), self.duration_s)


def _bits_per_s(size: int, seconds: float) -> int:
    return -int(-8 * size // seconds)


def package(encoded: Path, target: Path, segment_s: Fraction) -> Packaged:
    """Make a rendition object of an encoder's fragmented MP4 with one track.

    Raises: InvalidMedia: it is none, it holds nothing, or its keyframes are not where segments
        begin.
    """
    with encoded.open("rb") as source:
        moov, samples = _read(source)
        track = read_track(moov)
        cut = _cut_pictures if track.is_video else _cut_sound
        segments = cut(samples, track, segment_s)
        _check_rest(segments, segment_s * track.timescale)
        return _write(source, target, moov, track, segments)


def _read(source: BinaryIO) -> tuple[bytes, list[Sample]]:
    """Return the moov box and all samples of an encoder's file."""
    end = source.seek(0, 2)
    at, moov, track = 0, b"", None
    samples: list[Sample] = []
    while at + HEAD_BYTES <= end:
        source.seek(at)
        found = read_head(source.read(_LARGE_HEAD_BYTES), 0, end - at)
        if found.kind in (b"moov", b"moof"):
            source.seek(at)
            data = source.read(found.end)
            if found.kind == b"moov":
                moov, track = data, read_track(data)
            elif track is not None:
                samples += read_samples(data, at, track)
        at += found.end
    if not samples:
        raise InvalidMedia("the encoder wrote nothing")
    return moov, samples


def _cut_pictures(
    samples: Sequence[Sample], track: Track, segment_s: Fraction
) -> list[list[Sample]]:
    """Cut before the keyframes that stand where a segment begins."""
    ticks = samples[0].duration
    per_segment = segment_s * track.timescale / ticks
    if per_segment.denominator != 1 or any(each.duration != ticks for each in samples[:-1]):
        raise InvalidMedia("the encoder's pictures do not come at a constant rate")
    # The delay of all is the least that lets no picture be shown before it is decoded.
    least = min(each.shift for each in samples)
    shown = [
        Sample(each.offset, each.size, ticks, each.shift - least, each.is_key) for each in samples
    ]
    count = int(per_segment)
    segments = [shown[at : at + count] for at in range(0, len(shown), count)]
    delay = shown[0].shift
    if not all(each[0].is_key and each[0].shift == delay for each in segments):
        raise InvalidMedia("the encoder's keyframes are not where segments begin")
    return segments


def _cut_sound(samples: Sequence[Sample], track: Track, segment_s: Fraction) -> list[list[Sample]]:
    """Cut at the frame nearest to where pictures are cut."""
    heard = samples[_PRIMING_FRAMES:] or samples
    ticks = heard[0].duration
    frames = [Sample(each.offset, each.size, ticks, 0, True) for each in heard]
    per_segment = segment_s * track.timescale / ticks
    count = max(1, round(len(frames) / per_segment))
    edges = [round(number * per_segment) for number in range(count)] + [len(frames)]
    return [frames[begin:end] for begin, end in pairwise(edges) if begin < end]


def _check_rest(segments: list[list[Sample]], whole: Fraction) -> None:
    """Join a last segment that is next to nothing to the one before."""
    rest = sum(each.duration for each in segments[-1])
    if len(segments) > 1 and rest < _REST_MIN * whole:
        segments[-2] += segments.pop()


def _write(
    source: BinaryIO,
    target: Path,
    moov: bytes,
    track: Track,
    segments: Sequence[Sequence[Sample]],
) -> Packaged:
    header = make_header(moov, segments[0][0].shift)
    heads, sizes, durations, begins = [], [], [], 0
    for number, samples in enumerate(segments, 1):
        moof = make_moof(number, begins, samples, is_video=track.is_video)
        heads.append(moof + make_mdat_head(samples))
        sizes.append(len(heads[-1]) + sum(each.size for each in samples))
        durations.append(sum(each.duration for each in samples))
        begins += durations[-1]
    index = make_index(track.timescale, sizes, durations)
    with target.open("wb") as out:
        out.write(header + index)
        for head, samples in zip(heads, segments, strict=True):
            out.write(head)
            for sample in samples:
                source.seek(sample.offset)
                out.write(source.read(sample.size))
        size = out.tell()
    return _described(header, track, index, size)


def read_object(path: Path) -> Packaged:
    """Return what a rendition object is, from its header and index. Raises: InvalidMedia."""
    with path.open("rb") as file:
        start = file.read(_MOOV_BYTES_MAX)
        size = path.stat().st_size
        head = read_head(start, 0, size)
        moov = read_head(start, head.end, size)
        index = read_head(start, moov.end, size)
        file.seek(0)
        start = file.read(index.end)
    return _described(start[: moov.end], read_track(start[: moov.end]), start[moov.end :], size)


def _described(header: bytes, track: Track, index: bytes, size: int) -> Packaged:
    segments = tuple(read_index(header + index, len(header)))
    if not segments or segments[-1].offset + segments[-1].size != size:
        raise InvalidMedia("the index does not fit the object")
    return Packaged(
        size=size,
        codecs=track.codecs,
        width=track.width,
        height=track.height,
        init_bytes=len(header),
        index_bytes=len(index),
        segments=segments,
    )
