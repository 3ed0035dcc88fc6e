"""Nodes and links as fluid flows: a request waits, answers, and shares its node's capacity.

A request on a fresh connection costs one round trip to connect and one to answer; on a kept one,
one round trip. Flows of a node share its capacity equally, and all flows share the client's link
(max-min fair). Faults cut a node off in the ways nodes really fail. Pure: the caller holds the
clock.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

INFINITY = float("inf")

# Bytes in flight are reported this often while a flow runs, as a socket would.
REPORT_S = 0.05

# A node that drips sends this little: alive for every health check, useless for a viewer.
DRIP_BYTES_PER_S = 2_000.0

# Floating-point left-overs below this are no bytes.
EPSILON_BYTES = 1e-6


class FaultKind(StrEnum):
    """The ways a node fails."""

    REFUSE = "refuse"  # the process is gone: connections are refused, running ones reset
    FREEZE = "freeze"  # the process stands still: connects, then silence
    DRIP = "drip"  # a few bytes a second
    GARBAGE = "garbage"  # answers with wrong bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """A node misbehaves in [start_s, stop_s)."""

    kind: FaultKind
    start_s: float
    stop_s: float = INFINITY


@dataclass(frozen=True, slots=True)
class NodeModel:
    """One node: its capacity over time, its round trip and its faults."""

    bytes_per_s: tuple[float, ...]  # capacity in each second; the last one lasts for ever
    rtt_s: float
    think_s: float = 0.003  # from the request to the first byte, beside the round trip
    faults: tuple[Fault, ...] = ()

    def __post_init__(self) -> None:
        if not self.bytes_per_s or min(self.bytes_per_s) < 0 or self.rtt_s <= 0:
            raise ValueError("a node needs a capacity of at least 0 and a round trip above 0")

    def fault_at(self, now_s: float) -> FaultKind | None:
        """Return what is wrong with the node at an instant, if anything."""
        for fault in self.faults:
            if fault.start_s <= now_s < fault.stop_s:
                return fault.kind
        return None

    def capacity_at(self, now_s: float) -> float:
        """Return the bytes per second it could send at an instant."""
        kind = self.fault_at(now_s)
        if kind in (FaultKind.FREEZE, FaultKind.REFUSE):
            return 0.0
        whole = self.bytes_per_s[min(int(now_s), len(self.bytes_per_s) - 1)]
        return min(whole, DRIP_BYTES_PER_S) if kind is FaultKind.DRIP else whole

    def next_change_s(self, now_s: float) -> float:
        """Return the next instant at which its capacity may change."""
        second = int(now_s) + 1
        best_s = float(second) if second < len(self.bytes_per_s) else INFINITY
        for fault in self.faults:
            for edge_s in (fault.start_s, fault.stop_s):
                if edge_s > now_s:
                    best_s = min(best_s, edge_s)
        return best_s


class Happening(StrEnum):
    """What the network reports of a request."""

    CONNECTED = "connected"
    FIRST_BYTE = "first byte"
    BYTES = "bytes"
    DONE = "done"
    REFUSED = "refused"
    RESET = "reset"
    GARBAGE = "garbage"


@dataclass(slots=True)
class Flow:
    """One request in the model."""

    number: int
    node: int
    size: float
    requested_s: float
    connect_at_s: float  # infinity once connected
    answer_at_s: float
    rtt_s: float
    answered: bool = False
    received: float = 0.0
    reported: int = -1
    report_at_s: float = INFINITY
    rate: float = 0.0


@dataclass(slots=True)
class Network:
    """Responsible for moving flows forward. ``advance`` returns what happened at one instant."""

    nodes: Sequence[NodeModel]
    client_bytes_per_s: float = INFINITY
    now_s: float = 0.0
    flows: dict[int, Flow] = field(default_factory=dict)
    warm: list[int] = field(default_factory=list)  # kept connections per node
    moved_bytes: float = 0.0  # everything that crossed the client's link

    def __post_init__(self) -> None:
        self.warm = [0] * len(self.nodes)

    def request(self, number: int, node: int, size: int) -> None:
        """Send a request for ``size`` bytes now."""
        model = self.nodes[node]
        connect_at_s = INFINITY
        ready_s = self.now_s
        if self.warm[node]:
            self.warm[node] -= 1
        else:
            connect_at_s = ready_s = self.now_s + model.rtt_s
        answer_at_s = ready_s + model.rtt_s + model.think_s
        self.flows[number] = Flow(
            number, node, float(size), self.now_s, connect_at_s, answer_at_s, model.rtt_s
        )

    def shorten(self, number: int, size: int) -> None:
        """The client stops reading at ``size``; that costs the connection."""
        flow = self.flows.get(number)
        if flow is not None and size < flow.size:
            flow.size = max(float(size), flow.received)
            self.warm[flow.node] -= 1

    def cancel(self, number: int) -> None:
        """The client closes the connection."""
        self.flows.pop(number, None)

    def next_event_s(self) -> float:
        """Return the next instant at which something may happen."""
        self._share()
        best_s = INFINITY
        active = set()
        for flow in self.flows.values():
            active.add(flow.node)
            best_s = min(best_s, self._due_s(flow))
        for index in active:
            best_s = min(best_s, self.nodes[index].next_change_s(self.now_s))
        return best_s

    def advance(self, now_s: float) -> list[tuple[Happening, Flow]]:
        """Move to ``now_s`` (at most ``next_event_s``) and return what happened then, in order."""
        elapsed_s = now_s - self.now_s
        if elapsed_s > 0:
            self._share()
            for flow in self.flows.values():
                moved = min(flow.rate * elapsed_s, flow.size - flow.received)
                flow.received += moved
                self.moved_bytes += moved
        self.now_s = now_s
        happened: list[tuple[Happening, Flow]] = []
        for flow in list(self.flows.values()):
            self._step(flow, happened)
        return happened

    # -- helpers ---------------------------------------------------------------------------------

    def _due_s(self, flow: Flow) -> float:
        kind = self.nodes[flow.node].fault_at(self.now_s)
        if kind is FaultKind.REFUSE:
            # A closed port answers the connect at once; a running connection is reset likewise.
            return max(self.now_s, min(flow.connect_at_s, flow.answer_at_s))
        if flow.connect_at_s < INFINITY:
            return flow.connect_at_s
        if kind is FaultKind.FREEZE:
            return INFINITY
        if not flow.answered:
            return flow.answer_at_s
        if flow.rate <= 0:
            return INFINITY
        left = max(0.0, flow.size - flow.received)
        return min(self.now_s + left / flow.rate, max(flow.report_at_s, self.now_s))

    def _step(self, flow: Flow, happened: list[tuple[Happening, Flow]]) -> None:
        kind = self.nodes[flow.node].fault_at(self.now_s)
        if kind is FaultKind.REFUSE and self.now_s >= self._due_s(flow):
            fresh = flow.connect_at_s < INFINITY
            self._end(flow, Happening.REFUSED if fresh else Happening.RESET, happened)
            self.warm[flow.node] = 0
            return
        if self.now_s >= flow.connect_at_s:
            flow.connect_at_s = INFINITY
            happened.append((Happening.CONNECTED, flow))
        if kind is FaultKind.FREEZE:
            return
        if not flow.answered and self.now_s >= flow.answer_at_s:
            flow.answered = True
            flow.report_at_s = self.now_s + REPORT_S
            if kind is FaultKind.GARBAGE:
                self._end(flow, Happening.GARBAGE, happened)
                return
            happened.append((Happening.FIRST_BYTE, flow))
        if flow.answered and flow.size - flow.received <= EPSILON_BYTES:
            self.warm[flow.node] += 1
            self._end(flow, Happening.DONE, happened)
        elif flow.answered and self.now_s >= flow.report_at_s:
            flow.report_at_s = self.now_s + REPORT_S
            if int(flow.received) > flow.reported:
                flow.reported = int(flow.received)
                happened.append((Happening.BYTES, flow))

    def _end(self, flow: Flow, what: Happening, happened: list[tuple[Happening, Flow]]) -> None:
        del self.flows[flow.number]
        self.warm[flow.node] = max(0, self.warm[flow.node])
        happened.append((what, flow))

    def _share(self) -> None:
        """Give every flow its max-min fair rate."""
        sending: dict[int, list[Flow]] = {}
        for flow in self.flows.values():
            flow.rate = 0.0
            if flow.answered:
                sending.setdefault(flow.node, []).append(flow)
        for node, flows in sending.items():
            share = self.nodes[node].capacity_at(self.now_s) / len(flows)
            for flow in flows:
                flow.rate = share
        everything = [flow for flows in sending.values() for flow in flows]
        if sum(flow.rate for flow in everything) <= self.client_bytes_per_s:
            return
        left, waiting = self.client_bytes_per_s, sorted(everything, key=lambda f: f.rate)
        for position, flow in enumerate(waiting):
            flow.rate = min(flow.rate, left / (len(waiting) - position))
            left -= flow.rate
