"""What several commands share: settings from flags, running the loop, progress lines."""

import argparse
import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from redundancy.terminal import Terminal
from smart_client.config import ClientConfig

Result = TypeVar("Result")


def settings(args: argparse.Namespace) -> ClientConfig:
    """Return the configuration that the command line and the files give."""
    return ClientConfig.load(vars(args), getattr(args, "config", None))


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end.

    SIGTERM, and SIGHUP when the terminal goes away, unwind it as ctrl-C does: everything is cleaned
    up before the process ends.
    """

    async def main() -> Result:
        task = asyncio.current_task()
        assert task is not None
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, task.cancel)
        try:
            return await work
        finally:
            for number in (signal.SIGTERM, signal.SIGHUP):
                loop.remove_signal_handler(number)

    try:
        return asyncio.run(main())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def byte_progress(terminal: Terminal) -> Progress:
    """Return a progress line for bytes on standard error; invisible where none is wanted."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f} %"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=terminal.console(stderr=True),
        disable=not terminal.shows_progress,
        transient=True,
    )
