"""The schedulers by name."""

from collections.abc import Callable

from smart_client.core.baselines.hedging import (
    AllHolders,
    FixedDelayHedge,
    PercentileHedge,
    SpareLanes,
)
from smart_client.core.baselines.mirrors import (
    ContentSteering,
    RandomMirror,
    RoundRobin,
    RoundRobinFour,
    TahoeLike,
    VStackAsIs,
    VStackScore,
)
from smart_client.core.baselines.segmented import SegmentedPull
from smart_client.core.baselines.time_critical import TimeCritical
from smart_client.core.scheduler import RangePull, Scheduler
from smart_client.errors import InvalidRequest

SCHEDULERS: dict[str, Callable[[], Scheduler]] = {
    RangePull.name: RangePull,
    RoundRobin.name: RoundRobin,
    RoundRobinFour.name: RoundRobinFour,
    RandomMirror.name: RandomMirror,
    VStackAsIs.name: VStackAsIs,
    VStackScore.name: VStackScore,
    ContentSteering.name: ContentSteering,
    TahoeLike.name: TahoeLike,
    FixedDelayHedge.name: FixedDelayHedge,
    PercentileHedge.name: PercentileHedge,
    SpareLanes.name: SpareLanes,
    AllHolders.name: AllHolders,
    SegmentedPull.name: SegmentedPull,
    TimeCritical.name: TimeCritical,
}

# `--scheduler naive` reads better than the name of the method.
ALIASES = {"naive": RoundRobin.name, "range-pull": RangePull.name}


def make_scheduler(name: str) -> Scheduler:
    """Return a new scheduler, or raise ``InvalidRequest`` listing the names."""
    make = SCHEDULERS.get(ALIASES.get(name, name))
    if make is None:
        raise InvalidRequest(
            f"no scheduler '{name}'", hint=f"one of: {', '.join([*SCHEDULERS, *ALIASES])}"
        )
    return make()
