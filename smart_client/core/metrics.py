"""What a session can say of itself at one instant. Screens, pages and receipts are made of this."""

import msgspec

from smart_client.core.node_table import NodeState
from smart_client.core.playback_buffer import Reader
from smart_client.core.state import SessionState


class NodeFigures(msgspec.Struct, frozen=True):
    """One node as the session sees it."""

    id: str
    state: str  # up, suspect or unknown
    rtt_s: float
    bytes_per_s: float  # the believed rate while it sends; 0: never measured
    received_bytes: int
    share: float  # of all bytes received
    in_flight: int
    failures: int
    quiet_s: float  # since its last byte; negative: never


class Snapshot(msgspec.Struct, frozen=True):
    """A session at one instant."""

    t_s: float
    state: str
    position_s: float
    end_s: float
    buffered_s: float
    window_s: float
    startup_s: float  # negative: not started yet
    stalls: int
    stalled_s: float
    received_bytes: int
    delivered_bytes: int
    footer_bytes: int
    pieces: int
    takeovers: int
    reissues: int
    corrupt: int
    playhead_chunk: int
    nodes: tuple[NodeFigures, ...]
    recalled_bytes: int = 0  # out of the local cache, fetched by an earlier session

    @property
    def extra_share(self) -> float:
        """Bytes received beyond those made ready, as a share of the latter."""
        pending = max(0, self.received_bytes - self.delivered_bytes)
        return pending / self.delivered_bytes if self.delivered_bytes else 0.0


def take_snapshot(state: SessionState, now_s: float, reader: Reader | None = None) -> Snapshot:
    """Return the figures of a session, from the view of one reader (default: the first)."""
    if reader is None:
        reader = next(iter(state.buffer.readers.values()), None)
    counters = state.counters
    position_s = reader.playhead_s(now_s) if reader else 0.0
    return Snapshot(
        t_s=now_s,
        state=str(reader.state) if reader else "idle",
        position_s=position_s,
        end_s=state.timeline.end_s,
        buffered_s=reader.buffered_s(now_s) if reader else 0.0,
        window_s=state.config.window_s,
        startup_s=reader.startup_s if reader else -1.0,
        stalls=reader.stalls if reader else 0,
        stalled_s=_stalled_s(reader, now_s) if reader else 0.0,
        received_bytes=counters.received_bytes,
        delivered_bytes=counters.delivered_bytes,
        footer_bytes=counters.footer_bytes,
        pieces=counters.pieces,
        takeovers=counters.takeovers,
        reissues=counters.reissues,
        corrupt=counters.corrupt,
        playhead_chunk=state.timeline.chunk_at(state.timeline.offset_at(position_s)),
        nodes=tuple(_figures(node, state, now_s) for node in state.nodes.nodes),
        recalled_bytes=counters.recalled_bytes,
    )


def _stalled_s(reader: Reader, now_s: float) -> float:
    """Count a stall that is still going on."""
    running_s = now_s - reader.stall_started_s if reader.state == "stalled" else 0.0
    return reader.stalled_s + running_s


def _figures(node: NodeState, state: SessionState, now_s: float) -> NodeFigures:
    total = max(1, state.counters.received_bytes)
    known = node.bytes_received > 0 or node.rtt.smoothed_s > 0
    return NodeFigures(
        id=node.id,
        state="suspect" if node.is_suspect else "up" if known else "unknown",
        rtt_s=node.rtt.smoothed_s,
        bytes_per_s=node.rate.bytes_per_s() if node.rate.is_measured else 0.0,
        received_bytes=node.bytes_received,
        share=node.bytes_received / total,
        in_flight=len(node.pieces),
        failures=node.failures,
        quiet_s=now_s - node.last_byte_s if node.bytes_received else -1.0,
    )
