"""Why a row is not here: every fragment that could serve it, and what became of each."""

from enum import StrEnum
from math import inf

import msgspec

from smart_client.core.chunk_progress import ChunkProgress
from smart_client.core.pieces import Piece
from smart_client.core.state import SessionState
from smart_client.core.throughput import Throughput


class LaneState(StrEnum):
    """What a fragment has done for a row."""

    HERE = "here"
    COMING = "coming"  # asked for, and its node answers
    WAITING = "waiting"  # asked for, no byte yet
    SUSPECT = "suspect"  # its node failed or is silent
    BAD = "bad"  # its bytes do not match
    FREE = "free"  # its node answers but was not asked for this row


class Cause(StrEnum):
    """Why a row that was needed was not ready."""

    HOLDERS = "too few holders answered"
    LATE = "a node was late"
    LINK = "the client's own link was full"
    TOTAL = "all that came together was less than the video takes"
    UNASKED = "it was not asked for in time"
    UNREADY = "it was here but not checked and decoded"


class Lane(msgspec.Struct, frozen=True):
    """One fragment that can serve a row. Times count from the moment looked at."""

    fragment: int
    node: str
    state: LaneState
    is_copy: bool = False
    asked_s_ago: float = -1.0  # -1: not asked
    received_bytes: int = 0  # of the request that covers the row
    asked_bytes: int = 0
    bytes_per_s: float = 0.0  # of that request so far
    quiet_s: float = 0.0  # since it last showed a sign of life
    believed_bytes_per_s: float = 0.0  # of its node, now
    suspect_for_s: float = -1.0  # -1: not suspect


class Missing(msgspec.Struct, frozen=True):
    """A row that a reader needs and that is not ready, and how it stands with it."""

    chunk: int
    first_row: int
    rows: int  # so many from there on are not ready
    due_in_s: float | None  # None: nobody waits for it
    needed: int  # fragments
    here: int
    lanes: tuple[Lane, ...]

    def in_state(self, *states: LaneState) -> tuple[Lane, ...]:
        """Return the lanes in one of these states."""
        return tuple(lane for lane in self.lanes if lane.state in states)


def find_missing(state: SessionState, index: int, row: int, now_s: float) -> Missing:
    """Return how it stands with a row of a chunk that is not ready."""
    chunk = state.chunks[index]
    absent = (~chunk.decoded & chunk.all_rows) >> row
    rows = (~absent & (absent + 1)).bit_length() - 1
    lanes = tuple(_lane(state, chunk, fragment, row, now_s) for fragment in sorted(chunk.node_of))
    due_s = state.deadline_s(index, row) - now_s
    return Missing(
        chunk=index,
        first_row=row,
        rows=rows,
        due_in_s=due_s if due_s < inf else None,
        needed=chunk.k,
        here=sum(_weight(chunk, lane) for lane in lanes if lane.state is LaneState.HERE),
        lanes=lanes,
    )


def _weight(chunk: ChunkProgress, lane: Lane) -> int:
    return chunk.k if lane.is_copy else 1


def _lane(state: SessionState, chunk: ChunkProgress, fragment: int, row: int, now_s: float) -> Lane:
    node = state.nodes[chunk.node_of[fragment]]
    piece = _piece_for(state, chunk, fragment, row)
    lane = Lane(
        fragment=fragment,
        node=node.id,
        state=_state_of(chunk, fragment, row, piece, is_suspect=node.is_suspect),
        is_copy=chunk.is_copy[fragment],
        believed_bytes_per_s=node.rate.bytes_per_s(),
        suspect_for_s=now_s - node.suspect_since_s if node.is_suspect else -1.0,
    )
    if piece is None:
        return lane
    seen_s = now_s - piece.first_byte_s
    return msgspec.structs.replace(
        lane,
        asked_s_ago=now_s - piece.requested_s,
        received_bytes=piece.received_bytes,
        asked_bytes=piece.stop - piece.start,
        bytes_per_s=piece.received_bytes / seen_s if piece.has_answered and seen_s > 0 else 0.0,
        quiet_s=now_s - piece.last_byte_s,
    )


def _piece_for(state: SessionState, chunk: ChunkProgress, fragment: int, row: int) -> Piece | None:
    for piece in state.pieces_of(chunk.index):
        if piece.fragment == fragment and 0 <= row - piece.first_row < piece.rows:
            return piece
    return None


def _state_of(
    chunk: ChunkProgress, fragment: int, row: int, piece: Piece | None, *, is_suspect: bool
) -> LaneState:
    if fragment in chunk.bad_fragments:
        return LaneState.BAD
    if chunk.received.by_fragment.get(fragment, 0) >> row & 1:
        return LaneState.HERE
    if is_suspect:
        return LaneState.SUSPECT
    if piece is None:
        return LaneState.FREE
    return LaneState.COMING if piece.received_bytes else LaneState.WAITING


# A link that carries this share of the most it ever did is full, if its nodes showed, each for
# itself, that they can send this many times more together.
FULL_SHARE = 0.8
ALONE_FACTOR = 1.5

# A request at less than this share of the rate its node was believed to have is late.
LATE_SHARE = 0.5

# ... and so is one without a byte after this, twice the shortest silence that is a failure.
LATE_ANSWER_S = 0.4


def find_cause(missing: Missing, flow: Throughput) -> tuple[Cause, tuple[Lane, ...]]:
    """Return why a needed row was not ready, and the lanes that are to blame, worst first."""
    copies_factor = missing.needed
    obtainable = sum(
        copies_factor if lane.is_copy else 1
        for lane in missing.lanes
        if lane.state not in (LaneState.SUSPECT, LaneState.BAD)
    )
    if missing.here >= missing.needed:
        return Cause.UNREADY, ()
    if obtainable < missing.needed:
        return Cause.HOLDERS, missing.in_state(LaneState.SUSPECT, LaneState.BAD)
    pending = sorted(
        missing.in_state(LaneState.COMING, LaneState.WAITING),
        key=lambda lane: (lane.bytes_per_s, -lane.asked_s_ago),
    )
    if is_link_full(flow):
        return Cause.LINK, ()
    late = [
        lane
        for lane in pending
        if lane.quiet_s >= LATE_ANSWER_S
        or (
            lane.state is LaneState.COMING
            and lane.bytes_per_s < LATE_SHARE * lane.believed_bytes_per_s
        )
    ]
    if late:
        return Cause.LATE, tuple(late)
    if flow.sending and flow.recent < flow.needed:
        return Cause.TOTAL, ()
    if pending:
        return Cause.LATE, tuple(pending)
    return Cause.UNASKED, missing.in_state(LaneState.FREE, LaneState.SUSPECT)


def is_link_full(flow: Throughput) -> bool:
    """Whether the nodes have shown, each for itself, that together they could send much more."""
    busy = flow.sending >= 2 and flow.recent >= FULL_SHARE * flow.peak > 0
    return busy and flow.alone >= ALONE_FACTOR * flow.recent
