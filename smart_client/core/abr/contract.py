"""What a rate controller sees and says. One controller serves one session."""

from dataclasses import dataclass
from typing import Protocol

UNKNOWN = 0.0


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known at the instant at which a unit's rendition is chosen."""

    buffer_s: float  # media ready ahead of the playhead
    pending_s: float  # media of units opened before this one and not ready yet
    pending_bytes: int  # ... what is still to come of them
    bytes_per_s: float  # of all nodes together, as received, careful; 0: unknown
    samples: tuple[float, ...]  # the last measurements of it, oldest first
    unit_s: float
    bitrates: tuple[float, ...]  # bytes of each rendition in a second of media, lowest first
    sizes: tuple[tuple[int, ...], ...]  # of this unit and those after it, in every rendition
    last: int  # the rendition of the unit before; -1: none
    window_s: float  # most media there may be ahead of the playhead

    def __post_init__(self) -> None:
        if not self.bitrates or list(self.bitrates) != sorted(self.bitrates):
            raise ValueError("need the renditions' bitrates, lowest first")
        if not self.sizes or any(len(row) != len(self.bitrates) for row in self.sizes):
            raise ValueError("need the sizes of this unit at least, one a rendition")
        if self.bitrates[0] <= 0 or self.unit_s <= 0 or self.window_s <= 0:
            raise ValueError("bitrates, units and windows must be above 0")
        if min(self.buffer_s, self.pending_s, self.pending_bytes, self.bytes_per_s) < 0:
            raise ValueError("nothing of this can be negative")
        if not -1 <= self.last < len(self.bitrates):
            raise ValueError(f"no rendition {self.last}")

    @property
    def top(self) -> int:
        """The highest rendition."""
        return len(self.bitrates) - 1

    @property
    def level_s(self) -> float:
        """The buffer as it will be when the turn of this unit's bytes has come.

        Other players choose when the unit before is complete; this is that moment's level.
        """
        ahead_s = self.buffer_s + self.pending_s
        if self.bytes_per_s == UNKNOWN:
            return self.buffer_s
        return max(0.0, ahead_s - self.pending_bytes / self.bytes_per_s)

    def best_within(self, bytes_per_s: float) -> int:
        """Return the highest rendition whose bitrate is at most this; the lowest if none is."""
        fitting = [index for index, rate in enumerate(self.bitrates) if rate <= bytes_per_s]
        return fitting[-1] if fitting else 0


@dataclass(frozen=True, slots=True)
class Choice:
    """A rendition, and why, in a few words for people."""

    rendition: int
    reason: str


class RateController(Protocol):
    """Chooses renditions. The same situations in the same order give the same choices."""

    name: str

    def choose(self, situation: Situation) -> Choice:
        """Return what the unit is to be played in."""
