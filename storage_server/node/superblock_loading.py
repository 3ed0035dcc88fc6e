"""From the files of a data directory to open superblocks and what is known of their records.

sealed file  --hint fits--> the hint's records, less what is quarantined
    |  no fitting hint
    v
scan of all headers and footers --> a new hint
newest file: synced, scanned, its tail checked past the page cache, cut if it is torn
"""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass

from storage_server.node.disk import Disk, DiskFile
from storage_server.node.errors import InvalidSuperblock, WrongNode
from storage_server.node.quarantine import Quarantine
from storage_server.node.record_log import InvalidHint, RecordLog
from storage_server.node.superblock import (
    StoreIdentity,
    Superblock,
    hint_name,
    superblock_name,
    superblock_number,
    write_hint,
)
from storage_server.node.superblock_format import FILE_HEADER_BYTES, FileHeader, ReadAt
from storage_server.node.superblock_scan import (
    Damage,
    DamageKind,
    Verdict,
    guess_tag,
    scan_superblock,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What opening a file gave."""

    superblock: Superblock
    records: RecordLog
    damage: tuple[Damage, ...] = ()
    write_error: OSError | None = None  # the disk did not take a sync: serve reads only


class Loader:
    """Responsible for opening every superblock of a directory once."""

    def __init__(self, disk: Disk, identity: StoreIdentity, quarantine: Quarantine) -> None:
        self._disk = disk
        self._identity = identity
        self._quarantine = quarantine

    def load_all(self) -> Iterator[Loaded]:
        """Open all superblocks, the newest last.

        Raises:
            UnknownFormat: a later version of the format.
            WrongNode: a superblock of another node, or under another's name.
        """
        numbers = sorted(filter(None, map(superblock_number, self._disk.names())))
        newest: Loaded | None = None
        while numbers and newest is None:
            newest = self._load_newest(numbers.pop())
        if newest is None:
            return
        with self._closed_on_error(newest.superblock.file):
            for number in numbers:
                yield self._load_sealed(number)
            yield newest
            self._remove_leftovers({*numbers, newest.superblock.number})

    def records_of(self, superblock: Superblock) -> RecordLog:
        """Return the records of an open superblock, without those that are known to be bad."""
        if superblock.log is not None:
            return superblock.log.copy()
        try:
            return self._read_hint(superblock.number, superblock.tag, superblock.stop)
        except InvalidHint:
            size = superblock.file.size_bytes()
            verdict = self._scan(superblock.number, superblock.file, size, superblock.tag)
            return RecordLog.of(verdict.records)

    def _load_sealed(self, number: int) -> Loaded:
        name = superblock_name(number)
        file = self._disk.open(name)
        with self._closed_on_error(file):
            size = file.size_bytes()
            try:
                tag = self._checked_header(file.read(0, FILE_HEADER_BYTES), name).tag
            except InvalidSuperblock:
                return self._load_headless(number, file, size)
            try:
                if not self._quarantine.is_trusted:
                    raise InvalidHint("the list of what is bad is lost, so all is looked at")
                records = self._read_hint(number, tag, size)
            except InvalidHint as error:
                log.info("%s is read in full: %s", name, error)
                return self._scan_sealed(number, file, size, tag)
            superblock = Superblock(number, file, tag, stop=size)
            return Loaded(superblock, records, self._quarantine.entries_of(tag))

    def _read_hint(self, number: int, tag: bytes, size: int) -> RecordLog:
        try:
            with contextlib.closing(self._disk.open(hint_name(number))) as hint:
                records = RecordLog.unpack(hint.read(0, hint.size_bytes()), tag, size)
        except OSError as error:
            raise InvalidHint(f"the hint cannot be read: {error.strerror}") from error
        return self._quarantine.without_bad(records, tag)

    def _scan_sealed(self, number: int, file: DiskFile, size: int, tag: bytes) -> Loaded:
        verdict = self._scan(number, file, size, tag)
        superblock = Superblock(number, file, tag, stop=size)
        records = RecordLog.of(verdict.records)
        write_hint(self._disk, superblock, records)
        return Loaded(superblock, records, verdict.damage)

    def _load_headless(
        self, number: int, file: DiskFile, size: int, write_error: OSError | None = None
    ) -> Loaded:
        """Open a superblock whose file header is unreadable: its records say what tag it had."""
        name = superblock_name(number)
        tag = guess_tag(file.read, size) or b""
        verdict = self._scan(number, file, size, tag)
        headless = Damage(name, 0, FILE_HEADER_BYTES, DamageKind.FILE_HEADER, tag)
        superblock = Superblock(number, file, tag, stop=verdict.stop)
        records = RecordLog.of(verdict.records)
        return Loaded(superblock, records, (headless, *verdict.damage), write_error)

    def _load_newest(self, number: int) -> Loaded | None:
        """Open the file that a crash may have left unfinished; None: it was, and is removed."""
        name = superblock_name(number)
        file = self._disk.open(name)
        with self._closed_on_error(file):
            write_error = _sync_error(self._disk, file)
            size = file.size_bytes()
            try:
                # The header may be in memory only, as the records may.
                header = self._checked_header(file.read_uncached(0, FILE_HEADER_BYTES), name)
            except InvalidSuperblock:
                if size > FILE_HEADER_BYTES:
                    return self._load_headless(number, file, size, write_error)
                # The node stopped while it made the file: nothing was in it yet.
                file.close()
                self._disk.remove(name)
                self._disk.sync_folder()
                return None
            verdict = self._scan(number, file, size, header.tag, read_tail=file.read_uncached)
            records = RecordLog.of(verdict.records)
            superblock = Superblock(number, file, header.tag, stop=verdict.stop, log=records)
            if write_error is None:
                try:
                    # Even if nothing is behind the last record: if the last process could not
                    # sync its own cut, the disk may still have what memory no longer shows.
                    superblock.cut()
                except OSError as error:
                    write_error = error
            return Loaded(superblock, records, verdict.damage, write_error)

    def _scan(
        self, number: int, file: DiskFile, size: int, tag: bytes, read_tail: ReadAt | None = None
    ) -> Verdict:
        return scan_superblock(
            file.read,
            size,
            tag,
            name=superblock_name(number),
            known_bad=self._quarantine.bad_stretches(tag),
            read_tail=read_tail,
        )

    def _remove_leftovers(self, numbers: set[int]) -> None:
        """Remove hints without a superblock, and files that were never given their name."""
        hints = {hint_name(number) for number in numbers}
        for name in self._disk.names():
            is_hint = name.startswith("sb-") and name.endswith((".hint", ".hint.new"))
            if is_hint and name not in hints:
                with contextlib.suppress(OSError):  # it only takes space
                    self._disk.remove(name)

    def _checked_header(self, data: bytes, name: str) -> FileHeader:
        header = FileHeader.unpack(data)
        expected = self._identity
        if header.store_uuid != expected.store_uuid or header.node_id != expected.node_id:
            raise WrongNode(
                f"{name} belongs to node {header.node_id}, not to {expected.node_id}",
                hint="give each node its own --data directory; nothing was changed",
                detail={"store": header.store_uuid.hex(), "expected": expected.store_uuid.hex()},
            )
        if superblock_name(header.number) != name:
            raise WrongNode(
                f"{name} was once {superblock_name(header.number)}",
                hint="give the file its name back; nothing was changed",
            )
        return header

    @contextlib.contextmanager
    def _closed_on_error(self, file: DiskFile) -> Iterator[None]:
        """Leave no file open when a start fails; nor when its caller gives up half-way."""
        try:
            yield
        except BaseException:
            file.close()
            raise


def _sync_error(disk: Disk, file: DiskFile) -> OSError | None:
    """Sync what the last process may have left in memory; return why that failed."""
    try:
        file.sync()
        disk.sync_folder()
    except OSError as error:
        return error
    return None
