"""Who fetches what next. The contract, and the scheduler that plays.

A scheduler looks at ``SessionState`` and acts through its verbs (``ask``, ``shorten``,
``abandon``, ``suspect``). It is called after every event and reads no clock.
"""

from typing import Protocol

from redundancy.rows import BLOCK_BYTES
from smart_client.core import commands
from smart_client.core.chunk_progress import ChunkProgress, mask_of
from smart_client.core.events import FailureKind
from smart_client.core.node_table import RATE_MIN_BYTES_PER_S, NodeState
from smart_client.core.pieces import Piece
from smart_client.core.playback_buffer import ReaderState
from smart_client.core.state import SessionState


class Scheduler(Protocol):
    """Decides on requests. One instance serves one session."""

    name: str

    def decide(self, state: SessionState) -> None:
        """Act on the present state; an event has just been taken in."""

    def next_wakeup_s(self, state: SessionState) -> float:
        """Return the next instant at which to decide even if nothing happens; may be infinity."""


# Two requests in flight hide the round trip; a third would only queue behind them.
PIECES_PER_NODE_MAX = 2

# An unmeasured node starts with two blocks and doubles with each answer (as TCP's slow start).
FIRST_PIECE_BYTES = 2 * BLOCK_BYTES
GROWN_PIECE_BYTES_MAX = 4 * 1024 * 1024

# A piece takes about this long: long enough that the round trip is small beside it, short enough
# that a node that turns slow holds little back.
PIECE_TARGET_S = 1.0
PIECE_TARGET_RTTS = 4

# The second request leaves when the first may be this close to its end, by the greater of the
# node's two rates: too early costs a little order, too late leaves the node idle for a round trip.
# Of 0.02-0.15 s and 1-2 round trips these waited least (3.5 % less than 0.02 s and 1).
NEARLY_DONE_S = 0.05
NEARLY_DONE_RTTS = 1.5

# So long after a reader opened, nodes that cannot help it start stay idle: the client's own link
# may be what limits (then the start takes 1.1 instead of 1.7 times the optimum's time). Longer
# costs more stalls later than it saves at the start.
EXCLUSIVE_START_S = 2.5

# Rows due within LATE_ZONE_S and predicted to come later than LATE_MARGIN_S before their deadline
# may be taken over by an idle node.
LATE_ZONE_S = 4.0
LATE_MARGIN_S = 1.0

# ... and so may rows that would come this many times later than there is time, however far ahead.
HOPELESS_FACTOR = 2.0

# A takeover costs a connection and what is in flight, so it must bring the end forward by as much.
# Below it two idle nodes could go on taking the same rows from each other.
TAKE_GAIN_MIN_S = 0.05

# What an unmeasured node is assumed to send until it has shown more or less: 2 Mbit/s.
UNMEASURED_BYTES_PER_S = 250_000

# From then on a piece's own pace says more than its node's averages.
OWN_PACE_AFTER_S = 0.25

# Below this share of the believed rate a piece's pace is a collapse, not a fluctuation.
COLLAPSE_SHARE = 0.25

# Without anybody else to ask, silence is waited out longer before the connection is given up.
SILENCE_ALONE_FACTOR = 8


class RangePull:
    """Responsible for keeping every node busy with the most urgent rows it can bring.

    Work is pulled: a node gets its next byte range when it is nearly done with the last one,
    about a second's worth of its own rate, from the most urgent chunk with rows to give. So a slow
    node is given little and a fast one much. When all urgent rows are asked for, an idle node takes
    over the tail of the piece that would come too late. Silence is failure after a few round trips.

    Source: segmented downloading (aria2), time-critical picking (libtorrent), work stealing.
    """

    name = "smart"

    def __init__(self) -> None:
        self._silent_s = 0.0  # before this instant no piece can be silent
        self._wake_s = float("inf")

    def decide(self, state: SessionState) -> None:
        """Give silent nodes up, then give every node with room its next piece."""
        if state.now_s >= self._silent_s:
            self._give_up_silent(state)
        idle = [node for node in state.nodes.nodes if self._has_room(state, node)]
        if idle:
            open_chunks = {index for index in state.order if state.chunks[index].needs_asking}
            open_chunks -= self._held_back(state, open_chunks)
            late = self._late_pieces(state)
            for node in idle:
                while self._assign(state, node, open_chunks, late) and self._has_room(state, node):
                    pass
        self._plan_wakeup(state)

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

    def next_wakeup_s(self, state: SessionState) -> float:  # noqa: ARG002
        """Return when a piece turns silent, a pause ends or a node runs out of work."""
        return self._wake_s

    def _plan_wakeup(self, state: SessionState) -> None:
        now_s = state.now_s
        silent_s = wake_s = float("inf")
        for node in state.nodes.nodes:
            if node.pieces:
                silent_s = min(silent_s, self._node_silent_at_s(state, node))
            if node.suspect_since_s >= 0:
                if state.order and node.suspect_until_s > now_s:
                    wake_s = min(wake_s, node.suspect_until_s)
            elif len(node.pieces) == 1 and node.pieces[0].first_byte_s >= 0:
                near_s = self._nearly_done_at_s(node, node.pieces[0])
                if near_s > now_s:
                    wake_s = min(wake_s, near_s)
            if node.footers_in_flight:
                silent_s = min(silent_s, self._footers_silent_at_s(state, node))
        self._silent_s = silent_s
        self._wake_s = min(wake_s, silent_s)

    def _node_silent_at_s(self, state: SessionState, node: NodeState) -> float:
        return min(self._silent_at_s(state, piece) for piece in node.pieces)

    def _footers_silent_at_s(self, state: SessionState, node: NodeState) -> float:
        return min(
            (
                self._silent_at_s(state, piece)
                for piece in state.pieces.values()
                if piece.is_footer and piece.node == node.index
            ),
            default=float("inf"),
        )

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
        # Bytes of a neighbour on the same node show that it lives and that the link is shared.
        return max(piece.last_byte_s, node.last_byte_s) + limit_s

    def _give_up_silent(self, state: SessionState) -> None:
        silent = [p for p in state.pieces.values() if state.now_s >= self._silent_at_s(state, p)]
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
        late: dict[int, list[tuple[float, Piece]]],
    ) -> bool:
        """Give the node its next piece; return whether there was one.

        Args:
            open_chunks: chunks with rows to ask for; struck here when there are none any more.
            late: pieces that will come too late, by chunk, the worst first; kept up to date.
        """
        for index in state.order:
            chunk = state.chunks[index]
            if index in open_chunks:
                for fragment in chunk.fragment_at_node.get(node.index, ()):
                    open_rows = chunk.open_rows(fragment)
                    if open_rows:
                        self._ask_first_run(state, node, chunk, fragment, open_rows)
                        if not chunk.needs_asking:
                            open_chunks.discard(index)
                        return True
            if index in late and self._take_over(state, node, chunk, late[index]):
                late.clear()
                late.update(self._late_pieces(state))
                return True
        return False

    def _ask_first_run(
        self,
        state: SessionState,
        node: NodeState,
        chunk: ChunkProgress,
        fragment: int,
        open_rows: int,
    ) -> None:
        first = (open_rows & -open_rows).bit_length() - 1
        run = open_rows >> first
        length = (~run & (run + 1)).bit_length() - 1
        wanted = max(1, self.piece_bytes(node) // chunk.row_bytes(fragment))
        state.ask(node, chunk, fragment, first, min(length, wanted))

    def piece_bytes(self, node: NodeState) -> int:
        """Return how much to ask of a node at once."""
        if node.is_suspect:
            return FIRST_PIECE_BYTES
        if not node.rate.is_measured:
            return max(FIRST_PIECE_BYTES, node.grown_bytes)
        target_s = max(PIECE_TARGET_S, PIECE_TARGET_RTTS * node.rtt.smoothed_s)
        return max(BLOCK_BYTES, int(node.bytes_per_s() * target_s))

    # -- the tail --------------------------------------------------------------------------------

    def _late_pieces(self, state: SessionState) -> dict[int, list[tuple[float, Piece]]]:
        """Return the pieces that will come too late, with how long they still take, by chunk."""
        late: dict[int, list[tuple[float, Piece]]] = {}
        for piece in state.pieces.values():
            if piece.is_footer:
                continue
            left_s = self._left_s(state, piece)
            slack_s = state.due_s(piece.chunk, piece.due_media_s) - state.now_s
            # Near the deadline every delay counts; far from it only what is hopeless does.
            is_near = slack_s <= LATE_ZONE_S and left_s > slack_s - LATE_MARGIN_S
            if is_near or left_s > HOPELESS_FACTOR * max(slack_s, LATE_ZONE_S):
                late.setdefault(piece.chunk, []).append((left_s, piece))
        for pieces in late.values():
            pieces.sort(key=lambda entry: (-entry[0], -entry[1].id))
        return late

    def _take_over(
        self,
        state: SessionState,
        node: NodeState,
        chunk: ChunkProgress,
        late: list[tuple[float, Piece]],
    ) -> bool:
        """Let a node with room take the tail of the piece of this chunk that would be too late."""
        if node.is_suspect or node.index not in chunk.fragment_at_node:
            return False
        return any(
            self._split(state, node, piece, left_s)
            for left_s, piece in late
            if piece.node != node.index
        )

    def _left_s(self, state: SessionState, piece: Piece) -> float:
        """Predict how long a piece still takes."""
        node = state.nodes[piece.node]
        ahead = 0
        for other in node.pieces:
            ahead += other.remaining_bytes
            if other is piece:
                break
        expected_s = ahead / self._rate(node)
        if not piece.has_answered:
            # Before its round trip is over: the rest of it. After: as long again as it is overdue.
            return expected_s + abs(node.rtt.smoothed_s - (state.now_s - piece.requested_s))
        seen_s = state.now_s - piece.first_byte_s
        if seen_s < OWN_PACE_AFTER_S:
            return expected_s
        # A node whose rate has collapsed shows it on the piece before it shows in the averages.
        return max(expected_s, piece.remaining_bytes / self._pace(state, piece))

    @staticmethod
    def _pace(state: SessionState, piece: Piece) -> float:
        """Return the bytes per second at which an answer has come so far."""
        seen_s = state.now_s - piece.first_byte_s
        return max(RATE_MIN_BYTES_PER_S, piece.received_bytes / seen_s)

    @staticmethod
    def _rate(node: NodeState) -> float:
        """Return the rate to plan with; an unmeasured node gets the benefit of the doubt."""
        if node.rate.is_measured:
            return node.bytes_per_s()
        return max(UNMEASURED_BYTES_PER_S, node.bytes_per_s())

    def _split(self, state: SessionState, node: NodeState, piece: Piece, left_s: float) -> bool:
        """Move the tail of ``piece`` to ``node`` if that brings its end forward."""
        chunk = state.chunks[piece.chunk]
        row_bytes = chunk.row_bytes(piece.fragment)
        for fragment in chunk.fragment_at_node.get(node.index, ()):
            if chunk.is_copy[fragment] != chunk.is_copy[piece.fragment]:
                continue
            free = _free_tail(chunk, fragment, piece)
            rows = self._rows_to_take(node, piece, row_bytes, left_s, free)
            if rows == 0:
                continue
            state.counters.takeovers += 1
            state.out.append(
                commands.Notice(
                    "takeover",
                    node=node.index,
                    chunk=chunk.index,
                    fragment=piece.fragment,
                    bytes=rows * row_bytes,
                    seconds=left_s,
                    reason=state.nodes[piece.node].id,
                )
            )
            self._learn_collapse(state, piece)
            first = piece.first_row + piece.rows - rows
            state.shorten(piece, piece.rows - rows)
            state.ask(node, chunk, fragment, first, rows)
            return True
        return False

    def _learn_collapse(self, state: SessionState, piece: Piece) -> None:
        """A node that was far slower than believed must not take rows over on that belief."""
        rate = state.nodes[piece.node].rate
        if piece.has_answered and state.now_s - piece.first_byte_s >= OWN_PACE_AFTER_S:
            pace = self._pace(state, piece)
            if pace < COLLAPSE_SHARE * rate.bytes_per_s():
                rate.lower_to(pace)

    def _rows_to_take(
        self, node: NodeState, piece: Piece, row_bytes: int, left_s: float, free: int
    ) -> int:
        """Return how many of the ``free`` last rows bring the end forward most; 0 for none."""
        own = self._rate(node)
        ready_s = node.rtt.smoothed_s + node.backlog_bytes() / own
        if free == 0 or left_s - ready_s < TAKE_GAIN_MIN_S:
            return 0
        theirs = max(1.0, piece.remaining_bytes / left_s)
        even = int(own * (left_s - ready_s) / (1 + own / theirs) / row_bytes)

        def ends_after_s(rows: int) -> float:
            kept = max(0, piece.remaining_bytes - rows * row_bytes)
            return max(ready_s + rows * row_bytes / own, kept / theirs)

        options = {min(free, rows) for rows in (even, even + 1, free) if rows > 0}
        best = min(options, key=lambda rows: (ends_after_s(rows), rows))
        return best if left_s - ends_after_s(best) >= TAKE_GAIN_MIN_S else 0


def _free_tail(chunk: ChunkProgress, fragment: int, piece: Piece) -> int:
    """Return how many rows at the end of a piece have not come and could come from ``fragment``."""
    if fragment in chunk.bad_fragments:
        return 0
    rows_left = piece.rows - piece.counted_rows
    own = chunk.asked.by_fragment.get(fragment, 0) >> (piece.first_row + piece.counted_rows)
    taken = own & ((1 << rows_left) - 1)
    return rows_left - taken.bit_length()
