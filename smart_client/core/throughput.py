"""How much comes from all nodes together, and how much each could send at its best."""

from collections import deque
from collections.abc import Sequence

import msgspec

from smart_client.core.node_table import NodeState

# Throughput is looked at over windows of this length, in slots of a tenth of it.
FLOW_WINDOW_S = 2.0
FLOW_SLOTS = 10


class Throughput(msgspec.Struct, frozen=True):
    """What came from all nodes together, in bytes per second."""

    recent: float  # during the last two seconds
    peak: float  # the most in any two seconds so far
    alone: float  # the sum of the best rates of the nodes that are sending
    sending: int  # nodes that sent in the last two seconds
    needed: float  # by the video, where it stands


class FlowMeter:
    """Responsible for throughput over time: of all nodes together and of each at its best."""

    def __init__(self, nodes: int) -> None:
        self._slots: deque[tuple[float, tuple[int, ...]]] = deque(maxlen=FLOW_SLOTS + 1)
        self._best = [0.0] * nodes
        self._peak = 0.0

    def sample(self, now_s: float, nodes: Sequence[NodeState]) -> None:
        """Note how much has come from each node by now."""
        if self._slots and now_s - self._slots[-1][0] < FLOW_WINDOW_S / FLOW_SLOTS:
            return
        received = tuple(node.bytes_received for node in nodes)
        self._best += [0.0] * (len(nodes) - len(self._best))  # nodes may join
        for index, node in enumerate(nodes):
            self._best[index] = max(self._best[index], node.rate.bytes_per_s())
        self._slots.append((now_s, received))
        if now_s - self._slots[0][0] >= FLOW_WINDOW_S / 2:  # a shorter look would see bursts
            self._peak = max(self._peak, self._recent(now_s)[0])

    def _recent(self, now_s: float) -> tuple[float, list[int]]:
        """Return bytes per second in the window that ends now, and which nodes sent in it."""
        slots = [slot for slot in self._slots if slot[0] >= now_s - FLOW_WINDOW_S - 1e-9]
        if len(slots) < 2:
            return 0.0, []
        (then_s, before), (last_s, after) = slots[0], slots[-1]
        before += (0,) * (len(after) - len(before))
        sent = [b - a for a, b in zip(before, after, strict=True)]
        span_s = max(last_s - then_s, FLOW_WINDOW_S / FLOW_SLOTS)
        return sum(sent) / span_s, [index for index, count in enumerate(sent) if count]

    def throughput(self, now_s: float, needed: float) -> Throughput:
        """Return the figures at this instant."""
        recent, sending = self._recent(now_s)
        return Throughput(
            recent=recent,
            peak=max(self._peak, recent),
            alone=sum(self._best[index] for index in sending),
            sending=len(sending),
            needed=needed,
        )
