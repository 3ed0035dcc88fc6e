"""Filling a group of chunks onto nodes: room, zones and distinctness, whatever the order of nodes.

A placement policy ranks the nodes for each chunk; what is here goes down that ranking and takes
every node that may have a fragment of the chunk.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from redundancy.errors import InvalidScheme, TooFewNodes
from redundancy.rows import CHUNK_BYTES_MAX, RowGeometry
from redundancy.scheme import Layout

# One catalogue record holds this many consecutive chunks: 10 minutes of video in some 10 KB.
GROUP_CHUNKS_MAX = 64

# How many nodes to try next are named for each chunk. When so many fail it is time to ask again.
SPARES_MAX = 16


@dataclass(frozen=True, slots=True)
class PlacementNode:
    """What placement knows of a node."""

    id: str
    weight_bytes: int  # its capacity
    free_bytes: int
    zone: str = ""  # what fails together; a node without one is a zone of its own
    excluded: bool = False  # takes nothing new (suspect, for one); what it has stays

    def __post_init__(self) -> None:
        if not self.id or self.weight_bytes < 0 or self.free_bytes < 0:
            raise InvalidScheme(f"a node needs an id and sizes that are not negative: {self}")


@dataclass(frozen=True, slots=True)
class Demand:
    """What a group of consecutive chunks needs."""

    layout: Layout
    chunks: int
    chunk_bytes: int = CHUNK_BYTES_MAX  # of the largest of them

    def __post_init__(self) -> None:
        if not 1 <= self.chunks <= GROUP_CHUNKS_MAX:
            raise InvalidScheme(f"a group has 1 to {GROUP_CHUNKS_MAX} chunks, got {self.chunks}")
        RowGeometry(self.chunk_bytes, self.layout.scheme.k)

    def fragment_bytes(self, index: int) -> int:
        """Return the most bytes a payload of fragment ``index`` can have."""
        k = 1 if self.layout.is_copy(index) else self.layout.scheme.k
        return RowGeometry(self.chunk_bytes, k).payload_bytes


@dataclass(frozen=True, slots=True)
class ChunkPlacement:
    """Where one chunk's fragments go."""

    nodes: tuple[str, ...]  # by fragment index; all different
    spares: tuple[str, ...] = ()  # whom to try next, best first


class Packing:
    """The nodes as one group fills them; a node's place is its number in order of id."""

    def __init__(self, nodes: Sequence[PlacementNode], demand: Demand) -> None:
        self.demand = demand
        self.nodes = sorted(nodes, key=lambda node: node.id)
        self.ids = [node.id for node in self.nodes]
        self.place_of = {name: place for place, name in enumerate(self.ids)}
        if len(self.place_of) != len(self.ids):
            raise InvalidScheme("a node is listed twice")
        self.zones = [node.zone or f"\0{node.id}" for node in self.nodes]
        total = demand.layout.fragments_total
        self.sizes_bytes = [demand.fragment_bytes(index) for index in range(total)]
        # What each node holds of this group, in coded fragments: a copy counts as k.
        self.held = np.zeros(len(self.nodes))
        self._left_bytes = np.array(
            [-1.0 if node.excluded else node.free_bytes for node in self.nodes]
        )

    def survivors(self, current: Sequence[Sequence[str]]) -> list[dict[int, int]]:
        """Return, for each chunk, index -> place of what is on nodes still there; counts it held.

        Raises: InvalidScheme: ``current`` has not one node for each fragment of each chunk.
        """
        total = self.demand.layout.fragments_total
        if len(current) != self.demand.chunks or {len(chunk) for chunk in current} != {total}:
            raise InvalidScheme(f"need {self.demand.chunks} records of {total} nodes each")
        kept = [
            {i: self.place_of[name] for i, name in enumerate(chunk) if name in self.place_of}
            for chunk in current
        ]
        for chunk in kept:
            for index, place in chunk.items():
                self.hold(index, place)
        return kept

    def weight(self, index: int) -> float:
        """Return the size of fragment ``index`` in coded fragments: a whole copy is about k."""
        return self.sizes_bytes[index] / max(1, self.sizes_bytes[0])

    def hold(self, index: int, place: int, times: int = 1) -> None:
        """Count fragment ``index`` of some chunk as held by a node (``times=-1``: no longer)."""
        self.held[place] += times * self.weight(index)

    def take(self, index: int, place: int) -> None:
        """Give fragment ``index`` of some chunk to a node."""
        self.hold(index, place)
        self._left_bytes[place] -= self.sizes_bytes[index]

    def with_room(self, size_bytes: int) -> npt.NDArray[np.bool_]:
        """Return which nodes take another fragment of this size."""
        roomy: npt.NDArray[np.bool_] = self._left_bytes >= size_bytes
        return roomy

    def fill(self, chunk: int, kept: Mapping[int, int], order: Iterable[int]) -> ChunkPlacement:
        """Give what a chunk lacks to nodes in this order; ``kept`` stays.

        Raises: TooFewNodes: not enough nodes have room.
        """
        filling = _Filling(self, chunk, kept)
        for place in order:
            filling.offer(place)
            if filling.is_complete and len(filling.passed) >= SPARES_MAX:
                break
        return filling.result()


class _Filling:
    """One chunk being filled: responsible for which node may take which of its fragments."""

    def __init__(self, packing: Packing, chunk: int, kept: Mapping[int, int]) -> None:
        layout = packing.demand.layout
        self._packing = packing
        self._placed = dict(kept)
        self.passed: list[int] = []
        lost = [index for index in range(layout.fragments_total) if index not in kept]
        self._copies = [index for index in lost if index >= layout.scheme.n]
        # Turned by one for each chunk, so that data fragments, which are read first, go round.
        self._coded = sorted(
            [index for index in lost if index < layout.scheme.n],
            key=lambda index: (index - chunk) % layout.scheme.n,
        )
        self._candidates = packing.with_room(packing.sizes_bytes[0])
        self._candidates[list(kept.values())] = False
        self._copy_room = packing.with_room(packing.sizes_bytes[-1])
        there = int(self._candidates.sum())
        if there < len(lost):
            self._raise_too_few(len(lost), there)
        zones = packing.zones
        self._open = Counter(zones[int(place)] for place in np.flatnonzero(self._candidates))
        self._in_zone = Counter(zones[p] for i, p in kept.items() if i < layout.scheme.n)
        # Losing a whole zone must leave k, unless there are too few zones for that.
        self._cap = max(1, layout.scheme.n - layout.scheme.k)
        while not self._fits_under_cap():
            self._cap += 1

    @property
    def is_complete(self) -> bool:
        """Whether every fragment has its node."""
        return not self._coded and not self._copies

    def offer(self, place: int) -> None:
        """Let a node take one of the fragments left, or pass it over."""
        if not self._candidates[place]:
            return
        zone = self._packing.zones[place]
        if self._copies and self._copy_room[place] and self._fits_under_cap(without=zone):
            self._give(self._copies.pop(0), place)
        elif self._coded and self._in_zone[zone] < self._cap:
            self._give(self._coded.pop(0), place)
            self._in_zone[zone] += 1
        else:
            self.passed.append(place)
            return
        self._open[zone] -= 1

    def result(self) -> ChunkPlacement:
        """Return where everything goes, once every node was offered."""
        for place in [place for place in self.passed if self._copy_room[place]]:
            if self._copies:
                self._give(self._copies.pop(0), place)
                self.passed.remove(place)
        if not self.is_complete:
            lacking = len(self._coded) + len(self._copies)
            self._raise_too_few(len(self._placed) + lacking, len(self._placed))
        ids, zones = self._packing.ids, self._packing.zones
        self.passed.sort(key=lambda place: self._in_zone[zones[place]] >= self._cap)
        return ChunkPlacement(
            nodes=tuple(ids[self._placed[index]] for index in sorted(self._placed)),
            spares=tuple(ids[place] for place in self.passed[:SPARES_MAX]),
        )

    def _give(self, index: int, place: int) -> None:
        self._placed[index] = place
        self._packing.take(index, place)

    def _fits_under_cap(self, without: str | None = None) -> bool:
        """Whether the coded fragments left find nodes, also when a node of one zone goes."""
        seats = sum(
            min(max(0, self._cap - self._in_zone[zone]), count - (zone == without))
            for zone, count in self._open.items()
        )
        return seats >= len(self._coded)

    def _raise_too_few(self, needed: int, there: int) -> None:
        demand = self._packing.demand
        raise TooFewNodes(
            f"{demand.layout} needs {needed} different nodes with room, "
            f"{there} of {len(self._packing.ids)} have it",
            hint="add nodes or space, or choose a layout with fewer fragments",
            detail={"needed": needed, "there": there},
        )


@dataclass(frozen=True, slots=True)
class Balance:
    """What moves a group of chunks may make; every array has one entry for each node's place."""

    shares: npt.NDArray[np.float64]  # of the group, in coded fragments: more may be given away
    targets: npt.NDArray[np.float64]  # the same, whole: less may be filled up
    fill: npt.NDArray[np.float64]  # of all the node's usable room, as a fraction
    fill_mean: float  # moves go from above it to below it
    fill_gap_min: float  # and only between nodes that differ by more

    def givers_to(self, receiver: int, held: npt.NDArray[np.float64]) -> list[int]:
        """Return who may give to a node, the one most above its share first."""
        if self.fill[receiver] >= self.fill_mean:
            return []
        fuller = self.fill > max(self.fill_mean, self.fill[receiver] + self.fill_gap_min)
        surplus = held - self.shares
        givers = [int(place) for place in np.flatnonzero(fuller & (surplus > 0))]
        return sorted(givers, key=lambda place: -surplus[place])


def even_out(
    packing: Packing, placements: Sequence[ChunkPlacement], balance: Balance
) -> list[ChunkPlacement]:
    """Move fragments of a group from nodes that hold too much to nodes that hold too little.

    Every move fills a node up to its target, so nothing moves twice and nothing moves for nothing.
    """
    chunks = [list(placement.nodes) for placement in placements]
    lacking = np.argsort(packing.held - balance.targets, kind="stable")
    for receiver in map(int, lacking):
        while _fill_up(packing, chunks, balance, receiver):
            pass
    return [
        ChunkPlacement(tuple(nodes), tuple(name for name in old.spares if name not in nodes))
        for nodes, old in zip(chunks, placements, strict=True)
    ]


def _fill_up(
    packing: Packing, chunks: Sequence[list[str]], balance: Balance, receiver: int
) -> bool:
    """Move one fragment to a node that lacks it; return whether there was one to move."""
    lacks = balance.targets[receiver] - packing.held[receiver]
    if lacks < 1:
        return False
    for giver in balance.givers_to(receiver, packing.held):
        for nodes in chunks:
            index = _movable(packing, nodes, giver=giver, receiver=receiver)
            if index is not None and packing.weight(index) <= lacks:
                nodes[index] = packing.ids[receiver]
                packing.take(index, receiver)
                packing.hold(index, giver, times=-1)
                return True
    return False


def _movable(packing: Packing, nodes: Sequence[str], *, giver: int, receiver: int) -> int | None:
    """Return the index of the chunk's fragment that may go from one node to another, if any."""
    ids, zone_of = packing.ids, packing.zones
    if ids[giver] not in nodes or ids[receiver] in nodes:
        return None
    index = nodes.index(ids[giver])
    if not packing.with_room(packing.sizes_bytes[index])[receiver]:
        return None
    scheme = packing.demand.layout.scheme
    if index < scheme.n and zone_of[giver] != zone_of[receiver]:
        in_zone = Counter(zone_of[packing.place_of[name]] for name in nodes[: scheme.n])
        # Where zones are too few for the rule, a move may at least not make it worse.
        if in_zone[zone_of[receiver]] >= max(1, scheme.n - scheme.k, max(in_zone.values()) - 1):
            return None
    return index
