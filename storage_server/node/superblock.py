"""One superblock file: made, appended to, sealed, removed."""

import errno
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from storage_server.node.disk import Disk, DiskFile
from storage_server.node.errors import ReadFailed
from storage_server.node.record_log import RecordLog
from storage_server.node.superblock_format import FILE_HEADER_BYTES, FileHeader, RecordHeader

log_ = logging.getLogger(__name__)

# Space is reserved in steps: large enough that a reservation is rare (one in 32 puts of 2 MiB),
# small enough that five nodes of a demo do not take 5 GiB before they hold anything.
RESERVE_BYTES = 64 * 1024 * 1024

_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


# The process or the machine has no more of something that is not disk space.
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


class OutOfSpace(Exception):
    """The disk has no room; nothing was changed."""


class OutOfDescriptors(Exception):
    """No file can be opened at present; nothing was changed."""


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Whose data this is: every superblock repeats it."""

    node_id: str
    store_uuid: bytes


@dataclass(frozen=True, slots=True)
class FileFragment:
    """A fragment within a superblock."""

    file: DiskFile
    offset: int
    length_bytes: int

    @property
    def descriptor(self) -> int | None:
        """The superblock's file."""
        return self.file.descriptor

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop); may wait for the disk."""
        length = max(0, min(stop, self.length_bytes) - start)
        try:
            data = self.file.read(self.offset + start, length)
        except OSError as error:
            raise ReadFailed(f"the disk did not give the bytes: {error}") from error
        if len(data) != length:
            raise ReadFailed("the superblock is shorter than its index says")
        return data


def superblock_name(number: int) -> str:
    """Return the file name of a superblock."""
    return f"sb-{number:08d}.dat"


def superblock_number(name: str) -> int | None:
    """Return the number in a superblock's file name; None for any other file."""
    digits = name.removeprefix("sb-").removesuffix(".dat")
    number = int(digits) if digits.isdecimal() and digits.isascii() else 0
    return number if number and superblock_name(number) == name else None


def hint_name(number: int) -> str:
    """Return the file name of a superblock's hint."""
    return superblock_name(number).removesuffix(".dat") + ".hint"


class Superblock:
    """Responsible for one open file: where the next record goes and what space is reserved."""

    def __init__(
        self, number: int, file: DiskFile, tag: bytes, *, stop: int, log: RecordLog | None = None
    ) -> None:
        """Args: log: the records in the file; None once nobody appends to it any more."""
        self.number = number
        self.file = file
        self.tag = tag
        self.stop = stop  # end of the last record
        self.log = log
        self.live_space_bytes = 0  # of the records that the index names
        self._reserved_stop = file.size_bytes()

    @property
    def is_sealed(self) -> bool:
        """Whether nothing is appended any more."""
        return self.log is None

    @property
    def dead_bytes(self) -> int:
        """What compaction would win: deleted records, tombstones, gaps."""
        return self.stop - FILE_HEADER_BYTES - self.live_space_bytes

    @classmethod
    def create(
        cls, disk: Disk, identity: StoreIdentity, number: int, file_uuid: bytes
    ) -> "Superblock":
        """Make an empty superblock that survives a power cut.

        Raises: OutOfSpace, OutOfDescriptors, OSError: nothing usable was made.
        """
        header = FileHeader(file_uuid, identity.store_uuid, number, identity.node_id)
        name = superblock_name(number)
        try:
            file = disk.create(name)
        except OSError as error:
            if error.errno in _OUT_OF_DESCRIPTORS:
                raise OutOfDescriptors(str(error)) from error
            raise _translated(error) from error
        try:
            file.write([header.pack()], 0)
        except OSError as error:
            file.close()
            disk.remove(name)
            raise _translated(error) from error
        try:
            file.sync()
            disk.sync_folder()
        except OSError:
            file.close()
            raise
        return cls(number, file, header.tag, stop=FILE_HEADER_BYTES, log=RecordLog())

    @property
    def slack_bytes(self) -> int:
        """Space reserved on the disk and not written yet."""
        return 0 if self.is_sealed else max(0, self._reserved_stop - self.stop)

    def append(
        self, records: Sequence[tuple[RecordHeader, bytes]], *, size_max_bytes: int
    ) -> list[int]:
        """Write records behind the last one, sync, and return where each starts.

        Args:
            size_max_bytes: no more than this is reserved; the records must end before it.
        Raises:
            OutOfSpace: nothing was changed.
            OSError: what is on the disk is unknown; only a new start finds out.
        """
        offsets: list[int] = []
        buffers: list[bytes] = []
        stop = self.stop
        for header, data in records:
            offsets.append(stop)
            buffers += (header.pack(self.tag), data, header.pack_footer(data))
            stop += header.space_bytes
        assert stop <= size_max_bytes
        assert self.log is not None
        try:
            self._reserve(stop, size_max_bytes)
            self.file.write(buffers, self.stop)
        except OSError as error:
            if error.errno in _OUT_OF_SPACE:
                self.cut()  # what was written of the batch must not be found later
            raise _translated(error) from error
        self.file.sync()
        self.stop = stop
        for offset, (header, _) in zip(offsets, records, strict=True):
            self.log.append(offset, header)
        return offsets

    def seal(self, disk: Disk) -> None:
        """Give the reserved rest back: from now on the file ends with its last record."""
        if self.log is not None:
            self.cut()
            write_hint(disk, self, self.log)
            self.log = None

    def remove(self, disk: Disk) -> None:
        """Remove the file, for good; those who read from it keep it open as long as they need."""
        hint = hint_name(self.number)
        if hint in disk.names():
            disk.remove(hint)
        disk.remove(superblock_name(self.number))
        disk.sync_folder()

    def cut(self) -> None:
        """Remove everything behind the last record, for good."""
        self.file.truncate(self.stop)
        self.file.sync()
        self._reserved_stop = self.stop

    def _reserve(self, stop: int, size_max_bytes: int) -> None:
        if stop <= self._reserved_stop:
            return
        reserved = min(-(-stop // RESERVE_BYTES) * RESERVE_BYTES, size_max_bytes)
        try:
            self.file.allocate(reserved)
        except OSError as error:
            if error.errno not in _OUT_OF_SPACE:
                raise
            # The disk is nearly full: what is needed now may still fit.
            reserved = stop
            self.file.truncate(self.stop)
            self.file.allocate(reserved)
        self._reserved_stop = reserved


def write_hint(disk: Disk, superblock: Superblock, log: RecordLog) -> None:
    """Spare later starts the scan of a sealed superblock; without a hint they take longer."""
    hint = log.pack(superblock.tag, superblock.stop)
    try:
        disk.replace(hint_name(superblock.number), hint)
    except OSError as error:
        log_.warning("no hint for superblock %d: %s", superblock.number, error)


def _translated(error: OSError) -> Exception:
    return OutOfSpace(str(error)) if error.errno in _OUT_OF_SPACE else error
