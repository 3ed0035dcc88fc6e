"""Cleans up after a lab, however the lab ends. A process of its own, in a session of its own.

    python -m smart_client.lab.keeper PREFIX DIRECTORY

Waits for the end of standard input: the lab closes it when it is done, the kernel when the lab was
killed. Then it ends what still runs in namespaces of that prefix, and removes these and the
directory. Ctrl-C does not reach it.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time

from smart_client.lab.messages import Ready, tell

_COMMAND_TIMEOUT_S = 10.0
_GONE_TIMEOUT_S = 5.0
_POLL_S = 0.02


def namespaces_of(prefix: str) -> list[str]:
    """Return the namespaces of a lab that are there now."""
    words = [line.split()[0] for line in _ip("netns", "list").splitlines() if line.strip()]
    return [name for name in words if name.startswith(f"{prefix}-")]


def clean_up(prefix: str, directory: str) -> None:
    """End the processes of a lab, then remove its namespaces and its directory."""
    names = namespaces_of(prefix)
    deadline_s = time.monotonic() + _GONE_TIMEOUT_S
    while time.monotonic() < deadline_s:
        # Whoever is in such a namespace was started by this lab: nobody else knows its name.
        pids = [int(pid) for name in names for pid in _ip("netns", "pids", name).split()]
        if not pids:
            break
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)
    for name in names:
        _ip("netns", "delete", name)
    shutil.rmtree(directory, ignore_errors=True)


def _ip(*words: str) -> str:
    done = subprocess.run(
        ["ip", *words],
        capture_output=True,
        text=True,
        timeout=_COMMAND_TIMEOUT_S,
        check=False,
    )
    return done.stdout


def main() -> None:
    """Wait for the end of the lab, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    tell(Ready())
    while os.read(0, 4096):
        pass
    clean_up(sys.argv[1], sys.argv[2])


if __name__ == "__main__":
    main()
