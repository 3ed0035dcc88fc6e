"""How much of the time a node answers: measured, fading, and not believed too soon. Pure.

What was seen longer ago counts less: half of it after 30 days. An estimate begins with what home
machines reach and leaves that as hours are watched, so that a node's first good day is not taken
for a perfect year, nor its first crash for a broken machine.
"""

import math
from dataclasses import dataclass

from redundancy.errors import UsageError

HALF_LIFE_S = 30 * 86_400.0

# What is assumed before anything is known, and how many seconds of watching it weighs.
ASSUMED_SHARE = 0.97
ASSUMED_WEIGHT_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True)
class Uptime:
    """What was seen of one node up to one instant."""

    watched_s: float = 0.0  # faded
    up_s: float = 0.0  # of those
    at_s: float = 0.0  # Unix time

    def __post_init__(self) -> None:
        is_number = math.isfinite(self.watched_s) and math.isfinite(self.at_s)
        if not is_number or not 0 <= self.up_s <= self.watched_s * (1 + 1e-9):
            raise UsageError(f"no uptime is {self.up_s} s of {self.watched_s} s")

    def plus(self, watched_s: float, up_s: float, now_s: float) -> "Uptime":
        """Return it with what was seen since, some of it faded.

        A clock that was set back fades nothing.
        """
        share = math.exp2(-max(0.0, now_s - self.at_s) / HALF_LIFE_S)
        watched = self.watched_s * share + watched_s
        return Uptime(watched, min(self.up_s * share + up_s, watched), max(self.at_s, now_s))

    @property
    def measured(self) -> float | None:
        """The share of the time it was up; None: it was never watched."""
        return self.up_s / self.watched_s if self.watched_s > 0 else None

    @property
    def expected(self) -> float:
        """The share to count on."""
        up_s = self.up_s + ASSUMED_SHARE * ASSUMED_WEIGHT_S
        return up_s / (self.watched_s + ASSUMED_WEIGHT_S)
