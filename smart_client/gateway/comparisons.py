"""Smart against naive in simulated worlds: results that are there, and a small new one."""

import asyncio
import contextlib
import logging
import os
import re
import secrets
import shutil
import sys
import time
from pathlib import Path

import msgspec

from smart_client.gateway.records import Comparison, StartComparison

log = logging.getLogger(__name__)

SUMMARY_FILE = "summary.json"
PAGE_FILE = "report.html"

# As many results are listed, and kept: each is up to a megabyte.
LISTED_MAX = 20

# A comparison plays minutes of video in seconds; one that takes this long has gone wrong.
LIMIT_S = 600.0

_OWN_NAME = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")

SCHEDULERS = "smart,vstack-score,round-robin"


class AlreadyComparing(Exception):
    """One comparison at a time: it takes a whole core."""


class ComparisonDesk:
    """Responsible for ``smart-client compare`` run from a page, and for its results on disk."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._running: asyncio.Task[None] | None = None
        self._current: Comparison | None = None

    async def all(self) -> tuple[Comparison, ...]:
        """Return what is running, then results, the latest first."""
        current = self._current
        found = await asyncio.to_thread(self._found)
        if current is None:
            return found
        return (current, *(each for each in found if each.id != current.id))

    def start(self, wish: StartComparison) -> Comparison:
        """Begin one. Raises: AlreadyComparing."""
        if self._running is not None and not self._running.done():
            raise AlreadyComparing
        number = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}"
        self._current = Comparison(id=number, state="running", created_ts=time.time())
        self._running = asyncio.create_task(self._run(self._current, wish))
        return self._current

    async def close(self) -> None:
        """End what is running."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self, current: Comparison, wish: StartComparison) -> None:
        out = self.directory / current.id
        words = [
            *(sys.executable, "-m", "smart_client", "compare", "--json", "--processes", "1"),
            *("--scenario", wish.scenario, "--runs", str(wish.runs), "--seed", str(wish.seed)),
            *("--seconds", str(wish.seconds), "--schedulers", SCHEDULERS, "--out", str(out)),
        ]
        trouble = ""
        try:
            await asyncio.to_thread(self._make_room)
            await asyncio.to_thread(out.mkdir, parents=True)
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                preexec_fn=_be_nice,
            )
            try:
                async with asyncio.timeout(LIMIT_S):
                    _, said = await process.communicate()
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):  # it ended this moment
                        process.kill()
                    await process.wait()
            if process.returncode:
                trouble = said.decode(errors="replace")[-500:] or f"status {process.returncode}"
        except (OSError, TimeoutError) as error:
            trouble = str(error) or f"took longer than {LIMIT_S:g} s"
        if trouble:
            log.warning("a comparison failed: %s", trouble)
            self._current = msgspec.structs.replace(current, state="failed", error=trouble)
        else:
            self._current = None

    def _make_room(self) -> None:
        """Remove all but the latest results; nothing that was not made here."""
        if not self.directory.is_dir():
            return
        ours = sorted(each for each in self.directory.iterdir() if _OWN_NAME.fullmatch(each.name))
        for place in ours[: -LISTED_MAX + 1]:
            shutil.rmtree(place, ignore_errors=True)

    def _found(self) -> tuple[Comparison, ...]:
        found = []
        try:
            places = sorted(self.directory.iterdir(), reverse=True)
        except OSError:
            return ()
        for place in places[:LISTED_MAX]:
            try:
                path = place / SUMMARY_FILE
                cells = msgspec.json.decode(path.read_bytes(), type=tuple[dict[str, object], ...])
                at_ts = path.stat().st_mtime
            except (OSError, msgspec.MsgspecError):
                continue
            found.append(Comparison(id=place.name, state="done", created_ts=at_ts, cells=cells))
        return tuple(found)


def _be_nice() -> None:
    os.nice(10)
