"""Where every fragment is, in which superblock, and how much of each is still wanted.

Written by the thread that writes the store; any thread may read.
"""

from storage_server.node.disk import Disk
from storage_server.node.index import Index, Location
from storage_server.node.store import StoreFacts, fragment_missing
from storage_server.node.superblock import FileFragment, Superblock
from storage_server.node.superblock_format import (
    FILE_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    RecordHeader,
)
from storage_server.node.superblock_loading import Loaded


class Holdings:
    """Responsible for index and superblocks saying the same; knows nothing of writing and syncs."""

    def __init__(self) -> None:
        self.index = Index()
        self.superblocks: dict[int, Superblock] = {}
        self.active: Superblock | None = None  # the newest, if records may be appended to it
        self.last_sequence = 0
        self._sealed_bytes = 0
        self._live_bytes = 0
        self._live_space_bytes = 0

    def find(self, key: bytes) -> FileFragment:
        """Return the fragment; raises FragmentMissing."""
        while (location := self.index.get(key)) is not None:
            superblock = self.superblocks.get(location.number)
            if superblock is not None:
                start = location.offset + RECORD_HEADER_BYTES
                return FileFragment(superblock.file, start, location.length_bytes)
            # Its superblock was compacted between the two looks: the index knows better by now.
        raise fragment_missing(key)

    def in_order(self) -> list[Superblock]:
        """Return the superblocks, oldest first."""
        return [superblock for _, superblock in sorted(self.superblocks.copy().items())]

    def adopt(self, loaded: Loaded) -> None:
        """Take in what opening a file gave; superblocks must come in their order."""
        superblock = loaded.superblock
        self.superblocks[superblock.number] = superblock
        if superblock.is_sealed:
            self._sealed_bytes += superblock.stop
        else:
            self.active = superblock
        replayed = self.index.replay(superblock.number, loaded.records.rows())
        self.last_sequence = max(self.last_sequence, replayed.last_sequence)
        self._live_bytes += replayed.live_bytes
        self._live_space_bytes += replayed.live_space_bytes
        superblock.live_space_bytes += replayed.live_space_bytes
        for location in replayed.replaced:
            self._count_out(location)

    def retire_active(self) -> None:
        """Note that the newest superblock was sealed."""
        assert self.active is not None
        self._sealed_bytes += self.active.stop
        self.active = None

    def begin(self, superblock: Superblock) -> None:
        """Note that records go to a new superblock from now on."""
        self.superblocks[superblock.number] = superblock
        self.active = superblock

    def drop(self, superblock: Superblock) -> None:
        """Forget a superblock whose file is gone."""
        del self.superblocks[superblock.number]
        self._sealed_bytes -= superblock.stop

    def remember(self, superblock: Superblock, offset: int, header: RecordHeader) -> None:
        """Bring one durable record into the index."""
        self.last_sequence = header.sequence
        if header.is_tombstone:
            before = self.index.remove(header.key)
        else:
            location = Location(superblock.number, offset, header.length_bytes)
            before = self.index.put(header.key, location)
            self._live_bytes += header.length_bytes
            self._live_space_bytes += header.space_bytes
            superblock.live_space_bytes += header.space_bytes
        if before is not None:
            self._count_out(before)

    def forget(self, key: bytes, location: Location) -> Superblock | None:
        """Take a fragment out of the index; return where it was, None if it is elsewhere by now."""
        superblock = self.superblocks.get(location.number)
        if superblock is None or self.index.get(key) != location:
            return None
        self.index.remove(key)
        self._count_out(location)
        return superblock

    def facts(
        self, disk: Disk, capacity_bytes: int, *, damaged: int, read_only_reason: str
    ) -> StoreFacts:
        """Return how full and how well the store is. Asks the file system; never waits for it."""
        active = self.active
        used = self._sealed_bytes + (active.stop if active else 0)
        slack = active.slack_bytes if active else 0
        free = min(capacity_bytes - used, disk.free_bytes() + slack)
        headers = FILE_HEADER_BYTES * len(self.superblocks)
        return StoreFacts(
            capacity_bytes=capacity_bytes,
            used_bytes=used,
            free_bytes=max(0, free),
            live_bytes=self._live_bytes,
            dead_bytes=max(0, used - headers - self._live_space_bytes),
            fragments=len(self.index),
            superblocks=len(self.superblocks),
            damaged=damaged,
            read_only_reason=read_only_reason,
        )

    def close(self) -> None:
        """Let go of all files."""
        for superblock in self.superblocks.values():
            superblock.file.close()
        self.active = None

    def _count_out(self, location: Location) -> None:
        """Count a record as dead."""
        self._live_bytes -= location.length_bytes
        self._live_space_bytes -= location.space_bytes
        self.superblocks[location.number].live_space_bytes -= location.space_bytes
