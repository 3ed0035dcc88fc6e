"""Many sessions over many processes, one JSON line a session, in an order that never changes.

A batch can be stopped and started again: what the file already has is not played again. The file's
bytes depend on the grid (scenarios, seeds, schedulers) and the traces alone, not on the number of
processes nor on how often the batch was interrupted.
"""

import contextlib
import fcntl
import hashlib
import itertools
import multiprocessing
import multiprocessing.connection
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from math import inf
from pathlib import Path
from typing import BinaryIO

import msgspec

from smart_client.errors import Conflict, InvalidRequest
from smart_client.simulator.network import IDEAL, REALISTIC
from smart_client.simulator.optimum import optimal_waiting_s
from smart_client.simulator.own_schedulers import failure_of, load_schedulers
from smart_client.simulator.scenario import Scenario
from smart_client.simulator.simulate import Outcome, simulate
from smart_client.simulator.sources import sources_digest
from smart_client.simulator.trace_library import TraceLibrary
from smart_client.simulator.world import World, make_world

MODES = {"ideal": IDEAL, "realistic": REALISTIC}

# Not simulated at all: real sockets in network namespaces, see ``smart_client.lab``.
LAB_MODE = "lab"

# Enough jobs under way to keep every process busy, few enough that little is lost on Ctrl-C.
JOBS_PER_PROCESS = 4


# 64 bits: enough to tell scenarios apart, short enough for every line.
DIGEST_DIGITS = 16


class SessionRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a batch's file. Wall-clock times are left out: they never repeat."""

    scenario: str
    scenario_digest: str  # a scenario file that was edited is another scenario, whatever its name
    layout: str
    seed: int
    scheduler: str
    mode: str
    traces: str
    code: str = ""  # a digest of what played it; "" in files of before there was one
    played_s: float  # media time of the video
    optimum_s: float | None  # None: not defined for several viewers, jumps, or unreadable videos
    outcome: Outcome

    @property
    def key(self) -> "SessionKey":
        """What tells this session from others."""
        where = (self.scenario_digest, self.seed)
        return (*where, self.scheduler, self.mode, self.traces, self.code)


SessionKey = tuple[str, int, str, str, str, str]


def digest_of(scenario: Scenario) -> str:
    """Return what tells a scenario, layout included, from any other."""
    return hashlib.sha256(msgspec.json.encode(scenario)).hexdigest()[:DIGEST_DIGITS]


@dataclass(frozen=True)
class Grid:
    """What to play: every scheduler in every world."""

    scenarios: tuple[Scenario, ...]
    seeds: tuple[int, ...]
    schedulers: tuple[str, ...]
    mode: str = "realistic"
    own: tuple[Path, ...] = ()  # files with schedulers of a user's, loaded already

    def __post_init__(self) -> None:
        known = (*MODES, LAB_MODE)
        if self.mode not in known:
            raise InvalidRequest(f"no mode '{self.mode}'", hint=f"one of: {', '.join(known)}")
        if any(seed < 0 for seed in self.seeds):
            raise InvalidRequest("a seed is at least 0")
        names: dict[tuple[str, str], Scenario] = {}
        for scenario in self.scenarios:
            name = (scenario.name, scenario.video.layout)
            if names.setdefault(name, scenario) != scenario:
                raise InvalidRequest(
                    f"two scenarios are called '{scenario.name}' and differ",
                    hint="give each its own `name`; their figures would be mixed",
                )

    @cached_property
    def code(self) -> str:
        """The digest of what plays it, as it was when it was first asked for."""
        return sources_digest(self.own)

    def keys(self, scenario: Scenario, seed: int, traces: str) -> dict[str, SessionKey]:
        """Return the key of every scheduler's session in one world."""
        head = (digest_of(scenario), seed)
        return {name: (*head, name, self.mode, traces, self.code) for name in self.schedulers}

    def ordered_keys(self, traces: str) -> list[SessionKey]:
        """Return the keys of all its sessions, scenario by scenario, world by world."""
        worlds = itertools.product(self.scenarios, self.seeds)
        return [key for world in worlds for key in self.keys(*world, traces).values()]


@dataclass(frozen=True, slots=True)
class Job:
    """One world and the schedulers that still have to play in it."""

    scenario: Scenario
    seed: int
    schedulers: tuple[str, ...]
    mode: str
    code: str = ""


# Plays a job somewhere else than in the simulator.
JobPlayer = Callable[[Job, TraceLibrary], list[SessionRecord]]


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What a call of ``run_batch`` did."""

    played: int
    skipped: int  # the file had them already
    wall_s: float

    @property
    def sessions_per_min(self) -> float:
        """Sessions played in a minute of wall-clock time."""
        return 60 * self.played / self.wall_s if self.wall_s else 0.0


def run_batch(
    grid: Grid,
    library: TraceLibrary,
    output: Path,
    *,
    processes: int | None = None,
    progress: Callable[[int, int], None] = lambda _played, _all: None,
    play: JobPlayer | None = None,
) -> BatchReport:
    """Play a grid and append the records to ``output``.

    Args:
        grid: what to play.
        library: traces that worlds draw from.
        output: JSON lines; created if it is missing. A torn last line is cut off.
        processes: how many; by default one a core. With 1, everything runs in this process.
        progress: told the sessions played so far and in all, after every world.
        play: what plays a job, in this process, instead of the simulator.
    Raises: InvalidRequest: the file holds something else, or a scenario does not fit the traces;
        Conflict: another batch writes to it.
    """
    began_s = time.perf_counter()
    with _alone(output) as lines:
        done = {record.key for record in read_records(output)}
        jobs = list(_jobs(grid, library.name, done))
        played, total = 0, sum(len(job.schedulers) for job in jobs)
        played_jobs = (
            (play(job, library) for job in jobs)
            if play is not None
            else _outcomes(jobs, library, processes or os.cpu_count() or 1, grid.own)
        )
        for records in played_jobs:
            for record in records:
                lines.write(msgspec.json.encode(record) + b"\n")
                played += 1
            lines.flush()
            progress(played, total)
    skipped = len(grid.scenarios) * len(grid.seeds) * len(grid.schedulers) - played
    return BatchReport(played, skipped, time.perf_counter() - began_s)


def records_of_grid(grid: Grid, traces: str, path: Path) -> list[SessionRecord]:
    """Return the records of a grid that a file has, each once, in the order of the grid.

    Raises: InvalidRequest: a line that is no record.
    """
    there = {record.key: record for record in read_records(path)}
    return [there[key] for key in grid.ordered_keys(traces) if key in there]


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[BinaryIO]:
    """Open a file to append to it, if nobody else does. Raises: Conflict."""
    is_new = not path.exists()
    try:
        with path.open("ab") as lines:
            try:
                fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise Conflict(
                    f"another comparison writes to {path}",
                    hint="wait for it, or name another --out",
                ) from error
            yield lines
    finally:
        if is_new and path.exists() and not path.stat().st_size:
            path.unlink()


def read_records(path: Path) -> list[SessionRecord]:
    """Return a batch's records; none if there is no file. A torn last line is cut off the file.

    Raises: InvalidRequest: a line that is no record.
    """
    if not path.exists():
        return []
    body = path.read_bytes()
    whole = body[: body.rfind(b"\n") + 1]
    if len(whole) < len(body):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    records = []
    decoder = msgspec.json.Decoder(SessionRecord)
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            records.append(decoder.decode(line))
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise InvalidRequest(f"{path}:{number}: not a record of a batch: {error}") from error
    return records


def play_job(job: Job, library: TraceLibrary) -> list[SessionRecord]:
    """Make a job's world once and let every scheduler play in it."""
    world = make_world(job.scenario, job.seed, library)

    def play(name: str) -> Outcome:
        try:
            return simulate(world, name, MODES[job.mode])
        except Exception as error:
            where = f"world {job.seed} of '{job.scenario.name}'"
            raise failure_of(name, where, error) from error

    return records_of(job, library, world, play)


def records_of(
    job: Job, library: TraceLibrary, world: World, outcome_of: Callable[[str], Outcome]
) -> list[SessionRecord]:
    """Return the records of a job whose sessions came out so in its world."""
    optimum_s = optimal_waiting_s(world) if world.is_straight else None
    return [
        SessionRecord(
            scenario=job.scenario.name,
            scenario_digest=digest_of(job.scenario),
            layout=job.scenario.video.layout,
            seed=job.seed,
            scheduler=scheduler,
            mode=job.mode,
            traces=library.name,
            code=job.code,
            played_s=world.duration_s,
            optimum_s=optimum_s if optimum_s != inf else None,
            outcome=outcome_of(scheduler),
        )
        for scheduler in job.schedulers
    ]


def _jobs(grid: Grid, traces: str, done: set[SessionKey]) -> Iterator[Job]:
    for scenario, seed in itertools.product(grid.scenarios, grid.seeds):
        keys = grid.keys(scenario, seed, traces)
        left = tuple(name for name, key in keys.items() if key not in done)
        if left:
            yield Job(scenario, seed, left, grid.mode, grid.code)


# The traces of a worker process: sent once, when it starts, instead of with every job.
_library: list[TraceLibrary] = []


def _start_worker(library: TraceLibrary, own: Sequence[Path]) -> None:
    _library[:] = [library]
    for path in own:
        load_schedulers(path)
    threading.Thread(target=_end_with_parent, name="parent-watch", daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _play_in_worker(job: Job) -> list[SessionRecord]:
    return play_job(job, _library[0])


def _outcomes(
    jobs: Sequence[Job], library: TraceLibrary, processes: int, own: Sequence[Path]
) -> Iterable[list[SessionRecord]]:
    """Yield each job's records in the order of the jobs."""
    if processes == 1 or len(jobs) <= 1:
        yield from (play_job(job, library) for job in jobs)
        return
    # Not forked: the calling process may have threads.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        min(processes, len(jobs)), context, initializer=_start_worker, initargs=(library, own)
    ) as pool:
        waiting = iter(jobs)
        under_way: list[Future[list[SessionRecord]]] = [
            pool.submit(_play_in_worker, job)
            for job in itertools.islice(waiting, JOBS_PER_PROCESS * processes)
        ]
        try:
            while under_way:
                yield under_way.pop(0).result()
                under_way += [
                    pool.submit(_play_in_worker, job) for job in itertools.islice(waiting, 1)
                ]
        finally:
            for future in under_way:
                future.cancel()
