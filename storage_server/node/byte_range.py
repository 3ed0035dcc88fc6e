"""The ``Range`` header of one request (RFC 9110, section 14): at most one range of bytes. Pure."""

import re

# 20 digits hold 2^64; a longer number is an attack, not an offset.
_SPEC = re.compile(r"bytes=\s*(\d{0,20})-(\d{0,20})\s*", re.IGNORECASE | re.ASCII)


class UnsatisfiableRange(Exception):
    """Answer 416: no byte is in the range, it is malformed, or there are several."""


def parse_range(header: str | None, length_bytes: int) -> tuple[int, int] | None:
    """Return (start, stop) within a body of ``length_bytes``; None for the whole of it.

    A unit other than bytes is ignored, as the RFC demands.
    Raises: UnsatisfiableRange.
    """
    if header is None or not header.lower().startswith("bytes="):
        return None
    match = _SPEC.fullmatch(header)
    if match is None:
        raise UnsatisfiableRange(header)
    first, last = match.groups()
    if first:
        start = int(first)
        stop = min(int(last) + 1, length_bytes) if last else length_bytes
    else:
        start = max(0, length_bytes - int(last or 0))
        stop = length_bytes
    if start >= stop:
        raise UnsatisfiableRange(header)
    return start, stop


def matches_etag(header: str | None, etag: str) -> bool:
    """Whether an ``If-None-Match`` header names this entity tag (given with its quotes)."""
    if header is None:
        return False
    if header.strip() == "*":
        return True
    tags = (tag.strip().removeprefix("W/") for tag in header.split(","))
    return etag in tags
