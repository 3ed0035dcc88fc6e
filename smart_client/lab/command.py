"""netns_lab: simulated worlds made real, and both side by side."""

import argparse
import asyncio
import itertools
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
from rich.table import Table

from redundancy.errors import ExitCode, UsageError
from redundancy.terminal import Terminal, run, top_parser
from smart_client.core.schedulers import ALIASES, make_scheduler
from smart_client.lab.calibration import LinkError, calibrate
from smart_client.lab.laboratory import require_lab
from smart_client.lab.pairing import HEAD, PairedSession, row_of, sum_row_of, sums_of
from smart_client.lab.player import LabPlayer
from smart_client.lab.worlds import LAB_SECONDS, limited, shortened
from smart_client.simulator.scenario import Scenario
from smart_client.simulator.scenarios import load_scenario
from smart_client.simulator.simulate import simulate
from smart_client.simulator.trace_library import TraceLibrary
from smart_client.simulator.traces import find_library
from smart_client.simulator.world import make_world

_EPILOG = """\
One real client and real nodes, each in a network namespace of its own. Links follow the scenario's
traces (tbf), frames take half a round trip each way, nodes think, freeze, drip and refuse when the
scenario says so. Prints what the simulator says of the same worlds beside what sockets did.
Sessions are played in real time: 5 worlds of 60 s with two schedulers take about 12 minutes.
Needs root and iproute2; changes nothing outside its own namespaces and leaves none behind.

examples:
  scripts/netns_lab                                       typical, one world, smart and round-robin
  scripts/netns_lab --scenario harsh --runs 3 --out pairs.jsonl
  scripts/netns_lab --calibrate                           how true the lab itself is
"""


def main(argv: list[str] | None = None) -> int:
    """Run ``netns_lab``; return its exit code."""
    parser = top_parser("netns_lab", "Play simulated worlds on real sockets.", _EPILOG)
    parser.add_argument("--scenario", action="append", metavar="NAME|FILE")
    parser.add_argument("--layout", default="3of5", help="rep3, 3of5, 4of6 or rs:K+M, by commas")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="the first world's seed")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="worlds (default 1)")
    parser.add_argument(
        "--schedulers", default="smart,round-robin", metavar="A,B", help="by commas"
    )
    parser.add_argument(
        "--seconds", type=float, default=LAB_SECONDS, metavar="S", help="of video (default 60)"
    )
    parser.add_argument("--traces", type=Path, metavar="DIR", help="measured traces to draw from")
    parser.add_argument("--out", type=Path, metavar="FILE", help="append every session, JSON lines")
    parser.add_argument(
        "--record", type=Path, metavar="DIR", help="recordings for `smart-client explain`"
    )
    parser.add_argument(
        "--calibrate", action="store_true", help="measure the lab: round trips, rates (40 s)"
    )
    parser.set_defaults(handler=_netns_lab)
    return run(parser, argv)


def _netns_lab(args: argparse.Namespace, terminal: Terminal) -> int:
    if args.calibrate:
        _tell_calibration(asyncio.run(calibrate()), terminal)
        return ExitCode.OK
    if args.runs < 1 or args.seed < 0:
        raise UsageError("--runs must be at least 1, --seed at least 0")
    schedulers = [ALIASES.get(name, name) for name in args.schedulers.split(",") if name]
    for name in schedulers:
        make_scheduler(name)  # a misspelt one is told before anything runs
    scenarios = [
        shortened(load_scenario(name).with_layout(layout), args.seconds)
        for name in args.scenario or ["typical"]
        for layout in args.layout.split(",")
    ]
    library = find_library(os.environ, args.traces)
    require_lab()
    pairs = []
    worlds = itertools.product(scenarios, range(args.seed, args.seed + args.runs))
    with LabPlayer() as player:
        for (scenario, seed), name in itertools.product(worlds, schedulers):
            recording = _recording(args.record, f"{scenario.name}-{seed}-{name}.jsonl")
            pairs.append(_play(player, (scenario, seed, library), name, recording))
            terminal.note(f"{scenario.name} {name}  " + "  ".join(row_of(pairs[-1])))
            if args.out is not None:
                with args.out.open("ab") as lines:
                    lines.write(msgspec.json.encode(pairs[-1]) + b"\n")
    _tell(pairs, terminal)
    return ExitCode.OK


def _recording(folder: Path | None, name: str) -> str:
    if folder is None:
        return ""
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder.resolve() / name)


def _play(
    player: LabPlayer,
    which: tuple[Scenario, int, TraceLibrary],
    scheduler: str,
    recording: str,
) -> PairedSession:
    scenario, seed, library = which
    world = limited(make_world(scenario, seed, library))
    session = player.play(world, scheduler, recording)
    return PairedSession(
        scenario=scenario.name,
        layout=scenario.video.layout,
        seed=seed,
        scheduler=scheduler,
        traces=library.name,
        played_s=world.duration_s,
        simulated=simulate(world, scheduler),
        measured=session.outcome,
        requests=session.requests,
        head_bytes=session.head_bytes,
        client_cpu_s=session.client_cpu_s,
        client_late_p99_s=session.client_late_p99_s,
        late_p99_s=session.late_p99_s,
        late_max_s=session.late_max_s,
        load=os.getloadavg()[0],
    )


def _tell(pairs: Sequence[PairedSession], terminal: Terminal) -> None:
    sums = sums_of(pairs)
    if terminal.json:
        terminal.result(
            {"v": 1, "pairs": msgspec.to_builtins(pairs), "sums": msgspec.to_builtins(sums)}
        )
        return
    for total in sums:
        table = Table(
            title=f"{total.scenario} {total.layout} {total.scheduler}",
            title_justify="left",
            box=None,
            pad_edge=False,
        )
        for column in HEAD:
            table.add_column(column, justify="right")
        for pair in pairs:
            if (pair.scenario, pair.layout, pair.scheduler) == total.key:
                table.add_row(*row_of(pair))
        table.add_row(*sum_row_of(total), style="bold")
        terminal.console().print(table)
    terminal.note(
        "LATE: 99 of 100 frames and timers were less late; above 5 ms the machine was busy"
    )


def _tell_calibration(links: Sequence[LinkError], terminal: Terminal) -> None:
    if terminal.json:
        terminal.result({"v": 1, "links": [asdict(link) for link in links]})
        return
    table = Table(box=None, pad_edge=False)
    for column in ("RTT asked", "seen p50", "max", "THINK", "seen", "RATE asked", "seen", "ERROR"):
        table.add_column(column, justify="right")
    for link in links:
        times_s = (link.rtt_s, link.connect_s, link.connect_max_s, link.think_s, link.answer_s)
        table.add_row(
            *(f"{1000 * value_s:.1f} ms" for value_s in times_s),
            f"{'~' if link.changes else ''}{link.bytes_per_s / 1000:.0f} kB/s",
            f"{link.seen_bytes_per_s / 1000:.1f} kB/s",
            f"{link.rate_error:+.2%}",
        )
    terminal.console().print(table)
    terminal.note("~ changes every second")
