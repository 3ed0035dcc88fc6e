"""The demo's cluster: real processes, driven through the command ``storage-server``."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from redundancy.errors import EvenflowError, ExitCode
from smart_client.errors import SmartClientError


class ClusterProblem(SmartClientError):
    """The demo's cluster did not do what it should."""

    code = "CLUSTER"
    exit_code = ExitCode.TEMPORARY


class DemoCluster:
    """Responsible for one cluster on loopback."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.coordinator = ""
        self.pids: dict[str, int] = {}

    @property
    def nodes(self) -> list[str]:
        """The nodes' names, in order."""
        return list(self.pids)

    async def up(self, nodes: int, *, stays: bool = False) -> None:
        """Start a coordinator and nodes, and wait until all are there.

        Args: stays: it is for later commands too, so it may take the usual ports.
        """
        ports = () if stays else ("--base-port", "0")
        self._take(await self._run("up", "-n", str(nodes), *ports))

    async def down(self) -> None:
        """End every process and remove the data. Never fails."""
        with contextlib.suppress(EvenflowError):  # it may never have come up
            await self._run("down", "--purge")

    async def slow(self, node: str, bits_per_s: float, delay_s: float) -> None:
        """Cap what a node sends, and delay each answer."""
        rate = f"{bits_per_s / 1000:.0f}kbit/s"
        await self._run("slow", node, "--rate", rate, "--delay", f"{delay_s:g}")

    def freeze(self, node: str) -> None:
        """Stop a node's process where it stands; it answers nothing and refuses nothing."""
        os.kill(self.pids[node], signal.SIGSTOP)

    def kill(self, node: str) -> None:
        """Kill a node's process."""
        os.kill(self.pids[node], signal.SIGKILL)

    async def restore(self, frozen: str, killed: str) -> None:
        """Let a frozen node go on and start a killed one again, with its data."""
        await self._run("thaw", frozen)
        self._take(await self._run("start", killed))

    async def gateway(self) -> str:
        """Start a gateway that stays; return its URL."""
        answer = await self._run("up", "--gateway")
        return str(answer["cluster"]["gateway"]["url"])

    def _take(self, answer: Mapping[str, Any]) -> None:
        cluster = answer["cluster"]
        self.coordinator = cluster["coordinator"]["url"]
        self.pids = {node["id"]: node["pid"] for node in cluster["nodes"]}

    async def _run(self, *words: str) -> Mapping[str, Any]:
        command = [sys.executable, "-m", "storage_server", "cluster", *words]
        command += ["--dir", str(self.directory), "--json"]
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            out, err = await process.communicate()
        except asyncio.CancelledError:
            # `cluster up` cleans up after itself when interrupted; give it the time.
            if process.returncode is None:
                process.terminate()
                await process.wait()
            raise
        answer = _parse(out, err, words)
        if process.returncode:
            error = answer.get("error", {})
            raise ClusterProblem(
                f"storage-server cluster {words[0]}: {error.get('message', 'failed')}",
                hint=str(error.get("hint", "")),
                detail={"logs": str(self.directory / "logs")},
            )
        return answer


def _parse(out: bytes, err: bytes, words: Sequence[str]) -> Mapping[str, Any]:
    try:
        answer: Mapping[str, Any] = json.loads(out.splitlines()[-1])
    except (ValueError, IndexError) as error:
        raise ClusterProblem(
            f"storage-server cluster {words[0]} said nothing that can be read",
            detail={"stderr": err.decode(errors="replace")[-500:]},
        ) from error
    return answer
