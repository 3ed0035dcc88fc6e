"""Files that are being uploaded, as they lie in the cache directory until nodes have them.

uploads/lock                 held by the gateway that uses the directory
uploads/<id>/upload.json     what is known of the upload
uploads/<id>/data<suffix>    its bytes so far; gone when they are stored
"""

import contextlib
import errno
import fcntl
import os
import shutil
from pathlib import Path

import msgspec

from redundancy.errors import NoSpace
from redundancy.terminal import from_os_error
from smart_client.gateway.records import CreateUpload, ErrorBody, UploadState

RECORD_FILE = "upload.json"

# After this much the bytes are made durable, so that a crash of the machine costs no more.
SYNC_BYTES = 64 * 1024 * 1024

# Suffixes tell probes what a file is; no other text of the sender reaches the file system.
_SUFFIXES = frozenset(
    (*(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".ts", ".mpg", ".mpeg", ".ogv"),)
)


class SpoolRecord(msgspec.Struct, kw_only=True):
    """What is written beside the bytes of an upload."""

    id: str
    wish: CreateUpload
    created_ts: float
    changed_ts: float
    state: UploadState = "receiving"
    durable_bytes: int = 0  # of the data, surely on disk
    boot: str = ""  # since this start of the machine the file's length tells the truth
    sha256: str = ""
    error: ErrorBody | None = None
    cluster: str = ""  # where it is to go, see ``ClientConfig.cluster``; older ones do not say


class UploadSpool:
    """Responsible for the directory of one upload. Blocking: call it in a thread."""

    def __init__(self, directory: Path, record: SpoolRecord) -> None:
        suffix = Path(record.wish.file_name or record.wish.name).suffix.lower()
        self.directory = directory
        self.data = directory / f"data{suffix if suffix in _SUFFIXES else ''}"
        self.record = record
        self._unsynced = 0

    @classmethod
    def create(cls, parent: Path, record: SpoolRecord) -> "UploadSpool":
        """Make the directory. Raises: NoSpace, FileProblem."""
        spool = cls(parent / record.id, record)
        try:
            spool.directory.mkdir(parents=True, mode=0o700)
            spool.data.touch(mode=0o600)
        except OSError as error:
            raise from_os_error(error) from error
        record.boot = boot_id()
        spool.save()
        return spool

    @classmethod
    def load(cls, directory: Path) -> "UploadSpool | None":
        """Return what an earlier gateway left; None where there is nothing of use."""
        try:
            record = msgspec.json.decode((directory / RECORD_FILE).read_bytes(), type=SpoolRecord)
        except (OSError, msgspec.MsgspecError):
            return None
        if record.id != directory.name:
            return None
        spool = cls(directory, record)
        if record.state == "receiving" and record.boot != boot_id():
            # The machine was started anew: only what was made durable is surely right.
            with contextlib.suppress(OSError):
                os.truncate(spool.data, min(spool.length(), record.durable_bytes))
            record.boot = boot_id()
        return spool

    def length(self) -> int:
        """Return how many bytes are here."""
        try:
            return self.data.stat().st_size
        except OSError:
            return 0

    def append(self, handle: int, offset: int, data: bytes) -> None:
        """Write bytes at ``offset``. Raises: NoSpace: the disk is full; nothing else is lost."""
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(handle, view, offset)
                view, offset = view[written:], offset + written
                self._unsynced += written
            if self._unsynced >= SYNC_BYTES:
                self.sync(handle, offset)
        except OSError as error:
            raise _translated(error, self.directory) from error

    def sync(self, handle: int, offset: int) -> None:
        """Make what came so far durable, and say so."""
        os.fdatasync(handle)
        self._unsynced = 0
        self.record.durable_bytes = offset
        self.save()

    def save(self) -> None:
        """Write the record, whole or not at all. Raises: NoSpace, FileProblem."""
        part = self.directory / f"{RECORD_FILE}.part"
        try:
            part.write_bytes(msgspec.json.encode(self.record))
            os.replace(part, self.directory / RECORD_FILE)
        except OSError as error:
            raise _translated(error, self.directory) from error

    def drop_data(self) -> None:
        """Give the space back; the record stays."""
        self.data.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove everything of this upload."""
        shutil.rmtree(self.directory, ignore_errors=True)


def _translated(error: OSError, directory: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(
            f"no space left for uploads in {directory.parent}",
            hint="free some space there (or cancel another upload) and send on",
        )
    return from_os_error(error)


def free_bytes(directory: Path) -> int:
    """Return how much may still be written there."""
    facts = os.statvfs(directory)
    return facts.f_bavail * facts.f_frsize


def boot_id() -> str:
    """Return a name of this start of the machine; empty where the kernel has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def lock_directory(directory: Path) -> int | None:
    """Take the directory for this process; None if another gateway has it. Close to release."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        return None
    return handle
