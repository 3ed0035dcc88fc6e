"""Bandwidth traces as plain records: what a link could carry, second by second."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smart_client.errors import InvalidRequest

FloatArray = npt.NDArray[np.float64]

# A link of 100 Gbit/s. More in a trace is a wrong unit, not a fast line.
TRACE_BYTES_PER_S_MAX = 100e9 / 8

# A day. Longer traces would be cut by every world anyway.
TRACE_SECONDS_MAX = 24 * 3600

_DIGITS = 8

# Below this a link counts as dead in a second: 10 kbit/s.
DEAD_BYTES_PER_S = 1250.0


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What one link carried in each second of a measurement."""

    family: str
    name: str
    bytes_per_s: FloatArray  # one number a second

    def __post_init__(self) -> None:
        rates = self.bytes_per_s
        label = f"trace {self.family}/{self.name}"
        if rates.ndim != 1 or not 1 <= rates.size <= TRACE_SECONDS_MAX:
            raise InvalidRequest(f"{label}: need 1 to {TRACE_SECONDS_MAX} seconds")
        if not np.isfinite(rates).all() or rates.min() < 0:
            raise InvalidRequest(f"{label}: a rate is negative or not a number")
        if rates.max() > TRACE_BYTES_PER_S_MAX:
            raise InvalidRequest(f"{label}: a rate above 100 Gbit/s", hint="rates are in Mbit/s")
        if not rates.any():
            raise InvalidRequest(f"{label}: nothing was carried at all")

    @property
    def mean_bytes_per_s(self) -> float:
        """What it carried on average; always above 0."""
        return float(self.bytes_per_s.mean())

    def window(self, start_s: int, seconds: int) -> FloatArray:
        """Return ``seconds`` rates from ``start_s`` on, beginning anew at the trace's end."""
        return self.bytes_per_s[np.arange(start_s, start_s + seconds) % self.bytes_per_s.size]


@dataclass(frozen=True, slots=True)
class TraceStatistics:
    """A trace in four figures."""

    mean_bytes_per_s: float
    cv: float  # standard deviation over mean
    p5_bytes_per_s: float
    dead_share: float  # of its seconds


def statistics_of(rates: FloatArray) -> TraceStatistics:
    """Return the figures of rates in bytes a second, one a second."""
    mean = float(rates.mean())
    return TraceStatistics(
        mean_bytes_per_s=mean,
        cv=float(rates.std()) / mean,
        p5_bytes_per_s=float(np.percentile(rates, 5)),
        dead_share=float((rates < DEAD_BYTES_PER_S).mean()),
    )


@dataclass(frozen=True, slots=True)
class TraceLibrary:
    """Traces to draw from. ``name`` goes into results: other traces, other results.

    What is read from files has a digest of the rates in its name (``named_after``).
    """

    name: str
    traces: tuple[Trace, ...]

    def __post_init__(self) -> None:
        if not self.traces:
            raise InvalidRequest(f"trace library '{self.name}' is empty")

    @classmethod
    def named_after(cls, folder: str, traces: Sequence[Trace]) -> "TraceLibrary":
        """Return a library called after its folder and what the traces say."""
        digest = hashlib.sha256()
        for trace in traces:
            digest.update(f"{trace.family}/{trace.name}\0".encode())
            digest.update(np.ascontiguousarray(trace.bytes_per_s, dtype="<f8").tobytes())
        return cls(f"{folder}@{digest.hexdigest()[:_DIGITS]}", tuple(traces))

    def of_families(self, families: Sequence[str]) -> "TraceLibrary":
        """Return the traces of these families only; of all when none is named.

        Raises: InvalidRequest: a family without traces.
        """
        if not families:
            return self
        known = {trace.family for trace in self.traces}
        unknown = sorted(set(families) - known)
        if unknown:
            raise InvalidRequest(
                f"no traces of family {', '.join(unknown)} in '{self.name}'",
                hint=f"families: {', '.join(sorted(known))}",
            )
        return self.where(lambda trace: trace.family in families)

    def where(self, condition: Callable[[Trace], bool]) -> "TraceLibrary":
        """Return the traces that meet a condition; at least one must."""
        return TraceLibrary(self.name, tuple(t for t in self.traces if condition(t)))
