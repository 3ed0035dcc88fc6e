"""put."""

import argparse
import contextlib
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from redundancy.errors import ExitCode, FileMissing, FileProblem, UsageError
from redundancy.quantities import counted, size_text
from redundancy.scheme import Layout
from redundancy.terminal import Terminal
from smart_client import wire
from smart_client.command_line.common import byte_progress, run_async, settings
from smart_client.config import ClientConfig
from smart_client.dashboard import EventLog
from smart_client.errors import CoordinatorUnreachable
from smart_client.ingest.ladder.plan import LadderWish, parse_ladder
from smart_client.ingest.ladder.storing import LadderOrder, Stored, store_file
from smart_client.ingest.plan_runner import UploadProgress
from smart_client.ingest.probe import can_probe
from smart_client.ingest.upload import UploadResult, check_name
from smart_client.ladders import ladder_of
from smart_client.library import Library

_AUTO = "auto"  # the coordinator chooses the layout
_GOES_ON = "run the same command again: it goes on where it stopped"


def put(args: argparse.Namespace, terminal: Terminal) -> int:
    """Store files."""
    if args.name and len(args.files) > 1:
        raise UsageError("--name goes with a single file")
    if args.redundancy != _AUTO:
        Layout.parse(args.redundancy)
    config = settings(args)
    order = _ladder_order(args, config)
    results: list[Stored] = []
    with _events_to(args.events) as events:
        for path, name in _files(args):
            with _Lines(terminal, path.name, events) as lines:
                work = _put(path, name, args.redundancy, config, order, lines.report)
                with _told_how_to_go_on(terminal):
                    results.append(run_async(work))
        answer = {"v": 1, "videos": [_stored(result) for result in results]}
        if events is not None:
            EventLog.write_to(events, {"v": 1, "type": "result", **answer})
    if args.events != "-":
        terminal.result(answer, "\n".join(_stored_text(result) for result in results))
    for result in results:
        for note in result.ladder.notes if result.ladder else ():
            terminal.note(f"{result.video.name}: {note}")
    others = [result for result in results if _is_laid_out_otherwise(result, args.redundancy)]
    for result in others:
        name = shlex.quote(result.video.name)
        terminal.note(
            f"{result.video.name}: it keeps the layout it has; to change it: "
            f"storage-server admin video layout {name} {args.redundancy}"
        )
    short = sum(result.missing_fragments for result in results)
    return ExitCode.PARTIAL if short or others else ExitCode.OK


def _is_laid_out_otherwise(result: Stored, wish: str) -> bool:
    """Whether a video that was there already has another layout than is asked for now."""
    is_wish = result.original.was_there and wish != _AUTO
    return is_wish and result.video.layout.to_layout() != Layout.parse(wish)


def _files(args: argparse.Namespace) -> list[tuple[Path, str]]:
    """Return every file with its name; what is wrong with any is told before one is sent."""
    found: list[tuple[Path, str]] = []
    for path in map(Path, args.files):
        if not path.exists():
            raise FileMissing(f"no such file: {path}", hint="check the path")
        if not path.is_file():
            raise FileProblem(f"{path} is not a regular file", hint="name a video file")
        name = check_name(args.name or path.stem)
        for other, taken in found:
            if taken == name and not other.samefile(path):
                raise UsageError(
                    f"{other} and {path} would both be stored as '{name}'",
                    hint=f"store one of them apart: smart-client put {shlex.quote(str(path))} "
                    "--name OTHER",
                )
        found.append((path, name))
    return found


@contextlib.contextmanager
def _told_how_to_go_on(terminal: Terminal) -> Iterator[None]:
    """What was stored of an upload that stops is not lost: say so."""
    try:
        yield
    except KeyboardInterrupt:
        terminal.note(_GOES_ON)
        raise
    except CoordinatorUnreachable as error:
        raise CoordinatorUnreachable(
            error.message, hint=f"{error.hint}; {_GOES_ON}", detail=error.detail
        ) from error


def _ladder_order(args: argparse.Namespace, config: ClientConfig) -> LadderOrder | None:
    if not args.ladder and not args.lifeboat:
        return None
    heights = parse_ladder(args.ladder) if args.ladder else ()
    directory = Path(config.cache_dir) / "ladder"
    return LadderOrder(LadderWish(heights, args.lifeboat), directory, args.encoder)


async def _put(
    path: Path,
    name: str,
    redundancy: str,
    config: ClientConfig,
    order: LadderOrder | None,
    report: Callable[[UploadProgress], None],
) -> Stored:
    async with Library(config) as library:
        return await store_file(
            library, path, name, redundancy=redundancy, ladder=order, report=report
        )


# -- progress ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _events_to(target: str | None) -> Iterator[TextIO | None]:
    """Open what ``--events`` names; ``-`` is standard output."""
    if target is None:
        yield None
    elif target == "-":
        yield sys.stdout
    else:
        with open(target, "w", encoding="utf-8") as file:
            yield file


class _Lines:
    """Responsible for telling how one file's upload comes along."""

    def __init__(self, terminal: Terminal, title: str, events: TextIO | None) -> None:
        self._bytes = byte_progress(terminal)
        self._shares = _share_progress(terminal)
        self._title = title
        self._events = events
        self._shown: Progress | None = None
        self._told = ""

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown is not None:
            self._shown.stop()

    def report(self, progress: UploadProgress) -> None:
        """Show an upload's state; an event is written when its stage or its percentage changes."""
        share = progress.encoded_share
        if share is None:
            total, done = progress.total_bytes, progress.durable_bytes
            note = f"{progress.layout} {progress.stage}"
            if progress.rendition != "original":
                note = f"{progress.rendition} {note}"
            self._show(self._bytes, total, done, note)
            percent = 100 * done // total if total else 0
        else:
            self._show(self._shares, 1.0, share, progress.stage)
            percent = int(100 * share)
        told = f"{progress.rendition} {progress.stage} {percent}"
        if self._events is not None and told != self._told:
            self._told = told
            EventLog.write_to(self._events, _event(progress, percent))

    def _show(self, bar: Progress, total: float, done: float, note: str) -> None:
        if self._shown is not bar:
            if self._shown is not None:
                self._shown.stop()
            self._shown = bar
            bar.start()
        if not bar.tasks:
            bar.add_task(self._title, total=None, note="")
        bar.update(bar.tasks[0].id, total=total, completed=done, note=note)


def _share_progress(terminal: Terminal) -> Progress:
    """Return a progress line for work whose bytes are not known."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=terminal.console(stderr=True),
        disable=not terminal.shows_progress,
        transient=True,
    )


def _event(progress: UploadProgress, percent: int) -> dict[str, object]:
    return {
        "v": 1,
        "type": "progress",
        "ts": time.time(),
        "video": progress.name,
        "rendition": progress.rendition,
        "stage": progress.stage,
        "percent": percent,
        "durable_bytes": progress.durable_bytes,
        "total_bytes": progress.total_bytes,
        "stored_bytes": progress.stored_bytes,
    }


# -- what was stored -----------------------------------------------------------------------------


def _stored(stored: Stored) -> dict[str, object]:
    facts = _original(stored.original)
    if stored.ladder is not None:
        facts["ladder"] = {
            "renditions": [wire.decode(wire.encode(r), dict[str, object]) for r in _rungs(stored)],
            "made": [rendition.name for rendition in stored.ladder.stored],
            "stored_bytes": stored.ladder.stored_bytes,
            "missing_fragments": stored.ladder.missing_fragments,
            "notes": list(stored.ladder.notes),
        }
    return facts


def _original(result: UploadResult) -> dict[str, object]:
    rendition = result.video.rendition()
    layout = result.video.layout.to_layout()
    return {
        "id": result.video.id,
        "name": result.video.name,
        "sha256": rendition.sha256,
        "size": rendition.size,
        "duration_s": rendition.duration_s,
        "chunks": result.chunks,
        "policy": str(layout),
        "reason": result.video.reason,
        "stored_bytes": result.stored_bytes,
        "overhead": round(layout.overhead, 3),
        "tolerates": layout.tolerates,
        "missing_fragments": result.missing_fragments,
        "resumed_chunks": result.resumed_chunks,
    }


def _rungs(stored: Stored) -> Sequence[wire.RenditionRecord]:
    return ladder_of(stored.video)


def _stored_text(stored: Stored) -> str:
    result, video = stored.original, stored.video
    layout = video.layout.to_layout()
    losses = "any one loss" if layout.tolerates == 1 else f"any {layout.tolerates} losses"
    first = (
        f"'{video.name}' was stored already, as this very file: {layout}"
        if result.was_there
        else f"stored '{video.name}': {size_text(video.rendition().size)} in "
        f"{counted(result.chunks, 'chunk')}, {layout} (x{layout.overhead:.2f}, "
        f"{size_text(result.stored_bytes)} on disk), "
        + (f"meant to survive {losses}" if stored.missing_fragments else f"survives {losses}")
    )
    lines = [first, f"  sha256 {video.rendition().sha256}"]
    if video.reason:
        lines.append(f"  why {layout}: {video.reason}")
    if stored.ladder is not None:
        rungs = ", ".join(
            f"{r.name} {r.average_bits_per_s / 1e6:.2f} Mbit/s" for r in _rungs(stored)
        )
        lines.append(f"  ladder: {rungs} ({size_text(stored.ladder.stored_bytes)} on disk)")
    if stored.missing_fragments:
        lines.append(
            f"  {counted(stored.missing_fragments, 'fragment')} found no node in time: readable, "
            "but with less to spare until the coordinator has made the rest\n"
            "  see: smart-client status"
        )
    word = shlex.quote(video.name)
    if video.media.video_codec or video.media.audio_codec or not can_probe():
        lines.append(f"  play it: smart-client play {word}")
    else:
        lines.append(f"  no playable stream found in it; smart-client get {word} returns it")
    return "\n".join(lines)
