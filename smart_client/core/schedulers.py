"""The schedulers by name."""

from collections.abc import Callable

from smart_client.core.baselines import RoundRobin, VStackScore
from smart_client.core.scheduler import RangePull, Scheduler
from smart_client.errors import InvalidRequest

SCHEDULERS: dict[str, Callable[[], Scheduler]] = {
    RangePull.name: RangePull,
    RoundRobin.name: RoundRobin,
    VStackScore.name: VStackScore,
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
