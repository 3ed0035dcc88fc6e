"""What the baselines share: asking for runs of rows, cancelling, time limits, footers."""

from collections.abc import Sequence
from math import inf

from smart_client.core.chunk_progress import ChunkProgress, mask_of, runs_of
from smart_client.core.events import FailureKind
from smart_client.core.node_table import NodeState
from smart_client.core.pieces import Piece
from smart_client.core.state import SessionState

# Footers are this system's, not the method's: whatever the method does with a late answer, a footer
# that has not come after this is asked of one more holder. Fifty round trips, and below any stall.
FOOTER_PATIENCE_S = 1.0


def missing_rows(chunk: ChunkProgress) -> int:
    """Return the wanted rows of a chunk that have not come yet."""
    return chunk.wanted & ~chunk.received.full & ~chunk.decoded


def unfinished(state: SessionState, limit: int) -> list[ChunkProgress]:
    """Return the most urgent chunks of which rows have not come, at most ``limit``."""
    found: list[ChunkProgress] = []
    for index in state.order:
        if len(found) == limit:
            break
        if missing_rows(state.chunks[index]):
            found.append(state.chunks[index])
    return found


def owed_rows(piece: Piece) -> int:
    """Return the rows that a data piece was asked for and has not brought."""
    return mask_of(piece.first_row + piece.counted_rows, piece.rows - piece.counted_rows)


def data_pieces(state: SessionState) -> list[Piece]:
    """Return the requests for rows in flight, oldest first; a copy, so that it may be acted on."""
    return [piece for piece in state.pieces.values() if not piece.is_footer]


def cancel_superfluous(state: SessionState) -> None:
    """Cancel every request whose rows have all come from others."""
    for piece in data_pieces(state):
        if not owed_rows(piece) & ~state.chunks[piece.chunk].received.full:
            state.abandon(piece)


def ask_runs(state: SessionState, chunk: ChunkProgress, fragment: int, rows: int) -> list[Piece]:
    """Request these rows of a fragment, one request a run; return the requests."""
    node = state.nodes[chunk.node_of[fragment]]
    return [
        state.ask(node, chunk, fragment, first, length)
        for first, length in runs_of(rows)
        if node.may_ask(state.now_s)
    ]


def ask_spare(
    state: SessionState, chunk: ChunkProgress, rows: int, ranked: Sequence[int]
) -> list[Piece]:
    """Ask the first of the ranked fragments that can bring some of these rows once more."""
    for fragment in ranked:
        spare = chunk.spare_rows(fragment) & rows
        if spare and state.nodes[chunk.node_of[fragment]].may_ask(state.now_s):
            return ask_runs(state, chunk, fragment, spare)
    return []


def give_up(state: SessionState, late: Sequence[Piece]) -> None:
    """Give requests up that took too long, and leave their nodes alone for a while."""
    for piece in late:
        node = state.nodes[piece.node]
        if not node.is_suspect or state.now_s >= node.suspect_until_s:
            state.suspect(node, FailureKind.SILENT)
        state.reissue(piece, FailureKind.SILENT)


def next_pause_end_s(state: SessionState) -> float:
    """Return when the next node may be asked again; infinity when nothing waits for one."""
    if not unfinished(state, 1):
        return inf
    ends_s = (node.suspect_until_s for node in state.nodes.nodes if node.is_suspect)
    return min((end_s for end_s in ends_s if end_s > state.now_s), default=inf)


# -- footers ---------------------------------------------------------------------------------------


def hurry_footers(state: SessionState) -> None:
    """Ask one more holder for every footer that all holders asked so far are slow to give."""
    for piece in _newest_footers(state):
        if state.now_s < piece.requested_s + FOOTER_PATIENCE_S:
            continue
        chunk = state.chunks[piece.chunk]
        spare = _spare_footer(state, chunk, is_copy=chunk.is_copy[piece.fragment])
        if spare is not None:
            node, fragment = spare
            state.ask_footer(node, chunk, fragment)


def next_footer_s(state: SessionState) -> float:
    """Return when the next footer will have been waited for long enough."""
    ends_s = (piece.requested_s + FOOTER_PATIENCE_S for piece in _newest_footers(state))
    return min((end_s for end_s in ends_s if end_s > state.now_s), default=inf)


def _newest_footers(state: SessionState) -> list[Piece]:
    """Return the youngest footer request of each chunk and kind."""
    newest: dict[tuple[int, bool], Piece] = {}
    for piece in state.pieces.values():
        if piece.is_footer:
            newest[piece.chunk, state.chunks[piece.chunk].is_copy[piece.fragment]] = piece
    return list(newest.values())


def _spare_footer(
    state: SessionState, chunk: ChunkProgress, *, is_copy: bool
) -> tuple[NodeState, int] | None:
    asked = {p.fragment for p in state.pieces.values() if p.is_footer and p.chunk == chunk.index}
    for fragment, index in chunk.node_of.items():
        node = state.nodes[index]
        if (
            chunk.is_copy[fragment] == is_copy
            and fragment not in asked
            and fragment not in chunk.bad_footers
            and node.may_ask(state.now_s)
        ):
            return node, fragment
    return None
