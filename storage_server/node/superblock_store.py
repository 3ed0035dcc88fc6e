"""Fragments in superblock files: one sequential write and one sync for many puts.

    open -> load the files -> index in memory -> writable --failed sync--> read-only (for good)

A write is acknowledged when it is on the disk and in the index, in this order. Whatever changes
the store runs in one thread; any thread may read.
"""

import os
from collections.abc import Callable, Sequence
from functools import partial

from redundancy.errors import EvenflowError
from storage_server.node.disk import Disk
from storage_server.node.errors import FragmentTooLarge, NodeBusy, StoreFull, StoreReadOnly
from storage_server.node.flight import Copy, Flight
from storage_server.node.holdings import Holdings
from storage_server.node.index import Location
from storage_server.node.quarantine import Quarantine
from storage_server.node.record_log import RecordLog
from storage_server.node.store import (
    BadFragment,
    ChunkStore,
    Outcome,
    Put,
    StoreFacts,
    Write,
    is_full,
)
from storage_server.node.superblock import (
    FileFragment,
    OutOfDescriptors,
    OutOfSpace,
    StoreIdentity,
    Superblock,
    superblock_name,
)
from storage_server.node.superblock_format import (
    FILE_HEADER_BYTES,
    UUID_BYTES,
    RecordHeader,
    record_space_bytes,
)
from storage_server.node.superblock_loading import Loader
from storage_server.node.superblock_scan import Damage, DamageKind

SUPERBLOCK_BYTES = 1 << 30


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
        self._holdings = Holdings()
        self._read_only_reason = ""
        self._quarantine = Quarantine(disk)
        try:
            self._load()
        except BaseException:
            self.close()
            raise

    @property
    def damage(self) -> tuple[Damage, ...]:
        """The stretches of superblocks that were found unreadable."""
        return self._quarantine.damage

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do the writes in order, as many as possible under one sync."""
        outcomes: list[Outcome] = [False] * len(writes)
        flight = Flight(self._room_bytes())
        for position, write in enumerate(writes):
            space = record_space_bytes(len(write.data) if isinstance(write, Put) else 0)
            if not flight.has_room_for(space):
                # Land it first: whether the write changes anything depends on how that ends.
                self._land(flight, outcomes)
                flight = Flight(self._room_bytes())
            if self._read_only_reason:
                # Not even a repetition: a failed delete may be on the disk all the same.
                outcomes[position] = self._read_only_error()
                continue
            if self._changes_nothing(write, flight):
                if write.key in flight.presence:
                    flight.echoes.append(position)
                continue
            refusal = self._refusal(write, flight)
            if refusal is not None:
                outcomes[position] = refusal
                continue
            flight.changed.append(position)
            self._board(flight, write.key, write.data if isinstance(write, Put) else b"")
        self._land(flight, outcomes)
        return outcomes

    def find(self, key: bytes) -> FileFragment:
        """Return the fragment; raises FragmentMissing."""
        return self._holdings.find(key)

    def page(self, after: bytes, limit: int) -> list[tuple[bytes, int]]:
        """Return up to ``limit`` pairs (key, size) with keys above ``after``, in order."""
        return self._holdings.index.page(after, limit)

    def bad(self) -> list[BadFragment]:
        """Return the fragments that were lost to damage and have not been stored again."""
        return [
            BadFragment(key, damage.file, damage.offset, damage.kind.value)
            for damage in self._quarantine.damage
            for key in damage.keys
            if self._holdings.index.get(key) is None
        ]

    def facts(self) -> StoreFacts:
        """Return how full and how well the store is. Asks the file system; never waits for it."""
        return self._holdings.facts(
            self._disk,
            self._capacity_bytes,
            damaged=self._quarantine.lost_stretches,
            read_only_reason=self._read_only_reason,
        )

    def close(self) -> None:
        """Let go of all files; everything acknowledged is on the disk already."""
        self._read_only_reason = self._read_only_reason or "the store is closed"
        self._holdings.close()

    # For those who look after the superblocks

    @property
    def superblock_bytes(self) -> int:
        """What a file grows to."""
        return self._superblock_bytes

    def superblocks(self) -> list[Superblock]:
        """Return the superblocks, oldest first. May be called from any thread."""
        return self._holdings.in_order()

    def records_of(self, superblock: Superblock) -> RecordLog:
        """Return what records a superblock holds. May be called from any thread; may take long."""
        return Loader(self._disk, self._identity, self._quarantine).records_of(superblock)

    def fragments_in(self, superblock: Superblock) -> list[tuple[bytes, Location]]:
        """Return what a superblock holds of all fragments, in order. From any thread."""
        return self._holdings.index.locations_in(superblock.number)

    def superblock_at(self, location: Location) -> Superblock | None:
        """Return the superblock that holds a place; None if it is gone. From any thread."""
        return self._holdings.superblocks.get(location.number)

    def location_of(self, key: bytes) -> Location | None:
        """Return where a fragment is. May be called from any thread."""
        return self._holdings.index.get(key)

    def relocate(self, copies: Sequence[Copy]) -> None:
        """Write records again that are still needed; they count from there on.

        Raises: StoreFull, StoreReadOnly: not all are copied; the old ones still count.
        """
        flight = Flight(self._room_bytes())
        for copy in copies:
            if not flight.has_room_for(copy.location.space_bytes):
                self._land_or_raise(flight)
                flight = Flight(self._room_bytes())
            found = self._holdings.index.get(copy.key)
            # A tombstone of what is stored again must not come behind it.
            if found is None if copy.is_tombstone else found == copy.location:
                self._board(flight, copy.key, copy.data)
        self._land_or_raise(flight)

    def seal_active(self) -> None:
        """End the newest superblock and begin another, so that the old one can be compacted.

        Raises: StoreFull, NodeBusy, StoreReadOnly.
        """
        if self._read_only_reason:
            raise self._read_only_error()
        error = self._attempt(self._rotate)
        if error is not None:
            raise error

    def retire(self, superblock: Superblock) -> None:
        """Remove a superblock that holds nothing any more; who reads from it may go on.

        Raises: StoreReadOnly: nobody knows whether it is gone.
        """
        assert superblock.is_sealed
        assert not superblock.live_space_bytes, "a fragment would be lost"
        if self._read_only_reason:
            raise self._read_only_error()
        try:
            superblock.remove(self._disk)
            self._holdings.drop(superblock)
            self._quarantine.forget_file(superblock.tag)
        except OSError as error:
            self._fail(error)
            raise self._read_only_error() from error

    def condemn(self, key: bytes, location: Location) -> bool:
        """Take a fragment out that was found to be bad where it lies; return whether it still was.

        From now on it is listed as bad and may be stored again.
        """
        superblock = self._holdings.forget(key, location)
        if superblock is None:
            return False
        name = superblock_name(location.number)
        space = location.space_bytes
        found = Damage(name, location.offset, space, DamageKind.ROT, superblock.tag, (key,))
        self._change_quarantine(lambda: self._quarantine.add(found))
        return True

    # Loading

    def _load(self) -> None:
        damage: list[Damage] = []
        for loaded in Loader(self._disk, self._identity, self._quarantine).load_all():
            self._holdings.adopt(loaded)
            damage += loaded.damage
            if loaded.write_error is not None:
                self._fail(loaded.write_error)
        # As long as nothing is written the next start sees the same damage.
        self._change_quarantine(lambda: self._quarantine.remember(damage))

    def _change_quarantine(self, change: Callable[[], None]) -> None:
        try:
            change()
        except OSError as error:
            self._fail(error)

    # Writing

    def _changes_nothing(self, write: Write, flight: Flight) -> bool:
        if isinstance(write, Put):
            is_stored = self._holdings.index.get(write.key) is not None
        else:
            # What is bad was stored once: its name goes from the list with the delete.
            is_stored = self._holdings.index.get(write.key) is not None or self._is_bad(write.key)
        return flight.presence.get(write.key, is_stored) is isinstance(write, Put)

    def _is_bad(self, key: bytes) -> bool:
        return key in self._quarantine.lost_keys

    def _refusal(self, write: Write, flight: Flight) -> EvenflowError | None:
        if not isinstance(write, Put):
            return None  # a delete makes room in the end
        space = record_space_bytes(len(write.data))
        if space > self._superblock_bytes - FILE_HEADER_BYTES:
            return FragmentTooLarge(f"superblocks here hold {self._superblock_bytes} bytes")
        if flight.free_bytes is None:  # once for all of them
            flight.free_bytes = self.facts().free_bytes
        free = flight.free_bytes - flight.space_bytes
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
        start = (
            self._holdings.active.stop if self._holdings.active is not None else FILE_HEADER_BYTES
        )
        return max(0, self._superblock_bytes - start)

    def _board(self, flight: Flight, key: bytes, data: bytes) -> None:
        """Args: data: empty for a tombstone."""
        place = len(flight.records)
        sequence = self._holdings.last_sequence + 1 + place
        header = RecordHeader(key, len(data), sequence, place, not data)
        if not flight.records and header.space_bytes > flight.room_bytes:
            flight.room_bytes = self._superblock_bytes - FILE_HEADER_BYTES  # in a new superblock
        flight.board(header, data)

    def _land(self, flight: Flight, outcomes: list[Outcome]) -> EvenflowError | None:
        """Write a flight, then the index; an error is the outcome of all who waited for it."""
        if not flight.records:
            return None
        error = self._attempt(partial(self._write, flight))
        for position in flight.changed:
            outcomes[position] = error or True
        for position in flight.echoes:
            outcomes[position] = error or False
        return error

    def _attempt(self, change: Callable[[], None]) -> EvenflowError | None:
        """Change the disk; return what went wrong."""
        try:
            change()
        except OutOfSpace as full:
            return _store_full(str(full))
        except OutOfDescriptors as short:
            return NodeBusy(str(short), hint="nothing was stored; ask again later")
        except OSError as failure:
            self._fail(failure)
            return StoreReadOnly(
                f"the disk failed: {failure}; the node is read-only from now on",
                hint="the write may or may not be stored; ask another node",
            )
        return None

    def _land_or_raise(self, flight: Flight) -> None:
        if self._read_only_reason:
            raise self._read_only_error()
        error = self._land(flight, [])
        if error is not None:
            raise error

    def _write(self, flight: Flight) -> None:
        if self._holdings.active is None or flight.space_bytes > self._room_bytes():
            self._rotate()
        active = self._holdings.active
        assert active is not None
        offsets = active.append(flight.records, size_max_bytes=self._superblock_bytes)
        for offset, (header, _) in zip(offsets, flight.records, strict=True):
            self._holdings.remember(active, offset, header)
        for header, _ in flight.records:
            if header.is_tombstone and self._is_bad(header.key):
                self._quarantine.forget_key(header.key)

    def _rotate(self) -> None:
        """Seal the active superblock, then start the next: only the newest is ever unfinished."""
        holdings = self._holdings
        if holdings.active is not None:
            holdings.active.seal(self._disk)
            holdings.retire_active()
        number = max(holdings.superblocks, default=0) + 1
        holdings.begin(Superblock.create(self._disk, self._identity, number, self._new_uuid()))

    def _fail(self, error: OSError) -> None:
        """Write no more: after a failed sync nobody knows what the disk holds."""
        self._read_only_reason = str(error)


def _store_full(why: str) -> StoreFull:
    return StoreFull(f"the node is full: {why}", hint="ask another node")
