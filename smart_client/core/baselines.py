"""How others fetch, in the same frame: the same session, nodes and worlds, other decisions.

Each takes whole fragments, one chunk after the other, and gives a request up only after a timeout.
"""

from smart_client.core.chunk_progress import ChunkProgress
from smart_client.core.events import FailureKind
from smart_client.core.node_table import NodeState
from smart_client.core.pieces import Piece
from smart_client.core.state import SessionState

# The read timeout of httpx, requests' usual advice and the like.
READ_TIMEOUT_S = 5.0

# V-Stack: score = bandwidth x reliability / (1 + 0.1 x latency in ms).
VSTACK_LATENCY_WEIGHT_PER_MS = 0.1

# V-Stack credits a node it has not measured with this, in Mbit/s.
VSTACK_UNMEASURED_MBIT_PER_S = 50.0


class WholeFragments:
    """Responsible for what the baselines share: k whole fragments of one chunk at a time."""

    name = "whole-fragments"

    def __init__(self, *, timeout_s: float = READ_TIMEOUT_S) -> None:
        self.timeout_s = timeout_s

    def rank(self, state: SessionState, chunk: ChunkProgress) -> list[int]:
        """Return the chunk's fragments, the ones to ask first first."""
        raise NotImplementedError

    def decide(self, state: SessionState) -> None:
        """Give timed-out requests up and complete the most urgent chunk."""
        for piece in list(state.pieces.values()):
            if state.now_s >= self._timeout_at_s(piece):
                node = state.nodes[piece.node]
                state.suspect(node, FailureKind.SILENT)
                state.reissue(piece, FailureKind.SILENT)
        if state.order:
            self._complete(state, state.chunks[state.order[0]])

    def next_wakeup_s(self, state: SessionState) -> float:
        """Return the next timeout, or the end of a pause that keeps a chunk waiting."""
        wake_s = min((self._timeout_at_s(p) for p in state.pieces.values()), default=float("inf"))
        if state.order and state.chunks[state.order[0]].needs_asking:
            for node in state.nodes.nodes:
                if node.suspect_until_s > state.now_s:
                    wake_s = min(wake_s, node.suspect_until_s)
        return wake_s

    def _timeout_at_s(self, piece: Piece) -> float:
        return piece.last_byte_s + self.timeout_s

    def _complete(self, state: SessionState, chunk: ChunkProgress) -> None:
        for fragment in self.rank(state, chunk):
            if not chunk.needs_asking:
                return
            node = state.nodes[chunk.node_of[fragment]]
            open_rows = chunk.open_rows(fragment)
            if not open_rows or not node.may_ask(state.now_s):
                continue
            first = (open_rows & -open_rows).bit_length() - 1
            run = open_rows >> first
            state.ask(node, chunk, fragment, first, (~run & (run + 1)).bit_length() - 1)


class RoundRobin(WholeFragments):
    """Responsible for asking the holders in turn, whatever they are like.

    Source: what a client does that knows several servers and nothing about them.
    """

    name = "round-robin"

    def __init__(self, *, timeout_s: float = READ_TIMEOUT_S) -> None:
        super().__init__(timeout_s=timeout_s)
        self._turn = 0
        self._chunk = -1

    def rank(self, state: SessionState, chunk: ChunkProgress) -> list[int]:  # noqa: ARG002
        """Start one holder further with every chunk."""
        fragments = sorted(chunk.node_of, key=lambda f: (chunk.node_of[f], f))
        if chunk.index != self._chunk:
            self._chunk = chunk.index
            self._turn += 1
        turn = self._turn % max(1, len(fragments))
        return fragments[turn:] + fragments[:turn]


class VStackScore(WholeFragments):
    """Responsible for asking the nodes with the best V-Stack score first.

    Source: V-Stack's smart client: (bandwidth x reliability) / (1 + 0.1 x latency in ms), probes
    every 3 s, an unmeasured node counted as 50 Mbit/s; here with a sane read timeout.
    """

    name = "vstack-score"

    def rank(self, state: SessionState, chunk: ChunkProgress) -> list[int]:
        """Order by falling score."""
        return sorted(chunk.node_of, key=lambda f: (-self.score(state.nodes[chunk.node_of[f]]), f))

    @staticmethod
    def score(node: NodeState) -> float:
        """Return V-Stack's score of a node."""
        measured = node.rate.bytes_per_s() * 8 / 1e6
        bandwidth = measured if node.rate.is_measured else VSTACK_UNMEASURED_MBIT_PER_S
        latency_ms = node.rtt.smoothed_s * 1000
        return bandwidth * node.reliability.share / (1 + VSTACK_LATENCY_WEIGHT_PER_MS * latency_ms)
