"""demo: five real nodes, a clip, one node frozen and one killed on the way, and a receipt.

Everything it prints was measured in this very run: real processes, real sockets, real time.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redundancy.errors import ExitCode, FileMissing, FileProblem
from redundancy.quantities import counted, size_text
from redundancy.terminal import Terminal
from smart_client.command_line.common import run_async
from smart_client.command_line.demo_cluster import DemoCluster
from smart_client.command_line.play import Screen, open_screen, session_facts, show_while
from smart_client.config import ClientConfig
from smart_client.core import commands
from smart_client.core.commands import Command
from smart_client.core.events import Event
from smart_client.errors import QualityMissed, SmartClientError, VideoNotFound
from smart_client.gateway.app import SPOOL_BYTES_MAX, Gateway
from smart_client.ingest.clip import make_clip
from smart_client.ingest.upload import Uploader
from smart_client.library import Library, session_config
from smart_client.narration import clock, duration_text
from smart_client.player import MeasuringPlayer
from smart_client.stream import VideoStream

# What each node may send, as a multiple of the clip's bitrate, and how long it takes to answer:
# unequal machines on unequal links, together 3.2 times what the clip needs. Without such caps
# loopback would deliver the whole clip in a tenth of a second and nothing could go wrong.
NODE_RATES = (0.42, 0.6, 0.8, 0.5, 0.9)
NODE_DELAYS_S = (0.04, 0.015, 0.005, 0.03, 0.02)

# The buffer is kept short for the same reason.
BUFFER_S = 12.0

# Which nodes fail, and when, as a share of the clip.
FREEZE_NODE, FREEZE_AT = 2, 0.15
KILL_NODE, KILL_AT = 1, 0.35

# A scheduler that stalls may stall for long; only one that is stuck is given up.
PATIENCE_S = 60.0

VIDEO_NAME = "demo"


class DemoVoid(SmartClientError):
    """What was measured does not show what it should."""

    code = "DEMO_VOID"


@dataclass(slots=True)
class Faults:
    """What was done to the nodes during one playback, and when the session noticed."""

    node_ids: list[str]
    frozen: str
    killed: str
    at_s: dict[str, float] = field(default_factory=dict)
    noticed_after_s: dict[str, float] = field(default_factory=dict)

    def observe(self, now_s: float, _: Event, issued: Sequence[Command]) -> None:
        """Note the first suspicion of each node after its fault."""
        for command in issued:
            if isinstance(command, commands.Notice) and command.kind == "node_suspect":
                if command.node >= len(self.node_ids):
                    continue  # it joined later
                node = self.node_ids[command.node]
                if node in self.at_s:
                    self.noticed_after_s.setdefault(node, now_s - self.at_s[node])


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything one demo works with."""

    args: argparse.Namespace
    terminal: Terminal
    screen: Screen
    cluster: DemoCluster


def demo(args: argparse.Namespace, terminal: Terminal) -> int:
    """Show the whole product on this machine."""
    if args.file and not Path(args.file).is_file():
        raise FileMissing(f"no such file: {args.file}", hint="check the path")
    with open_screen(args, terminal) as screen:
        report = run_async(_demo(args, terminal, screen))
    terminal.result({"v": 1, "demo": report}, receipt_text(report))
    if report["smart"]["rebuffers"]:
        raise QualityMissed("the smart session stalled", detail=report["smart"])
    return ExitCode.OK


async def _demo(args: argparse.Namespace, terminal: Terminal, screen: Screen) -> dict[str, Any]:
    directory = Path(".cluster") if args.keep else Path(tempfile.mkdtemp(prefix="evenflow-demo-"))
    cluster = DemoCluster(directory)
    stage = Stage(args, terminal, screen, cluster)
    keep = False
    try:
        began_s = time.monotonic()
        await cluster.up(args.nodes, stays=args.keep)
        terminal.note(
            f"[1/5] cluster  {len(cluster.nodes)} nodes and a coordinator on loopback, up in "
            f"{duration_text(time.monotonic() - began_s)}"
        )
        report = await _store_and_play(stage)
        if args.keep:
            report["url"] = f"{await cluster.gateway()}/v/{VIDEO_NAME}"
            keep = True
        return report
    finally:
        if not keep:
            await asyncio.shield(_clean_up(cluster))


async def _clean_up(cluster: DemoCluster) -> None:
    await cluster.down()
    await asyncio.to_thread(shutil.rmtree, cluster.directory, ignore_errors=True)


async def _store_and_play(stage: Stage) -> dict[str, Any]:
    cluster, terminal = stage.cluster, stage.terminal
    config = ClientConfig(
        coordinator=(cluster.coordinator,),
        buffer_s=BUFFER_S,
        cache_dir=str(cluster.directory / "cache"),
        cache_bytes=0,  # or the second playback would find there what the first one fetched
        patience_s=PATIENCE_S,
    )
    clip = await _clip(stage)
    async with Library(config) as library:
        if stage.args.keep:
            with contextlib.suppress(VideoNotFound):  # from an earlier demo
                await library.remove(VIDEO_NAME)
        stored = await Uploader(library.coordinator).put(clip, VIDEO_NAME, "rs:3+2")
        if stored.missing_fragments:
            raise DemoVoid(
                f"{stored.missing_fragments} fragments found no node in time, so two nodes may not "
                "be broken",
                hint="this machine is too busy just now; run the demo again",
            )
        rendition = stored.video.rendition()
        terminal.note(
            f"[3/5] stored   {size_text(rendition.size)} in {counted(stored.chunks, 'chunk')} as "
            f"{stored.video.layout.to_layout()}: {size_text(stored.stored_bytes)} on disk, "
            "survives any 2 losses"
        )
        if not rendition.duration_s:
            raise FileProblem(
                f"{clip} has no known duration, so it cannot be played in real time",
                hint="give a video file, or none for a clip made on the spot",
            )
        await _cap_nodes(cluster, 8 * rendition.size / rendition.duration_s)
        gateway = Gateway(config, library)
        url = f"{await gateway.start('127.0.0.1:0')}/v/{VIDEO_NAME}"
        try:
            return await _play_both(stage, library, url)
        finally:
            await gateway.close()


async def _clip(stage: Stage) -> Path:
    args, terminal = stage.args, stage.terminal
    if args.file:
        terminal.note(f"[2/5] clip     {args.file}")
        return Path(args.file)
    clip = stage.cluster.directory / f"{VIDEO_NAME}.mp4"
    began_s = time.monotonic()
    await asyncio.to_thread(make_clip, clip, args.seconds)
    terminal.note(
        f"[2/5] clip     {args.seconds:g} s of test picture, made in "
        f"{duration_text(time.monotonic() - began_s)}"
    )
    return clip


async def _cap_nodes(cluster: DemoCluster, bits_per_s: float) -> None:
    for index, node in enumerate(cluster.nodes):
        rate = NODE_RATES[index % len(NODE_RATES)] * bits_per_s
        await cluster.slow(node, rate, NODE_DELAYS_S[index % len(NODE_DELAYS_S)])


async def _play_both(stage: Stage, library: Library, url: str) -> dict[str, Any]:
    terminal = stage.terminal
    terminal.note(f"[4/5] playing  in real time; watch along in a browser or with: mpv {url}")
    report: dict[str, Any] = {}
    report["smart"] = await _play(stage, library, "smart", url)
    if stage.args.compare:
        terminal.note("[5/5] again    with round-robin: same caps, same faults, same seconds")
        report["naive"] = await _play(stage, library, "round-robin", url)
    require_fetched(report)
    return report


def require_fetched(report: dict[str, Any]) -> None:
    """Compare only sessions that fetched every byte. Raises: DemoVoid."""
    for name, session in report.items():
        if session["cached_bytes"]:
            raise DemoVoid(
                f"the {name} session read {size_text(session['cached_bytes'])} from a cache: what "
                "was measured compares nothing",
                detail=session,
            )


async def _play(stage: Stage, library: Library, scheduler: str, url: str) -> dict[str, Any]:
    """Play the clip once in real time, breaking nodes on the way; mend them afterwards."""
    cluster, chaos = stage.cluster, stage.args.chaos
    config = dataclasses.replace(library.config, scheduler=scheduler)
    # Within a session nothing is fetched twice because of that.
    kept = dataclasses.replace(session_config(config), cache_bytes_max=SPOOL_BYTES_MAX)
    stream = await library.open_stream(VIDEO_NAME, config, session=kept)
    ids = [node.id for node in stream.manifest.nodes]
    faults = Faults(ids, cluster.nodes[FREEZE_NODE], cluster.nodes[KILL_NODE])
    stream.driver.observe(faults.observe)
    player = MeasuringPlayer(stream)
    breaker = asyncio.create_task(_break_nodes(cluster, faults, stream, chaos))
    try:
        played = asyncio.create_task(player.run(patience_s=config.patience_s))
        await show_while(played, stream, stage.screen, reader=player.reader, url=url)
        facts = session_facts(stream.snapshot(player.reader), stream, sha256=player.played.sha256)
    finally:
        breaker.cancel()
        await asyncio.gather(breaker, return_exceptions=True)
        await stream.close()
        await cluster.restore(faults.frozen, faults.killed)
    facts["faults"] = {
        "frozen": faults.frozen if faults.frozen in faults.at_s else None,
        "killed": faults.killed if faults.killed in faults.at_s else None,
        "at_s": {node: round(at_s, 3) for node, at_s in faults.at_s.items()},
        "noticed_after_s": {node: round(s, 4) for node, s in faults.noticed_after_s.items()},
    }
    return facts


async def _break_nodes(
    cluster: DemoCluster, faults: Faults, stream: VideoStream, chaos: str
) -> None:
    """Freeze one node and kill another at the same seconds of every playback."""
    duration_s = stream.session.state.timeline.end_s
    steps = {
        "freeze": (FREEZE_AT, faults.frozen, cluster.freeze),
        "kill": (KILL_AT, faults.killed, cluster.kill),
    }
    for kind, (share, node, do) in steps.items():
        if chaos not in (kind, "both"):
            continue
        await asyncio.sleep(max(0.0, share * duration_s - stream.driver.now_s()))
        do(node)
        faults.at_s[node] = stream.driver.now_s()


def receipt_text(report: dict[str, Any]) -> str:
    """Return what the demo leaves on the terminal. Every figure was measured in this run."""
    lines = [_row("", "start", "stalls", "stalled", "extra bytes", "bytes right")]
    for name in ("smart", "naive"):
        if name in report:
            lines.append(_session_row(report[name]))
    for node, at_s in report["smart"]["faults"]["at_s"].items():
        what = "frozen" if node == report["smart"]["faults"]["frozen"] else "killed"
        after_s = report["smart"]["faults"]["noticed_after_s"].get(node)
        told = f"noticed {duration_text(after_s)} later" if after_s is not None else "never needed"
        lines.append(f"  {node} {what} at {clock(at_s)}: {told}, its share went to the others")
    if "url" in report:
        lines.append(f"  watch it yourself: {report['url']}")
    else:
        lines.append("  watch it yourself: make demo ARGS=--keep leaves the cluster running")
    return "\n".join(lines)


def _session_row(session: dict[str, Any]) -> str:
    startup_s = session["startup_s"]
    return _row(
        session["scheduler"],
        duration_text(startup_s) if startup_s is not None else "never",
        str(session["rebuffers"] or 0),
        duration_text(session["stalled_s"] or 0.0),
        f"{100 * (session['amplification'] - 1):.2f} %",
        "yes" if session["sha256_verified"] else "NO",
    )


def _row(*cells: str) -> str:
    return f"  {cells[0]:<12}" + "".join(f"{cell:>13}" for cell in cells[1:])
