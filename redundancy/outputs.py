"""Files that appear under their name only when they are whole and on the disk."""

import errno
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, Self

from redundancy.buffers import ByteArray
from redundancy.errors import AlreadyExists


class OutputFile:
    """Writes to a hidden temporary file beside the target; ``commit`` gives it its name.

    Left without ``commit``, by an error or an interrupt, nothing remains.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        """Open the temporary file.

        Raises: AlreadyExists: the target is there and ``force`` is not given.
        """
        self.path = path
        self._force = force
        require_absent([path], force=force)
        self._temporary = path.with_name(f".evenflow-{secrets.token_hex(8)}.tmp")
        # Made by open, not mkstemp, so that the umask and not 0600 decides who may read it.
        self._file: BinaryIO = self._temporary.open("xb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._file.close()
        finally:
            self._temporary.unlink(missing_ok=True)

    def write(self, part: bytes | ByteArray) -> None:
        """Append bytes."""
        self._file.write(part if isinstance(part, bytes) else part.data)

    def sync(self) -> None:
        """Bring what was written to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def commit(self) -> None:
        """Give the file its name; `sync` it first.

        Raises: AlreadyExists: something else took the name meanwhile.
        """
        if self._force:
            self._temporary.replace(self.path)
        else:
            self._claim()
        sync_directory(self.path.parent)

    def _claim(self) -> None:
        """Take the name if it is free: a link, unlike a rename, never replaces."""
        try:
            os.link(self._temporary, self.path)
        except FileExistsError:
            require_absent([self.path], force=False)
        except OSError as error:  # a file system without links
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS):
                raise
            require_absent([self.path], force=False)
            self._temporary.replace(self.path)


def require_absent(paths: Sequence[Path], *, force: bool) -> None:
    """Raise AlreadyExists when one of these is there and may not be replaced."""
    there = [path for path in paths if path.exists() or path.is_symlink()]
    if there and not force:
        raise AlreadyExists(
            f"{there[0]} exists already" + (f" (and {len(there) - 1} more)" * (len(there) > 1)),
            hint="give --force to replace it, or another place with -o",
        )


def sync_directory(path: Path) -> None:
    """Bring the names in a directory to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
