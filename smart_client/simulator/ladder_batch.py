"""Many sessions over ladders, over all cores, and the table of what came of them.

The figures depend on the scenarios, the seeds and the traces alone, not on how many processes play.
"""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import msgspec
import numpy as np

from smart_client.core.abr.ladder_demand import Opening
from smart_client.simulator.intervals import RESAMPLE_SEED, RESAMPLES
from smart_client.simulator.ladder import LadderOutcome, simulate_ladder
from smart_client.simulator.scenario import Scenario
from smart_client.simulator.trace_library import TraceLibrary
from smart_client.simulator.world import make_world


@dataclass(frozen=True, slots=True)
class Player:
    """Who plays: a scheduler and a rate controller, by their names, and when units are opened."""

    scheduler: str
    controller: str
    opening: Opening = field(default_factory=Opening)


class LadderCell(msgspec.Struct, frozen=True, kw_only=True):
    """One player in one scenario, over all seeds."""

    scenario: str
    traces: str
    scheduler: str
    controller: str
    sessions: int
    qoe: float  # linear, per unit; mean
    qoe_low: float  # 95 % bootstrap interval over seeds
    qoe_high: float
    mbit_per_s: float  # mean
    switches_per_min: float  # of media
    rebuffer_s_per_h: float
    stalled_share: float  # of the sessions: at least one stall
    startup_s: float  # median
    startup_p95_s: float
    extra_share: float
    unfinished: int


def play_ladders(
    scenarios: Sequence[Scenario],
    players: Sequence[Player],
    library: TraceLibrary,
    *,
    seeds: Sequence[int],
    processes: int | None = None,
) -> Iterator[LadderCell]:
    """Let every player play every scenario with every seed; yield a cell when it is complete."""
    processes = processes or os.cpu_count() or 1
    cells = [(scenario, player) for scenario in scenarios for player in players]
    jobs = [(*cell, seed) for cell in cells for seed in seeds]
    for number, outcomes in enumerate(_in_groups(jobs, library, processes, len(seeds))):
        yield _cell(*cells[number], library.name, outcomes)


_Job = tuple[Scenario, Player, int]


def _play(job: _Job, library: TraceLibrary) -> LadderOutcome:
    scenario, player, seed = job
    world = make_world(scenario, seed, library)
    return simulate_ladder(
        world,
        scenario,
        player.scheduler,
        controller=player.controller,
        opening=player.opening,
    )


# The traces of a worker process: sent once, when it starts, instead of with every job.
_library: list[TraceLibrary] = []


def _start_worker(library: TraceLibrary) -> None:
    _library[:] = [library]


def _play_in_worker(job: _Job) -> LadderOutcome:
    return _play(job, _library[0])


def _in_groups(
    jobs: Sequence[_Job], library: TraceLibrary, processes: int, size: int
) -> Iterator[list[LadderOutcome]]:
    """Yield the outcomes of the jobs in their order, ``size`` at a time."""
    if processes == 1:
        for start in range(0, len(jobs), size):
            yield [_play(job, library) for job in jobs[start : start + size]]
        return
    # Not forked: the calling process may have threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        processes, context, initializer=_start_worker, initargs=(library,)
    ) as pool:
        coming = pool.map(_play_in_worker, jobs)
        for _ in range(0, len(jobs), size):
            yield [next(coming) for _ in range(size)]


def _cell(
    scenario: Scenario, player: Player, traces: str, outcomes: Sequence[LadderOutcome]
) -> LadderCell:
    sessions = [outcome.session for outcome in outcomes]
    qoe = np.array([outcome.qoe for outcome in outcomes])
    rng = np.random.default_rng(RESAMPLE_SEED)
    means = qoe[rng.integers(0, qoe.size, (RESAMPLES, qoe.size))].mean(1)
    low, high = (float(q) for q in np.percentile(means, [2.5, 97.5]))
    media_s = scenario.video.duration_s * len(outcomes)
    startups_s = [session.startup_s for session in sessions]
    return LadderCell(
        scenario=scenario.name,
        traces=traces,
        scheduler=player.scheduler,
        controller=player.controller,
        sessions=len(outcomes),
        qoe=float(qoe.mean()),
        qoe_low=low,
        qoe_high=high,
        mbit_per_s=float(np.mean([outcome.mbit_per_s for outcome in outcomes])),
        switches_per_min=60 * sum(outcome.switches for outcome in outcomes) / media_s,
        rebuffer_s_per_h=3600 * sum(session.stalled_s for session in sessions) / media_s,
        stalled_share=float(np.mean([session.stalls > 0 for session in sessions])),
        startup_s=float(np.median(startups_s)),
        startup_p95_s=float(np.percentile(startups_s, 95)),
        extra_share=float(np.mean([session.extra_share for session in sessions])),
        unfinished=sum(not session.ended for session in sessions),
    )
