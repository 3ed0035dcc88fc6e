"""Where every fragment is, in memory: 171 bytes an entry (measured), a million in 171 MB."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from storage_server.node.record_log import TOMBSTONE_BIT, Row
from storage_server.node.superblock_format import ALIGNMENT_BYTES, record_space_bytes

# Packed into one int: superblock number | offset in 4 KiB units (32 bits) | length (32 bits).
_FIELD_BITS = 32
_FIELD_MASK = (1 << _FIELD_BITS) - 1


@dataclass(frozen=True, slots=True)
class Location:
    """Where a record starts and how long its data is."""

    number: int
    offset: int
    length_bytes: int

    @property
    def space_bytes(self) -> int:
        """What the record takes in its file."""
        return record_space_bytes(self.length_bytes)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What bringing a superblock's records into an index did."""

    live_bytes: int  # of its fragments, those included that it replaced itself
    live_space_bytes: int  # with headers and zeros
    last_sequence: int
    replaced: list[Location]  # no longer where the fragment is


class Index:
    """Responsible for key -> location, and for listing keys in order a page at a time.

    One dict for each first byte of the key: a page sorts 1/256 of the keys, not all of them.
    Written by one thread; other threads may read at the same time.
    """

    def __init__(self) -> None:
        self._shards: list[dict[bytes, int]] = [{} for _ in range(256)]
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def get(self, key: bytes) -> Location | None:
        """Return where the fragment is; None if it is not there."""
        packed = self._shards[key[0]].get(key)
        return None if packed is None else _unpack(packed)

    def put(self, key: bytes, location: Location) -> Location | None:
        """Set where the fragment is; return where it was before."""
        before = self.get(key)
        self._shards[key[0]][key] = _pack(location)
        self._count += before is None
        return before

    def replay(self, number: int, rows: Iterable[Row]) -> Replayed:
        """Bring all records of one superblock in, in order; quick, for millions of them."""
        base = number << _FIELD_BITS
        shards = self._shards
        replaced: list[int] = []
        live_bytes = live_space_bytes = last_sequence = 0
        for key, block, length, sequence in rows:
            shard = shards[key[0]]
            last_sequence = sequence
            if length == TOMBSTONE_BIT:
                before = shard.pop(key, None)
                self._count -= before is not None
            else:
                before = shard.get(key)
                self._count += before is None
                shard[key] = (base | block) << _FIELD_BITS | length
                live_bytes += length
                live_space_bytes += record_space_bytes(length)
            if before is not None:
                replaced.append(before)
        return Replayed(live_bytes, live_space_bytes, last_sequence, list(map(_unpack, replaced)))

    def remove(self, key: bytes) -> Location | None:
        """Forget the fragment; return where it was."""
        packed = self._shards[key[0]].pop(key, None)
        if packed is None:
            return None
        self._count -= 1
        return _unpack(packed)

    def page(self, after: bytes, limit: int) -> list[tuple[bytes, int]]:
        """Return up to ``limit`` pairs (key, length) with keys above ``after``, in order."""
        found: list[tuple[bytes, int]] = []
        for pair in self._pairs_above(after):
            if len(found) >= limit:
                break
            found.append(pair)
        return found

    def locations_in(self, number: int) -> list[tuple[bytes, Location]]:
        """Return what a superblock holds of all fragments, in the order of the file."""
        first, stop = number << (2 * _FIELD_BITS), (number + 1) << (2 * _FIELD_BITS)
        found = [
            (packed, key)
            for shard in self._shards
            for key, packed in shard.copy().items()
            if first <= packed < stop
        ]
        return [(key, _unpack(packed)) for packed, key in sorted(found)]

    def _pairs_above(self, after: bytes) -> Iterator[tuple[bytes, int]]:
        for shard in self._shards[after[0] if after else 0 :]:
            # A copy lets no other thread in while it is made.
            for key, packed in sorted(shard.copy().items()):
                if key > after:
                    yield key, packed & _FIELD_MASK


def _pack(location: Location) -> int:
    block = location.offset // ALIGNMENT_BYTES
    return (location.number << _FIELD_BITS | block) << _FIELD_BITS | location.length_bytes


def _unpack(packed: int) -> Location:
    rest, length = packed >> _FIELD_BITS, packed & _FIELD_MASK
    return Location(rest >> _FIELD_BITS, (rest & _FIELD_MASK) * ALIGNMENT_BYTES, length)
