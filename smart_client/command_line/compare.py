"""compare: schedulers in the same worlds, seed by seed, beside the clairvoyant optimum."""

import argparse
import contextlib
import math
import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import msgspec
from rich.progress import Progress
from rich.table import Table

from redundancy import __version__
from redundancy.errors import ExitCode, UsageError
from redundancy.quantities import counted
from redundancy.terminal import Terminal
from smart_client.core.schedulers import ALIASES, make_scheduler
from smart_client.errors import QualityMissed
from smart_client.lab.worlds import LAB_SECONDS, shortened
from smart_client.simulator.batch import (
    LAB_MODE,
    Grid,
    JobPlayer,
    digest_of,
    records_of_grid,
    run_batch,
)
from smart_client.simulator.informed import INFORMED
from smart_client.simulator.own_schedulers import load_schedulers
from smart_client.simulator.page import OWN, comparison_html, comparison_svg
from smart_client.simulator.report import Cell, cells_of, ratio_text, remarks_on
from smart_client.simulator.scenario import Scenario
from smart_client.simulator.scenarios import load_scenario
from smart_client.simulator.trace_library import TraceLibrary
from smart_client.simulator.traces import find_library

RUNS_FILE, SUMMARY_FILE, SCENARIOS_FILE = "runs.jsonl", "summary.json", "scenarios.json"
PAGE_FILE, PICTURE_FILE = "report.html", "waiting.svg"


def compare(args: argparse.Namespace, terminal: Terminal) -> int:
    """Play every scheduler in the same worlds and tell what came of it."""
    grid, reference = _grid(args)
    library = find_library(os.environ, args.traces)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    runs = out / RUNS_FILE
    screen = terminal.console(stderr=True)
    with (
        _lab_or_none(args) as play,
        Progress(console=screen, disable=not terminal.shows_progress) as bar,
    ):
        task = bar.add_task("sessions", total=None)
        report = run_batch(
            grid,
            library,
            runs,
            processes=args.processes,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
            play=play,
        )
    # The file may hold the sessions of other grids, and those in another order.
    cells = cells_of(records_of_grid(grid, library.name, runs), reference=reference)
    (out / SUMMARY_FILE).write_bytes(msgspec.json.encode([_facts(cell) for cell in cells]))
    played = {digest_of(each): each for each in grid.scenarios}
    (out / SCENARIOS_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(played)) + b"\n")
    (out / PICTURE_FILE).write_text(comparison_svg(cells), encoding="utf-8")
    page = comparison_html(cells, how=_how(args, grid, library), reference=reference)
    (out / PAGE_FILE).write_text(page, encoding="utf-8")
    _tell(cells, out, terminal)
    terminal.note(
        f"{report.played} sessions played ({report.sessions_per_min:,.0f} a minute), "
        f"{report.skipped} were there already"
    )
    if args.fail_if_worse:
        _require_best(cells)
    return ExitCode.OK


def _grid(args: argparse.Namespace) -> tuple[Grid, str]:
    """Return what is to be played, and the reference. Raises: UsageError, InvalidRequest."""
    if args.runs < 1:
        raise UsageError("--runs must be at least 1")
    if args.processes is not None and args.processes < 1:
        raise UsageError("--processes must be at least 1")
    if args.seconds is not None and not 0 < args.seconds < math.inf:
        raise UsageError("--seconds must be above 0")
    own = tuple(Path(name) for name in args.own or ())
    for path in own:
        load_schedulers(path)
    schedulers = [ALIASES.get(name, name) for name in args.schedulers.split(",") if name]
    if not schedulers:
        raise UsageError("--schedulers names none")
    for name in schedulers:
        if name != INFORMED or args.network == LAB_MODE:
            make_scheduler(name)  # a misspelt one is told before anything runs
    reference = ALIASES.get(args.reference, args.reference) or schedulers[-1]
    if reference not in schedulers:
        raise UsageError(
            f"--reference {args.reference} is not among the schedulers played",
            hint=f"one of: {', '.join(schedulers)}",
        )
    grid = Grid(
        scenarios=tuple(_scenarios(args)),
        seeds=tuple(range(args.seed, args.seed + args.runs)),
        schedulers=tuple(dict.fromkeys(schedulers)),
        mode=args.network,
        own=own,
    )
    return grid, reference


def _scenarios(args: argparse.Namespace) -> Iterator[Scenario]:
    """Yield every scenario in every layout asked for; without one, in its own."""
    for name in args.scenario or ["typical"]:
        scenario = _shortened(load_scenario(name), args)
        if not args.layout:
            yield scenario
        for layout in args.layout.split(",") if args.layout else ():
            yield scenario.with_layout(layout)


def _how(args: argparse.Namespace, grid: Grid, library: TraceLibrary) -> list[str]:
    """Return what somebody else needs to get the same figures."""
    words = ["smart-client", "compare"]
    for name in args.scenario or ["typical"]:
        words += ["--scenario", name]
    for option in ("layout", "runs", "seed", "schedulers", "reference", "network", "seconds"):
        value = getattr(args, option)
        if value is not None:
            words += [f"--{option}", f"{value:g}" if isinstance(value, float) else str(value)]
    for name in args.own or ():
        words += ["--own", name]
    if args.traces:
        words += ["--traces", str(args.traces)]
    return [
        shlex.join(words),
        f"traces: {library.name}, {counted(len(library.traces), 'trace')}",
        f"evenflow {__version__}, code {grid.code}",
        *(
            f"scenario {each.name} {each.video.layout}: {digest_of(each)}, see {SCENARIOS_FILE}"
            for each in grid.scenarios
        ),
    ]


def _shortened(scenario: Scenario, args: argparse.Namespace) -> Scenario:
    """Return what of a scenario's video is played."""
    seconds = args.seconds or (LAB_SECONDS if args.network == LAB_MODE else None)
    return scenario if seconds is None else shortened(scenario, seconds)


@contextlib.contextmanager
def _lab_or_none(args: argparse.Namespace) -> Iterator[JobPlayer | None]:
    """Hand out what plays jobs in a lab, if that is wished. Raises: LabUnavailable."""
    if args.network != LAB_MODE:
        yield None
        return
    from smart_client.lab.player import LabPlayer  # noqa: PLC0415 - the whole client; only here

    with LabPlayer() as player:
        yield player.play_job


def _facts(cell: Cell) -> dict[str, object]:
    """Return a cell as a record; what is not known is null."""
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in asdict(cell).items()
    }


def _tell(cells: list[Cell], out: Path, terminal: Terminal) -> None:
    names = (RUNS_FILE, SUMMARY_FILE, SCENARIOS_FILE, PAGE_FILE, PICTURE_FILE)
    files = {name: str(out / name) for name in names}
    if terminal.json:
        terminal.result({"v": 1, "cells": [_facts(cell) for cell in cells], "files": files})
        return
    for name in dict.fromkeys((cell.scenario, cell.layout) for cell in cells):
        table = Table(title=" ".join(name), title_justify="left", box=None, pad_edge=False)
        for column in ("SCHEDULER", "W/W* [95 %]", "SAVED", "START p50/p95", "STALL s/h", "EXTRA"):
            table.add_column(column, justify="left" if column == "SCHEDULER" else "right")
        for cell in cells:
            if (cell.scenario, cell.layout) == name:
                table.add_row(*_row(cell), style="bold" if cell.scheduler == OWN else "")
        terminal.console().print(table)
    for remark in remarks_on(cells):
        terminal.console().print(f"note: {remark}")
    terminal.console().print(f"page: {files[PAGE_FILE]}   sessions: {files[RUNS_FILE]}")


def _row(cell: Cell) -> tuple[str, ...]:
    """Return what fits 80 columns; the page has all."""
    return (
        cell.scheduler,
        ratio_text(cell),
        "-" if math.isnan(cell.saved) else f"{cell.saved:.0%}",
        f"{cell.startup_s:.2f} / {cell.startup_p95_s:.2f}",
        f"{cell.rebuffer_s_per_h:.1f}",
        f"{cell.extra_share:.2%}",
    )


def _require_best(cells: list[Cell]) -> None:
    """Raise unless our scheduler waited least, in the mean, in every kind of world."""
    own = {(c.scenario, c.layout): c.waiting_s for c in cells if c.scheduler == OWN}
    for cell in cells:
        best_s = own.get((cell.scenario, cell.layout))
        if best_s is not None and cell.waiting_s < best_s:
            raise QualityMissed(
                f"{cell.scheduler} waited {cell.waiting_s:.2f} s in {cell.scenario} "
                f"{cell.layout}, {OWN} {best_s:.2f} s"
            )
