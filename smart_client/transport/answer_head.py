"""The head of an HTTP/1.1 answer: what it says, and how long the body behind it is."""

import re
from dataclasses import dataclass

import httptools
import httpx

# Our nodes send 300 bytes. Interim (1xx) answers count too, so that nobody sends them for ever.
HEAD_BYTES_MAX = 64 * 1024

# A line end without a carriage return ends the wait as well; the parser then refuses it.
_END = re.compile(rb"\n\r?\n")
_END_BYTES_MAX = 3

_VERSIONS = frozenset({"1.0", "1.1"})

# More digits are no length but an attack on whoever adds to it.
_LENGTH = re.compile(rb"[0-9]{1,18}")


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The status line and the headers, with what they say of the body."""

    status: int
    reason: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body_bytes: int | None  # None: the body is chunked, or ends with the connection
    is_chunked: bool
    keeps_alive: bool  # whether the connection may serve another request after the body

    @classmethod
    def parse(cls, raw: bytes, method: str) -> "AnswerHead":
        """Read a whole head. ``method`` is that of the request: HEAD has no body.

        Raises: httpx.RemoteProtocolError: it is not HTTP/1, or its length can be read in two ways.
        """
        listener = _Listener()
        parser = httptools.HttpResponseParser(listener)
        try:
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade as error:
            raise httpx.RemoteProtocolError("the server changes protocols unasked") from error
        except httptools.HttpParserError as error:
            raise httpx.RemoteProtocolError(f"not an HTTP head: {error}") from error
        version = parser.get_http_version()
        if not listener.is_complete or version not in _VERSIONS:
            raise httpx.RemoteProtocolError("not an HTTP/1 head")
        status = parser.get_status_code()
        if not 100 <= status <= 599 or status == 101:
            raise httpx.RemoteProtocolError(f"status {status} was not asked for")
        headers = tuple(listener.headers)
        body_bytes, is_chunked = _body(headers, status, method)
        keeps_alive = version == "1.1" and not _has_token(headers, b"connection", b"close")
        is_delimited = is_chunked or body_bytes is not None
        return cls(
            status, listener.reason, headers, body_bytes, is_chunked, keeps_alive and is_delimited
        )


class HeadReader:
    """Responsible for finding the head of an answer in bytes that come in any pieces."""

    def __init__(self, method: str) -> None:
        self.head: AnswerHead | None = None
        self._method = method
        self._received = bytearray()
        self._interim_bytes = 0

    @property
    def has_begun(self) -> bool:
        """Whether anything of an answer has come."""
        return bool(self._received) or self._interim_bytes > 0

    def take(self, data: memoryview) -> memoryview:
        """Take bytes; return those behind the head, once ``head`` is known.

        Raises: httpx.RemoteProtocolError: too long, or not HTTP.
        """
        searched = max(0, len(self._received) - _END_BYTES_MAX)
        self._received += data
        while True:
            end = _END.search(self._received, searched)
            head_bytes = self._interim_bytes + (end.end() if end else len(self._received))
            if head_bytes > HEAD_BYTES_MAX:
                raise httpx.RemoteProtocolError(f"a head of more than {HEAD_BYTES_MAX} bytes")
            if end is None:
                return memoryview(b"")
            head = AnswerHead.parse(bytes(self._received[: end.end()]), self._method)
            rest = self._received[end.end() :]
            if head.status >= 200:
                self.head = head
                self._received = bytearray()
                return memoryview(rest)
            self._interim_bytes += end.end()
            self._received = rest
            searched = 0


class _Listener:
    """Responsible for what the parser finds."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.reason = b""
        self.is_complete = False

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.is_complete = True


def _values(headers: tuple[tuple[bytes, bytes], ...], name: bytes) -> list[bytes]:
    return [value.strip() for key, value in headers if key.lower() == name]


def _has_token(headers: tuple[tuple[bytes, bytes], ...], name: bytes, token: bytes) -> bool:
    tokens = b",".join(_values(headers, name)).lower().split(b",")
    return token in [each.strip() for each in tokens]


def _body(
    headers: tuple[tuple[bytes, bytes], ...], status: int, method: str
) -> tuple[int | None, bool]:
    """Return the body's length, if it has one, and whether it is chunked. Source: RFC 9112, 6.3.

    Stricter than the RFC: an answer with two lengths, or a length and an encoding, is refused.
    """
    lengths = set(_values(headers, b"content-length"))
    encodings = _values(headers, b"transfer-encoding")
    if encodings and (lengths or [each.lower() for each in encodings] != [b"chunked"]):
        raise httpx.RemoteProtocolError("the body's length is said in two ways, or in none we know")
    if len(lengths) > 1 or not all(_LENGTH.fullmatch(each) for each in lengths):
        raise httpx.RemoteProtocolError("not a length of a body")
    if method == "HEAD" or status < 200 or status in (204, 304):
        return 0, False
    if encodings:
        return None, True
    return (int(lengths.pop()) if lengths else None), False
