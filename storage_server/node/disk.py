"""The store's only way to a disk: one folder of flat files. Tests put a failing disk in its place.

Errors are ``OSError``: what each one means for the store is decided in ``store``.
"""

import contextlib
import errno
import mmap
import os
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

# The kernel takes at most this many buffers in one call.
_BUFFERS_PER_WRITE = os.sysconf("SC_IOV_MAX")

# Asking takes 0.1 ms and every put wants to know. What is written meanwhile is far less than the
# part of the disk that is kept free, and a full disk is noticed in any case.
_FREE_BYTES_AGE_S = 0.1


class DiskFile(Protocol):
    """One file, read and written at offsets."""

    @property
    def descriptor(self) -> int | None:
        """What ``sendfile`` reads from; None if there is no such thing."""

    def size_bytes(self) -> int:
        """Return the file's length."""

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes; fewer only at the end of the file."""

    def write(self, buffers: Sequence[bytes], offset: int) -> None:
        """Write all buffers one behind the other. After an error any part may be written."""

    def allocate(self, stop: int) -> None:
        """Reserve space up to ``stop``, so that writing before it cannot run out of space."""

    def truncate(self, size_bytes: int) -> None:
        """Cut the file."""

    def sync(self) -> None:
        """Return when everything written, and the file's length, would survive a power cut."""

    def read_uncached(self, offset: int, length: int) -> bytes:
        """Like ``read``, but what the disk has, even if memory shows something else.

        ``offset`` and ``length`` are multiples of 4096.
        """

    def close(self) -> None:
        """Close the file; it is not synced. May be called twice."""


class Disk(Protocol):
    """A folder of files."""

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""

    def open(self, name: str) -> DiskFile:
        """Open a file that exists."""

    def create(self, name: str) -> DiskFile:
        """Make an empty file that must not exist yet."""

    def replace(self, name: str, data: bytes) -> None:
        """Make a small file hold ``data``, durably; after a crash it is the old or the new one."""

    def remove(self, name: str) -> None:
        """Delete a file."""

    def sync_folder(self) -> None:
        """Return when files made and removed would survive a power cut."""

    def free_bytes(self) -> int:
        """Return what may still be written to this disk."""

    def total_bytes(self) -> int:
        """Return the disk's size: what is used of it and what may still be written."""


class RealFile:
    """A file of the operating system. Responsible for one descriptor; offsets are explicit.

    Who holds the object holds the descriptor: it is closed by ``close``, or when the last reader
    of a file that was removed is done with it. So a number never means another file to a reader.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._closing = weakref.finalize(self, os.close, descriptor)

    @property
    def descriptor(self) -> int | None:
        """What ``sendfile`` reads from."""
        return self._descriptor

    def size_bytes(self) -> int:
        """Return the file's length."""
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes; fewer only at the end of the file."""
        data = os.pread(self._descriptor, length, offset)
        if len(data) == length or not data:
            return data
        rest = self.read(offset + len(data), length - len(data))
        return data + rest

    def write(self, buffers: Sequence[bytes], offset: int) -> None:
        """Write all buffers one behind the other. After an error any part may be written."""
        waiting = [memoryview(buffer) for buffer in buffers if buffer]
        while waiting:
            written = os.pwritev(self._descriptor, waiting[:_BUFFERS_PER_WRITE], offset)
            if written == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            offset += written
            waiting = _after(waiting, written)

    def allocate(self, stop: int) -> None:
        """Reserve space up to ``stop``, so that writing before it cannot run out of space."""
        start = self.size_bytes()
        if stop > start:
            os.posix_fallocate(self._descriptor, start, stop - start)

    def truncate(self, size_bytes: int) -> None:
        """Cut the file."""
        os.ftruncate(self._descriptor, size_bytes)

    def sync(self) -> None:
        """Return when everything written, and the file's length, would survive a power cut."""
        os.fdatasync(self._descriptor)

    def read_uncached(self, offset: int, length: int) -> bytes:
        """Like ``read``, but what the disk has, even if memory shows something else."""
        try:
            return self._read_direct(offset, length)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                raise
        # No direct reads here (some network file systems): drop the pages, if they go.
        os.posix_fadvise(self._descriptor, offset, length, os.POSIX_FADV_DONTNEED)
        return self.read(offset, length)

    def _read_direct(self, offset: int, length: int) -> bytes:
        path = f"/proc/self/fd/{self._descriptor}"
        direct = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
        try:
            with mmap.mmap(-1, length) as aligned:
                count = os.preadv(direct, [aligned], offset)
                return aligned[:count]
        finally:
            os.close(direct)

    def close(self) -> None:
        """Close the file; it is not synced. May be called twice."""
        self._descriptor = -1  # the number may mean another file from now on
        self._closing()


class RealDisk:
    """A folder of the operating system. Responsible for names and for the folder's own sync."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Held open, so that a sync needs no descriptor just when there is none left.
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)
        self._free_bytes = 0
        self._free_bytes_until_s = -1.0

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        return sorted(os.listdir(self._folder))

    def open(self, name: str) -> RealFile:
        """Open a file that exists."""
        return RealFile(os.open(self._folder / name, os.O_RDWR | os.O_CLOEXEC))

    def create(self, name: str) -> RealFile:
        """Make an empty file that must not exist yet; only its owner may read it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return RealFile(os.open(self._folder / name, flags, 0o600))

    def replace(self, name: str, data: bytes) -> None:
        """Make a small file hold ``data``, durably; after a crash it is the old or the new one."""
        draft = f"{name}.new"
        if (self._folder / draft).exists():
            self.remove(draft)
        with contextlib.closing(self.create(draft)) as file:
            file.write([data], 0)
            file.sync()
        os.replace(self._folder / draft, self._folder / name)
        self.sync_folder()

    def remove(self, name: str) -> None:
        """Delete a file."""
        os.unlink(self._folder / name)

    def sync_folder(self) -> None:
        """Return when files made and removed would survive a power cut."""
        os.fsync(self._descriptor)

    def free_bytes(self) -> int:
        """Return what an ordinary user may still write to this file system, at most 0.1 s old."""
        now_s = time.monotonic()
        if now_s >= self._free_bytes_until_s:
            facts = os.statvfs(self._folder)
            self._free_bytes = facts.f_bavail * facts.f_frsize
            self._free_bytes_until_s = now_s + _FREE_BYTES_AGE_S
        return self._free_bytes

    def total_bytes(self) -> int:
        """Return what is used of this file system and what an ordinary user may still write.

        So ``df`` counts. What is set aside for root or by whoever lends the disk (its free blocks
        may be far more than the available ones) is no room: counted as size it looks used.
        """
        facts = os.statvfs(self._folder)
        return (facts.f_blocks - facts.f_bfree + facts.f_bavail) * facts.f_frsize


def _after(buffers: list[memoryview], written: int) -> list[memoryview]:
    """Return what is left of ``buffers`` when the first ``written`` bytes are done."""
    for index, buffer in enumerate(buffers):
        if written < len(buffer):
            return [buffer[written:], *buffers[index + 1 :]]
        written -= len(buffer)
    return []
