"""Runs one process of the lab: JSON lines over pipes, and the end of the pipe is the end."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from smart_client.lab.errors import LabBroken

Answer = TypeVar("Answer")

LINE_BYTES_MAX = 64 * 1024 * 1024

# What a process of ours may take to end by itself once its pipe is closed.
END_PATIENCE_S = 3.0

# Of what a process said before it broke: the end of it, where the reason is.
COMPLAINT_MAX = 2000


class Agent:
    """Responsible for one process of the lab, from its start to its end."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, complaints: Path) -> None:
        self.name = name
        self._process = process
        self._complaints = complaints

    @classmethod
    async def start(
        cls, name: str, words: Sequence[str], *, complaints: Path, detached: bool = False
    ) -> "Agent":
        """Start a process with pipes for orders and reports.

        Args:
            complaints: a file for its standard error.
            detached: ctrl-C in the terminal does not reach it.
        """
        with complaints.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=LINE_BYTES_MAX,
                start_new_session=detached,
            )
        return cls(name, process, complaints)

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def say(self, message: msgspec.Struct) -> None:
        """Send one line; a process that is gone shows when it is listened to."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")

    async def hear(self, kind: type[Answer], timeout_s: float) -> Answer:
        """Return the next line it prints. Raises: LabBroken: it ended, or says nothing."""
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout_s)
        except TimeoutError:
            raise LabBroken(f"{self.name} says nothing for {timeout_s:.0f} s") from None
        if not line:
            status = await self._process.wait()
            said = self._complaints.read_text(encoding="utf-8", errors="replace")
            raise LabBroken(
                f"{self.name} ended (status {status})", detail={"said": said[-COMPLAINT_MAX:]}
            )
        try:
            return msgspec.json.decode(line, type=kind)
        except msgspec.DecodeError as error:
            text = line[:200].decode(errors="replace")
            raise LabBroken(f"{self.name}: {error}", detail={"line": text}) from error

    async def end(self, patience_s: float = END_PATIENCE_S) -> int:
        """Close its pipe and wait; kill it if it does not end by itself. Return its status."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.returncode is None:
            try:
                await asyncio.wait_for(self._process.wait(), patience_s)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):  # it ended this moment
                    self._process.kill()
        return await self._process.wait()
