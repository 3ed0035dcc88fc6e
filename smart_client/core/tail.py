"""The tail: pieces that will come too late, and how a node with room takes their last rows over.

This is instead of hedging: both nodes then end together, and nothing is fetched twice but what was
on its way.

Source: work stealing (Blumofe and Leiserson 1999); aria2 splits segments alike.
"""

from typing import Final

from smart_client.core import commands
from smart_client.core.chunk_progress import ChunkProgress
from smart_client.core.node_table import RATE_MIN_BYTES_PER_S, NodeState
from smart_client.core.pieces import Piece
from smart_client.core.state import SessionState

# Rows due within LATE_ZONE_S and predicted to come later than LATE_MARGIN_S before their deadline
# may be taken over by an idle node.
LATE_ZONE_S: Final = 4.0
LATE_MARGIN_S: Final = 1.0

# ... and so may rows that would come this many times later than there is time, however far ahead.
HOPELESS_FACTOR: Final = 2.0

# A takeover costs a connection and what is in flight, so it must bring the end forward by as much.
# Below it two idle nodes could go on taking the same rows from each other.
TAKE_GAIN_MIN_S: Final = 0.05

# What an unmeasured node is assumed to send until it has shown more or less: 2 Mbit/s.
UNMEASURED_BYTES_PER_S: Final = 250_000

# From then on a piece's own pace says more than its node's averages.
OWN_PACE_AFTER_S: Final = 0.25

# Below this share of the believed rate a piece's pace is a collapse, not a fluctuation; likewise
# what came during the last RECENT_S as a share of the pace until then (a node that begins to drip).
COLLAPSE_SHARE: Final = 0.25
RECENT_S: Final = 0.15

# Late pieces of one chunk with how long they still take, the worst first; and those of all chunks.
LatePieces = list[tuple[float, Piece]]
Late = dict[int, LatePieces]


def late_pieces(state: SessionState) -> Late:
    """Return the pieces that will come too late, with how long they still take, by chunk."""
    late: Late = {}
    for piece in state.pieces.values():
        if piece.is_footer:
            continue
        left_s = _left_s(state, piece)
        slack_s = state.due_s(piece.chunk, piece.due_media_s) - state.now_s
        # Near the deadline every delay counts; far from it only what is hopeless does.
        is_near = slack_s <= LATE_ZONE_S and left_s > slack_s - LATE_MARGIN_S
        if is_near or left_s > HOPELESS_FACTOR * max(slack_s, LATE_ZONE_S):
            late.setdefault(piece.chunk, []).append((left_s, piece))
    for pieces in late.values():
        pieces.sort(key=lambda entry: (-entry[0], -entry[1].id))
    return late


def take_over(
    state: SessionState,
    node: NodeState,
    chunk: ChunkProgress,
    late: LatePieces,
    *,
    rushed: bool = False,
) -> bool:
    """Let a node take the tail of the piece of this chunk that would be too late.

    Args:
        rushed: beside what the node is at, sharing its line; else after it.
    """
    if node.is_suspect or node.index not in chunk.fragment_at_node:
        return False
    return any(
        _split(state, node, piece, left_s, rushed=rushed)
        for left_s, piece in late
        if piece.node != node.index
    )


def _left_s(state: SessionState, piece: Piece) -> float:
    """Predict how long a piece still takes."""
    node = state.nodes[piece.node]
    ahead = 0
    if piece.is_rushed:
        ahead = piece.remaining_bytes * len(node.pieces)  # they share the line
    else:
        for other in node.pieces:
            ahead += other.remaining_bytes
            if other is piece:
                break
    expected_s = ahead / _rate(node)
    if not piece.has_answered:
        # Before its round trip is over: the rest of it. After: as long again as it is overdue.
        return expected_s + abs(node.rtt.smoothed_s - (state.now_s - piece.requested_s))
    seen_s = state.now_s - piece.first_byte_s
    if seen_s < OWN_PACE_AFTER_S:
        return expected_s
    # A node whose rate has collapsed shows it on the piece before it shows in the averages.
    return max(expected_s, piece.remaining_bytes / _pace(state, piece))


def _pace(state: SessionState, piece: Piece) -> float:
    """Return the bytes per second of an answer so far; of late only, if it has collapsed."""
    pace = piece.received_bytes / (state.now_s - piece.first_byte_s)
    recent_s = state.now_s - piece.mark_s
    if recent_s >= RECENT_S:
        recent = (piece.received_bytes - piece.mark_bytes) / recent_s
        if recent < COLLAPSE_SHARE * pace:
            pace = recent
    return max(RATE_MIN_BYTES_PER_S, pace)


def _rate(node: NodeState) -> float:
    """Return the rate to plan with; an unmeasured node gets the benefit of the doubt."""
    if node.rate.is_measured:
        return node.bytes_per_s()
    return max(UNMEASURED_BYTES_PER_S, node.bytes_per_s())


def _split(
    state: SessionState, node: NodeState, piece: Piece, left_s: float, *, rushed: bool
) -> bool:
    """Move the tail of ``piece`` to ``node`` if that brings its end forward."""
    chunk = state.chunks[piece.chunk]
    row_bytes = chunk.row_bytes(piece.fragment)
    for fragment in chunk.fragment_at_node.get(node.index, ()):
        if chunk.is_copy[fragment] != chunk.is_copy[piece.fragment]:
            continue
        free = _free_tail(chunk, fragment, piece)
        own, ready_s = _offer(node, rushed=rushed)
        rows = _rows_to_take(piece, row_bytes, left_s, free, own=own, ready_s=ready_s)
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
        _learn_collapse(state, piece)
        first = piece.first_row + piece.rows - rows
        state.shorten(piece, piece.rows - rows)
        state.ask(node, chunk, fragment, first, rows).is_rushed = rushed
        return True
    return False


def _learn_collapse(state: SessionState, piece: Piece) -> None:
    """A node that was far slower than believed must not take rows over on that belief."""
    rate = state.nodes[piece.node].rate
    if piece.has_answered and state.now_s - piece.first_byte_s >= OWN_PACE_AFTER_S:
        pace = _pace(state, piece)
        if pace < COLLAPSE_SHARE * rate.bytes_per_s():
            rate.lower_to(pace)


def _offer(node: NodeState, *, rushed: bool) -> tuple[float, float]:
    """Return the rate a node has for one more request, and in how many seconds it could begin."""
    own = _rate(node)
    if rushed:
        return own / (1 + len(node.pieces)), node.rtt.smoothed_s
    return own, node.rtt.smoothed_s + node.backlog_bytes() / own


def _rows_to_take(
    piece: Piece, row_bytes: int, left_s: float, free: int, *, own: float, ready_s: float
) -> int:
    """Return how many of the ``free`` last rows bring the end forward most; 0 for none."""
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
