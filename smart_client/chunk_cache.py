"""Decoded chunks that outlive their session, on disk, so that nothing is fetched twice.

    chunks/lock          held by the one process that writes and removes; others only read
    chunks/ab/abcd...    a chunk's bytes; the name is their SHA-256

What was used longest ago goes first. Every chunk is hashed when it is read: a file that was cut
short or damaged is removed and fetched again, never played.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
import re
import shutil
import threading
from collections.abc import Iterable
from pathlib import Path

log = logging.getLogger(__name__)

_NAME = re.compile(r"[0-9a-f]{64}")

# So much of the disk is left to others, whatever the limit says.
SPARE_BYTES = 256 * 1024 * 1024


class ChunkCache:
    """Responsible for the chunks on one disk. Safe to use from several threads."""

    def __init__(self, directory: Path, limit_bytes: int) -> None:
        """Take the directory, or share what another process keeps in it. Blocking.

        Raises: OSError: the directory cannot be made.
        """
        self.directory = directory
        self.limit_bytes = limit_bytes
        self.hits = 0
        self.misses = 0
        self._guard = threading.Lock()
        self._sizes: dict[str, int] = {}  # by name, the one used longest ago first
        self.total_bytes = 0
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock: int | None = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            self._lock = None
        self._look()

    @property
    def writes(self) -> bool:
        """Whether this process keeps and removes chunks."""
        return self._lock is not None

    def has(self, names: Iterable[str]) -> set[str]:
        """Return which of these chunks are here."""
        with self._guard:
            return {name for name in names if name in self._sizes}

    def load(self, sha256: str, size: int) -> bytes | None:
        """Return a chunk's bytes; None if it is not here as it should be. Blocking."""
        path = self._path(sha256)
        try:
            data = path.read_bytes()
            if self.writes:
                os.utime(path)
        except OSError:
            self._drop(sha256)
            self.misses += 1
            return None
        if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
            log.warning("%s is damaged: it is fetched again", path)
            self._drop(sha256, remove=True)
            self.misses += 1
            return None
        with self._guard:
            if sha256 in self._sizes:
                self._sizes[sha256] = self._sizes.pop(sha256)
        self.hits += 1
        return data

    def keep(self, sha256: str, data: bytes) -> bool:
        """Keep a chunk that was just checked; return whether it is here now. Blocking.

        A full disk is no trouble: then it is simply not kept.
        """
        if not self.writes or len(data) > self.limit_bytes:
            return False
        with self._guard:
            if sha256 in self._sizes:
                return True
        try:
            self._make_room(len(data))
            path = self._path(sha256)
            path.parent.mkdir(exist_ok=True, mode=0o700)
            part = path.with_suffix(f".{threading.get_ident()}.part")
            try:
                part.write_bytes(data)
                os.replace(part, path)
            except OSError:
                part.unlink(missing_ok=True)
                raise
        except OSError as error:
            log.info("a chunk is not kept: %s", error)
            return False
        with self._guard:
            if sha256 not in self._sizes:
                self._sizes[sha256] = len(data)
                self.total_bytes += len(data)
        return True

    def close(self) -> None:
        """Let another process write."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # -- helpers ---------------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        return self.directory / name[:2] / name

    def _look(self) -> None:
        """Learn what earlier sessions left, and remove what they left unfinished."""
        found: list[tuple[float, str, int]] = []
        for place in self.directory.iterdir():
            if not place.is_dir():
                continue
            for path in place.iterdir():
                with contextlib.suppress(OSError):
                    if _NAME.fullmatch(path.name) and path.name[:2] == place.name:
                        facts = path.stat()
                        found.append((facts.st_mtime, path.name, facts.st_size))
                    elif path.suffix == ".part" and self.writes:
                        path.unlink()
        self._sizes = {name: size for _, name, size in sorted(found)}
        self.total_bytes = sum(self._sizes.values())
        if self.writes:
            self._make_room(0)

    def _make_room(self, size: int) -> None:
        """Raises: OSError: the disk is full of other things."""
        free = shutil.disk_usage(self.directory).free
        if free < SPARE_BYTES + size:
            self._remove_oldest(self.total_bytes - (SPARE_BYTES + size - free))
            if shutil.disk_usage(self.directory).free < SPARE_BYTES + size:
                raise OSError(f"less than {SPARE_BYTES} bytes are free")
        self._remove_oldest(self.limit_bytes - size)

    def _remove_oldest(self, until_bytes: int) -> None:
        while self.total_bytes > max(0, until_bytes):
            with self._guard:
                name = next(iter(self._sizes), None)
            if name is None:
                return
            self._drop(name, remove=True)

    def _drop(self, name: str, *, remove: bool = False) -> None:
        with self._guard:
            self.total_bytes -= self._sizes.pop(name, 0)
        if remove and self.writes:
            with contextlib.suppress(OSError):
                self._path(name).unlink()
