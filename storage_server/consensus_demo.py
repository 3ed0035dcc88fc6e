"""``storage-server consensus demo``: two writers, three nodes, one of which dies; measured.

Real nodes as processes on loopback, their logs on this machine's disk, every decision synced by a
majority before it counts.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from redundancy.errors import ExitCode
from redundancy.terminal import Terminal
from storage_server.catalogue.contract import ABSENT, Conflict, Unknown, Version
from storage_server.catalogue.errors import CatalogueError
from storage_server.catalogue.paxos import PaxosCatalogue

NODES = 3
_VALUE = bytes(300)


@dataclass
class _Writer:
    """Responsible for one writer's attempts on a register, and for when they were decided."""

    catalogue: PaxosCatalogue
    key: str
    decided_at_s: list[float] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)
    conflicts: int = 0
    unknown: int = 0

    async def write_until(self, stop_s: float) -> None:
        """Read, write what comes next, again and again."""
        while time.perf_counter() < stop_s:
            began_s = time.perf_counter()
            try:
                entry = await self.catalogue.get(self.key)
                version = entry.version if entry else ABSENT
                outcome = await self.catalogue.compare_and_set(self.key, version, _VALUE)
            except CatalogueError:
                self.unknown += 1
                continue
            match outcome:
                case Version():
                    self.decided_at_s.append(time.perf_counter())
                    self.waits_s.append(time.perf_counter() - began_s)
                case Conflict():
                    self.conflicts += 1
                case Unknown():
                    self.unknown += 1


def demo(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run all parts and print each when it is done."""
    with tempfile.TemporaryDirectory(prefix="consensus-demo-") as name, _nodes(Path(name)) as nodes:
        facts = asyncio.run(_run(nodes, args.seconds, terminal))
    terminal.result({"demo": facts}, str(facts["summary"]))
    return ExitCode.OK


async def _run(
    nodes: Sequence[tuple[subprocess.Popen[str], str]], seconds: float, terminal: Terminal
) -> dict[str, object]:
    urls = [url for _, url in nodes]
    async with _two_catalogues(urls) as (one, two):
        apart = [_Writer(one, "apart/1"), _Writer(two, "apart/2")]
        rate = await _write(apart, seconds)
        told = await one.agreement()
        terminal.note(
            f"[1/4] two writers, each with a register of its own: {rate:.0f} decisions/s, "
            f"{told.requests_per_decision or 0:.2f} requests a decision"
        )
        fight = [_Writer(one, "fight"), _Writer(two, "fight")]
        fought = await _write(fight, seconds)
        longest_s = max((wait for each in fight for wait in each.waits_s), default=0.0)
        terminal.note(
            f"[2/4] both want the same register: {fought:.0f} decisions/s, "
            f"{sum(each.conflicts for each in fight)} conflicts, longest wait "
            f"{longest_s * 1000:.0f} ms"
        )
        gaps = {}
        for step, (what, number) in enumerate(
            (("freezes", signal.SIGSTOP), ("dies", signal.SIGKILL)), 3
        ):
            gaps[what] = await _gap(_Writer(one, f"gap/{what}"), nodes[0][0], number, seconds)
            terminal.note(
                f"[{step}/4] one of three nodes {what}: the longest time between two decisions is "
                f"{gaps[what] * 1000:.0f} ms"
            )
            nodes[0][0].send_signal(signal.SIGCONT)
        last = await one.agreement()
    return {
        "decisions_per_s": rate,
        "requests_per_decision": told.requests_per_decision,
        "fight_decisions_per_s": fought,
        "fight_conflicts": sum(each.conflicts for each in fight),
        "fight_longest_wait_s": longest_s,
        "gap_frozen_s": gaps["freezes"],
        "gap_killed_s": gaps["dies"],
        "summary": last.summary,
    }


async def _write(writers: Sequence[_Writer], seconds: float) -> float:
    """Let them write side by side; return decisions a second."""
    began_s = time.perf_counter()
    await asyncio.gather(*(each.write_until(began_s + seconds) for each in writers))
    return sum(len(each.decided_at_s) for each in writers) / (time.perf_counter() - began_s)


async def _gap(
    writer: _Writer, node: "subprocess.Popen[str]", number: signal.Signals, seconds: float
) -> float:
    """Return the longest time between two decisions around a signal to a node."""
    writing = asyncio.create_task(writer.write_until(time.perf_counter() + seconds))
    await asyncio.sleep(seconds / 2)
    struck_s = time.perf_counter()
    node.send_signal(number)
    await writing
    around = [at for at in writer.decided_at_s if at > struck_s - 0.2]
    return max((later - earlier for earlier, later in pairwise(around)), default=seconds)


@contextlib.asynccontextmanager
async def _two_catalogues(
    urls: Sequence[str],
) -> AsyncIterator[tuple[PaxosCatalogue, PaxosCatalogue]]:
    one, two = PaxosCatalogue(urls), PaxosCatalogue(urls)
    try:
        await one.get("warm")
        await two.get("warm")
        yield one, two
    finally:
        await one.close()
        await two.close()


@contextlib.contextmanager
def _nodes(directory: Path) -> Iterator[list[tuple["subprocess.Popen[str]", str]]]:
    """Run nodes while this is entered; yield their processes and addresses."""
    with contextlib.ExitStack() as stack:
        found = []
        for number in range(NODES):
            words = ["--data", str(directory / f"node-{number + 1}"), "--listen", "127.0.0.1:0"]
            process = subprocess.Popen(
                [sys.executable, "-m", "storage_server", "node", "--json", *words],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            stack.callback(_end, process)
            found.append(process)
        yield [(process, _url_of(process)) for process in found]


def _url_of(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return str(json.loads(process.stdout.readline())["url"])


def _end(process: "subprocess.Popen[str]") -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
