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
from storage_server.catalogue.choice import SQLITE, open_catalogue
from storage_server.catalogue.contract import Catalogue
from storage_server.catalogue.copying import Copied, copy_catalogue
from storage_server.catalogue.sqlite import FILE_NAME
from storage_server.config import token_from_args


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
        "the old catalogue is as it was: keep it until the new one has proved itself, and never "
        "start a coordinator on it again",
    )
    return ExitCode.OK


def _facts(copied: Copied) -> dict[str, object]:
    return {
        "registers": copied.registers,
        "written": copied.written,
        "value_bytes": copied.value_bytes,
        "sha256": copied.sha256,
    }


async def _copy(args: argparse.Namespace, terminal: Terminal) -> Copied:
    token = token_from_args(args)
    kind, _, rest = args.source.partition(":")
    if kind == SQLITE and not (Path(rest) / FILE_NAME).exists():
        raise FileMissing(
            f"there is no catalogue in {rest or '(no directory given)'}",
            hint="name the coordinator's --data directory: sqlite:/srv/coordinator",
        )
    async with opened(args.source, token) as source, opened(args.target, token) as target:
        return await copy_catalogue(source, target, say=terminal.note)


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


def start_options(where: str) -> str:
    """Return a coordinator's options for a catalogue."""
    kind, _, rest = where.partition(":")
    if kind == SQLITE:
        return f"--catalogue sqlite --data {rest}"
    return f"--catalogue {where}"
