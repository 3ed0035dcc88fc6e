"""From one layout to another with as few bytes on the wire as there can be. Pure.

One node, the *maker*, reads the chunk and codes it; it reads nothing if it holds a whole copy, and
one fragment less if it holds a fragment. Every other node gets its new fragment the cheapest way:

    it holds a whole copy                        makes it from that           0 bytes
    it holds the same coded fragment, same k     takes over the new footer    2 KB
    it holds a fragment and is to have a copy    fetches k - 1 others         (k-1)/k of the chunk
    anything else                                fetches it from the maker    its size

So 3 copies -> (3, 5) moves 2/3 of the chunk, and (3, 5) -> 3 copies twice the chunk.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from redundancy.errors import TooFewNodes
from redundancy.placement import Demand, Placement
from redundancy.scheme import Layout
from smart_client import wire
from storage_server.coordinator.keeper.jobs import Copy, Job, Make, View, fragment_bytes
from storage_server.coordinator.keeper.plan import Stuck, danger_of, is_readable


def plan_migration(
    group: str, chunk: wire.ChunkRecord, target: Layout, view: View, *, placement: Placement
) -> Job | Stuck:
    """Return how a chunk comes to be coded in ``target``, whatever it is coded in now."""
    intact = tuple(each for each in chunk.fragments if view.is_intact(each))
    if not is_readable(chunk, intact):
        return Stuck(group, chunk.number, "it cannot be read now", is_unreadable=True)
    kept = _kept(chunk, target, view, intact)
    try:
        (proposed,) = placement.repair(
            f"{group}/{chunk.number}",
            list(view.places),
            Demand(target, 1, chunk.size),
            [[kept.get(index, "") for index in range(target.fragments_total)]],
        )
    except TooFewNodes as error:
        return Stuck(group, chunk.number, error.message)
    held = {each.node: each.index for each in intact}
    return _Ways(chunk, target, dict(enumerate(proposed.nodes)), held).job(
        group, intact, danger_of(chunk, view)
    )


def _kept(
    chunk: wire.ChunkRecord,
    target: Layout,
    view: View,
    intact: tuple[wire.FragmentRecord, ...],
) -> dict[int, str]:
    """Return which nodes that hold something now get which new fragment."""
    coded = chunk.layout.to_layout()
    able = [
        each
        for each in sorted(intact, key=lambda each: each.index)
        if view.is_staying(each.node) and not _is_excluded(each.node, view)
    ]
    kept: dict[int, str] = {}
    if coded.scheme.k == target.scheme.k:
        kept = {
            each.index: each.node
            for each in able
            if each.index < min(coded.scheme.n, target.scheme.n)
        }
    # A whole copy makes anything for nothing; who holds a piece has the least to fetch for a copy.
    whole = [each.node for each in able if coded.is_copy(each.index)]
    pieces = [each.node for each in able if not coded.is_copy(each.index)]
    copies = [i for i in range(target.fragments_total) if target.is_copy(i)]
    for index in copies:
        _give(kept, index, whole + pieces)
    for index in range(target.fragments_total):
        _give(kept, index, whole)
    return kept


def _give(kept: dict[int, str], index: int, nodes: list[str]) -> None:
    free = [node for node in nodes if node not in kept.values()]
    if index not in kept and free:
        kept[index] = free[0]


def _is_excluded(node: str, view: View) -> bool:
    return all(each.id != node or each.excluded for each in view.places)


@dataclass(frozen=True, slots=True)
class _Ways:
    """Responsible for choosing how each node comes by its new fragment."""

    chunk: wire.ChunkRecord
    target: Layout
    homes: Mapping[int, str]  # new index -> node
    held: Mapping[str, int]  # node -> old index it can read here

    def job(self, group: str, intact: tuple[wire.FragmentRecord, ...], danger: int) -> Job:
        """Return the whole work, with the maker that moves the fewest bytes."""
        jobs = [self._job_by(first, group, intact, danger) for first in sorted(self.homes)]
        return min(jobs, key=lambda job: job.wire_bytes)

    def _job_by(
        self, first: int, group: str, intact: tuple[wire.FragmentRecord, ...], danger: int
    ) -> Job:
        maker = self.homes[first]
        alone = [i for i in self.homes if i != first and self._is_made_at_home(i)]
        fetched = [i for i in self.homes if i != first and i not in alone]
        over = [i for i in alone if self._is_taken_over(i)]
        stored = [first, *fetched]
        coded = [i for i in stored if not self.target.is_copy(i)]
        if over and not coded:
            coded = [over[0]]
            stored.append(over[0])
        makes = [Make(maker, tuple(sorted(stored)))]
        makes += [Make(self.homes[i], (i,), pattern=coded[0] if i in over else None) for i in alone]
        copies = tuple(Copy(i, maker, self.homes[i]) for i in fetched)
        moved_bytes = [self._gathering_bytes(m.node) for m in makes if m.pattern is None]
        moved_bytes += [fragment_bytes(self.chunk.size, self.target, c.index) for c in copies]
        return Job(
            group=group,
            chunk=self.chunk,
            kind="migrate",
            danger=danger,
            layout=wire.LayoutRecord.of(self.target),
            homes=self.homes,
            sources=tuple(sorted(intact, key=lambda each: self._is_whole(each.index))),
            makes=tuple(makes),
            copies=copies,
            wire_bytes=sum(moved_bytes),
        )

    def _is_made_at_home(self, index: int) -> bool:
        old = self.held.get(self.homes[index])
        if old is None:
            return False
        return self._is_whole(old) or self._is_taken_over(index) or self.target.is_copy(index)

    def _is_taken_over(self, index: int) -> bool:
        old = self.held.get(self.homes[index])
        same_k = self.chunk.layout.k == self.target.scheme.k
        pieces = not self.target.is_copy(index) and old is not None and not self._is_whole(old)
        return same_k and pieces and old == index

    def _is_whole(self, old: int) -> bool:
        return self.chunk.layout.to_layout().is_copy(old)

    def _gathering_bytes(self, node: str) -> int:
        """Return what a node has to fetch before it can code the chunk."""
        old = self.held.get(node)
        if old is None:
            return self.chunk.size
        if self._is_whole(old):
            return 0
        return self.chunk.size - self.chunk.size // self.chunk.layout.k
