"""Segmented downloading: every server pulls its next segment when it has finished the last one."""

from typing import ClassVar, Final

from smart_client.core.baselines.requests import (
    ask_runs,
    give_up,
    hurry_footers,
    next_footer_s,
    next_pause_end_s,
)
from smart_client.core.chunk_progress import ChunkProgress, mask_of
from smart_client.core.node_table import NodeState
from smart_client.core.pieces import Piece
from smart_client.core.state import SessionState

# aria2c --min-split-size and --piece-length: 1 MiB is the least it takes; the default is 20 MiB.
MIN_SPLIT_BYTES: Final = 1024 * 1024

# aria2c --timeout: so long without a byte.
TIMEOUT_S: Final = 60.0

# aria2c --lowest-speed-limit, off by default: here one block a second.
LOWEST_BYTES_PER_S: Final = 16 * 1024

# aria2's startup idle time: a new connection is not judged by its speed before.
SPEED_CHECK_AFTER_S: Final = 10.0

# How often the speed is looked at when nothing else happens.
SPEED_CHECK_S: Final = 1.0


class SegmentedPull:
    """Responsible for one connection a node, each taking the next segment nobody has begun.

    Source: aria2 (src/SegmentMan.cc, BitfieldMan::getInorderMissingUnusedIndex) with --split above
    the number of servers, --max-connection-per-server=1 and --stream-piece-selector=inorder. What a
    connection has begun is not taken over, however slow it is, unless it is dropped. Tuned for
    playing: the smallest split size, and a lowest speed limit.
    """

    name: ClassVar[str] = "segmented"

    def decide(self, state: SessionState) -> None:
        """Drop what is silent or too slow; give every idle node its next segment."""
        give_up(
            state, [piece for piece in state.pieces.values() if self._is_hopeless(state, piece)]
        )
        for node in state.nodes.nodes:
            if not node.pieces and node.may_ask(state.now_s):
                self._assign(state, node)
        hurry_footers(state)

    def next_wakeup_s(self, state: SessionState) -> float:
        """Return the next time limit, speed check or end of a pause."""
        wake_s = min(next_pause_end_s(state), next_footer_s(state))
        for piece in state.pieces.values():
            check_s = max(piece.requested_s + SPEED_CHECK_AFTER_S, state.now_s + SPEED_CHECK_S)
            wake_s = min(wake_s, piece.last_byte_s + TIMEOUT_S, check_s)
        return wake_s

    @staticmethod
    def _is_hopeless(state: SessionState, piece: Piece) -> bool:
        if state.now_s >= piece.last_byte_s + TIMEOUT_S:
            return True
        age_s = state.now_s - piece.requested_s
        slow = piece.received_bytes < LOWEST_BYTES_PER_S * age_s
        return age_s >= SPEED_CHECK_AFTER_S and slow

    @staticmethod
    def _assign(state: SessionState, node: NodeState) -> None:
        for index in state.order:
            chunk = state.chunks[index]
            for fragment in chunk.fragment_at_node.get(node.index, ()):
                rows = first_segment(chunk, fragment)
                if rows:
                    ask_runs(state, chunk, fragment, rows)
                    return


def first_segment(chunk: ChunkProgress, fragment: int) -> int:
    """Return the first open rows as one segment; what is left after it is no smaller than one."""
    open_rows = chunk.open_rows(fragment)
    if not open_rows:
        return 0
    first = (open_rows & -open_rows).bit_length() - 1
    run = open_rows >> first
    length = (~run & (run + 1)).bit_length() - 1
    rows = max(1, MIN_SPLIT_BYTES // chunk.row_bytes(fragment))
    return mask_of(first, length if length < 2 * rows else rows)
