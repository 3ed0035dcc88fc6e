"""get, cat."""

import argparse
import contextlib
import hashlib
import os
import shlex
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from redundancy.errors import UsageError
from redundancy.quantities import size_text
from redundancy.terminal import Terminal
from smart_client import wire
from smart_client.command_line.common import byte_progress, run_async, settings
from smart_client.command_line.record import RecordOption
from smart_client.config import ClientConfig
from smart_client.core.state import SessionConfig
from smart_client.errors import DeliveredWrongBytes, NameTaken
from smart_client.library import Library
from smart_client.spool import FULL, Spool, no_space_for_file
from smart_client.stream import READ_BYTES_MAX

# A download may run this far ahead of what was written out.
DOWNLOAD_WINDOW_BYTES = 64 * 1024 * 1024

# A download wants its bytes now, whatever their media time.
DOWNLOAD_PACE = 1000.0


class Asked(NamedTuple):
    """What is to be read."""

    video: str
    rendition: str = "original"


def get(args: argparse.Namespace, terminal: Terminal) -> int:
    """Fetch a video into a file, byte for byte, verified."""
    if args.output == "-":
        return cat(args, terminal)
    config = settings(args)
    target = Path(args.output or args.video)
    if target.is_dir():
        target = target / args.video
    if target.exists() and not args.force:
        raise NameTaken(f"{target} exists", hint="name another with -o, or add --force")
    record = RecordOption(args.record)
    part = _parse_range(args.range)
    asked = Asked(args.video, args.rendition)
    size = run_async(_get(asked, target, part, config, terminal=terminal, record=record))
    terminal.result(
        {"v": 1, "transfer": {"video": args.video, "file": str(target), "bytes": size}},
        f"{target}: {size_text(size)}" + ("" if args.range else ", sha256 verified"),
    )
    return record.conclude(terminal)


async def _get(
    asked: Asked,
    target: Path,
    part: tuple[int, int | None],
    config: ClientConfig,
    *,
    terminal: Terminal,
    record: RecordOption,
) -> int:
    """Fetch into ``target``; until all is right its bytes are in ``target``.part."""
    unfinished = target.with_name(target.name + ".part")
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(unfinished.unlink, missing_ok=True)
        spool = Spool.at(unfinished)
        with byte_progress(terminal) as bar:
            task = bar.add_task(asked.video, total=None, note="")
            async with record.library(config) as library:
                if part == (0, None):

                    async def count(data: bytes) -> None:
                        bar.update(task, advance=len(data))

                    size = await _read_all(library, asked, spool, count)
                else:
                    spool.close()
                    try:
                        size = await _save_range(library, asked, part, unfinished)
                    except OSError as error:
                        if error.errno in FULL:
                            raise no_space_for_file(target) from error
                        raise
        os.replace(unfinished, target)
        on_failure.pop_all()
    return size


async def _save_range(
    library: Library, asked: Asked, part: tuple[int, int | None], target: Path
) -> int:
    with target.open("wb") as out:

        async def write(data: bytes) -> None:
            out.write(data)

        return await _read_range(library, asked, part, write)


def cat(args: argparse.Namespace, terminal: Terminal) -> int:
    """Write a video, or a range of it, to standard output."""
    if sys.stdout.isatty():
        raise UsageError(
            "a video on a terminal is noise",
            hint=f"smart-client cat {shlex.quote(args.video)} | mpv -",
        )
    record = RecordOption(args.record)
    asked = Asked(args.video, args.rendition)
    run_async(_cat(asked, _parse_range(args.range), settings(args), record))
    return record.conclude(terminal)


async def _cat(
    asked: Asked, part: tuple[int, int | None], config: ClientConfig, record: RecordOption
) -> None:
    out = sys.stdout.buffer

    async def write(data: bytes) -> None:
        out.write(data)
        out.flush()

    async with record.library(config) as library:
        if part == (0, None):
            await _read_all(library, asked, Spool.nameless(), write)
        else:
            await _read_range(library, asked, part, write)


def _no_view(_: wire.CountView) -> None:
    """A download to a file is no playback: a backup must not make every video look watched."""


async def _read_range(
    library: Library,
    asked: Asked,
    part: tuple[int, int | None],
    take: Callable[[bytes], Awaitable[None]],
) -> int:
    """Read bytes [start, stop) of a video; stop None means to its end. Return how many."""
    stream = await library.open_stream(asked.video, library.config, rendition=asked.rendition)
    try:
        start, stop = part
        size = stream.manifest.rendition.size
        if start >= max(size, 1):
            raise UsageError(
                f"'{asked.video}' has {size} bytes, so none from {start} on",
                hint="bytes are counted from 0",
            )
        end = size if stop is None else min(stop, size)
        reader = stream.open_reader(min(start, size))
        while reader.position < end:
            limit = min(READ_BYTES_MAX, end - reader.position)
            await take(await reader.read(limit, patience_s=library.config.patience_s))
        return max(0, end - start)
    finally:
        await stream.close()


async def _read_all(
    library: Library, asked: Asked, spool: Spool, take: Callable[[bytes], Awaitable[None]]
) -> int:
    """Read a whole video in order; raise DeliveredWrongBytes if it is not what was stored."""
    config = library.config
    session = SessionConfig(
        window_bytes_min=DOWNLOAD_WINDOW_BYTES, cache_bytes_max=2**62, pace=DOWNLOAD_PACE
    )
    stream = await library.open_stream(
        asked.video, config, rendition=asked.rendition, spool=spool, session=session
    )
    if spool.path is not None:
        stream.on_view = _no_view
    try:
        digest = hashlib.sha256()
        rendition = stream.manifest.rendition
        reader = stream.open_reader()
        while data := await reader.read(1024 * 1024, patience_s=config.patience_s):
            digest.update(data)
            await take(data)
        if digest.hexdigest() != rendition.sha256:
            raise DeliveredWrongBytes(
                f"'{asked.video}' does not match its SHA-256",
                hint="the catalogue and the nodes disagree; keep both and report this",
                detail={"expected": rendition.sha256, "got": digest.hexdigest()},
            )
        if spool.path is not None:
            spool.truncate(rendition.size)
            spool.sync()
        return rendition.size
    finally:
        await stream.close()


def _parse_range(text: str | None) -> tuple[int, int | None]:
    """Read ``A-B`` (both inclusive, B may be left out)."""
    if not text:
        return 0, None
    first, dash, last = text.partition("-")
    if not dash or not first.isdecimal() or (last and not last.isdecimal()):
        raise UsageError(f"'{text}' is no range", hint="write it like --range 0-65535")
    start, stop = int(first), int(last) + 1 if last else None
    if stop is not None and stop <= start:
        raise UsageError(f"range '{text}' is empty")
    return start, stop
