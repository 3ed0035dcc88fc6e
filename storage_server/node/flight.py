"""Records that go to the disk under one sync. Pure."""

from dataclasses import dataclass, field

from storage_server.node.index import Location
from storage_server.node.superblock_format import BATCH_RECORDS_MAX, RecordHeader
from storage_server.node.superblock_scan import TAIL_CHECKED_BYTES

# More under one sync gains little (32 MiB is 0.2 s of a hard disk) and the start-up check of the
# tail must cover a whole flight.
FLIGHT_BYTES_MAX = TAIL_CHECKED_BYTES // 2


@dataclass(frozen=True, slots=True)
class Copy:
    """A record to be written again at the end, because its superblock is to go."""

    key: bytes
    data: bytes  # verified; empty: a tombstone
    location: Location

    @property
    def is_tombstone(self) -> bool:
        """Whether the record says that the fragment was deleted."""
        return not self.data


@dataclass(slots=True)
class Flight:
    """Records that go to the disk under one sync, and the writes that wait for it."""

    room_bytes: int  # what the superblock still takes
    free_bytes: int | None = None  # what the store takes, this flight included; None: not asked yet
    records: list[tuple[RecordHeader, bytes]] = field(default_factory=list)
    changed: list[int] = field(default_factory=list)  # positions of writes that made a record
    echoes: list[int] = field(default_factory=list)  # of writes that only repeat one of these
    presence: dict[bytes, bool] = field(default_factory=dict)  # what the flight does to a key
    space_bytes: int = 0

    def board(self, header: RecordHeader, data: bytes) -> None:
        """Take one more record."""
        self.records.append((header, data))
        self.space_bytes += header.space_bytes
        self.presence[header.key] = not header.is_tombstone

    def has_room_for(self, space_bytes: int) -> bool:
        """Whether one more record fits; the first one always gets a superblock to fit in."""
        total = self.space_bytes + space_bytes
        return not self.records or (
            total <= min(self.room_bytes, FLIGHT_BYTES_MAX)
            and len(self.records) < BATCH_RECORDS_MAX
        )
