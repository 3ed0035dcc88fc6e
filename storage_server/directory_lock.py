"""One process at a time uses a data directory."""

import fcntl
import os
from pathlib import Path

from redundancy.errors import ConfigError

LOCK_NAME = "lock"


class DirectoryLocked(ConfigError):
    """Another process holds the directory."""

    code = "DIRECTORY_LOCKED"


class DirectoryLock:
    """Responsible for holding a directory; the lock goes with the process, however that ends."""

    def __init__(self, directory: Path, *, holder: str) -> None:
        """Make the directory if need be, and take it.

        Args:
            holder: what holds it, for the message: "coordinator".
        Raises: DirectoryLocked: names the process that has it. OSError: it cannot be written.
        """
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(directory / LOCK_NAME, flags, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            process = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            self.release()
            raise DirectoryLocked(
                f"{directory} is in use by another {holder} (process {process or 'unknown'})",
                hint=f"stop that one first, or give this {holder} another directory",
                detail={"pid": process},
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process have the directory. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
