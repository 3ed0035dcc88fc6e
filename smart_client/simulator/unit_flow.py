"""Whether all units fit into their windows: one max-flow over units, nodes and time slots.

    source ─S_j─▶ unit j ─limit─▶ (j, node) ─▶ intervals of slots ─▶ (slot, node) ─▶ [slot] ─▶ sink

A window of slots hangs on the nodes of a binary tree over the slots that cover it exactly, so it
takes a logarithm of edges instead of one a slot.
"""

from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt

from redundancy.errors import ConfigError
from smart_client.simulator.supply import Supply
from smart_client.simulator.trace_library import FloatArray

IntArray = npt.NDArray[np.int64]

# scipy's flows are 32-bit: sums stay below, coarser units of bytes are taken for long videos.
FLOW_MAX = 1 << 30

# The client's link is shared within a slot, so a slot must not be long; nodes alone need no slots
# but those between releases and deadlines.
CLIENT_SLOT_S = 1.0


@dataclass(frozen=True, slots=True)
class Windows:
    """When each unit may be sent."""

    releases_s: FloatArray
    deadlines_s: FloatArray


@dataclass(slots=True)
class _Edges:
    """Edges of a network under construction."""

    tails: list[IntArray]
    heads: list[IntArray]
    capacities: list[IntArray]

    def add(self, tails: IntArray, heads: IntArray, capacities: IntArray) -> None:
        self.tails.append(tails)
        self.heads.append(heads)
        self.capacities.append(np.minimum(capacities, FLOW_MAX))


def everything_fits(
    sizes: FloatArray, limits: FloatArray, windows: Windows, supply: Supply
) -> bool:
    """Return whether every unit can be sent whole in its window; says yes when in doubt.

    Args:
        sizes: bytes, one a unit.
        limits: [unit, node]: bytes that the node can usefully send of the unit.
        windows: one a unit.
        supply: what nodes and the client's link can carry.
    Raises: ConfigError: scipy is not installed.
    """
    try:
        from scipy.sparse import csr_matrix  # noqa: PLC0415 - an optional extra, asked for late
        from scipy.sparse.csgraph import maximum_flow  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise ConfigError("the optimum needs scipy", hint="pip install 'evenflow[sim]'") from error
    # One flow unit is so many bytes; demands are rounded down, capacities up.
    scale = max(1.0, float(sizes.sum()) / FLOW_MAX)
    demands = np.floor(sizes / scale).astype(np.int64)
    if (windows.deadlines_s <= windows.releases_s).any():
        return False
    edges, node_count = _network(demands, np.ceil(limits / scale), windows, supply, scale)
    tails, heads = np.concatenate(edges.tails), np.concatenate(edges.heads)
    capacities = np.concatenate(edges.capacities).astype(np.int32)
    graph = csr_matrix((capacities, (tails, heads)), shape=(node_count, node_count))
    return int(maximum_flow(graph, 0, 1).flow_value) >= int(demands.sum())


def _network(
    demands: IntArray, limits: FloatArray, windows: Windows, supply: Supply, scale: float
) -> tuple[_Edges, int]:
    """Return the edges and the number of vertices; 0 is the source, 1 the sink."""
    edges = _Edges([], [], [])
    units, nodes = limits.shape
    unit_vertices = 2 + np.arange(units)
    edges.add(np.zeros(units, dtype=np.int64), unit_vertices, demands)
    holders, node_of = np.nonzero(limits)
    shares = 2 + units + np.arange(holders.size)
    edges.add(unit_vertices[holders], shares, limits[holders, node_of].astype(np.int64))

    slots_s = _slots(windows, supply)
    slots = slots_s.size - 1
    leaves = 1 << max(0, (slots - 1).bit_length())
    trees = 2 + units + holders.size  # the root of node i's tree is trees + i * 2 * leaves + 1
    tree_of = trees + 2 * leaves * np.arange(nodes)
    inner = np.arange(2, 2 * leaves)
    for root in tree_of:
        edges.add(root + inner // 2, root + inner, np.full(inner.size, FLOW_MAX))

    first = np.searchsorted(slots_s, windows.releases_s)
    stop = np.searchsorted(slots_s, windows.deadlines_s)
    owners, covers = _covers(first, stop, leaves)
    begin = np.searchsorted(owners, holders)
    count = np.searchsorted(owners, holders, side="right") - begin
    share_of = np.repeat(np.arange(holders.size), count)
    within = np.arange(share_of.size) - np.repeat(count.cumsum() - count, count)
    cover = covers[begin[share_of] + within]
    edges.add(shares[share_of], tree_of[node_of[share_of]] + cover, np.full(cover.size, FLOW_MAX))

    carried = np.ceil(supply.between(slots_s) / scale).clip(0, FLOW_MAX).astype(np.int64)
    slot_leaves = (tree_of[None, :] + leaves + np.arange(slots)[:, None]).ravel()
    vertices = trees + nodes * 2 * leaves
    if supply.client_bytes_per_s == inf:
        edges.add(slot_leaves, np.ones(slot_leaves.size, dtype=np.int64), carried.ravel())
        return edges, vertices
    link = vertices + np.arange(slots)
    edges.add(slot_leaves, np.repeat(link, nodes), carried.ravel())
    client = np.ceil(np.diff(slots_s) * supply.client_bytes_per_s / scale).astype(np.int64)
    edges.add(link, np.ones(slots, dtype=np.int64), client)
    return edges, vertices + slots


def _slots(windows: Windows, supply: Supply) -> FloatArray:
    """Return the edges of the time slots: every release and deadline, and shorter if it matters."""
    edges = [windows.releases_s, windows.deadlines_s]
    if supply.client_bytes_per_s < inf:
        end_s = float(windows.deadlines_s.max())
        edges.append(np.arange(0.0, end_s, CLIENT_SLOT_S))
    return np.unique(np.concatenate(edges))


def _covers(first: IntArray, stop: IntArray, leaves: int) -> tuple[IntArray, IntArray]:
    """Return (unit, tree vertex) pairs, by unit: vertices whose leaves are the unit's slots.

    Source: the iterative segment tree; vertex 1 is the root, leaf s is vertex ``leaves + s``.
    """
    owners, vertices = [], []
    for unit, (low, high) in enumerate(zip(first.tolist(), stop.tolist(), strict=True)):
        left, right = low + leaves, high + leaves
        while left < right:
            if left & 1:
                owners.append(unit)
                vertices.append(left)
                left += 1
            if right & 1:
                right -= 1
                owners.append(unit)
                vertices.append(right)
            left >>= 1
            right >>= 1
    return np.array(owners, dtype=np.int64), np.array(vertices, dtype=np.int64)
