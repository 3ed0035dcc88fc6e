"""An httpx transport for data: an answer's body goes straight to where it is wanted.

Stock httpx reads 64 KB at a time and copies each byte several times; this one has the kernel
write into the final buffer, and parses nothing but heads. HTTP/1.1 only, no proxies, no redirects.
"""

import contextlib
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Any, cast

import httpx

from smart_client.transport.connection_pool import (
    ConnectionPool,
    Origin,
    PoolLimits,
    SocketOption,
    Timeouts,
)
from smart_client.transport.http_connection import HttpConnection
from smart_client.transport.incoming_answer import IncomingAnswer, Landing

# The name of the extension that says where a 206 answer's body goes: a ``Landing``.
LANDING = "landing"

_DEFAULT_PORTS = {"http": 80, "https": 443}

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(rb"[!-~]+")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


class ReceivingTransport(httpx.AsyncBaseTransport):
    """Responsible for requests to any origin, with a pool for each.

    The blocks of a streamed body are memoryviews, valid as long as they are held. With the
    extension ``landing`` they lie where the caller wanted them.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        limits: PoolLimits | None = None,
        socket_options: Sequence[SocketOption] = (),
    ) -> None:
        """Args: context: for https."""
        self._context = context
        self._limits = limits or PoolLimits()
        self._socket_options = tuple(socket_options)
        self._pools: dict[tuple[str, str, int], ConnectionPool] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request; return when the head of the answer is in.

        Raises: httpx.TransportError.
        """
        head = _request_head(request)
        timeouts = Timeouts(**request.extensions.get("timeout", {}))
        landing = cast(Landing | None, request.extensions.get(LANDING))
        pool = self._pool(request.url)
        connection = await pool.take(timeouts, request.extensions.get("trace"))
        try:
            connection.begin(IncomingAnswer(request.method, landing))
            async with contextlib.aclosing(_outgoing_body(request)) as body:
                await connection.send(head, body, timeouts.write)
            answer = await connection.head(timeouts.read)
        except BaseException:
            connection.drop()
            pool.give_back(connection)
            raise
        return httpx.Response(
            answer.status,
            headers=list(answer.headers),
            stream=_AnswerBody(pool, connection, timeouts.read),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": answer.reason},
        )

    async def aclose(self) -> None:
        """Close all connections."""
        pools = list(self._pools.values())
        self._pools.clear()
        for pool in pools:
            await pool.close()

    def _pool(self, url: httpx.URL) -> ConnectionPool:
        if url.scheme not in _DEFAULT_PORTS or not url.raw_host:
            raise httpx.UnsupportedProtocol(f"not a URL for requests: {url}")
        host = url.raw_host.decode("ascii")
        key = (url.scheme, host, url.port or _DEFAULT_PORTS[url.scheme])
        pool = self._pools.get(key)
        if pool is None:
            origin = Origin(host, key[2], self._context if url.scheme == "https" else None)
            pool = self._pools[key] = ConnectionPool(origin, self._limits, self._socket_options)
        return pool


class _AnswerBody(httpx.AsyncByteStream):
    """Responsible for handing on the body, and for the connection going back to its pool."""

    def __init__(
        self, pool: ConnectionPool, connection: HttpConnection, timeout_s: float | None
    ) -> None:
        self._pool = pool
        self._connection: HttpConnection | None = connection
        self._timeout_s = timeout_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._connection is not None:
            block = await self._connection.next_block(self._timeout_s)
            if block is None:
                return
            # A view is as good as bytes to all that httpx does with a block, and costs no copy.
            yield cast(bytes, block)

    async def aclose(self) -> None:
        if self._connection is not None:
            self._pool.give_back(self._connection)
            self._connection = None


def _request_head(request: httpx.Request) -> bytes:
    """Return the request line and the headers.

    Raises: httpx.LocalProtocolError: something in them would end a line.
    """
    method, target = request.method.encode("ascii", "replace"), request.url.raw_path
    if not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
        raise httpx.LocalProtocolError("not a request line")
    lines = [b"%s %s HTTP/1.1\r\n" % (method, target)]
    for name, value in request.headers.raw:
        if not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
            raise httpx.LocalProtocolError("not a header")
        lines.append(b"%s: %s\r\n" % (name, value))
    lines.append(b"\r\n")
    return b"".join(lines)


async def _outgoing_body(request: httpx.Request) -> AsyncGenerator[bytes, None]:
    """Yield the body as it goes over the wire.

    Raises: httpx.LocalProtocolError: it is not as long as the headers say.
    """
    stream = cast(httpx.AsyncByteStream, request.stream)
    length: Any = request.headers.get("content-length")
    if length is None and "transfer-encoding" in request.headers:
        async for block in stream:
            if block:
                yield b"%x\r\n" % len(block)
                yield block
                yield b"\r\n"
        yield b"0\r\n\r\n"
        return
    left = int(length or 0)
    async for block in stream:
        left -= len(block)
        if left < 0:
            raise httpx.LocalProtocolError("the body is longer than its Content-Length")
        yield block
    if left:
        raise httpx.LocalProtocolError("the body is shorter than its Content-Length")
