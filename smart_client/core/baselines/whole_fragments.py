"""The frame of all baselines that fetch whole fragments, a few chunks at a time."""

from math import inf
from typing import ClassVar, Final

from smart_client.core.baselines.requests import (
    ask_runs,
    cancel_superfluous,
    data_pieces,
    give_up,
    hurry_footers,
    next_footer_s,
    next_pause_end_s,
    unfinished,
)
from smart_client.core.chunk_progress import ChunkProgress
from smart_client.core.pieces import Piece
from smart_client.core.state import SessionState

# The read timeout of httpx, and requests' usual advice: so long without a byte.
READ_TIMEOUT_S: Final = 5.0


class WholeFragments:
    """Responsible for what the baselines share: k whole fragments of the most urgent chunks.

    Class attributes say how: ``chunks_at_once`` chunks are under way, with any number of requests
    a chunk or ``requests_per_chunk_max``; a request is given up after ``timeout_s`` without a byte,
    or, where ``times_whole_request``, so long after it was sent.
    """

    name: ClassVar[str] = "whole-fragments"
    chunks_at_once = 1
    requests_per_chunk_max = 256
    timeout_s = READ_TIMEOUT_S
    times_whole_request = False

    def rank(self, state: SessionState, chunk: ChunkProgress) -> list[int]:
        """Return the chunk's fragments, the ones to ask first first."""
        raise NotImplementedError

    def decide(self, state: SessionState) -> None:
        """Give late requests up, then complete the most urgent chunks."""
        cancel_superfluous(state)
        give_up(state, [p for p in state.pieces.values() if state.now_s >= self._timeout_at_s(p)])
        for chunk in unfinished(state, self.chunks_at_once):
            self.complete(state, chunk)
        hurry_footers(state)

    def next_wakeup_s(self, state: SessionState) -> float:
        """Return the next time limit, or the end of a pause that may keep a chunk waiting."""
        timeout_s = min(map(self._timeout_at_s, state.pieces.values()), default=inf)
        return min(timeout_s, next_pause_end_s(state), next_footer_s(state))

    def complete(self, state: SessionState, chunk: ChunkProgress) -> None:
        """Ask for what the chunk lacks, in the order of ``rank``."""
        running = sum(1 for piece in data_pieces(state) if piece.chunk == chunk.index)
        for fragment in self.rank(state, chunk):
            if not chunk.needs_asking or running >= self.requests_per_chunk_max:
                return
            open_rows = chunk.open_rows(fragment)
            if self.requests_per_chunk_max == 1 and open_rows:
                open_rows &= ~(open_rows + (open_rows & -open_rows))  # the first run of them
            running += len(ask_runs(state, chunk, fragment, open_rows))

    def _timeout_at_s(self, piece: Piece) -> float:
        began_s = piece.requested_s if self.times_whole_request else piece.last_byte_s
        return began_s + self.timeout_s
