"""What records a superblock holds, in order, and the hint file that says so. Pure.

    hint = header (40 B) | entry (48 B) | entry | ... | CRC-32C of all before (4 B)

A hint saves the start from reading every record of a sealed superblock. It is only a copy of what
a scan would find: one that is damaged, stale or of another file is thrown away and made again.
"""

import struct
from collections.abc import Callable, Iterator

from storage_server.node.errors import InvalidSuperblock
from storage_server.node.superblock_format import (
    ALIGNMENT_BYTES,
    KEY_BYTES,
    TAG_BYTES,
    FoundRecord,
    RecordHeader,
    crc32c,
)

HINT_VERSION = 1
_MAGIC = b"\x89EVHT\r\n\x1a"
_HEADER = struct.Struct("<8sII8sQQ")
_ENTRY = struct.Struct("<32sIIQ")
_CRC = struct.Struct("<I")

# The highest bit of a length; a fragment has at most 23.
TOMBSTONE_BIT = 1 << 31

# Key, offset in 4 KiB units, length or TOMBSTONE_BIT, sequence: a plain tuple, since a million of
# them are looked at when a node starts.
Row = tuple[bytes, int, int, int]


class InvalidHint(InvalidSuperblock):
    """No intact hint of this superblock as it is now."""

    code = "INVALID_HINT"


class RecordLog:
    """Responsible for one superblock's records in 48 bytes each."""

    def __init__(self, packed: bytes = b"") -> None:
        self._packed = bytearray(packed)

    def __len__(self) -> int:
        return len(self._packed) // _ENTRY.size

    @classmethod
    def of(cls, records: tuple[FoundRecord, ...]) -> "RecordLog":
        """Return the log of records that a scan found."""
        log = cls()
        for record in records:
            log.append(record.offset, record.header)
        return log

    def append(self, offset: int, header: RecordHeader) -> None:
        """Add the record behind the last one."""
        length = TOMBSTONE_BIT if header.is_tombstone else header.length_bytes
        self._packed += _ENTRY.pack(header.key, offset // ALIGNMENT_BYTES, length, header.sequence)

    def rows(self) -> Iterator[Row]:
        """Yield the records as tuples, in order."""
        return _ENTRY.iter_unpack(bytes(self._packed))

    def copy(self) -> "RecordLog":
        """Return the log as it is now."""
        return RecordLog(bytes(self._packed))

    def keep(self, is_wanted: Callable[[int], bool]) -> "RecordLog":
        """Return the log of those records whose offset is wanted."""
        rows = (row for row in self.rows() if is_wanted(row[1] * ALIGNMENT_BYTES))
        return RecordLog(b"".join(_ENTRY.pack(*row) for row in rows))

    @property
    def last_sequence(self) -> int:
        """The highest sequence; 0 if there is no record."""
        if not self._packed:
            return 0
        *_, sequence = _ENTRY.unpack_from(self._packed, len(self._packed) - _ENTRY.size)
        return int(sequence)

    def pack(self, tag: bytes, size_bytes: int) -> bytes:
        """Return the hint of the superblock with this tag and length."""
        assert len(tag) == TAG_BYTES
        head = _HEADER.pack(_MAGIC, HINT_VERSION, _ENTRY.size, tag, size_bytes, len(self))
        covered = head + self._packed
        return covered + _CRC.pack(crc32c(covered))

    @classmethod
    def unpack(cls, data: bytes, tag: bytes, size_bytes: int) -> "RecordLog":
        """Parse the hint of a superblock. Raises: InvalidHint."""
        if len(data) < _HEADER.size + _CRC.size or not data.startswith(_MAGIC):
            raise InvalidHint("no hint file")
        covered = data[: -_CRC.size]
        if _CRC.unpack_from(data, len(covered)) != (crc32c(covered),):
            raise InvalidHint("the hint does not match its checksum")
        _, version, entry_bytes, found_tag, found_size, count = _HEADER.unpack_from(data)
        if version != HINT_VERSION or entry_bytes != _ENTRY.size:
            raise InvalidHint(f"hint format {version} is not known here")
        if found_tag != tag or found_size != size_bytes:
            raise InvalidHint("the hint is of another superblock, or of an earlier state of it")
        if len(covered) != _HEADER.size + count * _ENTRY.size:
            raise InvalidHint("the hint has another length than it says")
        return cls(covered[_HEADER.size :])


assert _ENTRY.size == KEY_BYTES + 16
