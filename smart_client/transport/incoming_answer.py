"""One answer as it comes in: bytes go straight to where they are wanted. No socket in here.

::

    head ──whole──▶ body ──last byte, or the end of the connection──▶ whole
      └──not HTTP──▶ RemoteProtocolError ◀──cut, not chunked as it should be──┘
"""

from collections import deque
from typing import Protocol

import httptools
import httpx

from smart_client.transport.answer_head import HEAD_BYTES_MAX, AnswerHead, HeadReader

# What one receive may bring: larger ones save nothing, and hold up the other connections.
RECEIVE_BYTES_MAX = 512 * 1024

# A head and the first bytes of its body fit; the latter are copied.
_SCRATCH_BYTES = 16 * 1024

# Buffers of our own, where the caller gave none.
_WINDOW_BYTES = 256 * 1024

# A body of chunks of one byte costs six on the wire. More is no framing but a flood.
_CHUNK_FRAMING_FACTOR = 8

_CHUNKED_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Landing(Protocol):
    """Where the body of a 206 answer goes without a copy; the ``landing`` extension of a request.

    The body's first bytes go there until it has no room; what follows comes in other buffers.
    """

    def room(self) -> memoryview:
        """Return where the next bytes may be written now; empty: nowhere, for good."""

    def landed(self, count: int) -> None:
        """So many bytes were written at the beginning of the last ``room``."""


class IncomingAnswer:
    """Responsible for one answer: ``room`` and ``received`` in turn, then ``ended`` at an EOF."""

    def __init__(self, method: str, landing: Landing | None = None) -> None:
        self.is_whole = False
        self.has_more = False  # bytes behind the end: the connection is of no further use
        self.blocks: deque[memoryview] = deque()  # of the body, in order, not yet taken
        self.waiting_bytes = 0  # in those blocks
        self._reader = HeadReader(method)
        self._landing = landing
        self._left: int | None = None
        self._received_bytes = 0  # of the body
        self._scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self._window = memoryview(b"")
        self._chunks: _ChunkedBody | None = None

    @property
    def head(self) -> AnswerHead | None:
        """The head, once it is whole."""
        return self._reader.head

    @property
    def takes_memory(self) -> bool:
        """Whether what is not taken lies in buffers of our own, as many as come."""
        return self._landing is None

    @property
    def can_be_followed(self) -> bool:
        """Whether another answer may come on the same connection."""
        head = self.head
        return self.is_whole and not self.has_more and head is not None and head.keeps_alive

    def room(self) -> memoryview:
        """Return where the next bytes go; never empty."""
        if self.head is None or self._chunks is not None or self.is_whole:
            return self._scratch
        return self._body_room()

    def received(self, count: int) -> None:
        """Take note of bytes written at the beginning of the last ``room``.

        Raises: httpx.RemoteProtocolError.
        """
        if self.is_whole:
            self.has_more = True
        elif self._chunks is not None:
            self._take_chunked(self._scratch[:count])
        elif self.head is not None:
            self._advance(count)
        else:
            self._take_head(count)

    def ended(self) -> None:
        """Take note that nothing more comes.

        Raises: httpx.RemoteProtocolError: the answer is not whole.
        """
        if self.is_whole:
            return
        if self.head is None:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        if self._left is not None or self._chunks is not None:
            raise httpx.RemoteProtocolError(
                "peer closed connection without sending complete message body "
                f"(received {self._received_bytes} bytes, {self._left or 'an unknown number'} left)"
            )
        self.is_whole = True

    def take_block(self) -> memoryview:
        """Return the next bytes of the body; there must be some."""
        block = self.blocks.popleft()
        self.waiting_bytes -= len(block)
        return block

    # -- inside ----------------------------------------------------------------------------------

    def _take_head(self, count: int) -> None:
        rest = self._reader.take(self._scratch[:count])
        head = self._reader.head
        if head is None:
            return
        if head.status != 206:
            self._landing = None  # an error's text is not what the buffer is for
        if head.is_chunked:
            self._chunks = _ChunkedBody()
        self._left = head.body_bytes
        self.is_whole = self._left == 0
        self._take_rest(rest)

    def _take_rest(self, rest: memoryview) -> None:
        """Take what came together with the head."""
        if self._chunks is not None:
            self._take_chunked(rest)
            return
        while rest and not self.is_whole:
            room = self._body_room()
            count = min(len(room), len(rest))
            room[:count] = rest[:count]
            self._advance(count)
            rest = rest[count:]
        self.has_more = bool(rest)

    def _body_room(self) -> memoryview:
        limit = RECEIVE_BYTES_MAX if self._left is None else min(self._left, RECEIVE_BYTES_MAX)
        if self._landing is not None:
            self._window = self._landing.room()
            if self._window:
                return self._window[:limit]
            self._landing = None
        if not self._window:
            self._window = memoryview(bytearray(min(limit, _WINDOW_BYTES)))
        return self._window[:limit]

    def _advance(self, count: int) -> None:
        self.blocks.append(self._window[:count])
        self._window = self._window[count:]
        self._received_bytes += count
        self.waiting_bytes += count
        if self._landing is not None:
            self._landing.landed(count)
        if self._left is not None:
            self._left -= count
            self.is_whole = self._left == 0

    def _take_chunked(self, data: memoryview) -> None:
        assert self._chunks is not None
        for block in self._chunks.take(bytes(data)):
            self.blocks.append(memoryview(block))
            self.waiting_bytes += len(block)
            self._received_bytes += len(block)
        self.is_whole = self._chunks.is_whole
        self.has_more = self._chunks.has_more


class _ChunkedBody:
    """Responsible for a chunked body. Nodes send none: it is copied, as a thing that works."""

    def __init__(self) -> None:
        self.is_whole = False
        self.has_more = False
        self._blocks: list[bytes] = []
        self._framing_bytes = 0
        self._body_bytes = 0
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(_CHUNKED_HEAD)

    def take(self, data: bytes) -> list[bytes]:
        """Return the parts of the body in these bytes. Raises: httpx.RemoteProtocolError."""
        self._blocks = []
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self.is_whole:
                raise httpx.RemoteProtocolError(f"not a chunked body: {error}") from error
            self.has_more = True
        found = sum(len(block) for block in self._blocks)
        self._body_bytes += found
        self._framing_bytes += len(data) - found
        if self._framing_bytes > HEAD_BYTES_MAX + _CHUNK_FRAMING_FACTOR * self._body_bytes:
            raise httpx.RemoteProtocolError("chunks with too little in them")
        return self._blocks

    # -- called by the parser --------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Another answer begins that nobody asked for."""
        self.has_more = self.is_whole

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        if not self.is_whole:
            self._blocks.append(data)

    def on_message_complete(self) -> None:
        """The last chunk and its trailer are in."""
        self.is_whole = True
