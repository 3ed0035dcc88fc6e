"""Which node gets which fragment: two policies behind one contract.

A policy proposes; the catalogue's record decides, and it names the node of every index. So what
is stored stays where it is until a node is lost (``repair``) or the keeper evens out what nodes
hold (``rebalance``), and both leave every fragment that need not move at its node and index.

Both policies are pure: the same nodes and group give the same proposal on every machine.
"""

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from redundancy.packing import Balance, ChunkPlacement, Demand, Packing, PlacementNode, even_out

__all__ = [
    "ChunkPlacement",
    "Demand",
    "Placement",
    "PlacementNode",
    "RendezvousPlacement",
    "RingPlacement",
]

# Points on the ring of the smallest node, at least: 128 keep max/mean at 10 equal nodes near 1.1.
RING_POINTS_MIN = 128
# And of the largest, at most, so that a tiny node among huge ones makes no ring of millions.
RING_POINTS_MAX = 128 * RING_POINTS_MIN

# Nodes filled alike to this fraction are even: moving would cost more than it gains.
EVEN_WITHIN = 0.02

Records = Sequence[Sequence[str]]


class Placement(Protocol):
    """Proposes nodes for the fragments of a group of chunks."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    def choose(
        self, group: str, nodes: Sequence[PlacementNode], demand: Demand
    ) -> list[ChunkPlacement]:
        """Propose nodes for chunks that are stored nowhere yet.

        Raises: TooFewNodes: fewer nodes with room than a chunk has fragments.
        """

    def repair(
        self, group: str, nodes: Sequence[PlacementNode], demand: Demand, current: Records
    ) -> list[ChunkPlacement]:
        """Propose nodes for what was lost; everything on a node in ``nodes`` stays.

        Args:
            current: for each chunk of the group, its node by fragment index.
        """

    def rebalance(
        self, group: str, nodes: Sequence[PlacementNode], demand: Demand, current: Records
    ) -> list[ChunkPlacement]:
        """Propose what ``repair`` does and, besides, the moves to the policy's own balance."""


class _RankedPlacement(ABC):
    """Goes down a ranking of the nodes for each chunk; what stays, stays at its index."""

    @abstractmethod
    def _propose(
        self, group: str, packing: Packing, kept: Sequence[dict[int, int]]
    ) -> list[ChunkPlacement]:
        """Give what each chunk lacks beside ``kept`` (index -> place) to nodes by their rank."""

    def choose(
        self, group: str, nodes: Sequence[PlacementNode], demand: Demand
    ) -> list[ChunkPlacement]:
        """Propose nodes for chunks that are stored nowhere yet."""
        return self._propose(group, Packing(nodes, demand), [{}] * demand.chunks)

    def repair(
        self, group: str, nodes: Sequence[PlacementNode], demand: Demand, current: Records
    ) -> list[ChunkPlacement]:
        """Propose nodes for what was lost; everything on a node in ``nodes`` stays."""
        packing = Packing(nodes, demand)
        return self._propose(group, packing, packing.survivors(current))


def _hash64(*words: str) -> int:
    """Return 64 bits that depend on these words, the same everywhere (Python's hash() is not)."""
    text = "\0".join(words).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


def uniform(*words: str) -> float:
    """Return a number in (0, 1) that depends on these words."""
    return ((_hash64(*words) >> 11) + 0.5) * 2.0**-53


# --- the ring


@dataclass(frozen=True, slots=True)
class Ring:
    """Points on a circle of 64 bits, in order, and the node each belongs to."""

    points: npt.NDArray[np.uint64]
    owners: npt.NDArray[np.intp]
    nodes: int  # how many have points

    def clockwise(self, position: int) -> Iterator[int]:
        """Return the nodes in the order in which a walk from ``position`` first meets them.

        A point exactly at ``position`` counts as met.
        """
        start = int(np.searchsorted(self.points, np.uint64(position), side="left"))
        met: set[int] = set()
        for step in range(len(self.owners)):
            owner = int(self.owners[(start + step) % len(self.owners)])
            if owner not in met:
                met.add(owner)
                yield owner
                if len(met) == self.nodes:
                    return


def ring_points(weights_bytes: Sequence[int]) -> list[int]:
    """Return how many points each node gets: in proportion, the smallest at least 128.

    The scale is a power of two, so that a node that comes or goes leaves the others' points alone
    unless it is the smallest by a factor of two.
    """
    positive = [weight for weight in weights_bytes if weight]
    if not positive:
        return [0] * len(weights_bytes)
    unit_bytes = 1 << (min(positive).bit_length() - 1)
    while max(positive) * RING_POINTS_MIN > RING_POINTS_MAX * unit_bytes:
        unit_bytes *= 2
    return [
        max(1, round(weight * RING_POINTS_MIN / unit_bytes)) if weight else 0
        for weight in weights_bytes
    ]


@lru_cache(maxsize=8)
def _ring(points_of: tuple[tuple[str, int], ...]) -> Ring:
    owners = [place for place, (_, count) in enumerate(points_of) for _ in range(count)]
    points = [_hash64(name, str(i)) for name, count in points_of for i in range(count)]
    order = np.argsort(np.array(points, dtype=np.uint64), kind="stable")
    return Ring(
        points=np.array(points, dtype=np.uint64)[order],
        owners=np.array(owners, dtype=np.intp)[order],
        nodes=len(set(owners)),
    )


class RingPlacement(_RankedPlacement):
    """Consistent hashing: each chunk goes to the first distinct nodes clockwise from its hash."""

    name = "ring"

    def rebalance(
        self, group: str, nodes: Sequence[PlacementNode], demand: Demand, current: Records
    ) -> list[ChunkPlacement]:
        """Propose the nodes the ring would choose today, keeping the index of those that stay."""
        packing = Packing(nodes, demand)
        survivors = packing.survivors(current)
        target = self.choose(group, _as_if_not_stored(packing, survivors), demand)
        kept = [
            {
                index: place
                for index, place in chunk.items()
                if packing.ids[place] in wanted.nodes or packing.nodes[place].excluded
            }
            for chunk, wanted in zip(survivors, target, strict=True)
        ]
        return self._propose(group, packing, kept)

    def _propose(
        self, group: str, packing: Packing, kept: Sequence[dict[int, int]]
    ) -> list[ChunkPlacement]:
        counts = ring_points([node.weight_bytes for node in packing.nodes])
        ring = _ring(tuple(zip(packing.ids, counts, strict=True)))
        return [
            packing.fill(chunk, kept[chunk], ring.clockwise(_hash64(group, str(chunk))))
            for chunk in range(packing.demand.chunks)
        ]


def _as_if_not_stored(packing: Packing, survivors: Sequence[dict[int, int]]) -> list[PlacementNode]:
    """Return the nodes with the room they would have without this group's fragments."""
    held_bytes = [0] * len(packing.nodes)
    for chunk in survivors:
        for index, place in chunk.items():
            held_bytes[place] += packing.sizes_bytes[index]
    return [
        replace(node, free_bytes=node.free_bytes + held)
        for node, held in zip(packing.nodes, held_bytes, strict=True)
    ]


# --- rendezvous


def water_level(weights: npt.NDArray[np.float64], fragments: int) -> float:
    """Return the weight above which a node has to be in every chunk if all is to be used.

    M chunks of so many fragments on distinct nodes fill when sum(min(w, M)) = fragments x M.
    """
    falling = np.sort(weights)[::-1]
    for count in range(min(fragments, len(falling))):
        level = float(falling[count:].sum()) / (fragments - count)
        if falling[count] <= level:
            return level
    return 0.0


def _balance(group: str, packing: Packing) -> Balance:
    """Return what each node should hold of a group by its capacity, and who is too full today."""
    accepts = np.array([not node.excluded for node in packing.nodes])
    weights = np.array([float(node.weight_bytes) for node in packing.nodes]) * accepts
    used = weights - np.array([float(node.free_bytes) for node in packing.nodes]) * accepts
    usable = np.minimum(weights, water_level(weights, packing.demand.layout.fragments_total))
    usable_total = max(float(usable.sum()), 1.0)
    shares = usable / usable_total * float(packing.held[accepts].sum())
    # Rounded up or down by chance, so that over many groups, also of one chunk, nobody gains.
    chances = np.array([uniform("share", group, name) for name in packing.ids])
    return Balance(
        shares=np.where(accepts, shares, packing.held),
        targets=np.where(accepts, np.floor(shares + chances), packing.held),
        fill=used / np.maximum(usable, 1.0),
        fill_mean=float(used.sum()) / usable_total,
        fill_gap_min=EVEN_WITHIN,
    )


class RendezvousPlacement(_RankedPlacement):
    """Weighted rendezvous: a node's rank is -ln(u)/free bytes, with u = hash(group, node).

    Nodes whose space every chunk needs come first. Within the group every fragment a node takes
    moves it back by one, so consecutive chunks, which are played together, go to all nodes in
    turn, each in proportion to its room.
    """

    name = "rendezvous"

    def rebalance(
        self, group: str, nodes: Sequence[PlacementNode], demand: Demand, current: Records
    ) -> list[ChunkPlacement]:
        """Propose moves from fuller nodes to emptier ones that lack their share of the group."""
        packing = Packing(nodes, demand)
        placements = self._propose(group, packing, packing.survivors(current))
        return even_out(packing, placements, _balance(group, packing))

    def _propose(
        self, group: str, packing: Packing, kept: Sequence[dict[int, int]]
    ) -> list[ChunkPlacement]:
        usable = packing.with_room(packing.sizes_bytes[0])
        free = np.array([float(node.free_bytes) for node in packing.nodes]) * usable
        level = water_level(free, packing.demand.layout.fragments_total)
        draws = np.array([-math.log(uniform(group, name)) for name in packing.ids])
        placements = []
        for chunk in range(packing.demand.chunks):
            # A node that cannot take anything is never picked; the 1 only keeps its rank finite.
            turns = (packing.held + draws) / np.where(usable, free, 1.0)
            order = np.lexsort((turns, free < level))
            placements.append(packing.fill(chunk, kept[chunk], order.tolist()))
        return placements
