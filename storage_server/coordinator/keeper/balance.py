"""Evening out: fragments move from fuller nodes to emptier ones, and no more than needed. Pure.

How full a node is follows from the catalogue, not from what the node says: what was moved away
takes room there until it is compacted, and would be moved again and again.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from redundancy.errors import TooFewNodes
from redundancy.placement import EVEN_WITHIN, Demand, Placement, PlacementNode
from redundancy.scheme import Layout, Scheme
from smart_client import wire
from storage_server.coordinator.keeper.jobs import Copy, Job, View, fragment_bytes


def held_bytes(group: wire.GroupRecord) -> Counter[str]:
    """Return how much of a group each node holds, in payloads."""
    held: Counter[str] = Counter()
    for chunk in group.chunks:
        layout = chunk.layout.to_layout()
        for each in chunk.fragments:
            held[each.node] += fragment_bytes(chunk.size, layout, each.index)
    return held


def by_catalogue(places: Iterable[PlacementNode], held: Mapping[str, int]) -> list[PlacementNode]:
    """Return the nodes as full as the catalogue says."""
    return [
        replace(each, free_bytes=max(0, each.weight_bytes - held.get(each.id, 0)))
        for each in places
    ]


def is_even(places: Sequence[PlacementNode]) -> bool:
    """Whether no node that takes fragments is fuller than another by more than 2 %."""
    fill = [
        1 - each.free_bytes / each.weight_bytes
        for each in places
        if not each.excluded and each.weight_bytes
    ]
    return not fill or max(fill) - min(fill) <= EVEN_WITHIN


def plan_moves(
    key: str,
    group: wire.GroupRecord,
    view: View,
    held: Mapping[str, int],
    *,
    placement: Placement,
) -> list[Job]:
    """Return the moves that one group makes towards balance; none while anything of it is amiss.

    Args:
        held: what each node holds by the catalogue, in bytes.
    """
    layouts = {(chunk.layout, tuple(f.index for f in chunk.fragments)) for chunk in group.chunks}
    fragments = [fragment for chunk in group.chunks for fragment in chunk.fragments]
    settled = all(view.is_intact(f) and view.is_staying(f.node) for f in fragments)
    if len(layouts) != 1 or not settled:
        return []
    ((record, indices),) = layouts
    n = sum(index < record.n for index in indices)
    if n < record.k or sorted(indices) != list(indices):
        return []
    layout = Layout(Scheme(record.k, n), len(indices) - n)
    demand = Demand(layout, len(group.chunks), max(chunk.size for chunk in group.chunks))
    current = [[each.node for each in chunk.fragments] for chunk in group.chunks]
    try:
        proposed = placement.rebalance(key, by_catalogue(view.places, held), demand, current)
    except TooFewNodes:
        return []
    jobs = []
    now = Counter(held)
    weights = {each.id: each.weight_bytes for each in view.places}
    for chunk, nodes in zip(group.chunks, proposed, strict=True):
        pairs = list(zip(chunk.fragments, nodes.nodes, strict=True))
        copies = tuple(Copy(f.index, f.node, to) for f, to in pairs if f.node != to)
        if not copies:
            continue
        job = _move(key, chunk, {f.index: to for f, to in pairs}, copies)
        after = moved_bytes(now, job)
        if _unevenness(after, job, weights) < _unevenness(now, job, weights):
            jobs.append(job)
            now = after
    return jobs


def _unevenness(held: Mapping[str, int], job: Job, weights: Mapping[str, int]) -> float:
    """Return how unevenly the nodes of a job are filled.

    One fragment more here than there, and as many the other way round, are the same: moving it
    would go on for ever.
    """
    return math.fsum((held.get(node, 0) / max(1, weights.get(node, 0))) ** 2 for node in job.nodes)


def _move(
    key: str, chunk: wire.ChunkRecord, homes: Mapping[int, str], copies: tuple[Copy, ...]
) -> Job:
    layout = chunk.layout.to_layout()
    moved = sum(fragment_bytes(chunk.size, layout, copy.index) for copy in copies)
    return Job(
        group=key,
        chunk=chunk,
        kind="move",
        danger=layout.tolerates,
        layout=chunk.layout,
        homes=homes,
        copies=copies,
        wire_bytes=moved,
    )


def moved_bytes(held: Counter[str], job: Job) -> Counter[str]:
    """Return what nodes hold once a job that only moves is done."""
    layout = job.chunk.layout.to_layout()
    after = held.copy()
    for copy in job.copies:
        size = fragment_bytes(job.chunk.size, layout, copy.index)
        after[copy.source] -= size
        after[copy.target] += size
    return after
