"""The requests that a node answers without aiohttp, read and refused here. Pure.

Each form is a subset of what the strict parser takes, so no bytes mean two things; bytes of any
other form are left to that parser.
"""

import re
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp.helpers import rfc822_formatted_time

from storage_server.node.responses import SERVER_NAME

# Longer heads are legal, and not ours.
_HEAD_BYTES_MAX = 2048

# Possessive (*+): no input is looked at twice. A header that is not listed, or given twice, a value
# beyond printable ASCII: all that is for the other parser.
_HARMLESS = (
    rb"(?:(?i:connection: keep-alive|(?:user-agent|accept|accept-encoding): [\x20-\x7e]*+)\r\n)*+"
)
_PLAIN_GET = re.compile(
    rb"GET /v1/chunks/([0-9a-f]{64}) HTTP/1\.1\r\n"
    + _HARMLESS
    + rb"(?i:host): [0-9A-Za-z.:_-]++\r\n"
    + _HARMLESS
    + rb"(?:(?i:range: bytes)=([0-9]{1,15})-([0-9]{0,15})\r\n)?+"
    + _HARMLESS
    + rb"\r\n"
)
_NAMES = re.compile(rb"\r\n([A-Za-z-]++):")

_PLAIN_PUT = re.compile(
    rb"PUT /v1/chunks/([0-9a-f]{64}) HTTP/1\.1\r\n"
    + _HARMLESS
    + rb"(?i:host): [0-9A-Za-z.:_-]++\r\n"
    + _HARMLESS
    + rb"(?:(?i:authorization: bearer) ([\x21-\x7e]{1,512})\r\n)?+"
    + _HARMLESS
    + rb"(?i:content-length): ([1-9][0-9]{0,8})\r\n"
    + _HARMLESS
    + rb"(?:(?i:authorization: bearer) ([\x21-\x7e]{1,512})\r\n)?+"
    + _HARMLESS
    + rb"\r\n"
)

# With one of these a request may have a body, or be the last one in HTTP.
_MAY_GO_ON = re.compile(rb"content-length|transfer-encoding|upgrade|expect", re.IGNORECASE)
_END = b"\r\n\r\n"

_CLOSE = "Connection: close\r\n"


@dataclass(frozen=True, slots=True)
class PlainGet:
    """A read of a fragment: all of it, or from ``first`` to ``last``, which may be open."""

    key: bytes
    first: int | None = None
    last: int | None = None

    def span(self, length_bytes: int) -> tuple[int, int] | None:
        """Return the part [start, stop) of a fragment of that length; None: it has no such part."""
        if self.first is None:
            return 0, length_bytes
        stop = length_bytes if self.last is None else min(self.last + 1, length_bytes)
        return (self.first, stop) if self.first < stop else None

    def head(self, span: tuple[int, int], length_bytes: int) -> bytes:
        """Return the head of the answer, as aiohttp would send it."""
        start, stop = span
        is_part = self.first is not None
        part = f"Content-Range: bytes {start}-{stop - 1}/{length_bytes}\r\n" if is_part else ""
        fields = (
            f'ETag: "{self.key.hex()}"\r\n'
            "Accept-Ranges: bytes\r\n"
            "Cache-Control: public, max-age=31536000, immutable\r\n"
            "Content-Type: application/octet-stream\r\n"
            f"{part}"
        )
        return answer_head(
            HTTPStatus.PARTIAL_CONTENT if is_part else HTTPStatus.OK, fields, stop - start
        )


@dataclass(frozen=True, slots=True)
class PlainPut:
    """An upload of a fragment; its body follows."""

    key: bytes
    length_bytes: int
    token: str  # what it shows to be allowed to; empty: nothing
    head_bytes: int


def parse_plain_put(data: bytes) -> PlainPut | None:
    """Return the upload that ``data`` begins with, and may go on with; None: it is no such."""
    if not data.startswith(b"PUT "):
        return None
    stop = data.find(_END, 0, _HEAD_BYTES_MAX) + len(_END)
    head = data[:stop]
    match = _PLAIN_PUT.fullmatch(head)
    if match is None or _has_twins(head):
        return None
    key, before, length, behind = match.groups()
    token = (before or behind or b"").decode("ascii")
    return PlainPut(bytes.fromhex(key.decode()), int(length), token, stop)


def parse_plain_get(data: bytes) -> PlainGet | None:
    """Return the request that ``data`` is from its first byte to its last; None: it is no such."""
    if len(data) > _HEAD_BYTES_MAX:
        return None
    match = _PLAIN_GET.fullmatch(data)
    if match is None or _has_twins(data):
        return None
    key, first, last = match.groups()
    if first is None:
        return PlainGet(bytes.fromhex(key.decode()))
    return PlainGet(bytes.fromhex(key.decode()), int(first), int(last) if last else None)


def is_whole_head(data: bytes) -> bool:
    """Whether ``data``, which begins a request, surely ends where one without a body ends."""
    return (
        data.startswith((b"GET ", b"HEAD "))
        and data.find(_END) == len(data) - len(_END)
        and _MAY_GO_ON.search(data) is None
    )


def answer_head(
    status: HTTPStatus, fields: str, length_bytes: int, *, closes: bool = False
) -> bytes:
    """Return the head of an answer. Args: fields: headers, each with its line end."""
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"{fields}"
        f"Content-Length: {length_bytes}\r\n"
        f"Server: {SERVER_NAME}\r\n"
        f"{_CLOSE if closes else ''}"
        f"Date: {rfc822_formatted_time()}\r\n\r\n"
    ).encode("ascii")


def _has_twins(head: bytes) -> bool:
    """Whether a header is given twice."""
    names = _NAMES.findall(head.lower())
    return len(set(names)) < len(names)
