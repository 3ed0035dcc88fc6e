"""Nodes connect and answer pings."""

from collections.abc import Sequence
from math import inf
from typing import Final

from smart_client.core import commands, events
from smart_client.core.events import FailureKind
from smart_client.core.node_table import PROBE_INTERVAL_S, NodeState
from smart_client.core.state import Handlers, SessionState

# So long it may take to read what came while this process did not run.
CATCH_UP_S: Final = 0.05

# Probes of different nodes are spread over the interval by the golden ratio: no bursts, no seed.
GOLDEN: Final = 0.6180339887

# A ping has nothing to wait for on the node: after this it has failed.
PROBE_TIMEOUT_S: Final = 2.0


class NodeDesk:
    """Responsible for the events of nodes, and for probing idle ones."""

    def __init__(self, state: SessionState) -> None:
        self.state = state
        for node in state.nodes.nodes:
            node.next_probe_s = _first_probe_s(node.index)

    def add(self, node_ids: Sequence[str]) -> None:
        """Take nodes in that nobody knew of when the session began."""
        state = self.state
        for node_id in node_ids:
            node = NodeState(len(state.nodes), node_id)
            node.next_probe_s = state.now_s + _first_probe_s(node.index)
            state.nodes.nodes.append(node)

    def handlers(self) -> Handlers:
        """Return which method takes which event."""
        return {
            events.Connected: self._connected,
            events.ProbeAnswered: self._probe_answered,
            events.ProbeFailed: self._probe_failed,
            events.WokeLate: self._woke_late,
            events.NodesRemembered: self._remembered,
        }

    def next_probe_s(self) -> float:
        """Return when the next idle node is due; infinity without readers."""
        wake_s = inf
        if self.state.buffer.readers:
            for node in self.state.nodes.nodes:
                wake_s = min(wake_s, node.next_probe_s)
        return wake_s

    def probe_idle_nodes(self) -> None:
        """Ping nodes that traffic does not measure; they stay known while idle."""
        state = self.state
        if not state.buffer.readers:
            return
        for node in state.nodes.nodes:
            if state.now_s < node.next_probe_s:
                continue
            if node.probing:
                self._probe_is_over(node)  # no answer in all this time
                continue
            if node.pieces or state.now_s - node.last_byte_s < PROBE_INTERVAL_S / 2:
                node.next_probe_s = state.now_s + PROBE_INTERVAL_S  # traffic measures it
                continue
            node.probing = True
            node.next_probe_s = state.now_s + PROBE_TIMEOUT_S
            state.out.append(commands.Probe(node.index))

    def _remembered(self, event: events.NodesRemembered) -> None:
        positions = self.state.nodes.positions()
        for facts in event.nodes:
            if facts.id in positions:
                node = self.state.nodes[positions[facts.id]]
                if not node.pieces and not node.footers_in_flight:
                    node.remember(facts, self.state.now_s)

    def _connected(self, event: events.Connected) -> None:
        node = self.state.nodes[event.node]
        if node.rtt.smoothed_s == 0.0:
            node.rtt.add(event.rtt_s)
        piece = self.state.pieces.get(event.piece)
        if piece is not None:
            piece.last_byte_s = self.state.now_s  # it lives; the answer may take another round trip

    def _probe_answered(self, event: events.ProbeAnswered) -> None:
        node = self.state.nodes[event.node]
        node.probing = False
        node.next_probe_s = self.state.now_s + PROBE_INTERVAL_S
        if not node.pieces and not node.is_suspect:
            node.rtt.add(event.rtt_s)
        if node.is_suspect:
            # A ping is no proof (a node may answer pings but not data), but it earns a trial now.
            node.suspect_until_s = min(node.suspect_until_s, self.state.now_s)

    def _probe_failed(self, event: events.ProbeFailed) -> None:
        self._probe_is_over(self.state.nodes[event.node], event.kind)

    def _woke_late(self, event: events.WokeLate) -> None:
        """Our own absence is no node's silence: what came meanwhile waits to be read."""
        for piece in self.state.pieces.values():
            heard_s = piece.last_byte_s + event.late_s + CATCH_UP_S
            piece.last_byte_s = min(self.state.now_s, heard_s)

    def _probe_is_over(self, node: NodeState, kind: FailureKind = FailureKind.SILENT) -> None:
        node.probing = False
        node.next_probe_s = self.state.now_s + PROBE_INTERVAL_S
        if not node.pieces:
            self.state.suspect(node, kind)


def _first_probe_s(index: int) -> float:
    return PROBE_INTERVAL_S * (0.5 + (index + 1) * GOLDEN % 1 / 2)
