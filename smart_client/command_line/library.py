"""ls, info, rm."""

import argparse
import fnmatch
import sys

from rich.table import Table

from redundancy.errors import ConfigError, ExitCode
from redundancy.quantities import size_text
from redundancy.terminal import Terminal
from smart_client import wire
from smart_client.command_line.common import run_async, settings
from smart_client.library import Library
from smart_client.narration import clock


def ls(args: argparse.Namespace, terminal: Terminal) -> int:
    """List the library."""
    config = settings(args)

    async def work() -> tuple[wire.VideoSummary, ...]:
        async with Library(config) as library:
            return await library.coordinator.list_videos()

    found = [v for v in run_async(work()) if fnmatch.fnmatch(v.name, args.glob or "*")]
    if args.names:
        terminal.result(
            {"v": 1, "names": [v.name for v in found]}, "\n".join(v.name for v in found)
        )
        return ExitCode.OK
    if terminal.json:
        terminal.result({"v": 1, "videos": [_plain(video) for video in found]})
    elif not found:
        terminal.note("no videos; store one with `smart-client put FILE`")
    else:
        terminal.console().print(_video_table(found))
    return ExitCode.OK


def _plain(record: object) -> dict[str, object]:
    return wire.decode(wire.encode(record), dict[str, object])


def _video_table(videos: list[wire.VideoSummary]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("NAME", "SIZE", "DURATION", "LAYOUT", "HEALTH", "VIEWS"):
        table.add_column(name, justify="left" if name in ("NAME", "LAYOUT", "HEALTH") else "right")
    for video in videos:
        table.add_row(
            video.name,
            size_text(video.size),
            clock(video.duration_s) if video.duration_s else "-",
            str(video.layout.to_layout()),
            _health(video),
            str(video.views),
        )
    return table


def _health(video: wire.VideoSummary) -> str:
    if video.state != "ready":
        return video.state
    up = video.weakest_chunk_fragments_up
    if up is None:
        return "ok" if video.chunks == 0 else "unknown"
    spare = up - video.layout.k
    total = video.layout.n + video.layout.copies
    if spare < 0:
        return f"unplayable ({up} of {total} up)"
    return "ok" if up == total else f"{spare} to spare ({up} of {total} up)"


def info(args: argparse.Namespace, terminal: Terminal) -> int:
    """Show a video: what it is, how it is stored, where its chunks lie."""
    config = settings(args)

    async def work() -> wire.Manifest:
        async with Library(config) as library:
            return await library.manifest(args.video)

    manifest = run_async(work())
    if terminal.json:
        terminal.result({"v": 1, "manifest": _plain(manifest)})
        return ExitCode.OK
    video, rendition = manifest.video, manifest.rendition
    layout = video.layout.to_layout()
    media = video.media
    terminal.result(
        {},
        "\n".join(
            [
                f"{video.name}  {size_text(rendition.size)}  {clock(rendition.duration_s)}  "
                f"{rendition.mime}",
                f"  {media.container or 'no known container'}  {media.video_codec} "
                f"{media.width}x{media.height}  {media.audio_codec}",
                f"  {layout} (x{layout.overhead:.2f}), survives any {layout.tolerates} losses"
                + (f" ({video.reason.split(';')[0]})" if video.reason else ""),
                f"  {len(manifest.chunks)} chunks on {len(manifest.nodes)} nodes, "
                f"sha256 {rendition.sha256}",
            ]
        ),
    )
    if args.chunks:
        terminal.console().print(_chunk_table(manifest))
    return ExitCode.OK


def _chunk_table(manifest: wire.Manifest) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("CHUNK", "OFFSET", "SIZE", "START", "SECONDS"):
        table.add_column(name, justify="right")
    table.add_column("FRAGMENTS (index:node)")
    for chunk in manifest.chunks:
        places = " ".join(f"{f.index}:{f.node}" for f in chunk.fragments)
        table.add_row(
            str(chunk.number),
            str(chunk.offset),
            size_text(chunk.size),
            clock(chunk.start_s),
            f"{chunk.duration_s:.2f}",
            places,
        )
    return table


def rm(args: argparse.Namespace, terminal: Terminal) -> int:
    """Remove videos and free their space."""
    config = settings(args)
    if not args.yes and not args.dry_run:
        if terminal.json or not sys.stdin.isatty():
            raise ConfigError("rm asks before it deletes", hint="add --yes")
        answer = input(f"remove {', '.join(args.videos)} for good? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            terminal.note("nothing removed")
            return ExitCode.OK

    async def work() -> list[wire.Deleted]:
        freed = []
        async with Library(config) as library:
            for name in args.videos:
                if args.dry_run:
                    manifest = await library.manifest(name)
                    count = sum(len(chunk.fragments) for chunk in manifest.chunks)
                    layout = manifest.video.layout.to_layout()
                    size = int(manifest.rendition.size * layout.overhead)
                    freed.append(wire.Deleted(name=name, fragments=count, stored_bytes=size))
                else:
                    freed.append(await library.remove(name))
        return freed

    freed = run_async(work())
    verb = "would free" if args.dry_run else "freed"
    terminal.result(
        {"v": 1, "dry_run": args.dry_run, "freed": [_plain(each) for each in freed]},
        "\n".join(
            f"{each.name}: {verb} {size_text(each.stored_bytes)} in {each.fragments} fragments"
            for each in freed
        ),
    )
    return ExitCode.OK
