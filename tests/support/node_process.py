"""A node as a process of its own, started and killed by a test."""

import json
import os
import signal
import subprocess
import sys
from urllib.parse import urlsplit


class NodeProcess:
    """Responsible for one process; whatever happens it is gone after the ``with`` block."""

    def __init__(self, data_dir, *words):
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "storage_server.node", "--json"),
                *("--data", str(data_dir), "--capacity", "1GiB", *words),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __enter__(self):
        line = self._process.stdout.readline()
        if not line or "event" not in (ready := json.loads(line)):
            _, errors = self._process.communicate()
            raise AssertionError(f"no ready line: {line} {errors}")
        self.ready = ready
        url = urlsplit(ready["url"])
        self.address = url.hostname, url.port
        return self

    def __exit__(self, *_):
        self.kill()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """Stop the process at this instant (kill -9)."""
        if self._process.returncode is None:
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def stop(self, number=signal.SIGTERM) -> tuple[int, str]:
        """Ask it to stop; return its exit code and its log."""
        self._process.send_signal(number)
        _, log = self._process.communicate(timeout=20)
        return self._process.returncode, log
