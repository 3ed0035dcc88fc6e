"""Which fragment goes to which node, and what to do when a node is slow, silent or full. Pure.

    chunk offered ──▶ puts queued per node ──▶ stored | moved to a spare | missing
                                                   │
             enough stored: the chunk is *durable* ┘   nothing under way: it is *settled*

A node that shows no progress while the others move on is suspect: its puts move to spares, and
while it rests it is given nothing. Slow is not silent: a slow node, or a slow uplink of our own,
keeps its puts for as long as nobody has to wait for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import msgspec

# Two puts a node in flight hide the round trip and the disk's sync.
PUTS_PER_NODE_MAX = 2

# No progress for this long is suspicious ...
SILENCE_MIN_S = 1.0

# ... and silence when meanwhile every put in flight could have moved this many blocks: our own
# uplink is not what is slow, and nor is a node a tenth as fast as the others.
SILENCE_BLOCKS = 30

# When nobody moves there is nothing to compare with.
SILENCE_ALONE_S = 10.0

BACKOFF_FIRST_S = 1.0
BACKOFF_MAX_S = 16.0


class Put(msgspec.Struct, frozen=True, tag=True):
    """Command: send a fragment to a node."""

    put: int
    chunk: int
    fragment: int
    node: str


class Abort(msgspec.Struct, frozen=True, tag=True):
    """Command: give a put up."""

    put: int


class Durable(msgspec.Struct, frozen=True, tag=True):
    """Command: tell the uploader that enough fragments of the chunk are stored."""

    chunk: int


class Settled(msgspec.Struct, frozen=True, tag=True):
    """Command: nothing of the chunk is under way any more; its buffers may go."""

    chunk: int


PlanCommand = Put | Abort | Durable | Settled


@dataclass(slots=True)
class ChunkUpload:
    """One chunk on its way."""

    number: int
    needed: int  # stored fragments that make it durable
    spares: list[str]
    targets: dict[int, str]  # fragment -> node it is meant for
    waiting: set[int] = field(default_factory=set)  # queued or in flight
    stored: dict[int, str] = field(default_factory=dict)
    missing: set[int] = field(default_factory=set)
    is_durable: bool = False


@dataclass(slots=True)
class NodeUpload:
    """One node as the uploader sees it."""

    queue: list[tuple[int, int]] = field(default_factory=list)  # (chunk, fragment)
    puts: list[int] = field(default_factory=list)
    suspect_until_s: float = 0.0
    backoff_s: float = 0.0
    is_full: bool = False

    def rests(self, now_s: float) -> bool:
        """Whether it is to be given nothing now."""
        return self.is_full or now_s < self.suspect_until_s


@dataclass(slots=True)
class PutUnderWay:
    """One put in flight."""

    chunk: int
    fragment: int
    node: str
    size: int
    began_s: float
    moved_s: float  # when it last showed progress
    moved_at_block: int  # how many blocks all puts had moved then
    sent: int = 0


class UploadPlan:
    """Responsible for placing the fragments of chunks that are offered to it.

    Every method takes the present instant and returns commands in order.
    """

    def __init__(self) -> None:
        self.silence_alone_s = SILENCE_ALONE_S
        self.chunks: dict[int, ChunkUpload] = {}
        self.nodes: dict[str, NodeUpload] = {}
        self.puts: dict[int, PutUnderWay] = {}
        self._sizes: dict[int, Sequence[int]] = {}
        self._next_put = 0
        self._blocks = 0  # signs of progress so far, over all puts

    # -- what happens ----------------------------------------------------------------------------

    def offer(self, chunk: ChunkUpload, sizes: Sequence[int], now_s: float) -> list[PlanCommand]:
        """Take a chunk in whose fragments have these sizes; ``targets`` says where they should go.

        Fragments that are in ``stored`` already are left alone.
        """
        self.chunks[chunk.number] = chunk
        self._sizes[chunk.number] = sizes
        for node in (*chunk.targets.values(), *chunk.spares):
            self.nodes.setdefault(node, NodeUpload())
        for fragment in sorted(chunk.targets):
            if fragment not in chunk.stored:
                self._enqueue(chunk, fragment, now_s)
        return self._go_on(now_s, chunk)

    def hurry(self, number: int, now_s: float, *, at_once: bool = False) -> list[PlanCommand]:
        """Others wait for this chunk: if it is durable, leave what is not moving for later.

        What still queues becomes missing; so do puts without a sign of life for a second, and with
        ``at_once`` all of them.
        """
        chunk = self.chunks[number]
        if not chunk.is_durable:
            return []
        for node in self.nodes.values():
            for entry in [entry for entry in node.queue if entry[0] == number]:
                node.queue.remove(entry)
                chunk.waiting.discard(entry[1])
                chunk.missing.add(entry[1])
        issued: list[PlanCommand] = []
        for put, under_way in list(self.puts.items()):
            stuck = now_s - under_way.moved_s >= SILENCE_MIN_S
            if under_way.chunk == number and (stuck or at_once) and put in self.puts:
                issued += self._give_node_up(under_way.node, now_s)
        return issued or self._go_on(now_s, chunk)

    def progress(self, put: int, sent: int, now_s: float) -> list[PlanCommand]:
        """More bytes of a put were taken by the network."""
        under_way = self.puts.get(put)
        if under_way is None or sent <= under_way.sent:
            return []
        self._blocks += 1
        under_way.sent = sent
        under_way.moved_s = now_s
        under_way.moved_at_block = self._blocks
        return self._give_up_silent(now_s)

    def done(self, put: int, now_s: float) -> list[PlanCommand]:
        """The node has the fragment on disk."""
        under_way = self._strike(put)
        if under_way is None:
            return []
        node = self.nodes[under_way.node]
        node.backoff_s = node.suspect_until_s = 0.0
        chunk = self.chunks[under_way.chunk]
        chunk.waiting.discard(under_way.fragment)
        chunk.stored[under_way.fragment] = under_way.node
        return self._go_on(now_s, chunk)

    def failed(self, put: int, now_s: float) -> list[PlanCommand]:
        """The node refused, broke the connection, or cannot be reached."""
        under_way = self._strike(put)
        if under_way is None:
            return []
        return self._leave_node(under_way.node, now_s, [under_way])

    def full(self, put: int, now_s: float) -> list[PlanCommand]:
        """The node has no space left: never ask it again."""
        under_way = self._strike(put)
        if under_way is None:
            return []
        self.nodes[under_way.node].is_full = True
        return self._leave_node(under_way.node, now_s, [under_way])

    def ask_all_again(self, now_s: float) -> None:
        """Let every node that rests, and is not full, have its trial now."""
        for node in self.nodes.values():
            node.suspect_until_s = min(node.suspect_until_s, now_s)

    def tick(self, now_s: float) -> list[PlanCommand]:
        """Give up puts that show no sign of life."""
        return self._give_up_silent(now_s) + self._go_on(now_s)

    def next_wakeup_s(self) -> float:
        """Return when to ``tick`` unless something happens first."""
        return min((self._silent_at_s(put) for put in self.puts.values()), default=inf)

    # -- what is known ---------------------------------------------------------------------------

    @property
    def unsettled(self) -> int:
        """How many chunks still have puts queued or in flight."""
        return sum(1 for chunk in self.chunks.values() if chunk.waiting)

    def forget(self, number: int) -> ChunkUpload:
        """Hand a settled chunk over; the plan no longer knows it."""
        self._sizes.pop(number, None)
        return self.chunks.pop(number)

    # -- helpers ---------------------------------------------------------------------------------

    def _silent_at_s(self, put: PutUnderWay) -> float:
        moved_by_all = self._blocks - put.moved_at_block
        outrun = moved_by_all >= SILENCE_BLOCKS * len(self.puts)
        return put.moved_s + (SILENCE_MIN_S if outrun else self.silence_alone_s)

    def _give_up_silent(self, now_s: float) -> list[PlanCommand]:
        issued: list[PlanCommand] = []
        for name in sorted({p.node for p in self.puts.values() if now_s >= self._silent_at_s(p)}):
            issued += self._give_node_up(name, now_s)
        return issued

    def _give_node_up(self, name: str, now_s: float) -> list[PlanCommand]:
        """Abort all puts to a node and move what was meant for it elsewhere."""
        puts = list(self.nodes[name].puts)
        left = [under_way for put in puts if (under_way := self._strike(put)) is not None]
        return [*map(Abort, puts), *self._leave_node(name, now_s, left)]

    def _enqueue(self, chunk: ChunkUpload, fragment: int, now_s: float) -> None:
        """Queue a fragment at its node or, while that rests, at a spare; else it is missing."""
        node = chunk.targets[fragment]
        if self.nodes[node].rests(now_s):
            taken = set(chunk.targets.values())
            spare = next(
                (s for s in chunk.spares if s not in taken and not self.nodes[s].rests(now_s)),
                None,
            )
            if spare is None:
                chunk.waiting.discard(fragment)
                chunk.missing.add(fragment)
                return
            chunk.targets[fragment] = node = spare
        chunk.missing.discard(fragment)
        chunk.waiting.add(fragment)
        self.nodes[node].queue.append((chunk.number, fragment))

    def _leave_node(
        self, name: str, now_s: float, interrupted: list[PutUnderWay]
    ) -> list[PlanCommand]:
        """Let a node rest and move everything meant for it elsewhere."""
        node = self.nodes[name]
        node.backoff_s = min(BACKOFF_MAX_S, max(BACKOFF_FIRST_S, 2 * node.backoff_s))
        node.suspect_until_s = now_s + node.backoff_s
        queued, node.queue = node.queue, []
        orphans = [(put.chunk, put.fragment) for put in interrupted] + queued
        touched: dict[int, ChunkUpload] = {}
        for number, fragment in orphans:
            chunk = touched[number] = self.chunks[number]
            self._enqueue(chunk, fragment, now_s)
        issued: list[PlanCommand] = []
        for chunk in touched.values():
            issued += self._go_on(now_s, chunk)
        return issued

    def _strike(self, put: int) -> PutUnderWay | None:
        under_way = self.puts.pop(put, None)
        if under_way is not None:
            self.nodes[under_way.node].puts.remove(put)
        return under_way

    def _go_on(self, now_s: float, chunk: ChunkUpload | None = None) -> list[PlanCommand]:
        """Start puts where there is room, and report a chunk's progress."""
        issued: list[PlanCommand] = []
        for name, node in self.nodes.items():
            # A node that failed last time gets one put as its trial.
            room = 1 if node.backoff_s else PUTS_PER_NODE_MAX
            while node.queue and len(node.puts) < room and not node.rests(now_s):
                number, fragment = node.queue.pop(0)
                issued.append(self._start(name, number, fragment, now_s))
        if chunk is not None:
            if not chunk.is_durable and len(chunk.stored) >= chunk.needed:
                chunk.is_durable = True
                issued.append(Durable(chunk.number))
            if not chunk.waiting:
                issued.append(Settled(chunk.number))
        return issued

    def _start(self, name: str, number: int, fragment: int, now_s: float) -> Put:
        put = self._next_put
        self._next_put += 1
        size = self._sizes[number][fragment]
        self.puts[put] = PutUnderWay(number, fragment, name, size, now_s, now_s, self._blocks)
        self.nodes[name].puts.append(put)
        return Put(put, number, fragment, name)
