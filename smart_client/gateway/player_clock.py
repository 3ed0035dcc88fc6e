"""What a player reports, put together: start, stalls, position, what was really shown. Pure.

             playing                    waiting
    opening ─────────▶ playing ────────────────────▶ stalled
                          ▲ └────────── playing ◀───────┘
       paused ◀── pause ──┤
      seeking ──seeked──▶ sought   (seeking: from anywhere; pause: too)

A stall is a ``waiting`` after the first ``playing`` and not while seeking, until ``playing``: the
rule that agreed with the players' own logs. A seek fires ``waiting`` too; that wait is the seek's.
"""

from collections.abc import Callable
from typing import Final

from smart_client.core.ranges import covered, merged

# Between two reports a player shows at most this much: four times the time that passed (players go
# up to 4x), and what a late timer may hide. A larger step is a jump, of which nothing was shown.
SPEED_MAX: Final = 4.0
STEP_SPARE_S: Final = 0.5

# A position that has moved on by so much plays, whatever report of it was lost.
MOVED_S: Final = 0.2

SPANS_MAX: Final = 1_000


class PlayerClock:
    """Responsible for one player's account of itself.

    Instants are the player's own, in seconds; positions are media time.
    """

    def __init__(self) -> None:
        self.state = "opening"
        self.position_s = 0.0
        self.buffered_s = 0.0
        self.startup_s: float | None = None
        self.stalls = 0
        self.last_stall_s = 0.0
        self.seeks = 0
        self.error = ""
        self.at_s = 0.0  # of the last report
        self._opened_s: float | None = None
        self._closed_stalls_s = 0.0
        self._stall_began_s: float | None = None
        self._spans: list[tuple[float, float]] = []  # of media that was shown
        self._message = ""
        self._has_moved = False
        self._takers: dict[str, Callable[[], str]] = {
            "open": self._opens,
            "playing": self._plays,
            "waiting": self._waits,
            "seeking": self._seeks,
            "seeked": self._sought,
            "pause": lambda: self._stops("paused"),
            "ended": lambda: self._stops("ended"),
            "error": self._fails,
            "progress": self._goes_on,
        }

    @property
    def shown_s(self) -> float:
        """How many seconds of the video were shown, each counted once."""
        return covered(self._spans)

    @property
    def is_playing(self) -> bool:
        """Whether the position moves on by itself."""
        return self.state == "playing"

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be expected."""
        return self.state in ("ended", "failed")

    def stalled_s(self, at_s: float | None = None) -> float:
        """Return the time lost in stalls, one that is going on included up to ``at_s``."""
        running_s = 0.0
        if self._stall_began_s is not None:
            running_s = max(0.0, (self.at_s if at_s is None else at_s) - self._stall_began_s)
        return self._closed_stalls_s + running_s

    def take(
        self, event: str, at_s: float, position_s: float, buffered_s: float, message: str = ""
    ) -> str:
        """Take one report in; return ``stalled``, ``resumed``, ``started``, ``seek`` or nothing.

        Reports older than the last one are ignored: requests may overtake each other.
        """
        if self._opened_s is None:
            self._opened_s = at_s
        if at_s < self.at_s:
            return ""
        moved_s = position_s - self.position_s
        if event != "seeking":  # its position is already the new one
            self._show(position_s, at_s - self.at_s)
        self.at_s, self.position_s, self.buffered_s = at_s, position_s, buffered_s
        self._message, self._has_moved = message, moved_s > MOVED_S
        return self._takers[event]()

    def _opens(self) -> str:
        self._opened_s = self.at_s
        return ""

    def _sought(self) -> str:
        if self.state == "seeking":
            self.state = "sought"
        return ""

    def _stops(self, state: str) -> str:
        self._end_stall()
        self.state = state
        return ""

    def _fails(self) -> str:
        self.error = self._message or "the player failed"
        return self._stops("failed")

    def _goes_on(self) -> str:
        """A report of ``playing`` may be lost; a position that moves on tells the same."""
        moves = self.state in ("sought", "stalled") and self._has_moved
        return self._plays() if moves else ""

    def _plays(self) -> str:
        told = ""
        if self.startup_s is None:
            self.startup_s = self.at_s - (self._opened_s or 0.0)
            told = "started"
        if self._end_stall():
            told = "resumed"
        self.state = "playing"
        return told

    def _waits(self) -> str:
        if self.startup_s is None or self.state != "playing":
            return ""
        self.state = "stalled"
        self.stalls += 1
        self._stall_began_s = self.at_s
        return "stalled"

    def _seeks(self) -> str:
        self._end_stall()
        self.state = "seeking"
        self.seeks += 1
        return "seek"

    def _end_stall(self) -> bool:
        if self._stall_began_s is None:
            return False
        self.last_stall_s = self.at_s - self._stall_began_s
        self._closed_stalls_s += self.last_stall_s
        self._stall_began_s = None
        return True

    def _show(self, position_s: float, passed_s: float) -> None:
        step_s = position_s - self.position_s
        if self.state == "playing" and 0 < step_s <= SPEED_MAX * passed_s + STEP_SPARE_S:
            self._spans = merged(self._spans, (self.position_s, position_s))
            del self._spans[SPANS_MAX:]
