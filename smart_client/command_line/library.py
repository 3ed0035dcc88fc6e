"""ls, info, rm."""

import argparse
import fnmatch
import sys
from collections.abc import Sequence

from rich.table import Table

from redundancy.errors import EvenflowError, ExitCode, UsageError
from redundancy.quantities import counted, size_text
from redundancy.terminal import Terminal
from smart_client import wire
from smart_client.command_line.common import run_async, settings
from smart_client.config import ClientConfig
from smart_client.ladders import ladder_of
from smart_client.library import Library
from smart_client.narration import clock
from smart_client.storage_report import VideoStorage


def ls(args: argparse.Namespace, terminal: Terminal) -> int:
    """List the library."""
    config = settings(args)

    async def work() -> tuple[wire.VideoSummary, ...]:
        async with Library(config) as library:
            return await library.coordinator.list_videos()

    found = [v for v in run_async(work()) if fnmatch.fnmatch(v.name, args.glob or "*")]
    if args.names_only:
        terminal.result(
            {"v": 1, "names": [v.name for v in found]}, "\n".join(v.name for v in found)
        )
        return ExitCode.OK
    if terminal.json:
        terminal.result({"v": 1, "videos": [_plain(video) for video in found]})
    elif not found:
        terminal.note(
            f"no video's name is like '{args.glob}'; `smart-client ls` lists them all"
            if args.glob
            else "no videos; store one: `smart-client put FILE`"
        )
    else:
        terminal.console().print(_video_table(found, is_long=args.long))
    return ExitCode.OK


def _plain(record: object) -> dict[str, object]:
    return wire.decode(wire.encode(record), dict[str, object])


def _video_table(videos: list[wire.VideoSummary], *, is_long: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("NAME", overflow="fold", min_width=12)
    for name in ("SIZE", "DURATION", "LAYOUT", "HEALTH", "VIEWS"):
        left = name in ("LAYOUT", "HEALTH")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    if is_long:
        table.add_column("A WEEK", justify="right", no_wrap=True)
        table.add_column("WHY", no_wrap=True, overflow="ellipsis")
    for video in videos:
        cells = [
            video.name,
            size_text(video.size),
            clock(video.duration_s) if video.duration_s else "-",
            str(video.layout.to_layout()),
            _health(video),
            str(video.views),
        ]
        if is_long:
            cells.append(f"{video.views_per_week:.3g}" if video.views_per_week >= 0.01 else "0")
            cells.append(video.reason.split(";")[0])
        table.add_row(*cells)
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

    async def work() -> tuple[wire.Manifest, VideoStorage | None]:
        async with Library(config) as library:
            manifest = await library.manifest(args.video)
            return manifest, await _storage_of(library, args.video)

    manifest, storage = run_async(work())
    if terminal.json:
        told = _plain(storage) if storage else None
        terminal.result({"v": 1, "manifest": _plain(manifest), "storage": told})
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
                f"  {_media_text(media)}",
                f"  {layout} (x{layout.overhead:.2f}), survives any {layout.tolerates} losses"
                + (f" ({video.reason})" if video.reason else ""),
                *_storage_lines(storage),
                f"  {counted(len(manifest.chunks), 'chunk')} on "
                f"{counted(len(manifest.nodes), 'node')}, "
                f"sha256 {rendition.sha256}",
            ]
        ),
    )
    if ladder_of(video):
        terminal.console().print(_rendition_table(video))
    if args.chunks:
        terminal.console().print(_chunk_table(manifest))
    return ExitCode.OK


def _media_text(media: wire.MediaFacts) -> str:
    if media.container == wire.NO_MEDIA:
        return "neither picture nor sound was found in it"
    size = f"{media.width}x{media.height}" if media.width else ""
    parts = [media.container or "no known container", media.video_codec, size, media.audio_codec]
    return "  ".join(part for part in parts if part)


async def _storage_of(library: Library, name: str) -> VideoStorage | None:
    """Return what the coordinator tells of a video's storage; None: it tells nothing."""
    try:
        report = await library.coordinator.storage()
    except EvenflowError:
        return None  # an older coordinator: what the manifest says is shown all the same
    return next((each for each in report.videos if each.name == name), None)


def _storage_lines(storage: VideoStorage | None) -> list[str]:
    """Return how much a video is watched and takes, and what the policy would have."""
    if storage is None:
        return []
    views = f"{storage.views} view{'' if storage.views == 1 else 's'}"
    advice = storage.advice
    wanted = advice.layout.to_layout()
    told = {
        "keep": "it stays so",
        "moving": "chunks are being laid out so",
        "now": f"the policy would have {wanted}, soon",
        "later": f"the policy would have {wanted}: {advice.waits_for}",
        "wish": f"its owner chose this; the policy would have {wanted}",
    }.get(advice.state, advice.state)
    if advice.state in ("now", "later", "wish") and wanted != storage.layout.to_layout():
        more = size_text(abs(advice.stored_bytes_more))
        told += f" (moves {size_text(advice.moved_bytes)}, "
        told += f"{'frees' if advice.stored_bytes_more < 0 else 'takes'} {more})"
    return [
        f"  {views}, {storage.views_per_week:.3g} a week lately; takes "
        f"{size_text(storage.stored_bytes)} for {size_text(storage.size)} "
        f"in {storage.renditions} rendition{'' if storage.renditions == 1 else 's'}",
        f"  {told}: {'; '.join(advice.reasons)}",
    ]


def _rendition_table(video: wire.VideoRecord) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("RENDITION", "PICTURE", "CODECS", "MBIT/S", "PEAK", "SIZE", "CHUNKS", "LAYOUT"):
        is_text = name in ("RENDITION", "PICTURE", "CODECS", "LAYOUT")
        table.add_column(name, justify="left" if is_text else "right")
    for each in ladder_of(video):
        picture = f"{each.width}x{each.height} {each.frame_rate:.4g}/s" if each.width else "sound"
        table.add_row(
            each.name,
            picture,
            each.codecs,
            f"{each.average_bits_per_s / 1e6:.2f}",
            f"{each.peak_bits_per_s / 1e6:.2f}",
            size_text(each.size),
            str(each.chunk_count),
            str((each.layout or video.layout).to_layout()),
        )
    return table


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
        run_async(_require(config, args.videos))  # nobody is asked about what is not there
        if terminal.json or not sys.stdin.isatty():
            raise UsageError("rm asks before it deletes", hint="add --yes")
        answer = input(f"remove {', '.join(args.videos)} for good? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            terminal.note("nothing removed")
            return ExitCode.OK

    async def work() -> list[wire.Deleted]:
        freed = []
        async with Library(config) as library:
            for name in args.videos:
                if args.dry_run:
                    freed.append(await _would_free(library, name))
                else:
                    freed.append(await library.remove(name))
        return freed

    freed = run_async(work())
    verb = "would be freed:" if args.dry_run else "will be freed as nodes compact their disks:"
    terminal.result(
        {"v": 1, "dry_run": args.dry_run, "freed": [_plain(each) for each in freed]},
        "\n".join(
            f"{each.name}: {size_text(each.stored_bytes)} {verb} {each.fragments} fragments"
            for each in freed
        ),
    )
    return ExitCode.OK


async def _require(config: ClientConfig, names: Sequence[str]) -> None:
    """Raises: what tells that one of the videos is not there."""
    async with Library(config) as library:
        for name in names:
            await library.video(name)


async def _would_free(library: Library, name: str) -> wire.Deleted:
    """Return what all renditions of a video take."""
    manifest = await library.manifest(name)
    count = stored_bytes = 0
    for rendition in manifest.video.renditions:
        if rendition.name != manifest.rendition.name:
            manifest = await library.coordinator.manifest(name, rendition.name)
        for chunk in manifest.chunks:
            count += len(chunk.fragments)
            layout = chunk.layout.to_layout()
            stored_bytes += int(chunk.size * layout.overhead)
    return wire.Deleted(name=name, fragments=count, stored_bytes=stored_bytes)
