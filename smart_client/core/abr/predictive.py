"""Controllers that plan ahead with the throughput they expect."""

from collections.abc import Sequence

from smart_client.core.abr.contract import Choice, Situation

# Yin et al. 2015: plans of five units; predictions by the harmonic mean of the last five samples.
HORIZON_UNITS = 5
SAMPLES_MEANT = 5

# Weights of the linear quality of experience the plans maximise, with quality in units of the
# bitrate: a switch costs its step, a second of rebuffering as much as a second of the top rate.
SWITCH_WEIGHT = 1.0


def harmonic_mean(samples: Sequence[float]) -> float:
    """Return the harmonic mean; 0 if one of them is, or there is none."""
    if not samples or min(samples) <= 0:
        return 0.0
    return len(samples) / sum(1 / sample for sample in samples)


class Mpc:
    """Responsible for the first step of the best plan for the next five units.

    Source: Yin, Jindal, Sekar and Sinopoli, "A control-theoretic approach for dynamic adaptive
    video streaming over HTTP", SIGCOMM 2015: all plans compared by linear quality of experience.
    Here exactly so, but a plan that cannot become the best is not followed to its end.
    """

    name = "mpc"

    def choose(self, situation: Situation) -> Choice:
        """Return the first rendition of the best plan; the lowest while nothing is known."""
        expected = self.expected_bytes_per_s(situation)
        if expected <= 0:
            return Choice(0, "nothing is known of the throughput yet")
        return Choice(_Plans(situation, expected).best_first(), "first of the best plan")

    def expected_bytes_per_s(self, situation: Situation) -> float:
        """Return the throughput to plan with."""
        mean = harmonic_mean(situation.samples[-SAMPLES_MEANT:])
        return mean or situation.bytes_per_s


class RobustMpc(Mpc):
    """Responsible for the same with the throughput the last predictions may have been wrong by.

    Source: Yin et al. 2015, section 5.3: the prediction divided by one plus the greatest relative
    error of the last five predictions.
    """

    name = "robust-mpc"

    def expected_bytes_per_s(self, situation: Situation) -> float:
        """Return the lower bound of the throughput."""
        samples, worst = situation.samples, 0.0
        for position in range(max(1, len(samples) - SAMPLES_MEANT), len(samples)):
            predicted = harmonic_mean(samples[max(0, position - SAMPLES_MEANT) : position])
            if samples[position] > 0:
                error = abs(predicted - samples[position]) / samples[position]
                worst = max(worst, error)
        return super().expected_bytes_per_s(situation) / (1 + worst)


class _Plans:
    """Responsible for finding the best sequence of renditions by depth-first search with bounds."""

    def __init__(self, situation: Situation, bytes_per_s: float) -> None:
        self._rates = situation.bitrates
        self._unit_s = situation.unit_s
        self._window_s = situation.window_s
        self._last = situation.last
        self._level_s = situation.level_s
        self._times_s = [
            [size / bytes_per_s for size in row] for row in situation.sizes[:HORIZON_UNITS]
        ]
        self._best = float("-inf")
        self._first = 0

    def best_first(self) -> int:
        """Return the first rendition of the best plan."""
        for rendition in reversed(range(len(self._rates))):
            self._follow(0, rendition, rendition, self._last, (self._level_s, 0.0))
        return self._first

    def _follow(
        self, depth: int, first: int, rendition: int, last: int, so_far: tuple[float, float]
    ) -> None:
        level_s, value = so_far
        took_s = self._times_s[depth][rendition]
        rate = self._rates[rendition]
        value += rate - self._rates[-1] * max(0.0, took_s - level_s)
        if last >= 0:
            value -= SWITCH_WEIGHT * abs(rate - self._rates[last])
        left = len(self._times_s) - depth - 1
        if value + left * self._rates[-1] <= self._best:
            return
        if left == 0:
            self._best, self._first = value, first
            return
        level_s = min(self._window_s, max(0.0, level_s - took_s) + self._unit_s)
        for following in reversed(range(len(self._rates))):
            self._follow(depth + 1, first, following, rendition, (level_s, value))
