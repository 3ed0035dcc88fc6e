"""Throughput of all nodes together, as the session really receives it."""

from collections import deque

# Shorter spells are added up until this long: requests come and go within a second.
SAMPLE_S = 1.0

# Before the first whole sample a guess is made from this much on.
FIRST_GUESS_S = 0.2

# dash.js, abr.throughputHistory: the smaller of two averages is believed.
HALF_LIFE_FAST_S = 3.0
HALF_LIFE_SLOW_S = 8.0

SAMPLES_KEPT = 10


class _Average:
    """Responsible for a mean over time in which what is a half-life old counts half.

    It begins with the first sample, which is taken while connections begin: a careful start. With
    all samples equal from the start more is played, but stalls come back.
    """

    __slots__ = ("_half_life_s", "value")

    def __init__(self, half_life_s: float) -> None:
        self._half_life_s = half_life_s
        self.value = -1.0  # -1: none yet

    def add(self, sample: float, seconds: float) -> None:
        keep = 0.5 ** (seconds / self._half_life_s) if self.value >= 0 else 0.0
        self.value = keep * self.value + (1 - keep) * sample


class ThroughputMeter:
    """Responsible for bytes a second, over the time in which there was enough to ask for.

    While the window is full nodes idle, and what comes then says nothing of what could come.
    """

    __slots__ = ("_bytes", "_fast", "_seconds", "_slow", "samples")

    def __init__(self) -> None:
        self._bytes = 0
        self._seconds = 0.0
        self._fast = _Average(HALF_LIFE_FAST_S)
        self._slow = _Average(HALF_LIFE_SLOW_S)
        self.samples: deque[float] = deque(maxlen=SAMPLES_KEPT)  # bytes a second, oldest first

    def add(self, received_bytes: int, seconds: float) -> None:
        """Count what came during ``seconds`` of wanting more."""
        self._bytes += received_bytes
        self._seconds += seconds
        if self._seconds >= SAMPLE_S:
            sample = self._bytes / self._seconds
            self.samples.append(sample)
            self._fast.add(sample, self._seconds)
            self._slow.add(sample, self._seconds)
            self._bytes, self._seconds = 0, 0.0

    def bytes_per_s(self) -> float:
        """Return the believed rate; 0 while nothing is known."""
        if self.samples:
            return min(self._fast.value, self._slow.value)
        return self._bytes / self._seconds if self._seconds >= FIRST_GUESS_S else 0.0
