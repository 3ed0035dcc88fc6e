"""Starts our programs by forking one that has loaded them: real processes, without the imports.

    python -m support.forker     reads {"program", "argv", "out", "err"} a line, answers a pid

A child is a process of its own, killed like any other; the forker only spares it the second or two
that Python takes to load. Nothing runs in the forker but this loop, so nothing is half done when
it forks.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PROGRAMS = {"storage-server": "storage_server.cli", "smart-client": "smart_client.cli"}

# What the programs load when they run; the rest they load by themselves.
_WARM = (
    "storage_server.server_commands",
    "storage_server.coordinator.service",
    "smart_client.command_line.play",
    "redundancy.backends",
    "httpx",
)


class Forker:
    """Responsible for the process that forks. Used from one thread at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.forker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parents[1],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def start(self, program: str, argv: list[str], out: Path, err: Path) -> int:
        """Start a program; return its process id."""
        order = {"program": program, "argv": argv, "out": str(out), "err": str(err)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def is_alive(pid: int) -> bool:
    """Whether a process that was forked runs; one that ended is taken away by its forker."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def kill_and_wait(pid: int) -> None:
    """Kill -9, and wait until the process is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    while is_alive(pid):
        time.sleep(0.01)


def _run(order: dict) -> None:
    """Be the child: never returns."""
    code = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(order["out"], flags, 0o600), 1)
        os.dup2(os.open(order["err"], flags, 0o600), 2)
        code = importlib.import_module(PROGRAMS[order["program"]]).main(order["argv"])
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(1, f'{{"exit": {int(code)}}}\n'.encode())
    finally:
        os._exit(code)


def main() -> None:
    """Fork whatever is ordered, until nobody orders any more."""
    for name in (*PROGRAMS.values(), *_WARM):
        importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # children are taken away by the kernel
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(order)
        print(pid, flush=True)


if __name__ == "__main__":
    main()
