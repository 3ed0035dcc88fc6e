"""Who fetches what next. The contract, and the scheduler that plays.

A scheduler looks at ``SessionState`` and acts through its verbs (``ask``, ``shorten``,
``abandon``, ``suspect``). It is called after every event and reads no clock.
"""

from math import inf
from typing import ClassVar, Final, Protocol

from redundancy.rows import BLOCK_BYTES
from smart_client.core.chunk_progress import ChunkProgress, mask_of
from smart_client.core.events import FailureKind
from smart_client.core.node_table import RATE_MIN_BYTES_PER_S, SILENCE_MIN_S, NodeState
from smart_client.core.offers import due_by, first_run, helpful
from smart_client.core.pieces import Piece
from smart_client.core.playback_buffer import ReaderState
from smart_client.core.rush import rush
from smart_client.core.state import SessionState
from smart_client.core.tail import Late, LatePieces, late_pieces, take_over


class Scheduler(Protocol):
    """Decides on requests. One instance serves one session."""

    name: ClassVar[str]

    def decide(self, state: SessionState) -> None:
        """Act on the present state; an event has just been taken in."""

    def next_wakeup_s(self, state: SessionState) -> float:
        """Return the next instant at which to decide even if nothing happens; may be infinity."""


# Two requests in flight hide the round trip; a third would only queue behind them.
PIECES_PER_NODE_MAX: Final = 2

# An unmeasured node starts with two blocks and doubles with each answer (as TCP's slow start).
FIRST_PIECE_BYTES: Final = 2 * BLOCK_BYTES

# A piece takes about this long: long enough that the round trip is small beside it, short enough
# that a node that turns slow holds little back.
PIECE_TARGET_S: Final = 1.0
PIECE_TARGET_RTTS: Final = 4

# The second request leaves when the first may be this close to its end, by the greater of the
# node's two rates: too early costs a little order, too late leaves the node idle for a round trip.
# Of 0.02-0.15 s and 1-2 round trips these waited least (3.5 % less than 0.02 s and 1).
NEARLY_DONE_S: Final = 0.05
NEARLY_DONE_RTTS: Final = 1.5

# So long after a reader opened, nodes that cannot help it start stay idle: the client's own link
# may be what limits (then the start takes 1.1 instead of 1.7 times the optimum's time). Longer
# costs more stalls later than it saves at the start.
EXCLUSIVE_START_S: Final = 2.5

# A late piece goes before rows nobody was asked for when it is due earlier by this.
URGENT_BY_S: Final = 0.5

# Without anybody else to ask, silence is waited out longer before the connection is given up.
SILENCE_ALONE_FACTOR: Final = 8


class RangePull:
    """Responsible for keeping every node busy with the most urgent rows it can bring.

    Work is pulled: a node gets its next byte range when it is nearly done with the last one,
    about a second's worth of its own rate, from the most urgent chunk with rows to give. So a slow
    node is given little and a fast one much. When all urgent rows are asked for, an idle node takes
    over the tail of the piece that would come too late. Silence is failure after a few round trips.

    Source: segmented downloading (aria2), time-critical picking (libtorrent), work stealing.
    """

    name: ClassVar[str] = "smart"

    def decide(self, state: SessionState) -> None:
        """Give silent nodes up, then give every node with room its next piece."""
        self._give_up_silent(state)
        idle = [node for node in state.nodes.nodes if self._has_room(state, node)]
        if idle:
            open_chunks = {index for index in state.order if state.chunks[index].needs_asking}
            open_chunks -= self._held_back(state, open_chunks)
            late = late_pieces(state)
            for node in idle:
                while self._assign(state, node, open_chunks, late) and self._has_room(state, node):
                    pass
        rush(state, self.piece_bytes)

    @staticmethod
    def _held_back(state: SessionState, open_chunks: set[int]) -> set[int]:
        """Return the chunks to leave alone while readers wait for their first bytes."""
        held: set[int] = set()
        for reader in state.buffer.readers.values():
            waited_s = state.now_s - reader.opened_s
            if reader.state is not ReaderState.WAITING or waited_s >= EXCLUSIVE_START_S:
                return set()
            gate_s = reader.base_media_s + state.config.start_buffer_s
            held |= {index for index in open_chunks if state.timeline.starts_s[index] >= gate_s}
        return held

    def next_wakeup_s(self, state: SessionState) -> float:
        """Return when a piece turns silent, a pause ends or a node runs out of work."""
        now_s, wake_s = state.now_s, inf
        for piece in state.pieces.values():
            if _heard_s(state, piece) + SILENCE_MIN_S < wake_s:
                wake_s = min(wake_s, self._silent_at_s(state, piece))
        for node in state.nodes.nodes:
            if node.suspect_since_s >= 0:
                if state.order and node.suspect_until_s > now_s:
                    wake_s = min(wake_s, node.suspect_until_s)
            elif len(node.pieces) == 1 and node.pieces[0].first_byte_s >= 0:
                near_s = self._nearly_done_at_s(node, node.pieces[0])
                if near_s > now_s:
                    wake_s = min(wake_s, near_s)
        return wake_s

    # -- silence ---------------------------------------------------------------------------------

    def _silent_at_s(self, state: SessionState, piece: Piece) -> float:
        """Return the instant from which a piece counts as silent."""
        node = state.nodes[piece.node]
        if piece.has_answered:
            limit_s = node.gap_limit_s()
        else:
            limit_s = node.silence_limit_s(state.nodes.silence_fallback_s())
        if piece.waits_alone:
            limit_s *= SILENCE_ALONE_FACTOR
        return _heard_s(state, piece) + limit_s

    def _give_up_silent(self, state: SessionState) -> None:
        silent = [
            piece
            for piece in state.pieces.values()
            # No limit is shorter, and most pieces were heard of just now.
            if state.now_s >= _heard_s(state, piece) + SILENCE_MIN_S
            and state.now_s >= self._silent_at_s(state, piece)
        ]
        for piece in silent:
            node = state.nodes[piece.node]
            if not piece.waits_alone and not self._others_can(state, piece):
                # Nobody else has it: a new request elsewhere is impossible, so wait longer.
                piece.waits_alone = True
                continue
            if not node.is_suspect or state.now_s >= node.suspect_until_s:
                state.suspect(node, FailureKind.SILENT)
            state.reissue(piece, FailureKind.SILENT)

    def _others_can(self, state: SessionState, piece: Piece) -> bool:
        """Return whether another node in good standing could bring these rows instead."""
        chunk = state.chunks[piece.chunk]
        for fragment, index in chunk.node_of.items():
            other = state.nodes[index]
            if index == piece.node or fragment in chunk.bad_fragments or other.is_suspect:
                continue
            if piece.is_footer:
                return True
            asked = chunk.asked.by_fragment.get(fragment, 0)
            first = piece.first_row + piece.counted_rows
            if mask_of(first, piece.rows - piece.counted_rows) & ~asked:
                return True
        return False

    # -- giving work -----------------------------------------------------------------------------

    def _has_room(self, state: SessionState, node: NodeState) -> bool:
        pieces = node.pieces
        if node.suspect_since_s >= 0:
            return not pieces and node.may_ask(state.now_s)
        if not pieces:
            return True
        if len(pieces) >= PIECES_PER_NODE_MAX or pieces[0].first_byte_s < 0:
            return False
        return self._nearly_done_at_s(node, pieces[0]) <= state.now_s

    @staticmethod
    def _nearly_done_at_s(node: NodeState, piece: Piece) -> float:
        """Return the instant at which the next request should leave, by what came so far."""
        rate = node.rate.upper_bytes_per_s() or RATE_MIN_BYTES_PER_S
        left = piece.stop - piece.start - piece.received_bytes
        ahead_s = NEARLY_DONE_RTTS * node.rtt.smoothed_s + NEARLY_DONE_S
        return max(piece.last_byte_s, node.last_byte_s) + left / rate - ahead_s

    def _assign(
        self,
        state: SessionState,
        node: NodeState,
        open_chunks: set[int],
        late: Late,
    ) -> bool:
        """Give the node its next piece; return whether there was one.

        Args:
            open_chunks: chunks with rows to ask for; struck here when there are none any more.
            late: pieces that will come too late, by chunk, the worst first; kept up to date.
        """
        for index in state.order:
            chunk = state.chunks[index]
            fragment, open_rows = -1, 0
            if index in open_chunks:
                fragment, open_rows = helpful(chunk, node)
            if index in late:
                more_urgent = late[index]
                if open_rows:
                    more_urgent = self._due_before(state, chunk, open_rows, more_urgent)
                if take_over(state, node, chunk, more_urgent):
                    late.clear()
                    late.update(late_pieces(state))
                    return True
            if open_rows:
                self._ask_first_run(state, node, chunk, fragment, open_rows)
                if not chunk.needs_asking:
                    open_chunks.discard(index)
                return True
        return False

    @staticmethod
    def _due_before(
        state: SessionState, chunk: ChunkProgress, open_rows: int, late: LatePieces
    ) -> LatePieces:
        """Return the late pieces that are due clearly before the first open row."""
        first = (open_rows & -open_rows).bit_length() - 1
        limit_s = state.deadline_s(chunk.index, first) - URGENT_BY_S
        return [
            (left_s, piece)
            for left_s, piece in late
            if state.due_s(chunk.index, piece.due_media_s) < limit_s
        ]

    def _ask_first_run(
        self,
        state: SessionState,
        node: NodeState,
        chunk: ChunkProgress,
        fragment: int,
        open_rows: int,
    ) -> None:
        first, length = first_run(open_rows)
        wanted = max(1, self.piece_bytes(node) // chunk.row_bytes(fragment))
        rows = min(length, wanted)
        if state.deadline_s(chunk.index, first) <= state.now_s:
            # Somebody waits for these: what can wait does not go into the same request.
            rows = due_by(state, chunk, first, rows=rows, limit_s=state.now_s)
        state.ask(node, chunk, fragment, first, rows)

    def piece_bytes(self, node: NodeState) -> int:
        """Return how much to ask of a node at once."""
        if node.is_suspect:
            return FIRST_PIECE_BYTES
        if not node.rate.is_measured:
            return max(FIRST_PIECE_BYTES, node.grown_bytes)
        target_s = max(PIECE_TARGET_S, PIECE_TARGET_RTTS * node.rtt.smoothed_s)
        return max(BLOCK_BYTES, int(node.bytes_per_s() * target_s))


def _heard_s(state: SessionState, piece: Piece) -> float:
    """Return when its node was last heard of.

    Bytes of a neighbour on the same node show that it lives and that the link is shared.
    """
    return max(piece.last_byte_s, state.nodes[piece.node].last_byte_s)
