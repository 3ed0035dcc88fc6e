"""Where decoded bytes lie until readers are done with them: a sparse file, mostly page cache."""

import ctypes
import errno
import os
import shutil
import tempfile
from pathlib import Path

from redundancy.errors import NoSpace
from redundancy.quantities import size_text

_PUNCH_HOLE_KEEP_SIZE = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
FULL = (errno.ENOSPC, errno.EDQUOT)  # there is no room
_LIBC = ctypes.CDLL(None, use_errno=True)


class Spool:
    """Responsible for one rendition's decoded bytes, at the offsets they have in the rendition.

    Safe to use from several threads: only positioned reads and writes.
    """

    def __init__(self, handle: int, directory: Path, path: Path | None = None) -> None:
        self._handle = handle
        self.directory = directory
        self.path = path  # None: nameless, gone with the process

    @classmethod
    def nameless(cls, directory: Path | None = None) -> "Spool":
        """Open a file without a name in ``directory``: even kill -9 leaves nothing behind."""
        where = Path(tempfile.gettempdir()) if directory is None else directory
        where.mkdir(parents=True, exist_ok=True)
        try:
            return cls(os.open(where, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600), where)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
        handle, name = tempfile.mkstemp(prefix="spool-", dir=where)
        os.unlink(name)
        return cls(handle, where)

    @classmethod
    def at(cls, path: Path) -> "Spool":
        """Open or create a named file, for a download."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        return cls(handle, path.parent, path)

    def write(self, offset: int, data: bytes | bytearray) -> None:
        """Store bytes. Raises: NoSpace: the disk is full."""
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._handle, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            if error.errno in FULL:
                raise self._full() from error
            raise

    def _full(self) -> NoSpace:
        if self.path is not None:
            return no_space_for_file(self.path)
        left = size_text(shutil.disk_usage(self.directory).free)
        return NoSpace(
            f"no space left for decoded video in {self.directory} ({left} free)",
            hint="free some space there, or name another place with --cache-dir",
        )

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes, fewer only at the end of the file."""
        parts: list[bytes] = []
        while size > 0:
            part = os.pread(self._handle, size, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def forget(self, offset: int, size: int) -> None:
        """Give the disk space of a range back, where the file system can."""
        _LIBC.fallocate(
            self._handle, _PUNCH_HOLE_KEEP_SIZE, ctypes.c_longlong(offset), ctypes.c_longlong(size)
        )

    def truncate(self, size: int) -> None:
        """Cut or stretch the file to a length."""
        os.ftruncate(self._handle, size)

    def sync(self) -> None:
        """Make everything durable."""
        os.fsync(self._handle)

    def close(self) -> None:
        """Close the file; a nameless one is gone."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def no_space_for_file(path: Path) -> NoSpace:
    """Return the error of a download whose disk is full."""
    directory = path.parent.absolute()
    left = size_text(shutil.disk_usage(directory).free)
    return NoSpace(
        f"no space left in {directory} for the file ({left} free)",
        hint="free some space there, or name a file on another disk with -o",
    )
