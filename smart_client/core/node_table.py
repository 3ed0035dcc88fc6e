"""What the session believes of each node, and for how long it leaves a failing one alone.

    up ──failure or silence──▶ suspect ──pause over──▶ on trial ──first byte──▶ up
                                  ▲                        │
                                  └───── failure ──────────┘   (pause doubles)

A node on trial gets one small request; the next real request is the probe.
"""

from collections.abc import Sequence
from typing import Final

from smart_client.core.estimators import RateEstimator, ReliabilityEstimator, RttEstimator
from smart_client.core.events import NodeFacts
from smart_client.core.pieces import Piece

# Silence is judged against the node's own round trips, but never faster than this: a scheduling
# hiccup or one lost packet (Linux' minimum retransmission timeout) takes 200 ms.
SILENCE_MIN_S: Final = 0.2

# Before anything is known of a node. Once other nodes have answered, their round trips serve.
SILENCE_UNKNOWN_S: Final = 0.5

# A first mistake costs half a second, a dead node one request every eight.
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 8.0

# A node that comes back from a suspicion at once was only uneven (a busy disk, a cap that sends in
# bursts). Its limits are stretched, up to this much, and shrink again with every good piece.
PATIENCE_MAX: Final = 8.0
PATIENCE_DECAY: Final = 0.8
FALSE_ALARM_S: Final = 2.0

PROBE_INTERVAL_S: Final = 3.0

# A node that never gave a byte has no rate to divide by.
RATE_MIN_BYTES_PER_S: Final = 1.0


class NodeState:
    """Responsible for one node's estimates, its requests in flight and its standing."""

    __slots__ = (
        "backoff_s",
        "bytes_received",
        "failures",
        "footers_in_flight",
        "grown_bytes",
        "id",
        "index",
        "last_byte_s",
        "next_probe_s",
        "patience",
        "pieces",
        "probing",
        "rate",
        "reliability",
        "rtt",
        "suspect_since_s",
        "suspect_until_s",
    )

    def __init__(self, index: int, node_id: str) -> None:
        self.index = index
        self.id = node_id
        self.rtt = RttEstimator()
        self.rate = RateEstimator()
        self.reliability = ReliabilityEstimator()
        self.pieces: list[Piece] = []  # data pieces in flight, oldest first
        self.footers_in_flight = 0
        self.grown_bytes = 0  # size of the next request while the rate is unmeasured
        self.bytes_received = 0
        self.failures = 0
        self.last_byte_s = 0.0
        self.backoff_s = 0.0
        self.suspect_since_s = -1.0  # -1: not suspect
        self.suspect_until_s = 0.0
        self.patience = 1.0  # factor on its silence limits
        self.probing = False
        self.next_probe_s = PROBE_INTERVAL_S

    @property
    def is_suspect(self) -> bool:
        """Whether its last request failed and none has succeeded since."""
        return self.suspect_since_s >= 0

    def may_ask(self, now_s: float) -> bool:
        """Whether a request may be sent: not in a pause, and at most one while on trial."""
        if not self.is_suspect:
            return True
        return now_s >= self.suspect_until_s and not self.pieces and not self.footers_in_flight

    def silence_limit_s(self, fallback_s: float) -> float:
        """Return how long its first byte may take before it counts as silent."""
        if self.rtt.smoothed_s == 0.0:
            return self.patience * max(SILENCE_MIN_S, fallback_s)
        return self.patience * max(SILENCE_MIN_S, self.rtt.upper_s())

    def gap_limit_s(self) -> float:
        """Return how long it may pause in the middle of an answer."""
        return self.patience * max(SILENCE_MIN_S, 3 * self.rtt.smoothed_s)

    def suspect(self, now_s: float) -> float:
        """Leave the node alone for a while, longer each time; return for how long."""
        self.failures += 1
        self.reliability.add(False)
        self.backoff_s = min(BACKOFF_MAX_S, max(BACKOFF_FIRST_S, 2 * self.backoff_s))
        if not self.is_suspect:
            self.suspect_since_s = now_s
        self.suspect_until_s = now_s + self.backoff_s
        return self.backoff_s

    def trust(self, now_s: float) -> None:
        """It answered with data: forget the suspicion, and learn from a false alarm."""
        if now_s - self.suspect_since_s < FALSE_ALARM_S:
            self.patience = min(PATIENCE_MAX, 2 * self.patience)
        self.suspect_since_s = -1.0
        self.suspect_until_s = 0.0
        self.backoff_s = 0.0

    def completed(self) -> None:
        """A request was answered in full."""
        self.reliability.add(True)
        self.patience = max(1.0, PATIENCE_DECAY * self.patience)

    def bytes_per_s(self) -> float:
        """Return the believed rate, never 0."""
        return max(RATE_MIN_BYTES_PER_S, self.rate.bytes_per_s())

    def facts(self) -> NodeFacts:
        """Return what another session may start from."""
        return NodeFacts(
            id=self.id,
            rtt_s=self.rtt.smoothed_s,
            rtt_deviation_s=self.rtt.deviation_s,
            bytes_per_s=self.rate.bytes_per_s() if self.rate.is_measured else 0.0,
            reliability=self.reliability.share,
            is_suspect=self.is_suspect,
        )

    def remember(self, facts: NodeFacts, now_s: float) -> None:
        """Start from what another session knows; a suspect is on trial at once."""
        if facts.rtt_s > 0:
            self.rtt.seed(facts.rtt_s, facts.rtt_deviation_s)
        if facts.bytes_per_s > 0:
            self.rate.seed(facts.bytes_per_s)
        self.reliability.share = facts.reliability
        if facts.is_suspect and not self.is_suspect:
            self.suspect_since_s = self.suspect_until_s = now_s

    def backlog_bytes(self) -> int:
        """Return what is still to come of the requests in flight."""
        return sum(piece.remaining_bytes for piece in self.pieces)


class NodeTable:
    """Responsible for all nodes of a session."""

    __slots__ = ("nodes",)

    def __init__(self, node_ids: Sequence[str]) -> None:
        self.nodes = [NodeState(index, node_id) for index, node_id in enumerate(node_ids)]

    def __getitem__(self, index: int) -> NodeState:
        return self.nodes[index]

    def positions(self) -> dict[str, int]:
        """Return where each node is in the table, by its name."""
        return {node.id: node.index for node in self.nodes}

    def __len__(self) -> int:
        return len(self.nodes)

    def silence_fallback_s(self) -> float:
        """Return the silence limit for a node that never answered: three times the slowest peer."""
        known = [node.rtt.smoothed_s for node in self.nodes if node.rtt.smoothed_s > 0]
        return min(SILENCE_UNKNOWN_S, 3 * max(known)) if known else SILENCE_UNKNOWN_S
