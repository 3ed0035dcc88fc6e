"""One superblock file: made, opened, appended to, sealed."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from storage_server.node.disk import Disk, DiskFile
from storage_server.node.errors import InvalidSuperblock, WrongNode
from storage_server.node.quarantine import Quarantine
from storage_server.node.superblock_format import (
    FILE_HEADER_BYTES,
    FileHeader,
    FoundRecord,
    RecordHeader,
)
from storage_server.node.superblock_scan import (
    Damage,
    DamageKind,
    guess_tag,
    scan_superblock,
)

# Space is reserved in steps: large enough that a reservation is rare (one in 32 puts of 2 MiB),
# small enough that five nodes of a demo do not take 5 GiB before they hold anything.
RESERVE_BYTES = 64 * 1024 * 1024

_OUT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class OutOfSpace(Exception):
    """The disk has no room; nothing was changed."""


@dataclass(frozen=True, slots=True)
class StoreIdentity:
    """Whose data this is: every superblock repeats it."""

    node_id: str
    store_uuid: bytes


@dataclass(frozen=True, slots=True)
class Loaded:
    """What opening a file gave."""

    superblock: "Superblock"
    records: tuple[FoundRecord, ...]
    damage: tuple[Damage, ...]
    write_error: OSError | None = None  # the disk did not take a sync: serve reads only


def superblock_name(number: int) -> str:
    """Return the file name of a superblock."""
    return f"sb-{number:08d}.dat"


def superblock_number(name: str) -> int | None:
    """Return the number in a superblock's file name; None for any other file."""
    digits = name.removeprefix("sb-").removesuffix(".dat")
    number = int(digits) if digits.isdecimal() and digits.isascii() else 0
    return number if number and superblock_name(number) == name else None


class Superblock:
    """Responsible for one open file: where the next record goes and what space is reserved."""

    def __init__(self, number: int, file: DiskFile, tag: bytes, *, stop: int) -> None:
        self.number = number
        self.file = file
        self.stop = stop  # end of the last record
        self.is_sealed = False
        self._tag = tag
        self._reserved_stop = file.size_bytes()

    @classmethod
    def create(
        cls, disk: Disk, identity: StoreIdentity, number: int, file_uuid: bytes
    ) -> "Superblock":
        """Make an empty superblock that survives a power cut.

        Raises: OutOfSpace, OSError: nothing usable was made.
        """
        header = FileHeader(file_uuid, identity.store_uuid, number, identity.node_id)
        name = superblock_name(number)
        try:
            file = disk.create(name)
        except OSError as error:
            raise _translated(error) from error
        try:
            file.write([header.pack()], 0)
        except OSError as error:
            file.close()
            disk.remove(name)
            raise _translated(error) from error
        file.sync()
        disk.sync_folder()
        return cls(number, file, header.tag, stop=FILE_HEADER_BYTES)

    @classmethod
    def load(
        cls,
        disk: Disk,
        identity: StoreIdentity,
        name: str,
        *,
        quarantine: Quarantine,
        is_newest: bool,
    ) -> "Loaded | None":
        """Open a file and find its records; None if it was never finished and has been removed.

        Raises:
            UnknownFormat: a later version of the format.
            WrongNode: a superblock of another node, or under another's name.
        """
        number = superblock_number(name)
        assert number is not None
        file = disk.open(name)
        write_error = _sync_error(disk, file) if is_newest else None
        size = file.size_bytes()
        damage: list[Damage] = []
        try:
            # The newest file's header may be in memory only, as its records may.
            read = file.read_uncached if is_newest else file.read
            tag = _checked_header(read(0, FILE_HEADER_BYTES), identity, name).tag
        except InvalidSuperblock:
            if is_newest and size <= FILE_HEADER_BYTES:
                # The node stopped while it made the file: nothing was in it yet.
                file.close()
                disk.remove(name)
                disk.sync_folder()
                return None
            tag = guess_tag(file.read, size) or b""
            damage.append(Damage(name, 0, FILE_HEADER_BYTES, DamageKind.FILE_HEADER, tag))
        is_sealed = not is_newest or bool(damage)
        verdict = scan_superblock(
            file.read,
            size,
            tag,
            name=name,
            is_quarantined=partial(quarantine.covers, tag),
            read_tail=None if is_sealed else file.read_uncached,
        )
        superblock = cls(number, file, tag, stop=verdict.stop)
        superblock.is_sealed = is_sealed
        if verdict.is_torn and write_error is None:
            try:
                superblock.cut()
            except OSError as error:
                write_error = error
        return Loaded(superblock, verdict.records, (*damage, *verdict.damage), write_error)

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
            buffers += (header.pack(self._tag), data, header.pack_footer(data))
            stop += header.space_bytes
        assert stop <= size_max_bytes
        assert not self.is_sealed
        try:
            self._reserve(stop, size_max_bytes)
            self.file.write(buffers, self.stop)
        except OSError as error:
            if error.errno in _OUT_OF_SPACE:
                self.cut()  # what was written of the batch must not be found later
            raise _translated(error) from error
        self.file.sync()
        self.stop = stop
        return offsets

    def seal(self) -> None:
        """Give the reserved rest back: from now on the file ends with its last record."""
        if not self.is_sealed:
            self.cut()
            self.is_sealed = True

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


def _sync_error(disk: Disk, file: DiskFile) -> OSError | None:
    """Sync what the last process may have left in memory; return why that failed."""
    try:
        file.sync()
        disk.sync_folder()
    except OSError as error:
        return error
    return None


def _translated(error: OSError) -> Exception:
    return OutOfSpace(str(error)) if error.errno in _OUT_OF_SPACE else error


def _checked_header(data: bytes, identity: StoreIdentity, name: str) -> FileHeader:
    header = FileHeader.unpack(data)
    if header.store_uuid != identity.store_uuid or header.node_id != identity.node_id:
        raise WrongNode(
            f"{name} belongs to node {header.node_id}, not to {identity.node_id}",
            hint="give each node its own --data directory; nothing was changed",
            detail={"store": header.store_uuid.hex(), "expected": identity.store_uuid.hex()},
        )
    if superblock_name(header.number) != name:
        raise WrongNode(
            f"{name} was once {superblock_name(header.number)}",
            hint="give the file its name back; nothing was changed",
        )
    return header
