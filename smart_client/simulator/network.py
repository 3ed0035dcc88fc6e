"""Nodes and links as fluid flows: a request waits, answers, and shares its node's capacity.

    connecting ──round trip──▶ waiting ──round trip + think time──▶ sending ──▶ done
         └──────────── node refuses: refused or reset, at any time ───────┘

Flows of a node share its capacity equally, and all flows share the client's link (max-min fair).
What real connections add is switched on one by one in ``NetworkModel``. Rates are recomputed only
where something changed; between two changes of a node its flows are straight lines. Pure: the
caller holds the clock.
"""

import math
from collections.abc import Sequence
from typing import Final

from smart_client.simulator.flows import (
    IDEAL,
    REALISTIC,
    Connection,
    Flow,
    Happening,
    NetworkModel,
    Pipe,
)
from smart_client.simulator.node_model import INFINITY, Fault, FaultKind, NodeModel

__all__ = [
    "IDEAL",
    "INFINITY",
    "REALISTIC",
    "Fault",
    "FaultKind",
    "Flow",
    "Happening",
    "Network",
    "NetworkModel",
    "NodeModel",
]

# RFC 6928: a fresh connection may send ten segments before the first acknowledgement.
INITIAL_WINDOW_BYTES: Final = 10.0 * 1460

# Linux' least retransmission timeout. A connection idle for longer than that on top of its round
# trip begins anew with the first window (net.ipv4.tcp_slow_start_after_idle).
RTO_MIN_S: Final = 0.2

# Blocks are what a session counts; it learns of each at once while somebody waits for it.
BLOCK_BYTES: Final = 16 * 1024

# Progress below a packet is never reported on its own.
REPORT_BYTES_MIN: Final = 1460

# Rounding errors below this are no bytes.
EPSILON_BYTES: Final = 0.01


class Network:
    """Responsible for moving flows forward. ``advance`` returns what happened at one instant."""

    def __init__(
        self,
        nodes: Sequence[NodeModel],
        client_bytes_per_s: float = INFINITY,
        model: NetworkModel | None = None,
    ) -> None:
        self.nodes = nodes
        self.client_bytes_per_s = client_bytes_per_s
        self.model = model or NetworkModel()
        self.now_s = 0.0
        self.flows: dict[int, Flow] = {}
        self._pipes = [Pipe(node, [], []) for node in nodes]
        self._dirty: list[Pipe] = []  # their rates have to be shared anew
        self._next_s = INFINITY
        self._reports_blocks = False

    # -- what the client does --------------------------------------------------------------------

    def request(self, number: int, node: int, size: int) -> None:
        """Send a request for ``size`` bytes now."""
        pipe = self._pipes[node]
        self._settle(pipe)
        self._refresh(pipe)
        model = pipe.model
        connect_at_s, ready_s = INFINITY, self.now_s
        if pipe.idle:
            connection = pipe.idle.pop()
            if self.now_s - connection.used_s > model.rtt_s + RTO_MIN_S:
                connection.window_bytes = INITIAL_WINDOW_BYTES
        else:
            connect_at_s = ready_s = self.now_s + model.rtt_s
            connection = Connection(INITIAL_WINDOW_BYTES, self.now_s)
        if not self.model.slow_start:
            connection.window_bytes = INFINITY
        answer_at_s = ready_s + model.rtt_s + model.think_time_s(pipe.requests)
        pipe.requests += 1
        flow = Flow(
            number=number,
            node=node,
            size=float(size),
            requested_s=self.now_s,
            connect_at_s=connect_at_s,
            answer_at_s=answer_at_s,
            rtt_s=model.rtt_s,
            connection=connection,
            asked_bytes=float(size),
            received=-float(self.model.head_bytes),
        )
        self.flows[number] = flow
        pipe.flows.append(flow)
        self._touch(pipe)

    def shorten(self, number: int, size: int) -> None:
        """The client stops reading at ``size``; once there, it gives the rest up."""
        flow = self.flows.get(number)
        if flow is not None and size < flow.size:
            pipe = self._pipes[flow.node]
            self._settle(pipe)
            flow.size = max(float(size), flow.received, 0.0)
            self._touch(pipe)

    def cancel(self, number: int) -> None:
        """The client gives a request up."""
        flow = self.flows.pop(number, None)
        if flow is not None:
            pipe = self._pipes[flow.node]
            self._settle(pipe)
            pipe.flows.remove(flow)
            self._give_up(pipe, flow)
            self._touch(pipe)

    def report_blocks(self, wanted: bool) -> None:
        """Report every block of an answer as it comes, not only every ``report_s``."""
        if wanted != self._reports_blocks:
            self._reports_blocks = wanted
            for pipe in self._pipes:
                if pipe.flows:
                    self._settle(pipe)
                    self._touch(pipe)

    def overdue_reports(self) -> list[tuple[Happening, Flow]]:
        """Return the progress that nobody was told of yet, one entry a running answer."""
        happened: list[tuple[Happening, Flow]] = []
        for pipe in self._pipes:
            self._settle(pipe)
            for flow in pipe.flows:
                received = int(flow.received + EPSILON_BYTES)
                if received - max(0, flow.reported) >= REPORT_BYTES_MIN and not flow.is_abandoned:
                    flow.reported = received
                    flow.report_at_s = self._next_report_s()
                    self._touch(pipe)
                    happened.append((Happening.BYTES, flow))
        return happened

    # -- time ------------------------------------------------------------------------------------

    def next_event_s(self) -> float:
        """Return the next instant at which something may happen."""
        if not self._dirty:
            return self._next_s
        is_limited = self.client_bytes_per_s < INFINITY
        dirty = self._pipes if is_limited else self._dirty
        for pipe in dirty:
            self._settle(pipe)
            self._share(pipe)
        if is_limited:
            self._share_client_link()
        for pipe in dirty:
            pipe.is_dirty = False
            pipe.due_s = self._due_s(pipe)
        self._dirty = []
        self._next_s = min([pipe.due_s for pipe in self._pipes], default=INFINITY)
        return self._next_s

    def advance(self, now_s: float) -> list[tuple[Happening, Flow]]:
        """Move to ``now_s`` (at most ``next_event_s``) and return what happened then, in order."""
        next_s = self.next_event_s()
        self.now_s = now_s
        happened: list[tuple[Happening, Flow]] = []
        if next_s > now_s:
            return happened
        for pipe in self._pipes:
            if pipe.due_s <= now_s:
                self._settle(pipe)
                self._refresh(pipe)
                for flow in pipe.flows.copy():
                    self._step(pipe, flow, happened)
                self._touch(pipe)
        return happened

    @property
    def moved_bytes(self) -> float:
        """Everything that has crossed the client's link so far."""
        return sum(self.moved_bytes_by_node())

    def moved_bytes_by_node(self) -> list[float]:
        """Return what each node has sent so far."""
        for pipe in self._pipes:
            self._settle(pipe)
        return [pipe.moved_bytes for pipe in self._pipes]

    def _touch(self, pipe: Pipe) -> None:
        if not pipe.is_dirty:
            pipe.is_dirty = True
            self._dirty.append(pipe)

    # -- one node --------------------------------------------------------------------------------

    def _settle(self, pipe: Pipe) -> None:
        """Move its flows along their lines to the present."""
        elapsed_s = self.now_s - pipe.settled_s
        if elapsed_s <= 0:
            return
        pipe.settled_s = self.now_s
        for flow in pipe.flows:
            if flow.rate > 0:
                had = max(0.0, flow.received)
                flow.received += min(flow.rate * elapsed_s, flow.size - flow.received)
                pipe.moved_bytes += max(0.0, flow.received) - had

    def _refresh(self, pipe: Pipe) -> None:
        """Bring its capacity and its fault up to the present."""
        if self.now_s < pipe.constant_until_s:
            return
        model = pipe.model
        for fault in model.faults:
            if fault.kind is FaultKind.REFUSE and fault.start_s <= self.now_s:
                # A process that went away took its connections along.
                pipe.idle = [c for c in pipe.idle if c.used_s >= fault.stop_s]
        pipe.kind = model.fault_at(self.now_s)
        pipe.capacity = model.capacity_at(self.now_s)
        pipe.constant_until_s = model.next_change_s(self.now_s)

    def _due_s(self, pipe: Pipe) -> float:
        due_s = pipe.constant_until_s if pipe.flows else INFINITY
        for flow in pipe.flows:
            due_s = min(due_s, self._flow_due_s(pipe, flow))
        return due_s

    def _flow_due_s(self, pipe: Pipe, flow: Flow) -> float:
        now_s = self.now_s
        if pipe.kind is FaultKind.REFUSE:
            # A closed port answers the connect at once; a running connection is reset likewise.
            return max(now_s, min(flow.connect_at_s, flow.answer_at_s))
        if flow.connect_at_s < INFINITY:
            return flow.connect_at_s
        if pipe.kind is FaultKind.FREEZE:
            return INFINITY
        if not flow.answered:
            return max(now_s, flow.answer_at_s)
        left = flow.size - flow.received
        if left <= EPSILON_BYTES:
            return now_s
        if flow.rate <= 0:
            return INFINITY
        if flow.is_abandoned:
            return min(now_s + left / flow.rate, flow.grow_at_s)
        if not flow.head_is_in:
            return min(now_s + max(0.0, -flow.received) / flow.rate, flow.grow_at_s)
        if self._reports_blocks:
            block = BLOCK_BYTES - (flow.received + EPSILON_BYTES) % BLOCK_BYTES
            left = min(left, block + EPSILON_BYTES)
        due_s = min(now_s + left / flow.rate, flow.grow_at_s)  # compiled, three would be boxed
        return min(due_s, max(flow.report_at_s, now_s))

    def _step(self, pipe: Pipe, flow: Flow, happened: list[tuple[Happening, Flow]]) -> None:
        now_s = self.now_s
        if pipe.kind is FaultKind.REFUSE and now_s >= min(flow.connect_at_s, flow.answer_at_s):
            fresh = flow.connect_at_s < INFINITY
            self._end(pipe, flow, Happening.REFUSED if fresh else Happening.RESET, happened)
            return
        if now_s >= flow.connect_at_s:
            flow.connect_at_s = INFINITY
            self._tell(Happening.CONNECTED, flow, happened)
        if pipe.kind is FaultKind.FREEZE:
            return
        if not flow.answered:
            if flow.connect_at_s < INFINITY or now_s < flow.answer_at_s:
                return
            flow.answered = True
            flow.report_at_s = self._next_report_s()
            if pipe.kind is FaultKind.GARBAGE:
                self._end(pipe, flow, Happening.GARBAGE, happened)
                return
        self._take_head(flow, happened)
        if now_s >= flow.grow_at_s:
            flow.grow_at_s = INFINITY
            flow.connection.window_bytes *= 2
        if flow.size - flow.received <= EPSILON_BYTES:
            self._end(pipe, flow, Happening.DONE, happened)
        elif flow.head_is_in and not flow.is_abandoned:
            self._report(flow, happened)

    def _take_head(self, flow: Flow, happened: list[tuple[Happening, Flow]]) -> None:
        if not flow.head_is_in and flow.received >= -EPSILON_BYTES:
            flow.head_is_in = True
            flow.received = max(0.0, flow.received)
            self._tell(Happening.FIRST_BYTE, flow, happened)

    def _report(self, flow: Flow, happened: list[tuple[Happening, Flow]]) -> None:
        received = int(flow.received + EPSILON_BYTES)
        block = self._reports_blocks and received // BLOCK_BYTES > flow.reported // BLOCK_BYTES
        if block or self.now_s >= flow.report_at_s:
            flow.report_at_s = self._next_report_s()
            if received > max(0, flow.reported):
                flow.reported = received
                happened.append((Happening.BYTES, flow))

    def _next_report_s(self) -> float:
        model = self.model
        if model.reports_together:
            return (math.floor(self.now_s / model.report_s + 1e-6) + 1) * model.report_s
        return self.now_s + model.report_s

    def _tell(self, what: Happening, flow: Flow, happened: list[tuple[Happening, Flow]]) -> None:
        if not flow.is_abandoned:
            happened.append((what, flow))

    def _end(
        self, pipe: Pipe, flow: Flow, what: Happening, happened: list[tuple[Happening, Flow]]
    ) -> None:
        pipe.flows.remove(flow)
        if flow.is_abandoned:
            return
        del self.flows[flow.number]
        happened.append((what, flow))
        if what is not Happening.DONE:
            return
        if flow.asked_bytes - flow.size > EPSILON_BYTES:
            self._give_up(pipe, flow)
        else:
            flow.connection.used_s = self.now_s
            pipe.idle.append(flow.connection)

    def _give_up(self, pipe: Pipe, flow: Flow) -> None:
        """Stop a request that would have brought more; some of it comes all the same."""
        connected = flow.connect_at_s == INFINITY
        if not self.model.reconnect and connected:
            flow.connection.used_s = self.now_s
            pipe.idle.append(flow.connection)
        if not self.model.in_flight or not connected:
            return
        under_way = min(flow.asked_bytes - flow.received, self.model.socket_buffer_bytes)
        if flow.answered:
            under_way = min(under_way, flow.rate * flow.rtt_s)
        elif self.now_s > flow.answer_at_s - flow.rtt_s:
            # The node will have begun to answer before it hears that nobody listens.
            under_way = min(under_way, INITIAL_WINDOW_BYTES)
        else:
            return
        if under_way > EPSILON_BYTES:
            rest = Flow(
                number=flow.number,
                node=flow.node,
                size=under_way,
                requested_s=flow.requested_s,
                connect_at_s=INFINITY,
                answer_at_s=flow.answer_at_s,
                rtt_s=flow.rtt_s,
                connection=flow.connection,
                asked_bytes=under_way,
                answered=flow.answered,
                is_abandoned=True,
            )
            pipe.flows.append(rest)

    # -- shares ----------------------------------------------------------------------------------

    def _share(self, pipe: Pipe) -> None:
        """Give every flow of a node its max-min fair rate, within its connection's window."""
        sending = []
        for flow in pipe.flows:
            flow.rate = 0.0
            if flow.answered:
                sending.append(flow)
        if len(sending) > 1 and self.model.slow_start:
            sending.sort(key=lambda flow: flow.connection.window_bytes)
        left, count = pipe.capacity, len(sending)
        for position, flow in enumerate(sending):
            share = left / (count - position)
            window_rate = flow.connection.window_bytes / flow.rtt_s
            if window_rate < share:
                share = window_rate
                flow.grow_at_s = min(flow.grow_at_s, self.now_s + flow.rtt_s)
            else:
                flow.grow_at_s = INFINITY
            flow.rate = share
            left -= share

    def _share_client_link(self) -> None:
        flows = [flow for pipe in self._pipes for flow in pipe.flows if flow.rate > 0]
        if sum(flow.rate for flow in flows) <= self.client_bytes_per_s:
            return
        flows.sort(key=lambda flow: flow.rate)
        left = self.client_bytes_per_s
        for position, flow in enumerate(flows):
            share = left / (len(flows) - position)
            if share < flow.rate:
                flow.rate = share
                flow.grow_at_s = INFINITY
            left -= flow.rate
