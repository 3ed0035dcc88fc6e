"""Made-up clusters, and what placements on them moved."""

from redundancy.placement import Demand, PlacementNode
from redundancy.scheme import Layout

GB = 10**9
CHUNK = 2 << 20


def cluster(count, *, zones=0, weights=None, free=None):
    weights = weights or [100 * GB] * count
    free = free or weights
    return [
        PlacementNode(f"node-{i:02}", weights[i], free[i], f"zone-{i % zones}" if zones else "")
        for i in range(count)
    ]


def demand(text="rs:3+2", chunks=64, chunk_bytes=CHUNK):
    return Demand(Layout.parse(text), chunks, chunk_bytes)


def records(placements):
    return [placement.nodes for placement in placements]


def moves(before, after):
    """Count (chunk, index) pairs whose node changed."""
    return sum(
        a != b
        for old, new in zip(before, after, strict=True)
        for a, b in zip(old, new, strict=True)
    )
