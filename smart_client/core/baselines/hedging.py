"""Clients that ask for more than they need: after a delay, or from the start.

Whatever comes first counts; a request whose rows have all come is cancelled.
"""

from collections import deque
from math import inf
from typing import ClassVar, Final

from smart_client.core.baselines.requests import (
    ask_spare,
    data_pieces,
    missing_rows,
    owed_rows,
)
from smart_client.core.baselines.whole_fragments import WholeFragments
from smart_client.core.chunk_progress import ChunkProgress
from smart_client.core.pieces import Piece
from smart_client.core.state import SessionState

# HDFS, hdfs-default.xml: dfs.client.hedged.read.threshold.millis.
HDFS_DELAY_S: Final = 0.5

# The HBase reference guide's value for dfs.client.hedged.read.threadpool.size (0 is off).
HDFS_HEDGES_MAX: Final = 20

# The HBase reference guide's value for dfs.client.socket-timeout; HDFS' own is 60 s.
HDFS_TIMEOUT_S: Final = 10.0

# The Tail at Scale: the 95th percentile of what such requests take, so that 5 % are doubled.
TAIL_SHARE: Final = 0.95
TAIL_SAMPLES: Final = 100
TAIL_SAMPLES_MIN: Final = 20  # fewer have no 95th percentile

# Until then: what an unhedged client would call late.
TAIL_FIRST_DELAY_S: Final = 1.0

# Storj, storj/common/storj/redundancy.go: DownloadNodes asks for at least one node more than k.
STORJ_SPARE_LANES: Final = 1

# Storj uplink: the default of --client.dial-timeout is 20 s; its transfers have no shorter limit.
STORJ_TIMEOUT_S: Final = 20.0


class Nearest(WholeFragments):
    """Responsible for ranking holders by round trip: the nearest first, an unknown one last.

    Two chunks are under way, so that the end of one does not leave the nodes idle.
    """

    chunks_at_once = 2

    def rank(self, state: SessionState, chunk: ChunkProgress) -> list[int]:
        """Order by round trip; ties start one holder further with every chunk."""
        count = max(1, len(chunk.node_of))

        def key(fragment: int) -> tuple[float, int]:
            rtt_s = state.nodes[chunk.node_of[fragment]].rtt.smoothed_s
            return rtt_s or inf, (fragment + chunk.index) % count

        return sorted(chunk.node_of, key=key)


class FixedDelayHedge(Nearest):
    """Responsible for a second request for the same rows when the first takes more than 500 ms.

    Source: HDFS hedged reads, DFSInputStream.hedgedFetchBlockByteRange (HDFS-5776): after the
    threshold one more node is asked, the first to finish wins and the other is cancelled; another
    node only when one of the two fails; a pool bounds the hedges. Tuned as the HBase reference
    guide does for latency: 20 threads, socket timeout 10 s.
    """

    name: ClassVar[str] = "hedge-fixed"
    timeout_s = HDFS_TIMEOUT_S

    def __init__(self) -> None:
        self._hedge_of: dict[int, int] = {}  # a late piece -> the piece that doubles it

    def delay_s(self) -> float:
        """Return how long a request may take before it is doubled."""
        return HDFS_DELAY_S

    def decide(self, state: SessionState) -> None:
        """Fetch, then double what is late."""
        super().decide(state)
        self._hedge_of = {
            piece: hedge
            for piece, hedge in self._hedge_of.items()
            if piece in state.pieces and hedge in state.pieces
        }
        hedges = set(self._hedge_of.values())
        for piece in data_pieces(state):
            late = state.now_s >= piece.requested_s + self.delay_s()
            if not late or piece.id in self._hedge_of or piece.id in hedges:
                continue
            if len(self._hedge_of) >= HDFS_HEDGES_MAX:
                return
            chunk = state.chunks[piece.chunk]
            rows = owed_rows(piece) & missing_rows(chunk)
            for hedge in ask_spare(state, chunk, rows, self.rank(state, chunk)):
                self._hedge_of[piece.id] = hedge.id
                hedges.add(hedge.id)

    def next_wakeup_s(self, state: SessionState) -> float:
        """Return also when the next request becomes late."""
        late_s = (piece.requested_s + self.delay_s() for piece in data_pieces(state))
        soonest_s = min((at_s for at_s in late_s if at_s > state.now_s), default=inf)
        return min(soonest_s, super().next_wakeup_s(state))


class PercentileHedge(FixedDelayHedge):
    """Responsible for doubling a request once it takes longer than 95 % of its kind.

    Source: Dean and Barroso, The Tail at Scale, CACM 56(2), 2013: "defer sending a secondary
    request until the first has been outstanding for more than the 95th-percentile expected
    latency". Tuned as there; the percentile is that of the last 100 requests.
    """

    name: ClassVar[str] = "hedge-p95"

    def __init__(self) -> None:
        super().__init__()
        self._took_s: deque[float] = deque(maxlen=TAIL_SAMPLES)
        self._watched: dict[int, Piece] = {}

    def delay_s(self) -> float:
        """Return the 95th percentile of what the last requests took."""
        if len(self._took_s) < TAIL_SAMPLES_MIN:
            return TAIL_FIRST_DELAY_S
        return sorted(self._took_s)[int(TAIL_SHARE * len(self._took_s))]

    def decide(self, state: SessionState) -> None:
        """Learn from requests that ended, then do as with a fixed delay."""
        for number, piece in self._watched.items():
            if number not in state.pieces and piece.counted_rows == piece.rows:
                self._took_s.append(state.now_s - piece.requested_s)
        super().decide(state)
        self._watched = {piece.id: piece for piece in data_pieces(state)}


class SpareLanes(Nearest):
    """Responsible for keeping more than k fragments of a chunk under way, the last one cancelled.

    Source: Storj, ``RedundancyScheme.DownloadNodes`` and uplink's long-tail cancellation: k + 1
    pieces are fetched and the slowest is given up once k are in. Tuned as there.
    """

    name: ClassVar[str] = "k-plus-1"
    timeout_s = STORJ_TIMEOUT_S
    spare_lanes = STORJ_SPARE_LANES

    def complete(self, state: SessionState, chunk: ChunkProgress) -> None:
        """Ask for k lanes, then for the spare ones."""
        super().complete(state, chunk)
        ranked = self.rank(state, chunk)
        missing = missing_rows(chunk)
        while missing and self._lanes(state, chunk) < chunk.k + self.spare_lanes:
            if not ask_spare(state, chunk, missing, ranked):
                return

    @staticmethod
    def _lanes(state: SessionState, chunk: ChunkProgress) -> int:
        """Count fragments that are in or on their way; a whole copy is k of them."""
        alive = {piece.fragment for piece in data_pieces(state) if piece.chunk == chunk.index}
        alive |= {f for f, rows in chunk.received.by_fragment.items() if not chunk.wanted & ~rows}
        return sum(chunk.k if chunk.is_copy[fragment] else 1 for fragment in alive)


class AllHolders(SpareLanes):
    """Responsible for asking all n holders at once and cancelling what is not needed any more.

    Source: the (n, k) fork-join of Joshi, Liu and Soljanin, "On the Delay-Storage Trade-Off in
    Content Download from Coded Distributed Storage Systems", IEEE JSAC 32(5), 2014. Tuned as there:
    no delay, cancel at k.
    """

    name: ClassVar[str] = "all-n"
    spare_lanes = 1_000_000  # more than there can be
