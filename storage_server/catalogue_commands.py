"""``storage-server admin catalogue ...``: where the catalogue is, and moving it."""

import argparse
import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from redundancy.errors import ConfigError, ExitCode, FileMissing, UsageError
from redundancy.quantities import size_text
from redundancy.terminal import Terminal
from smart_client.agreement import Agreement
from smart_client.errors import Conflict
from smart_client.transport.coordinator import CoordinatorClient
from storage_server.catalogue.choice import SQLITE, open_catalogue, start_options
from storage_server.catalogue.contract import Catalogue
from storage_server.catalogue.copying import Copied, copy_catalogue
from storage_server.catalogue.member_plan import members_text, planned_change
from storage_server.catalogue.paxos import PaxosCatalogue
from storage_server.catalogue.sqlite import FILE_NAME
from storage_server.config import AdminConfig, token_from_args


def copy(args: argparse.Namespace, terminal: Terminal) -> int:
    """Copy one catalogue into another; say what to do next."""
    if args.source == args.target:
        raise UsageError("source and target are the same")
    began_s = time.monotonic()
    copied = asyncio.run(_copy(args, terminal))
    took_s = time.monotonic() - began_s
    how = start_options(args.target)
    terminal.result(
        {"copied": msgspec.to_builtins(_facts(copied)), "took_s": took_s, "start_with": how},
        f"{copied.registers} registers ({size_text(copied.value_bytes)}) are the same on both "
        f"sides, {copied.written} written in {took_s:.1f} s, sha256 {copied.sha256[:16]}\n"
        f"next: start the coordinators with  {how}\n"
        "the old one says that it was moved, and no coordinator starts on it any more: keep it "
        "until the new one has proved itself. Back, before anything has changed: the same the "
        "other way round",
    )
    return ExitCode.OK


def _facts(copied: Copied) -> dict[str, object]:
    return {
        "registers": copied.registers,
        "written": copied.written,
        "value_bytes": copied.value_bytes,
        "sha256": copied.sha256,
    }


def list_members(args: argparse.Namespace, terminal: Terminal) -> int:
    """Show who keeps the catalogue."""
    config = AdminConfig.from_args(args)

    async def look() -> Agreement:
        async with CoordinatorClient(config.coordinators, token=config.token) as client:
            return await client.agreement()

    found = asyncio.run(look())
    terminal.result({"consensus": msgspec.to_builtins(found)}, members_text(found))
    return ExitCode.OK if all(each.state == "up" for each in found.members) else ExitCode.PARTIAL


def change_members(args: argparse.Namespace, terminal: Terminal) -> int:
    """Show what a change of members means; do it if told so."""
    return asyncio.run(_change(args, AdminConfig.from_args(args), terminal))


async def _change(args: argparse.Namespace, config: AdminConfig, terminal: Terminal) -> int:
    async with CoordinatorClient(config.coordinators, token=config.token) as client:
        plan = planned_change(
            await client.agreement(),
            {each.record.id: each for each in await client.nodes()},
            add=args.add,
            remove=args.remove,
        )
    if not args.yes:
        terminal.result({"plan": plan.as_json()}, f"{plan.text}\nnext: the same with --yes")
        return ExitCode.OK
    terminal.note(plan.text)
    async with opened(f"nodes:{','.join(plan.urls_before)}", config.token) as catalogue:
        assert isinstance(catalogue, PaxosCatalogue)
        decided = await catalogue.change_members(plan.urls)
        is_ours = {member.url for member in decided.members} == set(plan.urls)
    where = f"nodes:{','.join(plan.urls)}"
    if not is_ours:
        raise Conflict(
            f"somebody else's change came first: epoch {decided.epoch} is kept by "
            f"{', '.join(member.url for member in decided.members)}",
            hint="look (`storage-server admin catalogue members list`), then repeat",
        )
    terminal.result(
        {"epoch": decided.epoch, "plan": plan.as_json(), "start_with": start_options(where)},
        f"epoch {decided.epoch} is kept by {', '.join(plan.after)}; coordinators that run know\n"
        f"next: start coordinators with  {start_options(where)}",
    )
    return ExitCode.OK


async def _copy(args: argparse.Namespace, terminal: Terminal) -> Copied:
    token = token_from_args(args)
    kind, _, rest = args.source.partition(":")
    if kind == SQLITE and not (Path(rest) / FILE_NAME).exists():
        raise FileMissing(
            f"there is no catalogue in {rest or '(no directory given)'}",
            hint="name the coordinator's --data directory: sqlite:/srv/coordinator",
        )
    where = _from_anywhere(args.target)
    async with opened(args.source, token) as source, opened(args.target, token) as target:
        return await copy_catalogue(source, target, moved_to=where, say=terminal.note)


def _from_anywhere(where: str) -> str:
    """Return a catalogue's name as it holds in every working directory."""
    kind, _, rest = where.partition(":")
    return f"{SQLITE}:{Path(rest).absolute()}" if kind == SQLITE else where


@contextlib.asynccontextmanager
async def opened(where: str, token: str | None) -> AsyncIterator[Catalogue]:
    """Open the catalogue that ``sqlite:DIR``, ``etcd:URL,...`` or ``nodes:URL,...`` names.

    Raises: ConfigError, CatalogueError, DirectoryLocked: its coordinator runs.
    """
    kind, _, rest = where.partition(":")
    if kind == SQLITE and not rest:
        raise ConfigError("say where the file is", hint="sqlite:/srv/coordinator")
    choice = SQLITE if kind == SQLITE else where
    directory = Path(rest) if kind == SQLITE else Path()
    catalogue = await open_catalogue(choice, directory, node_token=token)
    try:
        yield catalogue
    finally:
        await catalogue.close()
