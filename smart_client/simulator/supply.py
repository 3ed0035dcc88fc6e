"""What each node can have sent by an instant at most: straight lines between changes."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from smart_client.simulator.node_model import DRIP_BYTES_PER_S, SLOW_SHARE, FaultKind, NodeModel
from smart_client.simulator.trace_library import FloatArray

# Later than anything happens; capacities stay until then as they are at the world's end.
FOREVER_S = 1e7


@dataclass(frozen=True, slots=True)
class Supply:
    """Bytes that fit through each node from the world's start on; linear between ``times_s``."""

    times_s: FloatArray
    carried_bytes: FloatArray  # [instant, node]
    client_bytes_per_s: float
    changes_s: list[float]  # ``times_s`` again: looking one instant up is faster in a list

    def by(self, instant_s: float) -> FloatArray:
        """Return what fits through each node by an instant."""
        last = len(self.changes_s) - 1
        right = min(last, max(1, bisect_left(self.changes_s, instant_s)))
        left_s, right_s = self.changes_s[right - 1], self.changes_s[right]
        share = min(1.0, max(0.0, (instant_s - left_s) / (right_s - left_s)))
        before = self.carried_bytes[right - 1]
        result: FloatArray = before + share * (self.carried_bytes[right] - before)
        return result

    def between(self, edges_s: FloatArray) -> FloatArray:
        """Return [slot, node]: what fits through each node from one edge to the next."""
        nodes = range(self.carried_bytes.shape[1])
        columns = [np.interp(edges_s, self.times_s, self.carried_bytes[:, node]) for node in nodes]
        result: FloatArray = np.diff(np.stack(columns, axis=1), axis=0)
        return result


def supply_of(nodes: Sequence[NodeModel], client_bytes_per_s: float) -> Supply:
    """Return all nodes' capacity from the start of the world, nothing in the first round trip.

    No request brings a byte earlier than one round trip after it was sent, so this bounds every
    session from above. Faults count as in ``NodeModel.capacity_at``; garbage is taken for bytes.
    """
    edges = {0.0, FOREVER_S, *(node.rtt_s for node in nodes)}
    for node in nodes:
        for fault in node.faults:
            edges |= {fault.start_s, min(FOREVER_S, node.recovers_s(fault))}
    seconds = max(len(node.bytes_per_s) for node in nodes)
    times_s = np.unique(np.concatenate([np.arange(float(seconds)), list(edges)]))
    middles_s = (times_s[1:] + times_s[:-1]) / 2
    rates = np.stack([_rates(node, middles_s) for node in nodes], axis=1)
    carried = np.zeros((times_s.size, len(nodes)))
    np.cumsum(rates * np.diff(times_s)[:, None], axis=0, out=carried[1:])
    return Supply(times_s, carried, client_bytes_per_s, times_s.tolist())


def _rates(node: NodeModel, instants_s: FloatArray) -> FloatArray:
    """Return a node's capacity at each instant."""
    seconds = np.minimum(instants_s.astype(np.int64), len(node.bytes_per_s) - 1)
    whole = np.array(node.bytes_per_s)[seconds]
    left = whole.copy()
    for fault in reversed(node.faults):  # of two at once the first one counts
        hit = (instants_s >= fault.start_s) & (instants_s < node.recovers_s(fault))
        if fault.kind is FaultKind.DRIP:
            left[hit] = np.minimum(whole[hit], DRIP_BYTES_PER_S)
        elif fault.kind is FaultKind.SLOW:
            left[hit] = SLOW_SHARE * whole[hit]
        else:
            left[hit] = whole[hit] if fault.kind is FaultKind.GARBAGE else 0.0
    left[instants_s < node.rtt_s] = 0.0
    return left
