"""The bytes of a superblock file, version 1: file header, records, footers. Pure.

    file   = file header (4 KiB) | record | record | ... | zeros
    record = header (64 B) | data | footer (16 B) | zeros up to a multiple of 4 KiB

Every number is little-endian. ``storage_server/DESIGN.md`` has the layout byte by byte.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

import google_crc32c

from storage_server.node.errors import InvalidSuperblock, UnknownFormat

FORMAT_VERSION = 1

# Records start on this boundary, so a reader that has lost its place finds the next one by
# looking at few positions. It is also the page size: one bad page costs one record.
ALIGNMENT_BYTES = 4096
FILE_HEADER_BYTES = 4096
RECORD_HEADER_BYTES = 64
FOOTER_BYTES = 16

# A chunk is at most 4 MiB; a fragment carries a footer of at most 64 KiB behind its payload.
FRAGMENT_BYTES_MAX = 4 * 1024 * 1024 + 64 * 1024
NODE_ID_BYTES_MAX = 63
KEY_BYTES = 32
TAG_BYTES = 8
UUID_BYTES = 16
BATCH_RECORDS_MAX = 0xFFFF  # the position within a batch is stored in 16 bits

# Like PNG's: a file sent through a text mode is no longer a superblock.
_FILE_MAGIC = b"\x89EVFSB\r\n"
RECORD_MAGIC = b"EVfr"
_FOOTER_MAGIC = b"EVft"
_FLAG_TOMBSTONE = 1

_FILE_HEADER = struct.Struct("<8sII16s16sQB63s")
_RECORD_HEADER = struct.Struct("<4sIHHIQ32s8s")
_FOOTER = struct.Struct("<4sIQ")
_CRC = struct.Struct("<I")

# Reads ``length`` bytes at ``offset``; fewer at the end of the file.
ReadAt = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class FileHeader:
    """Responsible for saying whose file this is and which records belong in it."""

    file_uuid: bytes
    store_uuid: bytes
    number: int  # the same as in the file's name
    node_id: str

    def __post_init__(self) -> None:
        if len(self.file_uuid) != UUID_BYTES or len(self.store_uuid) != UUID_BYTES:
            raise InvalidSuperblock("a UUID is 16 bytes")
        if self.number < 1:
            raise InvalidSuperblock(f"superblocks are numbered from 1, got {self.number}")
        if not 1 <= len(self.node_id.encode()) <= NODE_ID_BYTES_MAX:
            raise InvalidSuperblock(f"a node id has 1 to {NODE_ID_BYTES_MAX} bytes")

    @property
    def tag(self) -> bytes:
        """The first 8 bytes of the file's UUID: every record in the file repeats them."""
        return self.file_uuid[:TAG_BYTES]

    def pack(self) -> bytes:
        """Return the 4 KiB that start the file."""
        node_id = self.node_id.encode()
        fixed = _FILE_HEADER.pack(
            _FILE_MAGIC,
            FORMAT_VERSION,
            ALIGNMENT_BYTES,
            self.file_uuid,
            self.store_uuid,
            self.number,
            len(node_id),
            node_id,
        )
        covered = fixed.ljust(FILE_HEADER_BYTES - _CRC.size, b"\0")
        return covered + _CRC.pack(crc32c(covered))

    @classmethod
    def unpack(cls, data: bytes) -> "FileHeader":
        """Parse the first 4 KiB of a file.

        Raises:
            UnknownFormat: an intact header of a version this program does not know.
            InvalidSuperblock: no intact file header.
        """
        if len(data) < FILE_HEADER_BYTES or not data.startswith(_FILE_MAGIC):
            raise InvalidSuperblock("no superblock file header")
        covered = data[: FILE_HEADER_BYTES - _CRC.size]
        if _CRC.unpack_from(data, len(covered)) != (crc32c(covered),):
            raise InvalidSuperblock("the file header does not match its checksum")
        _, version, alignment, file_uuid, store_uuid, number, length, node_id = (
            _FILE_HEADER.unpack_from(data)
        )
        if version != FORMAT_VERSION or alignment != ALIGNMENT_BYTES:
            raise UnknownFormat(
                f"superblock format {version} (alignment {alignment}) is not known here",
                hint="start a version of Evenflow that knows it; nothing was changed",
            )
        try:
            name = node_id[:length].decode()
        except UnicodeDecodeError as error:
            raise InvalidSuperblock("the node id is not UTF-8") from error
        return cls(file_uuid, store_uuid, number, name)


@dataclass(frozen=True, slots=True)
class RecordHeader:
    """Responsible for one record's name, size and place in the order of writes."""

    key: bytes  # SHA-256 of the data; of the deleted fragment in a tombstone
    length_bytes: int
    sequence: int  # grows by one with every record of the store
    batch_position: int = 0  # 0 in the first record written under one fdatasync, then 1, 2, ...
    is_tombstone: bool = False

    def __post_init__(self) -> None:
        if len(self.key) != KEY_BYTES:
            raise InvalidSuperblock("a key is 32 bytes")
        longest = 0 if self.is_tombstone else FRAGMENT_BYTES_MAX
        if not 0 <= self.length_bytes <= longest:
            raise InvalidSuperblock(f"a record of {self.length_bytes} bytes cannot be")
        if not 0 <= self.batch_position <= min(BATCH_RECORDS_MAX, self.sequence - 1):
            raise InvalidSuperblock("a batch cannot start before the first record")

    @property
    def batch_first(self) -> int:
        """Sequence of the first record of this batch: all before it was durable already."""
        return self.sequence - self.batch_position

    @property
    def space_bytes(self) -> int:
        """What the record takes in the file, zeros included."""
        return record_space_bytes(self.length_bytes)

    def pack(self, tag: bytes) -> bytes:
        """Return the 64 bytes before the data, for the file whose records carry ``tag``."""
        flags = _FLAG_TOMBSTONE if self.is_tombstone else 0
        head = _RECORD_HEADER.pack(
            RECORD_MAGIC,
            0,
            flags,
            self.batch_position,
            self.length_bytes,
            self.sequence,
            self.key,
            tag,
        )
        return RECORD_MAGIC + _CRC.pack(crc32c(head[8:])) + head[8:]

    def pack_footer(self, data: bytes) -> bytes:
        """Return the footer and the zeros that follow ``data``."""
        footer = _FOOTER.pack(_FOOTER_MAGIC, crc32c(data), self.sequence)
        padding = self.space_bytes - RECORD_HEADER_BYTES - self.length_bytes
        return footer.ljust(padding, b"\0")


@dataclass(frozen=True, slots=True)
class FoundRecord:
    """A record whose header and footer are intact, and where it starts."""

    offset: int
    header: RecordHeader
    data_crc32c: int

    @property
    def data_offset(self) -> int:
        """Where the data starts in the file."""
        return self.offset + RECORD_HEADER_BYTES

    @property
    def stop(self) -> int:
        """Where the next record may start."""
        return self.offset + self.header.space_bytes


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of ``data``."""
    return int(google_crc32c.value(data))


def record_space_bytes(length_bytes: int) -> int:
    """Return what a record with ``length_bytes`` of data takes in a file."""
    whole = RECORD_HEADER_BYTES + length_bytes + FOOTER_BYTES
    return -(-whole // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def parse_record_header(data: bytes, tag: bytes) -> RecordHeader | None:
    """Return the record header that ``data`` starts with; None if there is none of this file.

    A record left over from another file on the same disk blocks carries another tag: no record.
    """
    if len(data) < RECORD_HEADER_BYTES or not data.startswith(RECORD_MAGIC):
        return None
    head = data[:RECORD_HEADER_BYTES]
    _, crc, flags, batch_position, length, sequence, key, found_tag = _RECORD_HEADER.unpack(head)
    if crc != crc32c(head[8:]) or found_tag != tag or flags & ~_FLAG_TOMBSTONE:
        return None
    try:
        return RecordHeader(key, length, sequence, batch_position, bool(flags & _FLAG_TOMBSTONE))
    except InvalidSuperblock:
        return None


def find_record(read: ReadAt, offset: int, tag: bytes, *, after: int) -> FoundRecord | None:
    """Return the record that starts at ``offset``; None if no whole one with a fitting footer does.

    Args:
        after: the record's sequence must be higher; a lower one is a leftover of an earlier write.
    """
    header = parse_record_header(read(offset, RECORD_HEADER_BYTES), tag)
    if header is None or header.sequence <= after:
        return None
    footer = read(offset + RECORD_HEADER_BYTES + header.length_bytes, FOOTER_BYTES)
    if len(footer) < FOOTER_BYTES:
        return None
    magic, data_crc32c, sequence = _FOOTER.unpack(footer)
    if magic != _FOOTER_MAGIC or sequence != header.sequence:
        return None
    return FoundRecord(offset, header, data_crc32c)


def data_is_intact(read: ReadAt, record: FoundRecord) -> bool:
    """Whether the record's data matches the checksum in its footer."""
    data = read(record.data_offset, record.header.length_bytes)
    return len(data) == record.header.length_bytes and crc32c(data) == record.data_crc32c


def find_next_record(
    read: ReadAt, offset: int, size_bytes: int, tag: bytes, *, after: int
) -> FoundRecord | None:
    """Look for a record at every 4 KiB boundary from ``offset`` on; None if no more comes."""
    while offset < size_bytes:
        block = read(offset, _RESYNC_READ_BYTES)
        if not block:
            return None
        for start in range(0, len(block), ALIGNMENT_BYTES):
            if block.startswith(RECORD_MAGIC, start):
                found = find_record(read, offset + start, tag, after=after)
                if found is not None:
                    return found
        offset += _RESYNC_READ_BYTES
    return None


# One read per 256 positions to look at.
_RESYNC_READ_BYTES = 256 * ALIGNMENT_BYTES
