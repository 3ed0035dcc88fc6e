"""How often a video is watched lately: views per week that fade with a half-life of 7 days. Pure.

A video's popularity is one number, its *level*: log2 of the sum of 2^(t / half-life) over the
instants t of its views. Nothing in it has to be touched as time passes: what it is worth now is
read off with the present instant. So counts of two coordinators, or of a batch, are merged by
adding, in any order, and what must be kept is 8 bytes.

Source: Cormode et al. 2009, "Forward decay: a practical time decay model for streaming systems".
"""

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np

from redundancy.errors import InvalidRecord

WEEK_S = 7 * 86_400.0

# Half of a view's weight is gone after this: a week's rhythm is kept, last month is not.
HALF_LIFE_S = WEEK_S

# A playback is a view once it has lasted this long, or this part of the video: shorter ones are
# somebody looking for something else, or a program reading headers.
VIEW_SECONDS = 30.0
VIEW_SHARE = 0.25

# Seconds beyond this are no Unix time, and would cost the level its digits.
_INSTANT_S_MAX = 1e12

# From a sum of weights to a rate: a steady r a second adds up to r * half-life / ln 2.
_PER_WEEK = math.log(2.0) * WEEK_S / HALF_LIFE_S

# 2 to more than this is no float; an instant weeks in the past may ask for it.
_POWER_MAX = 1000.0

_FORMAT = struct.Struct("<d")


def is_view(played_s: float, duration_s: float) -> bool:
    """Whether a playback is long enough to count.

    Args:
        played_s: media that was really shown, which is no more than the time it took.
        duration_s: of the video; 0: unknown.
    """
    return played_s >= VIEW_SECONDS or 0 < duration_s * VIEW_SHARE <= played_s


@dataclass(frozen=True, slots=True)
class Popularity:
    """The faded views of one video; ``level`` is -inf before the first."""

    level: float = -math.inf

    def __post_init__(self) -> None:
        if math.isnan(self.level) or self.level > _INSTANT_S_MAX / HALF_LIFE_S:
            raise InvalidRecord(f"no popularity has the level {self.level}")

    @classmethod
    def of(cls, views: float, at_s: float) -> Self:
        """Return the popularity of some views at one instant.

        Args:
            at_s: on any clock all popularities share, such as Unix time.
        """
        if views < 0 or not abs(at_s) < _INSTANT_S_MAX:
            raise ValueError(f"cannot count {views} views at {at_s} s")
        return cls(math.log2(views) + at_s / HALF_LIFE_S) if views else cls()

    def merged(self, other: "Popularity") -> "Popularity":
        """Return the popularity of the views of both."""
        high, low = max(self.level, other.level), min(self.level, other.level)
        if low == -math.inf:
            return Popularity(high)
        return Popularity(high + math.log1p(math.exp2(low - high)) / math.log(2.0))

    def views_per_week(self, now_s: float) -> float:
        """Return what a steady stream of views would have to be to weigh as much now.

        A view dated after ``now_s``, by a clock that is ahead, weighs more than 1 until then.
        """
        return math.exp2(min(self.level - now_s / HALF_LIFE_S, _POWER_MAX)) * _PER_WEEK

    def to_bytes(self) -> bytes:
        """Return the 8 bytes to keep."""
        return _FORMAT.pack(self.level)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read what ``to_bytes`` returned. Raises: InvalidRecord: it is something else."""
        if len(data) != _FORMAT.size:
            raise InvalidRecord(f"a popularity has {_FORMAT.size} bytes, got {len(data)}")
        return cls(*_FORMAT.unpack(data))


class PopularityTable:
    """Responsible for many videos' popularity, and for what was added since it was last written.

    Two tables that saw different playbacks merge into the one that saw them all.
    """

    def __init__(self, known: Mapping[str, Popularity] | None = None) -> None:
        self._known = dict(known or {})
        self._added: dict[str, Popularity] = {}

    def count(self, video: str, at_s: float, views: int = 1) -> None:
        """Count views of one video."""
        one = Popularity.of(views, at_s)
        self._known[video] = self.popularity(video).merged(one)
        self._added[video] = self._added.get(video, Popularity()).merged(one)

    def take_batch(self) -> dict[str, Popularity]:
        """Return what was counted since the last time, by video.

        The caller merges it into the durable records, once.
        """
        batch, self._added = self._added, {}
        return batch

    def merge(self, batch: Mapping[str, Popularity]) -> None:
        """Add what another table counted, or what was kept of it."""
        for video, popularity in batch.items():
            self._known[video] = self.popularity(video).merged(popularity)

    def forget(self, video: str) -> None:
        """Drop a deleted video."""
        self._known.pop(video, None)
        self._added.pop(video, None)

    def popularity(self, video: str) -> Popularity:
        """Return one video's popularity."""
        return self._known.get(video, Popularity())

    def views_per_week(self, videos: Iterable[str], now_s: float) -> dict[str, float]:
        """Return the present rate of each of these videos."""
        names = list(videos)
        levels = np.array([self.popularity(name).level for name in names])
        rates = np.exp2(np.minimum(levels - now_s / HALF_LIFE_S, _POWER_MAX)) * _PER_WEEK
        return dict(zip(names, rates.tolist(), strict=True))
