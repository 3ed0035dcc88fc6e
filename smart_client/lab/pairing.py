"""The same worlds simulated and on sockets, side by side. Pure."""

import math
from collections.abc import Iterable, Sequence

import msgspec

from smart_client.simulator.simulate import Outcome

# Below this a difference in percent says nothing: two screens of a film.
WAITING_S_MIN = 0.05


class PairedSession(msgspec.Struct, frozen=True, kw_only=True):
    """One scheduler in one world: what the simulator says, and what sockets did."""

    scenario: str
    layout: str
    seed: int
    scheduler: str
    traces: str
    played_s: float  # media time of the video
    simulated: Outcome
    measured: Outcome
    requests: int  # that reached the nodes
    head_bytes: int  # of the answers; in no other figure
    client_cpu_s: float
    client_late_p99_s: float  # of the client's timers: how busy the machine was
    late_p99_s: float  # of frames in the lab's switch: how true the lab was
    late_max_s: float
    load: float  # of the machine when it ended, as the kernel counts it


class PairedSum(msgspec.Struct, frozen=True, kw_only=True):
    """One scheduler over all worlds of a scenario and layout."""

    scenario: str
    layout: str
    scheduler: str
    sessions: int
    unfinished: int  # in the lab
    startup_s: tuple[float, float]  # simulated, measured: sums
    stalled_s: tuple[float, float]
    extra_share: tuple[float, float]  # means

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells this sum from others."""
        return self.scenario, self.layout, self.scheduler

    @property
    def waiting_s(self) -> tuple[float, float]:
        """Startup and stalls together, simulated and measured."""
        return (
            self.startup_s[0] + self.stalled_s[0],
            self.startup_s[1] + self.stalled_s[1],
        )


def error_share(simulated: float, measured: float) -> float:
    """Return how far the simulator is off, as a share of what was measured; nan: too little."""
    if measured < WAITING_S_MIN and simulated < WAITING_S_MIN:
        return float("nan")
    return (simulated - measured) / max(measured, WAITING_S_MIN)


def sums_of(pairs: Iterable[PairedSession]) -> list[PairedSum]:
    """Return a sum for each (scenario, layout, scheduler), in the order they appear."""
    groups: dict[tuple[str, str, str], list[PairedSession]] = {}
    for pair in pairs:
        groups.setdefault((pair.scenario, pair.layout, pair.scheduler), []).append(pair)
    return [_sum(*key, group) for key, group in groups.items()]


def _sum(scenario: str, layout: str, scheduler: str, group: Sequence[PairedSession]) -> PairedSum:
    def both(name: str) -> tuple[float, float]:
        return (
            sum(getattr(pair.simulated, name) for pair in group),
            sum(getattr(pair.measured, name) for pair in group),
        )

    simulated_share, measured_share = both("extra_share")
    return PairedSum(
        scenario=scenario,
        layout=layout,
        scheduler=scheduler,
        sessions=len(group),
        unfinished=sum(not pair.measured.ended for pair in group),
        startup_s=both("startup_s"),
        stalled_s=both("stalled_s"),
        extra_share=(simulated_share / len(group), measured_share / len(group)),
    )


HEAD = ("SEED", "START sim/lab", "ERR", "STALL sim/lab", "ERR", "EXTRA sim/lab", "LATE")


def row_of(pair: PairedSession) -> tuple[str, ...]:
    """Return a session's line under ``HEAD``; a ``!`` says that the lab ran out of time."""
    simulated, measured = pair.simulated, pair.measured
    late_s = max(pair.late_p99_s, pair.client_late_p99_s)
    return (
        f"{pair.seed}{'' if measured.ended else '!'}",
        *_both((simulated.startup_s, measured.startup_s)),
        *_both((simulated.stalled_s, measured.stalled_s)),
        f"{simulated.extra_share:.2%} / {measured.extra_share:.2%}",
        f"{1000 * late_s:.1f} ms",
    )


def sum_row_of(total: PairedSum) -> tuple[str, ...]:
    """Return a sum's line under ``HEAD``."""
    extra = f"{total.extra_share[0]:.2%} / {total.extra_share[1]:.2%}"
    return ("sum", *_both(total.startup_s), *_both(total.stalled_s), extra, "")


def _both(seconds: tuple[float, float]) -> tuple[str, str]:
    share = error_share(*seconds)
    error = "-" if math.isnan(share) else f"{share:+.1%}"
    return f"{seconds[0]:.2f} / {seconds[1]:.2f}", error
