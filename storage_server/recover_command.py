"""``storage-server recover``: a catalogue from the nodes' fragments alone."""

import argparse
import asyncio
import shlex
from collections.abc import Sequence
from pathlib import Path

import msgspec

from redundancy.errors import AlreadyExists, ExitCode
from redundancy.terminal import Terminal
from smart_client import wire
from storage_server.catalogue.contract import ABSENT, Catalogue, Version, Write
from storage_server.catalogue.sqlite import SqliteCatalogue
from storage_server.config import token_from_args
from storage_server.recovery import RecoveredVideo, recover
from storage_server.recovery_sources import SourceReport, read_all

_BATCH = 256
_LOST_NAMED_MAX = 20


def recover_catalogue(args: argparse.Namespace, terminal: Terminal) -> int:
    """Read all footers, write the registers, say precisely what is missing."""
    return asyncio.run(_run(args, terminal))


async def _run(args: argparse.Namespace, terminal: Terminal) -> int:
    reports = await read_all(args.sources, token=token_from_args(args))
    videos = recover(fragment for report in reports for fragment in report.found)
    if not args.dry_run:
        catalogue = await asyncio.to_thread(SqliteCatalogue, Path(args.data))
        try:
            await _write(catalogue, videos, [report.node for report in reports])
        finally:
            await catalogue.close()
    written_to = None if args.dry_run else args.data
    terminal.result(_payload(reports, videos), _text(reports, videos, written_to))
    if all(video.is_whole for video in videos):
        return ExitCode.OK
    return ExitCode.UNRECOVERABLE


async def _write(
    catalogue: Catalogue, videos: Sequence[RecoveredVideo], nodes: Sequence[wire.NodeRecord]
) -> None:
    """Write everything into an empty catalogue, groups before their videos."""
    if await catalogue.scan("video/") or await catalogue.scan("group/"):
        raise AlreadyExists(
            "there are videos in this catalogue already; nothing was changed",
            hint="name a new directory with --data",
        )
    writes = []
    for video in videos:
        if video.record is None:
            continue
        writes += [Write(key, ABSENT, wire.encode(each)) for key, each in video.groups.items()]
        writes.append(Write(f"video/{video.name}", ABSENT, wire.encode(video.record)))
    for node in {each.id: each for each in nodes}.values():
        writes.append(Write(f"node/{node.id}", ABSENT, wire.encode(node)))
    for start in range(0, len(writes), _BATCH):
        for outcome in await catalogue.batch(writes[start : start + _BATCH]):
            assert isinstance(outcome, Version), outcome


def _payload(
    reports: Sequence[SourceReport], videos: Sequence[RecoveredVideo]
) -> dict[str, object]:
    return {
        "nodes": [
            {"node": each.node.id, "fragments": len(each.found), "strange": each.strange}
            for each in reports
        ],
        "videos": [
            {
                "id": each.id,
                "name": each.name,
                "recorded": each.record is not None,
                "whole": each.is_whole,
                "chunks": each.chunks,
                "trouble": each.trouble,
                "dropped": list(each.dropped),
                "lost": [msgspec.to_builtins(one) for one in each.lost],
            }
            for each in videos
        ],
    }


def _text(
    reports: Sequence[SourceReport], videos: Sequence[RecoveredVideo], written_to: str | None
) -> str:
    """Args: written_to: the coordinator's directory; None: nothing was written."""
    found = sum(len(each.found) for each in reports)
    whole = sum(video.is_whole for video in videos)
    lines = [
        f"{found} fragments on {len(reports)} nodes; {whole} of {len(videos)} videos are whole"
    ]
    for each in reports:
        if each.strange:
            lines.append(f"  node {each.node.id}: {each.strange} things are no readable fragments")
    for video in videos:
        if video.trouble:
            lines.append(f"  '{video.name}' is not recorded: {video.trouble}")
        lines += [f"  '{video.name}' lacks {one}" for one in video.lost[:_LOST_NAMED_MAX]]
        if video.dropped:
            rungs = ", ".join(video.dropped)
            lines.append(f"  '{video.name}': left out, for they are not whole: {rungs}")
        if len(video.lost) > _LOST_NAMED_MAX:
            lines.append(f"  '{video.name}' lacks {len(video.lost)} chunks in all")
    lines.append("not in fragments, so gone: numbers of views, names without a file")
    if whole < len(videos):
        lines.append("next: run it again with the disks of more nodes and a new --data")
    elif written_to is not None:
        command = f"storage-server coordinator --data {shlex.quote(written_to)}"
        lines.append(f"next: {command}, with the options it had before, and start the nodes")
    return "\n".join(lines)
