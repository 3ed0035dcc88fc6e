"""Round trips, rates and reliability of a node, from what requests show. Time is passed in."""

from typing import Final

# RFC 6298: weights of a new sample in the smoothed round trip and in its mean deviation.
RTT_GAIN: Final = 1 / 8
RTT_DEVIATION_GAIN: Final = 1 / 4

# What takes longer than this was no round trip: the node stood still, or its queue did.
RTT_SAMPLE_MAX_S: Final = 2.0

# Two averages of the rate, weighted by time: the smaller one is believed, so a drop shows within a
# second and a short burst (a socket buffer handed over at once) does not count as capacity.
RATE_HALF_LIFE_FAST_S: Final = 1.0
RATE_HALF_LIFE_SLOW_S: Final = 4.0

# Shorter spells of receiving are mostly scheduling noise; they are added up until this long.
RATE_TICK_S: Final = 0.1

RELIABILITY_GAIN: Final = 0.1


class RttEstimator:
    """Smoothed round trip and mean deviation (RFC 6298), over times to first byte."""

    __slots__ = ("deviation_s", "smoothed_s")

    def __init__(self) -> None:
        self.smoothed_s = 0.0  # 0: never measured
        self.deviation_s = 0.0

    def add(self, sample_s: float) -> None:
        """Take one measured round trip."""
        sample_s = min(sample_s, RTT_SAMPLE_MAX_S)
        if self.smoothed_s == 0.0:
            self.smoothed_s = max(sample_s, 1e-6)
            self.deviation_s = sample_s / 2
            return
        error_s = sample_s - self.smoothed_s
        self.smoothed_s += RTT_GAIN * error_s
        self.deviation_s += RTT_DEVIATION_GAIN * (abs(error_s) - self.deviation_s)

    def seed(self, smoothed_s: float, deviation_s: float) -> None:
        """Start from what an earlier session, or another one, measured."""
        self.smoothed_s, self.deviation_s = smoothed_s, deviation_s

    def upper_s(self) -> float:
        """Return the time by which an answer is due unless something is wrong."""
        return self.smoothed_s + 4 * self.deviation_s


class RateEstimator:
    """Bytes per second while a node is sending; idle time does not count against it."""

    __slots__ = ("_bytes", "_fast", "_seconds", "_slow", "_weight_s")

    def __init__(self) -> None:
        self._bytes = 0
        self._seconds = 0.0
        self._fast = 0.0
        self._slow = 0.0
        self._weight_s = 0.0

    def add(self, received_bytes: int, seconds: float) -> None:
        """Count bytes received during ``seconds`` of sending."""
        self._bytes += received_bytes
        self._seconds += seconds
        if self._seconds >= RATE_TICK_S:
            self._fold()

    def _fold(self) -> None:
        sample = self._bytes / self._seconds
        if self._weight_s == 0.0:
            self._fast = self._slow = sample
        else:
            keep = 0.5 ** (self._seconds / RATE_HALF_LIFE_FAST_S)
            self._fast = keep * self._fast + (1 - keep) * sample
            keep = 0.5 ** (self._seconds / RATE_HALF_LIFE_SLOW_S)
            self._slow = keep * self._slow + (1 - keep) * sample
        self._weight_s += self._seconds
        self._bytes = 0
        self._seconds = 0.0

    @property
    def is_measured(self) -> bool:
        """Whether enough sending was seen to believe the rate."""
        return self._weight_s > 0.0

    def bytes_per_s(self) -> float:
        """Return the believed rate; a first guess from an unfinished tick; 0 before any byte."""
        if self._weight_s > 0.0:
            return self._fast if self._fast < self._slow else self._slow
        # Less than a tick so far. Dividing by the whole tick keeps a burst from looking fast.
        return self._bytes / RATE_TICK_S

    def upper_bytes_per_s(self) -> float:
        """Return the greater of the two averages: as fast as it may turn out to be."""
        if self._weight_s > 0.0:
            return self._fast if self._fast > self._slow else self._slow
        return self._bytes / RATE_TICK_S

    def lower_to(self, bytes_per_s: float) -> None:
        """Believe a collapse that one request has shown before the averages do."""
        self._fast = min(self._fast, bytes_per_s)
        self._slow = min(self._slow, bytes_per_s)
        self._bytes = 0
        self._seconds = 0.0

    def seed(self, bytes_per_s: float) -> None:
        """Start from a rate remembered from an earlier session."""
        self._fast = self._slow = bytes_per_s
        self._weight_s = RATE_TICK_S


class ReliabilityEstimator:
    """Share of requests that succeeded, recent ones weighing more. Starts trusting."""

    __slots__ = ("share",)

    def __init__(self) -> None:
        self.share = 1.0

    def add(self, succeeded: bool) -> None:
        """Count one finished request."""
        self.share += RELIABILITY_GAIN * ((1.0 if succeeded else 0.0) - self.share)
