"""The Range header of a request for a whole file (RFC 9110, section 14). Pure."""

import re
from dataclasses import dataclass

_RANGE = re.compile(r"^bytes=(\d{0,18})-(\d{0,18})$")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes [start, stop) of a file of ``size`` bytes."""

    start: int
    stop: int
    size: int

    @property
    def content_range(self) -> str:
        """The value of Content-Range."""
        return f"bytes {self.start}-{self.stop - 1}/{self.size}"


class RangeNotSatisfiable(Exception):  # a reason to answer 416, never seen by users
    """The range lies outside the file."""


def parse_range(header: str | None, size: int) -> ByteRange | None:
    """Return the range asked for; None where the whole file is to be sent.

    A header that is not understood, or asks for several ranges, is ignored, as the RFC allows.
    Raises: RangeNotSatisfiable.
    """
    found = _RANGE.match(header.strip()) if header else None
    if not found or not (found[1] or found[2]):
        return None
    if not found[1]:  # the last n bytes
        count = int(found[2])
        if count == 0 or size == 0:
            raise RangeNotSatisfiable
        return ByteRange(max(0, size - count), size, size)
    start = int(found[1])
    stop = min(size, int(found[2]) + 1) if found[2] else size
    if found[2] and int(found[2]) < start:
        return None  # nonsense, to be ignored
    if start >= size:
        raise RangeNotSatisfiable
    return ByteRange(start, stop, size)
