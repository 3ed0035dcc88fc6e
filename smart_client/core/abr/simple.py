"""Controllers that look at one figure: none at all, the throughput, or the buffer."""

from smart_client.core.abr.contract import UNKNOWN, Choice, Situation

# dash.js, ThroughputRule: abr.bandwidthSafetyFactor.
RATE_SAFETY_SHARE = 0.9

# BBA-0: a buffer of 240 s with a reservoir of 90 s and full rate from 216 s on (section 4.2).
BBA_RESERVOIR_SHARE = 90 / 240
BBA_FULL_SHARE = 216 / 240

# BBA-1 and 2: the reservoir follows the sizes of the units to come, within these bounds (5.1).
BBA_RESERVOIR_MIN_SHARE = 8 / 240
BBA_RESERVOIR_MAX_SHARE = 140 / 240

# BBA-2 at the start: a step up when a unit adds more than this share of its length to the buffer,
# less the fuller it is (6.2: eight times as fast as the next rate at first, then twice).
BBA_START_SHARE_EMPTY = 0.875
BBA_START_SHARE_FULL = 0.5


class Fixed:
    """Responsible for always choosing the same rendition: the highest, or another one.

    Source: no adaptation at all, the base line of every comparison.
    """

    name = "fixed"

    def __init__(self, rendition: int = -1) -> None:
        self._rendition = rendition  # counted from the end if negative

    def choose(self, situation: Situation) -> Choice:
        """Return it, or the nearest there is."""
        wish = self._rendition + (len(situation.bitrates) if self._rendition < 0 else 0)
        return Choice(min(situation.top, max(0, wish)), "fixed")


class RateBased:
    """Responsible for the highest rendition within the throughput, whatever the buffer holds.

    Source: dash.js, ThroughputRule: nine tenths of the smaller of a fast and a slow average.
    """

    name = "rate"

    def choose(self, situation: Situation) -> Choice:
        """Return what fits; the lowest while nothing is known."""
        if situation.bytes_per_s == UNKNOWN:
            return Choice(0, "nothing is known of the throughput yet")
        best = situation.best_within(RATE_SAFETY_SHARE * situation.bytes_per_s)
        return Choice(best, "fits the throughput")


class BufferBased:
    """Responsible for a rate that rises in a straight line with the buffer.

    It stays until the line passes the next rendition up or down. Source: Huang et al., "A
    buffer-based approach to rate adaptation", SIGCOMM 2014, BBA-0 (algorithm 1); its figures for a
    buffer of 240 s are kept as shares of the window.
    """

    name = "bba-0"

    def choose(self, situation: Situation) -> Choice:
        """Return the rendition on the line."""
        reservoir_s = BBA_RESERVOIR_SHARE * situation.window_s
        line = _line(situation, reservoir_s, situation.bitrates[0], situation.bitrates[-1])
        return Choice(_follow(situation, situation.bitrates, line), "where the buffer is")


class BufferBasedWithStart:
    """Responsible for BBA-2: sizes instead of rates, and a start by how fast the buffer grows.

    Source: Huang et al., SIGCOMM 2014, sections 5 and 6. The reservoir is what the units of the
    coming two windows need beyond their share at the lowest rate; the line runs over sizes; until
    the buffer falls or the line asks for more, a step up is taken when a unit adds much to it.
    """

    name = "bba-2"

    def __init__(self) -> None:
        self._starting = True
        self._level_s = 0.0

    def choose(self, situation: Situation) -> Choice:
        """Return the rendition on the line of sizes, or the start's if that is higher."""
        sizes = tuple(float(size) for size in situation.sizes[0])
        lowest, highest = (situation.unit_s * situation.bitrates[index] for index in (0, -1))
        line = _line(situation, self._reservoir_s(situation), lowest, highest)
        mapped = _follow(situation, sizes, line)
        if situation.last >= 0:
            falls = situation.level_s < self._level_s or self._grown_s(situation) < 0
            self._starting = self._starting and not falls and mapped <= situation.last
        self._level_s = situation.level_s
        if not self._starting:
            return Choice(mapped, "where the buffer is")
        return Choice(self._started(situation), "the buffer still fills")

    @staticmethod
    def _reservoir_s(situation: Situation) -> float:
        low = situation.bitrates[0]
        needed = sum(row[0] - situation.unit_s * low for row in situation.sizes)
        floor_s = BBA_RESERVOIR_MIN_SHARE * situation.window_s
        return min(BBA_RESERVOIR_MAX_SHARE * situation.window_s, max(floor_s, needed / low))

    @staticmethod
    def _started(situation: Situation) -> int:
        last = max(0, situation.last)
        filled = min(1.0, situation.level_s / (BBA_FULL_SHARE * situation.window_s))
        share = BBA_START_SHARE_EMPTY + filled * (BBA_START_SHARE_FULL - BBA_START_SHARE_EMPTY)
        grows_fast = BufferBasedWithStart._grown_s(situation) > share * situation.unit_s
        return min(situation.top, last + grows_fast)

    @staticmethod
    def _grown_s(situation: Situation) -> float:
        """Return what another unit as the last one adds to the buffer while it comes."""
        if situation.bytes_per_s == UNKNOWN or situation.last < 0:
            return 0.0
        return situation.unit_s - situation.sizes[0][situation.last] / situation.bytes_per_s


def _line(situation: Situation, reservoir_s: float, lowest: float, highest: float) -> float:
    """Return the value at the buffer's level on the line from the reservoir to the full rate."""
    cushion_s = BBA_FULL_SHARE * situation.window_s - reservoir_s
    share = min(1.0, max(0.0, (situation.level_s - reservoir_s) / cushion_s))
    return lowest + share * (highest - lowest)


def _follow(situation: Situation, values: tuple[float, ...], line: float) -> int:
    """Stay where one is unless the line has passed the next value up or down (algorithm 1)."""
    last = max(0, situation.last)
    if line >= values[-1]:
        return situation.top
    if line <= values[0]:
        return 0
    up, down = values[min(situation.top, last + 1)], values[max(0, last - 1)]
    if line >= up:
        return max(index for index, value in enumerate(values) if value <= line)
    if line <= down:
        return min(index for index, value in enumerate(values) if value >= line)
    return last
