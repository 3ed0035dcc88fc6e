"""Reading a record as the disk has it, and telling whether it is still what was written."""

import errno
import hashlib

from storage_server.node.disk import DiskFile
from storage_server.node.errors import ReadFailed
from storage_server.node.index import Location
from storage_server.node.superblock_format import RECORD_HEADER_BYTES, data_is_intact, find_record

# A read may fail for a moment; a record that fails twice is bad.
_ATTEMPTS = 2

# What the disk says of a place it cannot give back. Everything else (no descriptors, no memory)
# says nothing about the record.
_BAD_PLACE = (errno.EIO, errno.EUCLEAN, errno.EBADMSG, errno.ENODATA, errno.EREMOTEIO)


def read_verified(file: DiskFile, tag: bytes, key: bytes, location: Location) -> bytes | None:
    """Return a fragment's bytes past the page cache; None if they are not what they were.

    Checked: header, footer, CRC and SHA-256. Waits for the disk.
    Raises: ReadFailed: it could not be read now, which says nothing about it.
    """
    for _ in range(_ATTEMPTS):
        try:
            record = file.read_uncached(location.offset, location.space_bytes)
        except OSError as error:
            if error.errno not in _BAD_PLACE:
                raise ReadFailed(f"a fragment could not be checked: {error}") from error
            continue
        data = _fragment_in(record, tag, key, location)
        if data is not None:
            return data
    return None


def _fragment_in(record: bytes, tag: bytes, key: bytes, location: Location) -> bytes | None:
    def read(offset: int, length: int) -> bytes:
        return record[offset : offset + length]

    found = find_record(read, 0, tag, after=0)
    if found is None or found.header.is_tombstone or found.header.key != key:
        return None
    if found.header.length_bytes != location.length_bytes or not data_is_intact(read, found):
        return None
    data = read(RECORD_HEADER_BYTES, location.length_bytes)
    return data if hashlib.sha256(data).digest() == key else None
