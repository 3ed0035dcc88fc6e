"""The live terminal dashboard, and its plain twin for pipes and logs."""

import asyncio
import contextlib
import os
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TextIO

import msgspec
from rich.console import Console
from rich.live import Live

from smart_client.core import commands, events
from smart_client.core.commands import Command
from smart_client.core.events import Event
from smart_client.core.metrics import Snapshot
from smart_client.narration import WORTH_A_LINE, clock, record, sentence
from smart_client.panels import DashboardView, picture_svg


class EventLog:
    """Responsible for telling a session's notices: to the dashboard, as lines, or as NDJSON."""

    def __init__(
        self,
        nodes: Sequence[str],
        *,
        view: DashboardView | None = None,
        lines: TextIO | None = None,
        ndjson: TextIO | None = None,
    ) -> None:
        self._nodes = tuple(nodes)  # their names, in the session's order
        self._view = view
        self._lines = lines
        self._ndjson = ndjson

    def observe(self, now_s: float, event: Event, issued: Sequence[Command]) -> None:
        """Tell what is worth telling; every line is flushed, so that a reader sees it at once."""
        if isinstance(event, events.PlacementKnown) and len(event.node_ids) > len(self._nodes):
            self._nodes += event.node_ids[len(self._nodes) :]
        for command in issued:
            if not isinstance(command, commands.Notice):
                continue
            if self._ndjson is not None:
                line = record(command, self._nodes, t_s=now_s, ts=time.time())
                self.write_to(self._ndjson, line)
            if command.kind in WORTH_A_LINE:
                text = f"{clock(now_s)} {sentence(command, self._nodes)}"
                if self._view is not None:
                    self._view.events.append(text)
                if self._lines is not None:
                    print(text, file=self._lines, flush=True)

    @staticmethod
    def write_to(out: TextIO, line: Mapping[str, object]) -> None:
        """Write one NDJSON record, flushed."""
        out.write(msgspec.json.encode(line).decode() + "\n")
        out.flush()


class Dashboard:
    """Responsible for repainting a view while a session runs, live or replayed, and for its keys.

    ``keys`` adds what further keys do; quit, help and saving a picture are its own.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        view: DashboardView,
        keys: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        self._snapshot = snapshot
        self._keys = dict(keys or {})
        self._quit = asyncio.Event()
        self._size = (120, 36)
        self.view = view

    async def run(self, console: Console, *, repaints_per_s: float = 4.0) -> None:
        """Repaint until cancelled; return when the user quits."""
        loop = asyncio.get_running_loop()
        self._size = console.size
        with (
            Live(self.view, console=console, screen=True, auto_refresh=False) as live,
            raw_keys(loop, self._key),
        ):
            while not self._quit.is_set():
                self.sample()
                live.refresh()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._quit.wait(), 1 / repaints_per_s)

    def sample(self) -> None:
        """Take the present figures into the view."""
        self.view.snapshot = self._snapshot()
        self.view.history.sample(self.view.snapshot)

    def _key(self, key: str) -> None:
        if key in ("q", "\x03"):
            self._quit.set()
        elif key == "?":
            self.view.shows_help = not self.view.shows_help
        elif key == "s":
            self._save_picture()
        elif key in self._keys:
            self._keys[key]()

    def _save_picture(self) -> None:
        """Write what the screen shows to an SVG file here, and say so among the events."""
        path = Path(f"{self.view.title}-{time.strftime('%H%M%S')}.svg")
        try:
            path.write_text(picture_svg(self.view, self._size), encoding="utf-8")
        except OSError as error:
            self.view.events.append(f"cannot write {path}: {error.strerror}")
        else:
            self.view.events.append(f"saved {path}")


@contextlib.contextmanager
def raw_keys(loop: asyncio.AbstractEventLoop, pressed: Callable[[str], None]) -> Iterator[None]:
    """Pass single key presses on while the block runs; do nothing where there is no terminal."""
    if not sys.stdin.isatty():
        yield
        return
    handle = sys.stdin.fileno()
    before = termios.tcgetattr(handle)
    try:
        tty.setcbreak(handle)
        loop.add_reader(handle, lambda: pressed(os.read(handle, 1).decode("latin-1")))
        yield
    finally:
        loop.remove_reader(handle)
        termios.tcsetattr(handle, termios.TCSADRAIN, before)
