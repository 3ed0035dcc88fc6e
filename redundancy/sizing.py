"""Which code so many nodes, in so many zones, as reliable as they are, should hold. Pure."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from redundancy.durability import FailureRates, Worth, ZoneFacts, worth
from redundancy.errors import TooFewNodes, UsageError
from redundancy.scheme import Layout, Scheme

# Wider codes open more connections for a chunk and read more for a repair, and at 2 MiB a chunk
# their fragments get small; 1.33 times at three losses is what more would still improve on.
_K_MAX = 10
_PARITY_MAX = 6

# On so few nodes a free one for hot copies would cost more than the copies gain: 5 nodes hold
# 3 of 5 at 1.67 times the space, 4 of them 2 of 4 at twice.
_NODES_FEW = 5


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node that may take fragments."""

    id: str
    zone: str = ""  # empty: a zone of its own
    availability: float = 0.97  # share of the time it answers, as measured

    def __post_init__(self) -> None:
        if not 0 <= self.availability <= 1:
            raise UsageError(
                f"the availability of {self.id} is between 0 and 1, got {self.availability:g}"
            )


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What there is to store on."""

    nodes: tuple[NodeFacts, ...]
    rates: FailureRates = field(default_factory=FailureRates)
    zone_availability: float = 0.998

    def __post_init__(self) -> None:
        if not self.nodes:
            raise TooFewNodes("there is no node to store on", hint="add one")

    @property
    def zones(self) -> ZoneFacts:
        """The zones as the model sees them: nodes alike, each as available as the mean one."""
        named = {node.zone for node in self.nodes if node.zone}
        alone = sum(not node.zone for node in self.nodes)
        mean = sum(node.availability for node in self.nodes) / len(self.nodes)
        # A zone of one node says nothing beyond the node.
        shared = self.zone_availability if named else 1.0
        return ZoneFacts(max(1, len(named) + alone), shared, mean)


@dataclass(frozen=True, slots=True)
class HybridLimits:
    """What ``hybrid`` must reach, and when a video is hot."""

    hot_views_per_week: float = 40.0
    cold_views_per_week: float = 20.0
    dwell_s: float = 7 * 86_400.0  # a video keeps its layout for so long, unless that is unsafe
    hot_copies: int = 1
    losses_min: int = 2  # nodes, whichever, that may go without any video being lost
    annual_loss_max: float = 1e-6  # of a cold video, by the Markov model
    unavailability_max: float = 1e-3  # of a cold video, by zone convolution

    def __post_init__(self) -> None:
        if not 0 <= self.cold_views_per_week < self.hot_views_per_week:
            raise UsageError(
                "a video must cool down further than it had to warm up, or it flaps: "
                f"cold below {self.cold_views_per_week:g}, hot from {self.hot_views_per_week:g}"
            )
        if self.dwell_s < 0 or self.hot_copies < 0 or self.losses_min < 0:
            raise UsageError("dwell, copies and losses are not negative")


def candidates(cluster: ClusterFacts, limits: HybridLimits) -> list[Worth]:
    """Return every code these nodes can hold, a fragment a node.

    With more nodes than ``_NODES_FEW`` those for the hot copies stay free: there a lost fragment
    is rebuilt, too.
    """
    nodes, zones = len(cluster.nodes), cluster.zones
    room = max(_NODES_FEW, nodes - limits.hot_copies) if nodes > _NODES_FEW else nodes
    return [
        worth(Layout(Scheme(k, n)), cluster.rates, zones)
        for k in range(1, _K_MAX + 1)
        for n in range(k, min(room, k + _PARITY_MAX) + 1)
    ]


def misses(each: Worth, limits: HybridLimits) -> tuple[int, int, int]:
    """Return by how much limits are missed: losses, and orders of magnitude of loss and reads."""
    return (
        max(0, limits.losses_min - each.layout.tolerates),
        _orders_above(each.annual_loss, limits.annual_loss_max),
        _orders_above(each.unavailability, limits.unavailability_max),
    )


def _orders_above(value: float, limit: float) -> int:
    """Return by how many orders of magnitude, begun ones too, a value is above its limit."""
    if value <= limit:
        return 0
    return math.ceil(math.log10(value / limit)) if limit > 0 else sys.float_info.max_10_exp


def choose(found: Sequence[Worth], limits: HybridLimits) -> tuple[Worth, list[str]]:
    """Return the best candidate, and which of the limits it misses, in words.

    Of those that miss limits by least (losses first, then loss, then failed reads) the one that
    takes least space; among equals the most durable, then the one with fewest failed reads.
    """

    def rank(each: Worth) -> tuple[object, ...]:
        size = round(each.overhead, 6)
        return (*misses(each, limits), size, each.annual_loss, each.unavailability)

    best = min(found, key=rank)
    words = (
        f"any {limits.losses_min} losses survived",
        f"at most {limits.annual_loss_max:.0e} of videos lost a year",
        f"at most {limits.unavailability_max:.0e} of reads failed",
    )
    return best, [word for word, missed in zip(words, misses(best, limits), strict=True) if missed]
