"""A node as a process of its own, started and killed by a test."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit


class NodeProcess:
    """Responsible for one process; whatever happens it is gone after the ``with`` block."""

    def __init__(
        self, data_dir, *words, open_files=None, program=("storage_server.node",), env=None
    ):
        limited = ["sh", "-c", 'ulimit -n "$0" && exec "$@"', str(open_files)]
        # A pipe that nobody reads would fill up, and then stop the node at its next line.
        descriptor, name = tempfile.mkstemp(prefix="node-", suffix=".log")
        self._log = Path(name)
        self._process = subprocess.Popen(
            [
                *(limited if open_files else ()),
                *(sys.executable, "-m", *program, "--json"),
                *("--data", str(data_dir), "--capacity", "1GiB", *words),
            ],
            stdout=subprocess.PIPE,
            stderr=descriptor,
            env={**os.environ, **(env or {})},
            text=True,
        )
        os.close(descriptor)

    def __enter__(self):
        line = self._process.stdout.readline()
        if not line or "event" not in (ready := json.loads(line)):
            self._process.communicate()
            raise AssertionError(f"no ready line: {line} {self._read_log()}")
        self.ready = ready
        url = urlsplit(ready["url"])
        self.address = url.hostname, url.port
        return self

    def __exit__(self, *_):
        self.kill()
        self._log.unlink()

    def _read_log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    @property
    def pid(self) -> int:
        return self._process.pid

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)

    def kill(self) -> None:
        """Stop the process at this instant (kill -9)."""
        if self._process.returncode is None:
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()

    def stop(self, number=signal.SIGTERM) -> tuple[int, str]:
        """Ask it to stop; return its exit code and its log."""
        self._process.send_signal(number)
        self._process.communicate(timeout=20)
        return self._process.returncode, self._read_log()
