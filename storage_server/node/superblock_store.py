"""Fragments in superblock files: one sequential write and one sync for many puts.

    open -> scan the files -> index in memory -> writable --failed sync--> read-only (for good)

A write is acknowledged when it is on the disk and in the index, in this order.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from redundancy.errors import EvenflowError
from storage_server.node.disk import Disk, DiskFile
from storage_server.node.errors import FragmentTooLarge, ReadFailed, StoreFull, StoreReadOnly
from storage_server.node.index import Index, Location
from storage_server.node.quarantine import Quarantine
from storage_server.node.store import (
    ChunkStore,
    Outcome,
    Put,
    StoreFacts,
    Write,
    fragment_missing,
    is_full,
)
from storage_server.node.superblock import (
    Loaded,
    OutOfSpace,
    StoreIdentity,
    Superblock,
    superblock_name,
    superblock_number,
)
from storage_server.node.superblock_format import (
    BATCH_RECORDS_MAX,
    FILE_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    UUID_BYTES,
    RecordHeader,
    record_space_bytes,
)
from storage_server.node.superblock_scan import TAIL_CHECKED_BYTES, Damage, DamageKind

SUPERBLOCK_BYTES = 1 << 30

# More under one sync gains little (32 MiB is 0.2 s of a hard disk) and the start-up check of the
# tail must cover a whole flight.
FLIGHT_BYTES_MAX = TAIL_CHECKED_BYTES // 2

_LOST = (DamageKind.ROT, DamageKind.FILE_HEADER)


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


@dataclass(slots=True)
class _Flight:
    """Records that go to the disk under one sync, and the writes that wait for it."""

    room_bytes: int  # what the superblock still takes
    records: list[tuple[RecordHeader, bytes]] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)  # positions of writes that made a record
    echoes: list[int] = field(default_factory=list)  # of writes that only repeat one of these
    presence: dict[bytes, bool] = field(default_factory=dict)  # what the flight does to a key
    space_bytes: int = 0

    def has_room_for(self, space_bytes: int) -> bool:
        """Whether one more record fits; the first one always gets a superblock to fit in."""
        total = self.space_bytes + space_bytes
        return not self.records or (
            total <= min(self.room_bytes, FLIGHT_BYTES_MAX)
            and len(self.records) < BATCH_RECORDS_MAX
        )


class SuperblockStore(ChunkStore):
    """Responsible for the order of things: disk before index, and never a write after a doubt."""

    def __init__(
        self,
        disk: Disk,
        identity: StoreIdentity,
        *,
        capacity_bytes: int | None = None,
        superblock_bytes: int = SUPERBLOCK_BYTES,
        new_uuid: Callable[[], bytes] = lambda: os.urandom(UUID_BYTES),
    ) -> None:
        """Open what the disk holds and build the index.

        Args:
            capacity_bytes: what the node may use, at most and by default the whole disk.
            superblock_bytes: a file grows no larger than this.
        Raises: WrongNode, UnknownFormat, OSError.
        """
        self._disk = disk
        self._identity = identity
        total_bytes = disk.total_bytes()
        self._capacity_bytes = min(capacity_bytes or total_bytes, total_bytes)
        self._superblock_bytes = superblock_bytes
        self._new_uuid = new_uuid
        self._index = Index()
        self._superblocks: dict[int, Superblock] = {}
        self._active: Superblock | None = None
        self._sealed_bytes = 0
        self._last_sequence = 0
        self._live_bytes = 0
        self._dead_bytes = 0
        self._read_only_reason = ""
        self.damage: tuple[Damage, ...] = ()
        self._load()

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do the writes in order, as many as possible under one sync."""
        outcomes: list[Outcome] = [False] * len(writes)
        flight = _Flight(self._room_bytes())
        for position, write in enumerate(writes):
            space = record_space_bytes(len(write.data) if isinstance(write, Put) else 0)
            if not flight.has_room_for(space):
                # Land it first: whether the write changes anything depends on how that ends.
                self._land(flight, outcomes)
                flight = _Flight(self._room_bytes())
            if self._read_only_reason:
                # Not even a repetition: a failed delete may be on the disk all the same.
                outcomes[position] = self._read_only_error()
                continue
            if self._changes_nothing(write, flight):
                if write.key in flight.presence:
                    flight.echoes.append(position)
                continue
            refusal = self._refusal(write, flight.space_bytes)
            if refusal is not None:
                outcomes[position] = refusal
                continue
            self._board(flight, write, position)
        self._land(flight, outcomes)
        return outcomes

    def find(self, key: bytes) -> FileFragment:
        """Return the fragment; raises FragmentMissing."""
        location = self._index.get(key)
        if location is None:
            raise fragment_missing(key)
        superblock = self._superblocks[location.number]
        start = location.offset + RECORD_HEADER_BYTES
        return FileFragment(superblock.file, start, location.length_bytes)

    def page(self, after: bytes, limit: int) -> list[tuple[bytes, int]]:
        """Return up to ``limit`` pairs (key, size) with keys above ``after``, in order."""
        return self._index.page(after, limit)

    def facts(self) -> StoreFacts:
        """Return how full and how well the store is. Asks the file system; never waits for it."""
        active = self._active
        used = self._sealed_bytes + (active.stop if active else 0)
        slack = active.slack_bytes if active else 0
        free = min(self._capacity_bytes - used, self._disk.free_bytes() + slack)
        return StoreFacts(
            capacity_bytes=self._capacity_bytes,
            used_bytes=used,
            free_bytes=max(0, free),
            live_bytes=self._live_bytes,
            dead_bytes=self._dead_bytes,
            fragments=len(self._index),
            superblocks=len(self._superblocks),
            damaged=sum(damage.kind in _LOST for damage in self.damage),
            read_only_reason=self._read_only_reason,
        )

    def close(self) -> None:
        """Let go of all files; everything acknowledged is on the disk already."""
        for superblock in self._superblocks.values():
            superblock.file.close()
        self._superblocks = {}
        self._active = None
        self._read_only_reason = self._read_only_reason or "the store is closed"

    # Loading

    def _load(self) -> None:
        quarantine = Quarantine(self._disk)
        load = partial(Superblock.load, self._disk, self._identity, quarantine=quarantine)
        numbers = sorted(filter(None, map(superblock_number, self._disk.names())))
        newest: Loaded | None = None
        while numbers and newest is None:
            newest = load(superblock_name(numbers.pop()), is_newest=True)
        for number in numbers:
            older = load(superblock_name(number), is_newest=False)
            assert older is not None
            self._adopt(older)
        if newest is not None:
            self._adopt(newest)
            if not newest.superblock.is_sealed:
                self._sealed_bytes -= newest.superblock.stop
                self._active = newest.superblock
            if newest.write_error is not None:
                self._fail(newest.write_error)
        try:
            self.damage = quarantine.remember(self.damage)
        except OSError as error:
            # As long as nothing is written the next start sees the same damage.
            self._fail(error)

    def _adopt(self, loaded: Loaded) -> None:
        superblock = loaded.superblock
        self._superblocks[superblock.number] = superblock
        self._sealed_bytes += superblock.stop
        self.damage += loaded.damage
        for record in loaded.records:
            self._remember(superblock.number, record.offset, record.header)

    def _remember(self, number: int, offset: int, header: RecordHeader) -> None:
        """Bring one durable record into the index."""
        self._last_sequence = max(self._last_sequence, header.sequence)
        if header.is_tombstone:
            self._dead_bytes += header.space_bytes
            before = self._index.remove(header.key)
        else:
            self._live_bytes += header.length_bytes
            location = Location(number, offset, header.length_bytes)
            before = self._index.put(header.key, location)
        if before is not None:
            self._live_bytes -= before.length_bytes
            self._dead_bytes += before.space_bytes

    # Writing

    def _changes_nothing(self, write: Write, flight: _Flight) -> bool:
        stored = self._index.get(write.key) is not None
        return flight.presence.get(write.key, stored) is isinstance(write, Put)

    def _refusal(self, write: Write, before_bytes: int) -> EvenflowError | None:
        if not isinstance(write, Put):
            return None  # a delete makes room in the end
        space = record_space_bytes(len(write.data))
        if space > self._superblock_bytes - FILE_HEADER_BYTES:
            return FragmentTooLarge(f"superblocks here hold {self._superblock_bytes} bytes")
        free = self.facts().free_bytes - before_bytes
        needed = space + FILE_HEADER_BYTES  # a new superblock may have to come first
        if is_full(free, self._capacity_bytes) or free < needed:
            return _store_full("95 % of the capacity are used")
        return None

    def _read_only_error(self) -> StoreReadOnly:
        return StoreReadOnly(
            f"the node is read-only: {self._read_only_reason}",
            hint="nothing was stored; ask another node",
        )

    def _room_bytes(self) -> int:
        """Return what the active superblock, or the first one to be, still takes."""
        start = self._active.stop if self._active is not None else FILE_HEADER_BYTES
        return max(0, self._superblock_bytes - start)

    def _board(self, flight: _Flight, write: Write, position: int) -> None:
        is_put = isinstance(write, Put)
        data = write.data if isinstance(write, Put) else b""
        place = len(flight.records)
        sequence = self._last_sequence + 1 + place
        header = RecordHeader(write.key, len(data), sequence, place, not is_put)
        if not flight.records and header.space_bytes > flight.room_bytes:
            flight.room_bytes = self._superblock_bytes - FILE_HEADER_BYTES  # in a new superblock
        flight.records.append((header, data))
        flight.space_bytes += header.space_bytes
        flight.changed.append(position)
        flight.presence[write.key] = is_put

    def _land(self, flight: _Flight, outcomes: list[Outcome]) -> None:
        """Write a flight, then the index; an error is the outcome of all who waited for it."""
        if not flight.records:
            return
        error: EvenflowError | None = None
        try:
            self._write(flight)
        except OutOfSpace as full:
            error = _store_full(str(full))
        except OSError as failure:
            self._fail(failure)
            error = StoreReadOnly(
                f"the disk failed: {failure}; the node is read-only from now on",
                hint="the write may or may not be stored; ask another node",
            )
        for position in flight.changed:
            outcomes[position] = error or True
        for position in flight.echoes:
            outcomes[position] = error or False

    def _write(self, flight: _Flight) -> None:
        if self._active is None or flight.space_bytes > self._room_bytes():
            self._rotate()
        active = self._active
        assert active is not None
        offsets = active.append(flight.records, size_max_bytes=self._superblock_bytes)
        for offset, (header, _) in zip(offsets, flight.records, strict=True):
            self._remember(active.number, offset, header)

    def _rotate(self) -> None:
        """Seal the active superblock, then start the next: only the newest is ever unfinished."""
        if self._active is not None:
            self._active.seal()
            self._sealed_bytes += self._active.stop
            self._active = None
        number = max(self._superblocks, default=0) + 1
        active = Superblock.create(self._disk, self._identity, number, self._new_uuid())
        self._superblocks[number] = active
        self._active = active

    def _fail(self, error: OSError) -> None:
        """Write no more: after a failed sync nobody knows what the disk holds."""
        self._read_only_reason = str(error)


def _store_full(why: str) -> StoreFull:
    return StoreFull(f"the node is full: {why}", hint="ask another node")
