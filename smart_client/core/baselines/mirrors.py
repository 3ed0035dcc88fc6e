"""Clients that choose among servers by a rule and wait: in turn, by chance, by score, one for all.

Each keeps to k fragments of a chunk and asks another only after a failure or a long silence.
"""

from math import inf
from typing import ClassVar, Final

from smart_client.core.baselines.requests import ask_spare, data_pieces, missing_rows, owed_rows
from smart_client.core.baselines.whole_fragments import WholeFragments
from smart_client.core.chunk_progress import ChunkProgress
from smart_client.core.node_table import NodeState
from smart_client.core.state import SessionState

# V-Stack: score = bandwidth x reliability / (1 + 0.1 x latency in ms).
VSTACK_LATENCY_WEIGHT_PER_MS: Final = 0.1

# V-Stack credits a node it has not measured with this, in Mbit/s.
VSTACK_UNMEASURED_MBIT_PER_S: Final = 50.0

# V-Stack's limit on a whole request.
VSTACK_TIMEOUT_S: Final = 30.0

# hls.js, src/config.ts: fragLoadPolicy.maxTimeToFirstByteMs.
HLS_SILENCE_S: Final = 10.0

# hls.js, src/controller/content-steering-controller.ts: PATHWAY_PENALTY_DURATION_MS.
HLS_PENALTY_S: Final = 300.0

# Tahoe-LAFS, src/allmydata/immutable/downloader/finder.py: OVERDUE_TIMEOUT.
TAHOE_OVERDUE_S: Final = 10.0

# Tahoe leaves a dead connection to TCP; a minute is what a user waits before starting over.
TAHOE_TIMEOUT_S: Final = 60.0


class RoundRobin(WholeFragments):
    """Responsible for asking the holders in turn, whatever they are like.

    Source: what a client does that knows several servers and nothing about them. Tuned by a read
    timeout of 5 s, httpx's default, instead of none.
    """

    name: ClassVar[str] = "round-robin"

    def rank(self, state: SessionState, chunk: ChunkProgress) -> list[int]:  # noqa: ARG002
        """Start one holder further with every chunk."""
        fragments = sorted(chunk.node_of, key=lambda f: (chunk.node_of[f], f))
        turn = chunk.index % max(1, len(fragments))
        return fragments[turn:] + fragments[:turn]


class RoundRobinFour(RoundRobin):
    """Responsible for the same with four chunks under way.

    Source: as ``RoundRobin``. Tuned by the read-ahead of common players: up to four segments.
    """

    name: ClassVar[str] = "round-robin-4"
    chunks_at_once = 4


class RandomMirror(WholeFragments):
    """Responsible for asking k holders chosen by chance for every chunk.

    Source: mirror lists without weights (RFC 6249 mirrors of equal priority; DNS round robin).
    Tuned as ``RoundRobin``, with two chunks under way. Chance is a hash of (seed, chunk, fragment):
    the same seed makes the same choices.
    """

    name: ClassVar[str] = "random-mirror"
    chunks_at_once = 2

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed

    def rank(self, state: SessionState, chunk: ChunkProgress) -> list[int]:  # noqa: ARG002
        """Shuffle, always alike for the same chunk."""
        base = (self._seed << 40) + (chunk.index << 10)
        return sorted(chunk.node_of, key=lambda f: (_mixed(base + f), f))


class VStackScore(WholeFragments):
    """Responsible for asking the nodes with the best V-Stack score first.

    Source: V-Stack's smart client: (bandwidth x reliability) / (1 + 0.1 x latency in ms), probes
    every 3 s, an unmeasured node counted as 50 Mbit/s. Tuned beyond its authors' choice: k requests
    in parallel and a sane read timeout, so that the score itself is compared.
    """

    name: ClassVar[str] = "vstack-score"

    def rank(self, state: SessionState, chunk: ChunkProgress) -> list[int]:
        """Order by falling score."""
        return sorted(chunk.node_of, key=lambda f: (-self.score(state.nodes[chunk.node_of[f]]), f))

    @staticmethod
    def score(node: NodeState) -> float:
        """Return V-Stack's score of a node."""
        measured = node.rate.bytes_per_s() * 8 / 1e6
        bandwidth = measured if node.rate.is_measured else VSTACK_UNMEASURED_MBIT_PER_S
        latency_ms = node.rtt.smoothed_s * 1000
        return bandwidth * node.reliability.share / (1 + VSTACK_LATENCY_WEIGHT_PER_MS * latency_ms)


class VStackAsIs(VStackScore):
    """Responsible for V-Stack as it is: one whole fragment after the other, 30 s for each.

    Source: V-Stack's smart client. Not tuned: these are its own settings.
    """

    name: ClassVar[str] = "vstack"
    requests_per_chunk_max = 1
    timeout_s = VSTACK_TIMEOUT_S
    times_whole_request = True


class ContentSteering(WholeFragments):
    """Responsible for one source for everything, another only after an error or ten silent seconds.

    Source: HLS Content Steering (draft-pantos-hls-rfc8216bis, section 7), as hls.js does it: the
    first pathway of the list that is not penalised; a failure penalises it for 300 s. Tuned as
    there, without its retries on a pathway that has just failed. Made for whole copies; of a coded
    chunk the first k pathways are taken.
    """

    name: ClassVar[str] = "content-steering"
    timeout_s = HLS_SILENCE_S

    def __init__(self) -> None:
        self._failures: dict[int, int] = {}  # node -> how many of its failures were seen
        self._penalised_until_s: dict[int, float] = {}

    def decide(self, state: SessionState) -> None:
        """Penalise pathways that failed, then fetch."""
        self._penalise(state)
        super().decide(state)
        self._penalise(state)

    def rank(self, state: SessionState, chunk: ChunkProgress) -> list[int]:
        """Order by the list; penalised pathways last, the one that is free first before others."""

        def penalty_s(fragment: int) -> float:
            until_s = self._penalised_until_s.get(chunk.node_of[fragment], 0.0)
            return until_s if until_s > state.now_s else 0.0

        return sorted(chunk.node_of, key=lambda f: (penalty_s(f), chunk.node_of[f], f))

    def _penalise(self, state: SessionState) -> None:
        for node in state.nodes.nodes:
            if node.failures > self._failures.get(node.index, 0):
                self._failures[node.index] = node.failures
                self._penalised_until_s[node.index] = state.now_s + HLS_PENALTY_S


class TahoeLike(WholeFragments):
    """Responsible for k shares in parallel, the next holder's when one fails or is overdue.

    Source: Tahoe-LAFS, src/allmydata/immutable/downloader/fetcher.py: k active shares, the holders
    with the shortest round trip first; a share that is OVERDUE no longer counts as active but may
    still arrive. Tuned as there: overdue after 10 s; without a byte, because its requests are small
    blocks and ours whole fragments.
    """

    name: ClassVar[str] = "tahoe"
    timeout_s = TAHOE_TIMEOUT_S

    def __init__(self) -> None:
        self._replaced: set[int] = set()  # overdue pieces for which another share was asked

    def rank(self, state: SessionState, chunk: ChunkProgress) -> list[int]:
        """Order by round trip, an unknown one last."""

        def rtt_s(fragment: int) -> float:
            return state.nodes[chunk.node_of[fragment]].rtt.smoothed_s or inf

        return sorted(chunk.node_of, key=lambda f: (rtt_s(f), f))

    def decide(self, state: SessionState) -> None:
        """Fetch; replace what is overdue."""
        super().decide(state)
        self._replaced &= state.pieces.keys()
        for piece in data_pieces(state):
            overdue = state.now_s >= piece.last_byte_s + TAHOE_OVERDUE_S
            if overdue and piece.id not in self._replaced:
                chunk = state.chunks[piece.chunk]
                rows = owed_rows(piece) & missing_rows(chunk)
                if ask_spare(state, chunk, rows, self.rank(state, chunk)):
                    self._replaced.add(piece.id)

    def next_wakeup_s(self, state: SessionState) -> float:
        """Return also when the next share becomes overdue."""
        overdue_s = (piece.last_byte_s + TAHOE_OVERDUE_S for piece in data_pieces(state))
        soonest_s = min((at_s for at_s in overdue_s if at_s > state.now_s), default=inf)
        return min(soonest_s, super().next_wakeup_s(state))


def _mixed(number: int) -> int:
    """Return 64 well-mixed bits of a number (splitmix64; Steele, Lea and Flood 2014)."""
    number = (number + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return number ^ (number >> 31)
