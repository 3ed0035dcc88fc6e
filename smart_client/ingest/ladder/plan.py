"""Which renditions a ladder has, and how each is encoded. Pure.

All renditions are cut at the same instants: pictures come at one constant rate, and every segment
is the same whole number of pictures, about two seconds.
"""

from dataclasses import dataclass
from fractions import Fraction

from redundancy.errors import UsageError

AUDIO = "audio"
LIFEBOAT = "lifeboat"
AUTO_HEIGHTS = (1080, 720, 480, 360, 240)
LIFEBOAT_HEIGHT = 144

# Measured on a link of 1.04 Mbit/s, segments of 2 s start in about 1 s, segments of 10 s in 12 s.
SEGMENT_S = 2

AUDIO_RATE_HZ = 48_000
AUDIO_BITS_PER_S = {1: 64_000, 2: 128_000}

# What people choose for 1080p at up to 30 pictures a second; smaller pictures need a little more
# for each of their pixels, and twice the pictures less than twice the bits.
_BITS_PER_S_1080 = 4_500_000
_PIXELS_1080 = 1920 * 1080
_PIXELS_EXPONENT = 0.85
_RATE_EXPONENT = 0.5

_HEIGHT_MIN, _HEIGHT_MAX = 64, 4320

# Rates that files mean when they say something near them.
_USUAL_RATES = tuple(
    Fraction(*each)
    for each in (
        *((24_000, 1001), (24, 1), (25, 1), (30_000, 1001), (30, 1)),
        *((48, 1), (50, 1), (60_000, 1001), (60, 1)),
    )
)
_RATE_MIN, _RATE_MAX = Fraction(5), Fraction(60)


@dataclass(frozen=True, slots=True)
class LadderWish:
    """What was asked for. ``heights`` None: a usual ladder; empty: nothing but the lifeboat."""

    heights: tuple[int, ...] | None = None
    lifeboat: bool = False


def parse_ladder(text: str) -> tuple[int, ...] | None:
    """Read ``720,480,360`` or ``auto`` (None). Raises: UsageError."""
    if text.strip().lower() == "auto":
        return None
    heights = []
    for word in text.split(","):
        bare = word.strip().lower().removesuffix("p")
        if not bare.isdecimal() or not _HEIGHT_MIN <= int(bare) <= _HEIGHT_MAX:
            raise UsageError(
                f"'{word.strip()}' is no height of a picture",
                hint="write the ladder like --ladder 720,480,360, or --ladder auto",
            )
        heights.append(int(bare))
    return tuple(sorted(set(heights), reverse=True))


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What is shown, after turning and with square pixels."""

    width: int
    height: int
    rate: Fraction  # pictures a second, as near as the file tells
    turn: int = 0  # degrees clockwise that pictures have to be turned before they are shown
    is_interlaced: bool = False
    is_hdr: bool = False


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a ladder has to know of its source."""

    duration_s: float  # 0: unknown
    start_s: float  # the first instant of any stream
    picture: PictureFacts | None
    channels: int  # 0: no sound
    sounds: int = 1  # how many there are; the first is taken


@dataclass(frozen=True, slots=True)
class Rung:
    """One video rendition to be."""

    name: str
    width: int
    height: int
    bits_per_s: int  # the cap, with a buffer of a second; easy pictures take less
    is_lifeboat: bool = False


@dataclass(frozen=True, slots=True)
class LadderPlan:
    """All renditions to be, the smallest first: it is of use before the others are there."""

    rungs: tuple[Rung, ...]
    rate: Fraction  # pictures a second, constant
    segment_pictures: int
    audio_channels: int  # 0: no audio rendition
    audio_is_lifeboat: bool = False
    notes: tuple[str, ...] = ()  # what was not done as asked, and why

    @property
    def segment_s(self) -> Fraction:
        """Return how long every segment but the last plays."""
        return Fraction(self.segment_pictures) / self.rate


def plan_ladder(wish: LadderWish, source: SourceFacts) -> LadderPlan:
    """Return the ladder for a source. Raises: UsageError: there is nothing to encode."""
    notes: list[str] = []
    picture = source.picture
    if picture is None and not source.channels:
        raise UsageError("no pictures and no sound in it", hint="put it without --ladder")
    if source.sounds > 1:
        notes.append(f"{source.sounds} sound tracks; the ladder has the first")
    channels = min(2, source.channels)
    if picture is None:
        notes.append("no pictures in it: the ladder is the sound alone")
        return LadderPlan(
            (), Fraction(25), 25 * SEGMENT_S, channels, wish.lifeboat, notes=tuple(notes)
        )
    if picture.is_hdr:
        notes.append("it is HDR, which the ladder does not keep: its colours will look pale")
    rate = constant_rate(picture.rate)
    heights = _heights(wish, picture, notes)
    rungs = [_rung(f"{height}p", height, picture, rate) for height in heights]
    if wish.lifeboat:
        lowest = min(LIFEBOAT_HEIGHT, _short_side(picture))
        rungs.append(_rung(LIFEBOAT, lowest, picture, rate, is_lifeboat=True))
    rungs.sort(key=lambda each: each.width * each.height)
    return LadderPlan(
        tuple(rungs),
        rate,
        max(1, round(SEGMENT_S * rate)),
        channels,
        wish.lifeboat,
        tuple(notes),
    )


def constant_rate(rate: Fraction) -> Fraction:
    """Return the constant rate for pictures that come about this often."""
    usual = min(_USUAL_RATES, key=lambda each: abs(rate - each))
    if abs(rate - usual) < usual / 500:
        return usual
    return min(_RATE_MAX, max(_RATE_MIN, Fraction(round(rate))))


def _short_side(picture: PictureFacts) -> int:
    return min(picture.width, picture.height)


def _heights(wish: LadderWish, picture: PictureFacts, notes: list[str]) -> list[int]:
    """Return the heights (of upright pictures: the widths) that need no enlarging."""
    if wish.heights == ():
        return []
    asked = AUTO_HEIGHTS if wish.heights is None else wish.heights
    source = _short_side(picture)
    fitting = [height for height in asked if height <= source]
    higher = [f"{height}p" for height in asked if height > source]
    if higher and wish.heights is not None:
        notes.append(f"no {', '.join(higher)}: the source has {source} lines only")
    if not fitting:
        fitting = [max(2, source - source % 2)]
    return fitting


def _rung(
    name: str, short: int, picture: PictureFacts, rate: Fraction, *, is_lifeboat: bool = False
) -> Rung:
    share = Fraction(short, _short_side(picture))
    width, height = (_even(side * share) for side in (picture.width, picture.height))
    pixels = (width * height / _PIXELS_1080) ** _PIXELS_EXPONENT
    bits = _BITS_PER_S_1080 * pixels * max(1.0, float(rate) / 30) ** _RATE_EXPONENT
    return Rung(name, width, height, max(40_000, 1000 * round(bits / 1000)), is_lifeboat)


def _even(side: Fraction) -> int:
    """Return the even number nearest to a side: colours are stored for two by two pixels."""
    return max(2, 2 * round(side / 2))
