"""The time-critical picker of a BitTorrent client that plays while it downloads."""

from typing import ClassVar, Final

from smart_client.core.baselines.requests import (
    ask_runs,
    ask_spare,
    cancel_superfluous,
    give_up,
    hurry_footers,
    missing_rows,
    next_footer_s,
    next_pause_end_s,
    owed_rows,
)
from smart_client.core.chunk_progress import ChunkProgress, mask_of
from smart_client.core.node_table import NodeState
from smart_client.core.state import SessionState

# A BitTorrent block is 16 KiB and pipelined on one connection. Over HTTP every block would be a
# request, so four are asked for at once.
BLOCK_BYTES: Final = 64 * 1024

# Outstanding requests of a node: libtorrent keeps 3 s in its queue; four blocks hide a round trip
# of 50 ms at 40 Mbit/s, and a deeper queue would only make a node's last block later.
QUEUE_MAX: Final = 4

# libtorrent's piece_timeout: a peer that sends nothing for so long is snubbed.
SNUB_S: Final = 20.0

# The slowest tenth of the peers is left out, as outliers.
PEERS_KEPT: Final = 0.9

# Weight of a new sample in the mean piece time and in its deviation.
PIECE_TIME_GAIN: Final = 0.1

# Before any piece is complete: two of libtorrent's ticks of one second.
PIECE_TIME_FIRST_S: Final = 2.0

# Pieces due later than mean + 4 deviations + one tick are not critical.
TICK_S: Final = 1.0

# A rate for peers that have shown none, where no peer has: 1 Mbit/s.
UNKNOWN_BYTES_PER_S: Final = 125_000.0


class TimeCritical:
    """Responsible for asking, block by block, the peer that would bring a block soonest.

    Source: libtorrent, src/torrent.cpp: ``request_time_critical_pieces`` and
    ``pick_time_critical_block``. Pieces (here chunks) in the order of their deadlines; peers in the
    order of their queue's time; when all blocks of a piece are asked for and it takes longer than
    the mean piece time and half a deviation, every block may be asked of one more peer. What is not
    critical is fetched in order, without duplicates. Tuned as there, with blocks of 64 KiB.
    """

    name: ClassVar[str] = "time-critical"

    def __init__(self) -> None:
        self._mean_s = 0.0  # what a piece takes from its first request to its last byte
        self._deviation_s = 0.0
        self._begun_s: dict[int, float] = {}  # chunk -> first request
        self._all_asked_s: dict[int, float] = {}  # chunk -> when nothing was left to ask
        self._doubles: dict[int, list[int]] = {}  # piece -> pieces that double it

    def decide(self, state: SessionState) -> None:
        """Fetch critical chunks from whoever is soonest, then fill all queues in order."""
        cancel_superfluous(state)
        give_up(state, [p for p in state.pieces.values() if state.now_s >= p.last_byte_s + SNUB_S])
        self._learn(state)
        for chunk in self._critical(state):
            self._fetch(state, chunk)
        self._fill(state)
        hurry_footers(state)

    def next_wakeup_s(self, state: SessionState) -> float:
        """Return the next snub, the next doubling, or the end of a pause."""
        wake_s = min(next_pause_end_s(state), next_footer_s(state))
        for piece in state.pieces.values():
            wake_s = min(wake_s, piece.last_byte_s + SNUB_S)
        for index, asked_s in self._all_asked_s.items():
            if missing_rows(state.chunks[index]):
                again_s = asked_s + (self._timed_out(state, index) + 1) * self._limit_s()
                wake_s = min(wake_s, max(again_s, state.now_s + 1e-3))
        return wake_s

    # -- time ------------------------------------------------------------------------------------

    def _learn(self, state: SessionState) -> None:
        """Take the time of chunks that have become complete into the mean."""
        for index, begun_s in list(self._begun_s.items()):
            if missing_rows(state.chunks[index]):
                continue
            del self._begun_s[index]
            self._all_asked_s.pop(index, None)
            took_s = state.now_s - begun_s
            if self._mean_s == 0.0:
                self._mean_s = took_s
                continue
            off_s = abs(took_s - self._mean_s)
            self._mean_s += PIECE_TIME_GAIN * (took_s - self._mean_s)
            self._deviation_s += PIECE_TIME_GAIN * (off_s - self._deviation_s)
        self._doubles = {
            piece: [each for each in doubles if each in state.pieces]
            for piece, doubles in self._doubles.items()
            if piece in state.pieces
        }

    def _limit_s(self) -> float:
        if self._mean_s == 0.0:
            return PIECE_TIME_FIRST_S
        return max(1e-3, self._mean_s + self._deviation_s / 2)

    def _timed_out(self, state: SessionState, index: int) -> int:
        """Return how often the piece could have been fetched since all of it was asked for."""
        return int((state.now_s - self._all_asked_s[index]) / self._limit_s() + 1e-6)

    def _critical(self, state: SessionState) -> list[ChunkProgress]:
        horizon_s = state.now_s + self._mean_s + 4 * self._deviation_s + TICK_S
        found: list[ChunkProgress] = []
        for index in state.order:
            chunk = state.chunks[index]
            due_s = state.deadline_s(index, max(0, state.first_missing_row(chunk)))
            if found and due_s > horizon_s:
                break
            if missing_rows(chunk):
                found.append(chunk)
        return found

    # -- asking ----------------------------------------------------------------------------------

    def _peers(self, state: SessionState) -> list[NodeState]:
        """Return the nodes that may take another block, the soonest first, outliers left out."""
        rates = [n.bytes_per_s() for n in state.nodes.nodes if n.rate.is_measured]
        fallback = sum(rates) / len(rates) if rates else UNKNOWN_BYTES_PER_S

        def queue_s(node: NodeState) -> tuple[float, int]:
            rate = node.bytes_per_s() if node.rate.is_measured else fallback
            return (node.backlog_bytes() + BLOCK_BYTES) / rate, node.index

        peers = sorted((n for n in state.nodes.nodes if _has_room(state, n)), key=queue_s)
        return peers[: int(len(peers) * PEERS_KEPT + PEERS_KEPT)]

    def _fetch(self, state: SessionState, chunk: ChunkProgress) -> None:
        """Ask for all blocks of a critical chunk; when none is free, double the late ones."""
        while chunk.needs_asking:
            if not any(self._ask_block(state, chunk, node) for node in self._peers(state)):
                break
        if chunk.needs_asking:
            self._all_asked_s.pop(chunk.index, None)
            return
        self._all_asked_s.setdefault(chunk.index, state.now_s)
        allowed = self._timed_out(state, chunk.index)
        if allowed:
            self._double(state, chunk, allowed)

    def _double(self, state: SessionState, chunk: ChunkProgress, allowed: int) -> None:
        doubles = {each for group in self._doubles.values() for each in group}
        for piece in state.pieces_of(chunk.index):
            if piece.id in doubles or len(self._doubles.get(piece.id, ())) >= allowed:
                continue
            ranked = [
                fragment
                for node in self._peers(state)
                for fragment in chunk.fragment_at_node.get(node.index, ())
            ]
            rows = owed_rows(piece) & missing_rows(chunk)
            made = [each.id for each in ask_spare(state, chunk, rows, ranked)]
            self._doubles.setdefault(piece.id, []).extend(made)

    def _fill(self, state: SessionState) -> None:
        """Give every node with room its next block in order, critical or not."""
        for node in state.nodes.nodes:
            while _has_room(state, node):
                if not any(
                    self._ask_block(state, state.chunks[index], node) for index in state.order
                ):
                    break

    def _ask_block(self, state: SessionState, chunk: ChunkProgress, node: NodeState) -> bool:
        for fragment in chunk.fragment_at_node.get(node.index, ()):
            open_rows = chunk.open_rows(fragment)
            if open_rows:
                first = (open_rows & -open_rows).bit_length() - 1
                rows = max(1, BLOCK_BYTES // chunk.row_bytes(fragment))
                run = open_rows & mask_of(first, rows)
                run &= ~(run + (run & -run))  # up to the first gap
                ask_runs(state, chunk, fragment, run)
                self._begun_s.setdefault(chunk.index, state.now_s)
                return True
        return False


def _has_room(state: SessionState, node: NodeState) -> bool:
    return node.may_ask(state.now_s) and len(node.pieces) < QUEUE_MAX
