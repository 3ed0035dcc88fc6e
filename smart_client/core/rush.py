"""A reader runs dry while every node is busy with what can wait: ask for what is missing beside it.

When a node fails, the rows it held are missed at once, but the others have requests of about a
second under way. Giving these up would cost their connections; waiting for them costs the start a
second. So a node whose requests are all due later takes one more, and both share its line. Without
it a node that fell silent during the start cost 0.7-1.4 s, with it 0.2-0.3 s, 200 ms of which it
takes to notice (six even nodes with 3 to 20 times the video's rate).
"""

from collections.abc import Callable
from math import inf
from typing import Final

from smart_client.core.chunk_progress import ChunkProgress
from smart_client.core.node_table import NodeState
from smart_client.core.offers import due_by, first_run, helpful
from smart_client.core.playback_buffer import ReaderState
from smart_client.core.state import SessionState
from smart_client.core.tail import Late, late_pieces, take_over

# A reader with less than this buffered is about to run dry, and only what is due within it is
# rushed.
RUSH_ZONE_S: Final = 2.0

# What a node is at must be due later than what is rushed by this.
WAITS_BY_S: Final = 0.5

# A rushed request beside two others: more of them would only share the same line.
RUSHED_BESIDE_MAX: Final = 2

# A rushed piece is this part of an ordinary one: it gets a share of the line only, and the rest of
# the missing rows goes to other nodes.
RUSHED_SHARE: Final = 4


def rush(state: SessionState, piece_bytes: Callable[[NodeState], int]) -> None:
    """Give busy nodes, the fastest first, rows that a reader is about to miss.

    Args:
        piece_bytes: how much the scheduler would ask of a node at once.
    """
    if not any_runs_dry(state):
        return
    busy = [node for node in state.nodes.nodes if _can_rush(node)]
    busy.sort(key=lambda node: (-node.bytes_per_s(), node.index))
    late: Late | None = None
    for node in busy:
        spare_s = inf
        for piece in node.pieces:
            spare_s = min(spare_s, state.due_s(piece.chunk, piece.due_media_s))
        limit_s = min(spare_s - WAITS_BY_S, state.now_s + RUSH_ZONE_S)
        if not node.pieces or limit_s < state.now_s:
            continue
        if late is None:
            late = late_pieces(state)
        if _rush_one(state, node, late, limit_s=limit_s, size_bytes=piece_bytes(node)):
            late = None


def any_runs_dry(state: SessionState) -> bool:
    """Return whether a reader waits, or will soon."""
    for reader in state.buffer.readers.values():
        if reader.state in (ReaderState.WAITING, ReaderState.STALLED):
            return True
        if reader.state is not ReaderState.ENDED and reader.buffered_s(state.now_s) < RUSH_ZONE_S:
            return True
    return False


def _can_rush(node: NodeState) -> bool:
    is_busy = 0 < len(node.pieces) <= RUSHED_BESIDE_MAX
    return is_busy and not node.is_suspect and node.rate.is_measured


def _rush_one(
    state: SessionState, node: NodeState, late: Late, *, limit_s: float, size_bytes: int
) -> bool:
    """Give one busy node something due by ``limit_s``; return whether there was anything."""
    for index in state.order:
        chunk = state.chunks[index]
        if state.deadline_s(index, state.first_missing_row(chunk)) > limit_s:
            return False
        urgent = [
            (left_s, piece)
            for left_s, piece in late.get(index, ())
            if state.due_s(index, piece.due_media_s) <= limit_s
        ]
        if take_over(state, node, chunk, urgent, rushed=True):
            return True
        if chunk.needs_asking and _rush_open(state, node, chunk, limit_s, size_bytes):
            return True
    return False


def _rush_open(
    state: SessionState, node: NodeState, chunk: ChunkProgress, limit_s: float, size_bytes: int
) -> bool:
    fragment, open_rows = helpful(chunk, node)
    if not open_rows:
        return False
    first, length = first_run(open_rows)
    if state.deadline_s(chunk.index, first) > limit_s:
        return False
    wanted = max(1, size_bytes // RUSHED_SHARE // chunk.row_bytes(fragment))
    rows = due_by(state, chunk, first, rows=min(length, wanted), limit_s=limit_s)
    state.ask(node, chunk, fragment, first, rows).is_rushed = True
    return True
