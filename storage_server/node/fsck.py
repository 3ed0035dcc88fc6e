"""Checking a node's data directory while the node does not run: every byte is read.

Without ``repair`` nothing is written. With it the directory is opened as a start of the node would
open it, which cuts torn tails and makes lost hints again; then what is bad leaves the index and is
listed, so that the node reports it and takes it anew. Nothing else is ever removed.
"""

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from redundancy.errors import FileMissing
from storage_server.directory_lock import DirectoryLock, DirectoryLocked
from storage_server.node.disk import Disk, DiskFile, RealDisk
from storage_server.node.errors import InvalidSuperblock, WrongNode
from storage_server.node.index import Index, Location
from storage_server.node.lock import DataFolder, known_identity
from storage_server.node.quarantine import Quarantine
from storage_server.node.record_log import InvalidHint, RecordLog
from storage_server.node.superblock import (
    StoreIdentity,
    hint_name,
    superblock_name,
    superblock_number,
)
from storage_server.node.superblock_format import (
    FILE_HEADER_BYTES,
    FileHeader,
    FoundRecord,
)
from storage_server.node.superblock_scan import DamageKind, guess_tag, scan_superblock
from storage_server.node.superblock_store import SuperblockStore
from storage_server.node.verification import read_verified


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be."""

    file: str
    kind: str
    text: str
    keys: tuple[str, ...] = ()
    is_listed: bool = False  # known before: not served, and reported until it is stored again

    @property
    def is_loss(self) -> bool:
        """Whether a fragment is, or may be, lost; the rest mends itself at the next start."""
        return self.kind in ("rot", "file-header")


@dataclass(slots=True)
class FsckReport:
    """What a check found."""

    node: str
    superblocks: int = 0
    records: int = 0
    fragments: int = 0
    bytes_read: int = 0
    findings: list[Finding] = field(default_factory=list)
    repaired: bool = False

    @property
    def losses(self) -> list[Finding]:
        """The findings that cost a fragment."""
        return [finding for finding in self.findings if finding.is_loss]


def check_directory(path: Path, *, repair: bool) -> FsckReport:
    """Read everything in a data directory and say what is wrong.

    Raises:
        FileMissing: it is no data directory.
        DirectoryLocked: a node runs on it.
        WrongNode, UnknownFormat, OSError.
    """
    if not path.is_dir():
        raise FileMissing(f"{path} is not a directory", hint="name a node's --data directory")
    disk = RealDisk(path)
    identity = known_identity(disk)
    if identity is None:
        raise FileMissing(f"{path} holds no node's data", hint="name a node's --data directory")
    with contextlib.closing(_Held(path)):
        report = _Inspection(disk, identity).run()
    if repair:
        _repair(path, report)
    return report


class _Held:
    """The directory, kept from any node for a while."""

    def __init__(self, path: Path) -> None:
        try:
            self._lock = DirectoryLock(path, holder="node")
        except DirectoryLocked as error:
            raise DirectoryLocked(
                f"{path} is in use by a node (process {error.detail['pid'] or 'unknown'})",
                hint="stop it first; while it runs it checks itself (--scrub-days)",
                detail=error.detail,
            ) from error

    def close(self) -> None:
        self._lock.release()


class _Inspection:
    """Responsible for looking at every file and changing none."""

    def __init__(self, disk: Disk, identity: StoreIdentity) -> None:
        self._disk = disk
        self._identity = identity
        self._quarantine = Quarantine(disk)
        self._index = Index()
        self._report = FsckReport(identity.node_id)

    def run(self) -> FsckReport:
        """Look at all superblocks, oldest first."""
        numbers = sorted(filter(None, map(superblock_number, self._disk.names())))
        for number in numbers:
            with contextlib.closing(self._disk.open(superblock_name(number))) as file:
                self._inspect(number, file, is_newest=number == numbers[-1])
        self._report.findings = [self._in_the_end(each) for each in self._report.findings]
        self._report.superblocks = len(numbers)
        self._report.fragments = len(self._index)
        return self._report

    def _inspect(self, number: int, file: DiskFile, *, is_newest: bool) -> None:
        name, size = superblock_name(number), file.size_bytes()
        tag = self._tag_of(name, file, size)
        verdict = scan_superblock(
            file.read,
            size,
            tag,
            name=name,
            known_bad=self._quarantine.bad_stretches(tag),
            read_tail=file.read_uncached if is_newest else None,
        )
        for damage in (
            known for each in verdict.damage for known in self._quarantine.as_known(each)
        ):
            self._add(
                name,
                damage.kind.value,
                damage.describe_place(),
                damage.keys,
                is_listed=damage in self._quarantine.damage,
            )
        sound = tuple(self._sound_records(number, file, tag, verdict.records))
        self._report.records += len(sound)
        log = RecordLog.of(sound)
        self._index.replay(number, log.rows())
        if not is_newest and len(sound) == len(verdict.records):
            self._inspect_hint(number, tag, size, log)

    def _tag_of(self, name: str, file: DiskFile, size: int) -> bytes:
        try:
            header = FileHeader.unpack(file.read(0, FILE_HEADER_BYTES))
        except InvalidSuperblock as error:
            is_listed = any(
                each.kind is DamageKind.FILE_HEADER and each.file == name
                for each in self._quarantine.damage
            )
            self._add(name, DamageKind.FILE_HEADER.value, error.message, is_listed=is_listed)
            return guess_tag(file.read, size) or b""
        if header.store_uuid != self._identity.store_uuid:
            raise WrongNode(
                f"{name} belongs to node {header.node_id}, not to {self._identity.node_id}",
                hint="give each node its own directory; nothing was changed",
            )
        return header.tag

    def _sound_records(
        self, number: int, file: DiskFile, tag: bytes, records: tuple[FoundRecord, ...]
    ) -> Iterator[FoundRecord]:
        for record in records:
            header = record.header
            self._report.bytes_read += header.space_bytes
            place = Location(number, record.offset, header.length_bytes)
            if header.is_tombstone or read_verified(file, tag, header.key, place) is not None:
                yield record
                continue
            name = superblock_name(number)
            where = f"{name} at {record.offset}: the data is not what was written"
            self._add(name, DamageKind.ROT.value, where, (header.key,))

    def _inspect_hint(self, number: int, tag: bytes, size: int, log: RecordLog) -> None:
        name = hint_name(number)
        if name not in self._disk.names():
            self._add(name, "hint", "missing; it is made again at the next start")
            return
        with contextlib.closing(self._disk.open(name)) as file:
            try:
                hint = RecordLog.unpack(file.read(0, file.size_bytes()), tag, size)
            except InvalidHint as error:
                self._add(name, "hint", f"{error.message}; it is made again at the next start")
                return
        known = set(log.rows())
        if not set(hint.rows()) >= known:
            self._add(name, "hint", "it does not know all records of its superblock")

    def _in_the_end(self, finding: Finding) -> Finding:
        """Return the finding as it looks when all is read: what is lost here may be elsewhere."""
        keys = [bytes.fromhex(key) for key in finding.keys]
        if not finding.is_loss or not keys or any(self._index.get(key) is None for key in keys):
            return finding
        text = f"{finding.text}; all of it is stored in another place"
        return dataclasses.replace(finding, kind="replaced", text=text)

    def _add(
        self,
        file: str,
        kind: str,
        text: str,
        keys: tuple[bytes, ...] = (),
        *,
        is_listed: bool = False,
    ) -> None:
        finding = Finding(file, kind, text, tuple(key.hex() for key in keys), is_listed)
        self._report.findings.append(finding)


def _repair(path: Path, report: FsckReport) -> None:
    with contextlib.closing(DataFolder(path)) as folder:
        for finding in report.findings:
            if finding.kind == "hint" and finding.file in folder.disk.names():
                folder.disk.remove(finding.file)
        store = SuperblockStore(folder.disk, folder.identity)
        with contextlib.closing(store):
            for finding in report.losses:
                for key in map(bytes.fromhex, finding.keys):
                    location = store.location_of(key)
                    if location is not None and _lies_in(finding, location.number):
                        store.condemn(key, location)
    report.repaired = True


def _lies_in(finding: Finding, number: int) -> bool:
    """Whether the bad record is the one that counts; else an intact one took its place."""
    return finding.file == superblock_name(number)
