"""What a chunk needs: fragments made again, moved away from leaving nodes, or dropped. Pure.

A chunk's record says in which layout its fragments were coded; that is what their footers say. It
has its *target* layout if that is part of it: the same k, no more parities, no more copies. Then
what is too much is dropped and nothing is coded anew. Any other target is a migration.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from redundancy.errors import TooFewNodes
from redundancy.placement import Demand, Placement, PlacementNode
from redundancy.scheme import Layout, Scheme
from smart_client import wire
from storage_server.coordinator.keeper.jobs import Copy, Job, Make, View, fragment_bytes
from storage_server.coordinator.layouts import ChunkShape

_ONE_PIECE = Layout(Scheme(1, 1))


@dataclass(frozen=True, slots=True)
class Stuck:
    """A chunk that needs something nobody can do now."""

    group: str
    number: int
    reason: str
    is_unreadable: bool = False  # too few fragments are at hand


def is_part_of(target: Layout, coded: Layout) -> bool:
    """Whether a chunk coded in one layout has the other as soon as what is too much is gone."""
    same_code = target.scheme.k == coded.scheme.k
    return same_code and target.scheme.n <= coded.scheme.n and target.copies <= coded.copies


def danger_of(chunk: wire.ChunkRecord, view: View) -> int:
    """Return how many more losses a chunk survives, whichever they are; -1: unreadable."""
    there = tuple(each for each in chunk.fragments if view.is_intact(each))
    n, k = chunk.layout.n, chunk.layout.k
    coded = tuple(each.node for each in there if each.index < n)
    copies = tuple(each.node for each in there if each.index >= n)
    return ChunkShape(k, coded, copies).losses_survived(lambda _: True)


def is_readable(chunk: wire.ChunkRecord, fragments: Sequence[wire.FragmentRecord]) -> bool:
    """Whether these fragments bring the chunk back."""
    layout = chunk.layout.to_layout()
    if any(layout.is_copy(each.index) for each in fragments):
        return True
    return len({each.index for each in fragments}) >= layout.scheme.k


def plan_chunk(
    group: str,
    chunk: wire.ChunkRecord,
    target: Layout | None,
    view: View,
    *,
    placement: Placement,
) -> Job | Stuck | None:
    """Return what to do so that a chunk is whole in a target layout that is part of its own.

    None: nothing. A fragment on a node that is away for a while only stays recorded there.

    Args:
        target: None: what is recorded, no more and no less.
    """
    coded = chunk.layout.to_layout()
    assert target is None or is_part_of(target, coded)
    by_index = {each.index: each for each in chunk.fragments}
    wanted = sorted(by_index) if target is None else _wanted(chunk, target, view)
    lost = [i for i in wanted if i not in by_index or view.is_lost(by_index[i])]
    leaving = [
        i
        for i in wanted
        if i not in lost and not view.is_staying(by_index[i].node) and view.is_intact(by_index[i])
    ]
    surplus = by_index.keys() - set(wanted)
    away = [i for i in wanted if i not in lost and not view.is_intact(by_index[i])]
    if not lost and not leaving and (away or not surplus):
        return None
    intact = tuple(each for each in chunk.fragments if view.is_intact(each))
    if lost and not is_readable(chunk, intact):
        reason = f"{len(intact)} of its fragments can be read, {coded} needs {coded.scheme.k}"
        return Stuck(group, chunk.number, reason, is_unreadable=True)
    staying = {i: by_index[i].node for i in wanted if i not in lost and i not in leaving}
    # What rotted on a node that lives is made again right there.
    again = {i: by_index[i].node for i in lost if i in by_index and _is_usable(by_index[i], view)}
    homes = _homes(group, chunk, wanted, view, kept=staying | again, placement=placement)
    placed = [i for i in lost if i in homes]
    unplaced = len(wanted) - len(homes)
    for index in leaving:
        homes.setdefault(index, by_index[index].node)  # better there than nowhere
    moved = [i for i in leaving if homes[i] != by_index[i].node]
    if unplaced or away:
        homes |= {i: by_index[i].node for i in surplus}  # nothing is dropped before all is well
    if not placed and not moved and (unplaced or away or not surplus):
        takers = sum(not each.excluded for each in view.places)
        reason = (
            f"{target or coded} needs {len(wanted)} nodes, and {takers} are up and take something"
        )
        return Stuck(group, chunk.number, reason)
    makes, copies = _makes(chunk, placed, homes)
    copies += tuple(Copy(i, by_index[i].node, homes[i]) for i in moved)
    return Job(
        group=group,
        chunk=chunk,
        kind="repair" if placed else "move" if moved else "trim",
        danger=danger_of(chunk, view),
        layout=chunk.layout,
        homes=homes,
        sources=tuple(sorted(intact, key=lambda each: coded.is_copy(each.index))),
        makes=makes,
        copies=copies,
        unplaced=unplaced,
        wire_bytes=_wire_bytes(chunk, makes, copies),
    )


def _wanted(chunk: wire.ChunkRecord, target: Layout, view: View) -> list[int]:
    """Return the indices the target needs: data first, then what is there already."""
    coded = chunk.layout.to_layout()
    k, n = coded.scheme.k, coded.scheme.n
    there = {each.index for each in chunk.fragments if not view.is_lost(each)}
    intact = {each.index for each in chunk.fragments if view.is_intact(each)}

    def rank(index: int) -> tuple[bool, bool, bool, int]:
        is_data = 1 < k > index
        return not is_data, index not in intact, index not in there, index

    pieces = sorted(range(n), key=rank)[: target.scheme.n]
    pieces += sorted(range(n, coded.fragments_total), key=rank)[: target.copies]
    return sorted(pieces)


def _is_usable(fragment: wire.FragmentRecord, view: View) -> bool:
    takers = {each.id for each in view.places if not each.excluded}
    return view.is_staying(fragment.node) and fragment.node in takers


def _homes(
    group: str,
    chunk: wire.ChunkRecord,
    wanted: Sequence[int],
    view: View,
    *,
    kept: dict[int, str],
    placement: Placement,
) -> dict[int, str]:
    """Return a node for every index that finds one; ``kept`` stays."""
    coded = chunk.layout.to_layout()
    scheme = Scheme(coded.scheme.k, sum(i < coded.scheme.n for i in wanted))
    target = Layout(scheme, len(wanted) - scheme.n)
    # Nodes that are away for a while keep their place; the leaving ones are offered nothing.
    demand = Demand(target, 1, chunk.size)
    current = [[kept.get(index, "") for index in wanted]]
    name = f"{group}/{chunk.number}"
    taken = {each.node for each in chunk.fragments} - set(kept.values())
    places = [replace(each, excluded=each.excluded or each.id in taken) for each in view.places]
    try:
        (proposed,) = placement.repair(name, places, demand, current)
        return kept | dict(zip(wanted, proposed.nodes, strict=True))
    except TooFewNodes:
        return _homes_one_by_one(name, places, wanted, kept, placement=placement, size=chunk.size)


def _homes_one_by_one(
    name: str,
    places: Sequence[PlacementNode],
    wanted: Sequence[int],
    kept: dict[int, str],
    *,
    placement: Placement,
    size: int,
) -> dict[int, str]:
    homes = dict(kept)
    for index in wanted:
        if index in homes:
            continue
        used = set(homes.values())
        free = [replace(each, excluded=each.excluded or each.id in used) for each in places]
        try:
            proposed = placement.choose(f"{name}/{index}", free, Demand(_ONE_PIECE, 1, size))
        except TooFewNodes:
            break
        homes[index] = proposed[0].nodes[0]
    return homes


def _makes(
    chunk: wire.ChunkRecord, lost: Sequence[int], homes: dict[int, str]
) -> tuple[tuple[Make, ...], tuple[Copy, ...]]:
    """Let one node make all that is lost, and the others fetch theirs from it.

    It reads the chunk once; were each to make its own, each would read all of it. The home of a
    whole copy is best: the copy is the largest to move.
    """
    if not lost:
        return (), ()
    layout = chunk.layout.to_layout()
    maker = homes[max(lost, key=lambda index: (layout.is_copy(index), -index))]
    copies = tuple(Copy(i, maker, homes[i]) for i in lost if homes[i] != maker)
    return (Make(maker, tuple(lost)),), copies


def _wire_bytes(chunk: wire.ChunkRecord, makes: Sequence[Make], copies: Sequence[Copy]) -> int:
    layout = chunk.layout.to_layout()
    return len(makes) * chunk.size + sum(
        fragment_bytes(chunk.size, layout, copy.index) for copy in copies
    )
