"""play and serve."""

import argparse
import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import quote

from redundancy.errors import UsageError
from redundancy.quantities import counted, size_text
from redundancy.terminal import Terminal
from smart_client.command_line.common import run_async, settings
from smart_client.command_line.record import RecordOption
from smart_client.command_line.transfer import Asked, cat
from smart_client.config import ClientConfig
from smart_client.core import events
from smart_client.core.metrics import Snapshot
from smart_client.core.playback_buffer import ReaderState
from smart_client.dashboard import Dashboard, EventLog
from smart_client.errors import PlayerProblem, QualityMissed
from smart_client.gateway.app import Gateway
from smart_client.ladders import require_ladder
from smart_client.mpv_ipc import MpvLink, with_ipc
from smart_client.narration import clock, duration_text
from smart_client.panels import DashboardView
from smart_client.player import MeasuringPlayer, player_command, run_player
from smart_client.stream import StreamReader, VideoStream


@dataclass(frozen=True, slots=True)
class Screen:
    """How a session is shown while it runs."""

    terminal: Terminal
    live: bool  # the full-screen dashboard
    lines: TextIO | None  # one line an event
    ndjson: TextIO | None  # --events
    repaints_per_s: float = 4.0


@contextlib.contextmanager
def open_screen(args: argparse.Namespace, terminal: Terminal) -> Iterator[Screen]:
    """Choose the dashboard on a terminal, plain lines elsewhere, and open ``--events``."""
    wanted = args.dashboard
    live = wanted if wanted is not None else sys.stdout.isatty()
    live = live and not terminal.json and not terminal.quiet and args.events != "-"
    silent = live or terminal.json or terminal.quiet or args.events == "-"
    # Four repaints a second are 50 kB/s over SSH; two are enough there.
    repaints_per_s = 2.0 if os.environ.get("SSH_CONNECTION") else 4.0
    with contextlib.ExitStack() as stack:
        ndjson: TextIO | None = None
        if args.events == "-":
            ndjson = sys.stdout
        elif args.events:
            ndjson = stack.enter_context(open(args.events, "w", encoding="utf-8"))
        lines = None if silent else sys.stderr
        yield Screen(terminal, live, lines, ndjson, repaints_per_s)


def play(args: argparse.Namespace, terminal: Terminal) -> int:
    """Play a video."""
    if args.output == "-":
        return cat(args, terminal)
    config = settings(args)
    record = RecordOption(args.record)
    with open_screen(args, terminal) as screen:
        if args.player == "none":
            asked = Asked(args.video, args.rendition)
            session = run_async(_play_measured(asked, args.start, config, screen, record))
        else:
            wish = PlayerWish(args.player or "", args.video, args.rendition, args.ladder)
            session = run_async(_play_in_player(wish, config, screen, record))
        if screen.ndjson is not None:
            EventLog.write_to(screen.ndjson, {"v": 1, "type": "result", "session": session})
    if args.events != "-":
        terminal.result({"v": 1, "session": session}, receipt(session))
    if args.fail_on_rebuffer and session["rebuffers"]:
        raise QualityMissed(f"playback stalled {session['rebuffers']} times", detail=session)
    return record.conclude(terminal)


async def _play_measured(
    asked: Asked, start_s: float, config: ClientConfig, screen: Screen, record: RecordOption
) -> dict[str, Any]:
    """Play in real time without a screen, measuring."""
    async with record.library(config) as library:
        stream = await library.open_stream(asked.video, config, rendition=asked.rendition)
        try:
            timeline = stream.session.state.timeline
            if start_s and start_s >= timeline.end_s:
                raise UsageError(
                    f"--start {clock(start_s)} is not within '{asked.video}'",
                    hint=f"it is {clock(timeline.end_s)} long",
                )
            offset = timeline.offset_at(start_s) if start_s else 0
            player = MeasuringPlayer(stream, offset=offset)
            played = asyncio.create_task(player.run(patience_s=config.patience_s))
            await show_while(played, stream, screen, reader=player.reader)
            shot = stream.snapshot(player.reader)
            facts = session_facts(shot, stream, sha256=player.played.sha256)
            facts["played_s"] = round(max(0.0, shot.position_s - timeline.time_at(offset)), 3)
            return facts
        finally:
            await stream.close()


@dataclass(frozen=True, slots=True)
class PlayerWish:
    """What is to be opened in which player."""

    player: str
    video: str
    rendition: str
    ladder: bool  # the player chooses among the renditions

    def url(self, gateway: Gateway) -> str:
        """Return where the player finds it."""
        if self.ladder:
            return f"{gateway.url}/hls/{quote(self.video)}/master.m3u8"
        return gateway.url_of(self.video, self.rendition)


async def _play_in_player(
    wish: PlayerWish, config: ClientConfig, screen: Screen, record: RecordOption
) -> dict[str, Any]:
    """Start a gateway on a free port and a player on it."""
    async with record.library(config) as library:
        # A wrong name is told before a player opens.
        manifest = await library.manifest(wish.video, wish.rendition)
        if wish.ladder:
            require_ladder(manifest.video)
        gateway = Gateway(config, library, only_plays=True)
        await gateway.start("127.0.0.1:0")
        try:
            url = wish.url(gateway)
            words = player_command(wish.player, url)
            screen.terminal.note(f"playing {url} in {words[0]}")
            running = asyncio.create_task(run_followed(words, gateway))
            opened = asyncio.create_task(gateway.first_session())
            await asyncio.wait({running, opened}, return_when=asyncio.FIRST_COMPLETED)
            if not opened.done():
                opened.cancel()
                raise PlayerProblem(f"{words[0]} ended (status {running.result()}) without playing")
            account = opened.result()
            await show_while(running, account.stream, screen, url=url, snapshot=account.snapshot)
            status = running.result() if running.done() and not running.cancelled() else 0
            if status:
                raise PlayerProblem(f"{words[0]} failed with status {status}")
            figures = account.figures(0)
            facts = session_facts(account.snapshot(), account.stream, source=figures.qoe_source)
            if figures.players:
                facts["played_s"] = figures.players[0].shown_s
            return facts
        finally:
            await gateway.close()


async def run_followed(words: list[str], gateway: Gateway) -> int:
    """Run a player until it ends; mpv is asked what it shows. Return its exit status."""
    with tempfile.TemporaryDirectory(prefix="evenflow-mpv-") as place:
        path = Path(place) / "ipc"
        followed = with_ipc(words, path)
        if followed is None:
            return await run_player(words)
        link = MpvLink(path, gateway.hear_mpv)
        following = asyncio.create_task(link.run())
        try:
            return await run_player(followed)
        finally:
            # What mpv said last is in the socket still.
            await asyncio.wait({following}, timeout=1.0)
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def show_while(
    work: asyncio.Task[Any],
    stream: VideoStream,
    screen: Screen,
    *,
    reader: StreamReader | None = None,
    url: str = "",
    snapshot: Callable[[], Snapshot] | None = None,
) -> None:
    """Show a session until ``work`` ends, or the user quits the dashboard (which ends the work)."""
    view = DashboardView(
        title=stream.manifest.video.name,
        layout=str(stream.manifest.video.layout.to_layout()),
        url=url,
        ledger=stream.ledger,
        chunk_count=len(stream.manifest.chunks),
    )
    nodes = [node.id for node in stream.manifest.nodes]
    log = EventLog(nodes, view=view, lines=screen.lines, ndjson=screen.ndjson)
    stream.driver.observe(log.observe)
    if not screen.live:
        await work
        return
    dashboard = Dashboard(
        snapshot or partial(stream.snapshot, reader),
        view,
        {" ": partial(_toggle_pause, stream, reader)},
    )
    shown = asyncio.create_task(
        dashboard.run(screen.terminal.console(), repaints_per_s=screen.repaints_per_s)
    )
    try:
        await asyncio.wait({work, shown}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        shown.cancel()
        await asyncio.gather(shown, return_exceptions=True)
    if not work.done():
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    else:
        work.result()


def _toggle_pause(stream: VideoStream, reader: StreamReader | None) -> None:
    """Pause our own player, or let it go on; another one has its own keys."""
    if reader is not None and reader.core.paced:
        paused = reader.core.state is not ReaderState.PAUSED
        stream.driver.post(events.ReaderPaused(reader.number, paused))


def session_facts(
    shot: Snapshot, stream: VideoStream, *, sha256: str = "", source: str = "measuring-player"
) -> dict[str, Any]:
    """Return what ``--json`` says of a session. Nothing in it is modelled.

    Args:
        source: who told start and stalls, if anybody did.
    """
    paced = shot.startup_s >= 0
    return {
        "video": stream.manifest.video.name,
        "layout": str(stream.manifest.video.layout.to_layout()),
        "scheduler": stream.session.scheduler.name,
        "state": shot.state,
        "startup_s": round(shot.startup_s, 4) if paced else None,
        "rebuffers": shot.stalls if paced else None,
        "stalled_s": round(shot.stalled_s, 4) if paced else None,
        "played_s": round(shot.position_s, 3),
        "bytes": shot.received_bytes,
        "delivered_bytes": shot.delivered_bytes,
        "wire_bytes": stream.driver.wire_bytes,
        "cached_bytes": shot.recalled_bytes,
        "amplification": round(1 + shot.extra_share, 5),
        "takeovers": shot.takeovers,
        "reissues": shot.reissues,
        "corrupt": shot.corrupt,
        "sha256_verified": bool(sha256) and sha256 == stream.manifest.rendition.sha256,
        # Without a player that says so there is no telling when the picture stood still.
        "qoe_source": source if paced else "none",
        "nodes": [
            {
                "id": node.id,
                "state": node.state,
                "rtt_s": round(node.rtt_s, 5),
                "bytes_per_s": round(node.bytes_per_s),
                "bytes": node.received_bytes,
                "failures": node.failures,
            }
            for node in shot.nodes
        ],
    }


def receipt(session: dict[str, Any]) -> str:
    """Return the lines left on the terminal after a session."""
    used = sum(1 for node in session["nodes"] if node["bytes"])
    extra = 100 * (session["amplification"] - 1)
    if session["bytes"] or not session["played_s"]:
        brought = f"{size_text(session['bytes'])} from {counted(used, 'node')} (+{extra:.2f} %)"
    else:
        brought = "all of it from the cache"
    lines = [
        f"played {clock(session['played_s'])} of '{session['video']}' with the "
        f"{session['scheduler']} scheduler, {session['layout']}",
        f"  {brought}, {counted(session['takeovers'], 'takeover')}, "
        f"{counted(session['reissues'], 'request')} reissued, "
        f"{counted(session['corrupt'], 'corrupt answer')}",
    ]
    if session["startup_s"] is not None:
        stalls = session["rebuffers"]
        lines.insert(
            1,
            f"  start {duration_text(session['startup_s'])}, "
            + (
                f"{counted(stalls, 'stall')} of {duration_text(session['stalled_s'])} in all"
                if stalls
                else "no stall"
            )
            + (", sha256 verified" if session["sha256_verified"] else ""),
        )
    return "\n".join(lines)
