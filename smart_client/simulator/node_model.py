"""One node as the network model sees it: capacity over time, round trip, think time, faults."""

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

INFINITY: Final = math.inf

# A node that drips sends this little: alive for every health check, useless for a viewer.
DRIP_BYTES_PER_S: Final = 2_000.0

# What a slowed-down node keeps of its capacity.
SLOW_SHARE: Final = 0.1


class FaultKind(StrEnum):
    """The ways a node fails."""

    REFUSE = "refuse"  # the process is gone: connections are refused, running ones reset
    FREEZE = "freeze"  # the process stands still: connects, then silence
    DRIP = "drip"  # a few bytes a second
    SLOW = "slow"  # a tenth of its capacity
    GARBAGE = "garbage"  # answers with wrong bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """A node misbehaves in [start_s, stop_s)."""

    kind: FaultKind
    start_s: float
    stop_s: float = INFINITY

    def __post_init__(self) -> None:
        if not 0 <= self.start_s < self.stop_s:
            raise ValueError(f"a fault lasts from 0 or later to later, got {self}")


_MASK: Final = (1 << 64) - 1


def uniform_of(*words: int) -> float:
    """Return a number in (0, 1) that depends on these integers only.

    Source: Steele, Lea and Flood 2014, SplitMix64's finaliser, applied to each word in turn.
    """
    state = 0
    for word in words:
        state = _mixed(state, word)
    return _uniform(state)


def _mixed(state: int, word: int) -> int:
    state = (state + word + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def _uniform(state: int) -> float:
    return ((state >> 11) + 0.5) / (1 << 53)


@cache
def _state_of(seed: int, node: int) -> int:
    return _mixed(_mixed(0, seed), node)


@dataclass(frozen=True, slots=True)
class ThinkTimes:
    """How long a node thinks before it answers its first, second, third ... request.

    A function of (seed, node, ordinal of the request), so it is the same whoever asks and whatever
    is asked. Mostly a few milliseconds; a small share is heavy-tailed (a Pareto, cut off).
    """

    seed: int
    node: int
    floor_s: float = 0.003
    mean_s: float = 0.004  # of the exponential part on top of the floor
    tail_share: float = 0.01
    tail_start_s: float = 0.05
    tail_max_s: float = 2.0

    def __post_init__(self) -> None:
        if min(self.floor_s, self.mean_s) < 0 or not 0 <= self.tail_share <= 1:
            raise ValueError("think times are at least 0, and a share lies between 0 and 1")
        if not 0 < self.tail_start_s <= self.tail_max_s:
            raise ValueError("a tail starts above 0 and below its end")

    def of(self, ordinal: int) -> float:
        """Return the think time of the node's request number ``ordinal``, from 0."""
        # ``uniform_of(seed, node, ordinal)``, and with 1 for a fourth word.
        state = _mixed(_state_of(self.seed, self.node), ordinal)
        think_s = self.floor_s - self.mean_s * math.log(_uniform(state))
        kind = _uniform(_mixed(state, 1))
        if kind >= self.tail_share:
            return think_s
        # P(tail > x) = tail_start / x: half of the slow answers take twice the start, and so on.
        return min(self.tail_max_s, think_s + self.tail_start_s * self.tail_share / kind)


@dataclass(frozen=True, slots=True)
class NodeModel:
    """One node: its capacity over time, its round trip and its faults."""

    bytes_per_s: tuple[float, ...]  # capacity in each second; the last one lasts for ever
    rtt_s: float
    think_s: float = 0.003  # from the request to the first byte, beside the round trip
    faults: tuple[Fault, ...] = ()
    think_times: ThinkTimes | None = None  # instead of the constant

    def __post_init__(self) -> None:
        if not self.bytes_per_s or min(self.bytes_per_s) < 0 or self.rtt_s <= 0:
            raise ValueError("a node needs a capacity of at least 0 and a round trip above 0")

    def think_time_s(self, ordinal: int) -> float:
        """Return how long the node thinks over its request number ``ordinal``."""
        return self.think_s if self.think_times is None else self.think_times.of(ordinal)

    def recovers_s(self, fault: Fault) -> float:
        """Return when the effects of a fault end: after a freeze, one round trip later."""
        return fault.stop_s + (self.rtt_s if fault.kind is FaultKind.FREEZE else 0.0)

    def fault_at(self, now_s: float) -> FaultKind | None:
        """Return what is wrong with the node at an instant, if anything."""
        for fault in self.faults:
            if fault.start_s <= now_s < self.recovers_s(fault):
                return fault.kind
        return None

    def capacity_at(self, now_s: float) -> float:
        """Return the bytes per second it could send at an instant."""
        kind = self.fault_at(now_s)
        if kind in (FaultKind.FREEZE, FaultKind.REFUSE):
            return 0.0
        whole = self.bytes_per_s[min(int(now_s), len(self.bytes_per_s) - 1)]
        if kind is FaultKind.SLOW:
            return SLOW_SHARE * whole
        return min(whole, DRIP_BYTES_PER_S) if kind is FaultKind.DRIP else whole

    def next_change_s(self, now_s: float) -> float:
        """Return the next instant at which its capacity may change."""
        second = int(now_s) + 1
        best_s = float(second) if second < len(self.bytes_per_s) else INFINITY
        for fault in self.faults:
            for edge_s in (fault.start_s, self.recovers_s(fault)):
                if now_s < edge_s < best_s:
                    best_s = edge_s
        return best_s
