"""Rates as people want them: over the last few seconds."""

from collections import deque

WINDOW_S = 5.0


class RateMeter:
    """Responsible for bytes a second over the last ``WINDOW_S``."""

    def __init__(self) -> None:
        self._counts: deque[tuple[float, int]] = deque()
        self._sum = 0

    def count(self, size: int, now_s: float) -> None:
        """Note that bytes passed now."""
        self._counts.append((now_s, size))
        self._sum += size
        self._forget(now_s)

    def bytes_per_s(self, now_s: float) -> float:
        """Return the present rate; 0 after a while without any."""
        self._forget(now_s)
        if not self._counts:
            return 0.0
        span_s = max(now_s - self._counts[0][0], 0.25)
        return self._sum / span_s

    def _forget(self, now_s: float) -> None:
        while self._counts and now_s - self._counts[0][0] > WINDOW_S:
            self._sum -= self._counts.popleft()[1]
