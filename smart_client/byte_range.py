"""The ``Range`` header of one request (RFC 9110, section 14): at most one range of bytes. Pure."""

import re
from dataclasses import dataclass

# 20 digits hold 2^64; a longer number is an attack, not an offset.
_SPEC = re.compile(r"bytes=\s*(\d{0,20})-(\d{0,20})\s*", re.IGNORECASE | re.ASCII)


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
    """No byte of the file is in the range."""


def parse_range(header: str | None, size: int, *, is_strict: bool = False) -> ByteRange | None:
    """Return the range asked for; None where the whole file is to be sent.

    Args:
        is_strict: refuse what is malformed and several ranges, which the RFC allows to ignore.
            A unit other than bytes is ignored in any case, as the RFC demands.
    Raises: RangeNotSatisfiable.
    """
    if header is None or not header.strip().lower().startswith("bytes="):
        return None
    match = _SPEC.fullmatch(header.strip())
    first, last = match.groups() if match is not None else ("", "")
    if not (first or last) or (first and last and int(last) < int(first)):
        if is_strict:
            raise RangeNotSatisfiable(header)
        return None
    if first:
        start = int(first)
        stop = min(int(last) + 1, size) if last else size
    else:
        start, stop = max(0, size - int(last)), size
    if start >= stop:
        raise RangeNotSatisfiable(header)
    return ByteRange(start, stop, size)


def matches_etag(header: str | None, etag: str) -> bool:
    """Whether an ``If-None-Match`` header names this entity tag (given with its quotes)."""
    if header is None:
        return False
    if header.strip() == "*":
        return True
    tags = (tag.strip().removeprefix("W/") for tag in header.split(","))
    return etag in tags
