"""Which nodes live: decided from the instants at which they were heard, by nothing else.

    unknown -- heard --> up -- 5 beats missed --> suspect -- 15 min silent --> lost
       |                 ^                         |  ^                          |
       +-- 5 missed -----|-------------------------|--+                          |
                         +---------- heard --------+------------- heard ---------+

``unknown`` is a node not heard since this coordinator started; it turns suspect like any other.
A fixed number of missed beats beats an adaptive one: with 1 % of beats lost on a jittery link, 5
gave no false alarm in a day, phi-accrual 745 and more. Suspicion costs nothing but placements;
only ``lost`` moves data.
"""

from dataclasses import dataclass
from enum import StrEnum

from redundancy.errors import ConfigError


class NodeState(StrEnum):
    """What the coordinator thinks of a node."""

    UNKNOWN = "unknown"
    UP = "up"
    SUSPECT = "suspect"  # takes nothing new
    LOST = "lost"  # its fragments are to be rebuilt elsewhere


class Loss(StrEnum):
    """Why a node counts as lost."""

    NO = "no"
    SILENCE = "silence"  # until it is heard again
    TOLD = "told"  # by the operator, until it is added again


@dataclass(frozen=True, slots=True)
class DetectorLimits:
    """How long a silence means what."""

    interval_s: float = 1.0  # between two signs of life of a healthy node
    suspect_after_missed: int = 5
    lost_after_s: float = 15 * 60.0

    def __post_init__(self) -> None:
        if self.interval_s <= 0:
            raise ConfigError("the interval between probes must be above zero")
        if self.suspect_after_missed < 2:
            raise ConfigError(
                "a node must miss at least 2 probes to be suspect",
                hint="with a timeout equal to the interval, healthy nodes come and go all the time",
            )
        if self.lost_after_s <= self.suspect_after_s:
            raise ConfigError(
                f"a node cannot be lost after {self.lost_after_s:g} s of silence: it is only "
                f"suspect after {self.suspect_after_s:g} s",
                hint="give a longer time with --repair-after, such as 15m",
            )

    @property
    def suspect_after_s(self) -> float:
        """A silence this long is that many missed beats, the last of them half a beat late."""
        return (self.suspect_after_missed + 0.5) * self.interval_s

    @property
    def deaf_after_s(self) -> float:
        """Who was not asked for longer than this was not listening, so silence proves nothing."""
        return 2 * self.interval_s


@dataclass(frozen=True, slots=True)
class StateChange:
    """A node's state became another."""

    node: str
    before: NodeState
    after: NodeState


@dataclass(slots=True)
class _Watched:
    silent_since_s: float
    state: NodeState = NodeState.UNKNOWN
    heard_at_s: float | None = None
    is_declared_lost: bool = False


class FailureDetector:
    """Responsible for every node's state. Instants are those of one monotonic clock."""

    def __init__(self, limits: DetectorLimits, now_s: float) -> None:
        self.limits = limits
        self._now_s = now_s
        self._nodes: dict[str, _Watched] = {}

    def watch(self, node: str, now_s: float) -> list[StateChange]:
        """Begin with a node, or begin anew with one that was declared lost."""
        changes = self.advance(now_s)
        watched = self._nodes.get(node)
        if watched is None or watched.is_declared_lost:
            self._nodes[node] = _Watched(silent_since_s=now_s)
        return changes

    def watch_lost(self, node: str, now_s: float) -> list[StateChange]:
        """Begin with a node that was silent for too long already when this started."""
        changes = self.advance(now_s)
        watched = self._nodes[node] = _Watched(silent_since_s=now_s - self.limits.lost_after_s)
        return changes + self._turn(node, watched, NodeState.LOST)

    def loss(self, node: str) -> Loss:
        """Return whether and why a watched node is lost, as of the last instant given."""
        watched = self._nodes[node]
        if watched.is_declared_lost:
            return Loss.TOLD
        return Loss.SILENCE if watched.state is NodeState.LOST else Loss.NO

    def forget(self, node: str) -> None:
        """Watch a node no more."""
        self._nodes.pop(node, None)

    def heard(self, node: str, now_s: float) -> list[StateChange]:
        """Note a sign of life of a watched node.

        One that the operator declared lost stays lost until it is added again.
        """
        changes = self.advance(now_s)
        watched = self._nodes[node]
        watched.silent_since_s = watched.heard_at_s = now_s
        if not watched.is_declared_lost:
            changes += self._turn(node, watched, NodeState.UP)
        return changes

    def declare_lost(self, node: str, now_s: float) -> list[StateChange]:
        """Take the operator's word that a node does not come back."""
        changes = self.advance(now_s)
        watched = self._nodes[node]
        watched.is_declared_lost = True
        return changes + self._turn(node, watched, NodeState.LOST)

    def advance(self, now_s: float) -> list[StateChange]:
        """Take note of the time. Call it at ``next_wakeup_s`` and before every question."""
        assert now_s >= self._now_s, "the clock went back"
        gap_s = now_s - self._now_s
        self._now_s = now_s
        if gap_s > self.limits.deaf_after_s:
            # We ourselves stood still (a suspended machine, a frozen process).
            for watched in self._nodes.values():
                watched.silent_since_s += gap_s
        return [
            change
            for node, watched in self._nodes.items()
            for change in self._turn(node, watched, self._due_state(watched))
        ]

    def state(self, node: str) -> NodeState:
        """Return a watched node's state as of the last instant given."""
        return self._nodes[node].state

    def seen_s_ago(self, node: str) -> float | None:
        """Return how long ago the node was last heard; None: never."""
        heard_at_s = self._nodes[node].heard_at_s
        return None if heard_at_s is None else self._now_s - heard_at_s

    def next_wakeup_s(self) -> float:
        """Return when to call ``advance`` next, so that silence is told from deafness."""
        return self._now_s + self.limits.interval_s

    def check_invariants(self) -> None:
        """Assert what is true at every instant."""
        for watched in self._nodes.values():
            assert watched.silent_since_s <= self._now_s
            assert watched.heard_at_s is None or watched.heard_at_s <= watched.silent_since_s
            assert watched.state == self._due_state(watched)

    def _due_state(self, watched: _Watched) -> NodeState:
        silence_s = self._now_s - watched.silent_since_s
        if watched.is_declared_lost or silence_s >= self.limits.lost_after_s:
            return NodeState.LOST
        if silence_s >= self.limits.suspect_after_s:
            return NodeState.SUSPECT
        return NodeState.UNKNOWN if watched.heard_at_s is None else NodeState.UP

    def _turn(self, node: str, watched: _Watched, state: NodeState) -> list[StateChange]:
        before, watched.state = watched.state, state
        return [] if before is state else [StateChange(node, before, state)]
