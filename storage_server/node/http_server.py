"""The edge of the node: one aiohttp protocol per connection, with the limits set on its socket."""

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy
from aiohttp.web_protocol import RequestHandler

from redundancy.errors import ConfigError
from storage_server.node.config import NodeLimits, is_loopback
from storage_server.node.limits import LINGER_S
from storage_server.node.metrics import NodeMetrics
from storage_server.node.plain_heads import is_whole_head
from storage_server.node.plain_puts import PlainPuts, Upload
from storage_server.node.plain_reads import Answer, Connection, PlainReads
from storage_server.node.responses import SERVER_NAME, HttpProblem, problem_response, unforeseen

log = logging.getLogger(__name__)

HEADER_BYTES_MAX = 8 * 1024
_HEADERS_MAX = 64

# What the C parser hands over at once; 64 KiB, aiohttp's default, costs more wake-ups.
_READ_BUFFER_BYTES = 256 * 1024

_OVERLOADED = (
    b"HTTP/1.1 503 Service Unavailable\r\nServer: evenflow-node\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: 0\r\n\r\n"
)


def require_c_parser() -> None:
    """Refuse to run on aiohttp's pure Python parser: most of its past holes were in there.

    Raises: ConfigError.
    """
    if HttpRequestParser is HttpRequestParserPy:
        raise ConfigError(
            "aiohttp was installed without its C parser",
            hint="install an aiohttp wheel for this platform, and unset AIOHTTP_NO_EXTENSIONS",
        )


class NodeServer(web.Server):
    """Responsible for making a protocol for each connection, and for how many there are."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        limits: NodeLimits,
        metrics: NodeMetrics,
        plain_reads: PlainReads | None = None,
        plain_puts: PlainPuts | None = None,
    ) -> None:
        """Args: plain_reads, plain_puts: take what they can before aiohttp sees it."""
        super().__init__(
            handler,
            access_log=None,
            logger=log,
            keepalive_timeout=limits.keepalive_s,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            max_headers=_HEADERS_MAX,
            lingering_time=LINGER_S,
            read_bufsize=_READ_BUFFER_BYTES,
            auto_decompress=False,
        )
        self.limits = limits
        self.metrics = metrics
        self.plain_reads = plain_reads
        self.plain_puts = plain_puts
        self._open: set[NodeProtocol] = set()
        self._open_by_peer: Counter[str] = Counter()

    def __call__(self) -> "NodeProtocol":
        """Return the protocol for one new connection."""
        return NodeProtocol(self, loop=self._loop, **self._kwargs)

    @property
    def open_connections(self) -> int:
        """How many connections there are."""
        return len(self._open)

    def admit(self, protocol: "NodeProtocol", peer: str) -> bool:
        """Count a connection in; return whether there is room for it."""
        too_many = len(self._open) >= self.limits.connections_max
        from_peer = self._open_by_peer[peer]
        crowds = from_peer >= self.limits.connections_per_peer_max and not is_loopback(peer)
        if too_many or crowds:
            self.metrics.connections_refused += 1
            return False
        self._open.add(protocol)
        self._open_by_peer[peer] += 1
        return True

    def dismiss(self, protocol: "NodeProtocol", peer: str) -> None:
        """Count a connection out, if it was in."""
        if protocol in self._open:
            self._open.remove(protocol)
            self._open_by_peer[peer] -= 1
            if not self._open_by_peer[peer]:
                del self._open_by_peer[peer]


# What waits encrypted for a reader before writing pauses; asyncio's own limit is 512 KiB.
_ENCRYPTED_BYTES_MAX = 64 * 1024

# What may come while an answer is under way before reading pauses.
_HELD_BYTES_MAX = 16 * 1024


class NodeProtocol(RequestHandler):
    """Responsible for one connection: its socket's limits, which of two paths its requests take,
    and the answer to what is not HTTP.

    A plain read or upload (``plain_reads``, ``plain_puts``) is answered here if nothing is owed:
    aiohttp waits for a request, and the last bytes it got ended one. All else is aiohttp's, bytes
    that come meanwhile are held.
    """

    __slots__ = ("_answer", "_held", "_is_between", "_is_encrypted", "_peer", "_saw_end", "_server")

    def __init__(self, server: NodeServer, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self._server = server
        self._peer = ""
        self._is_encrypted = False
        self._is_between = True  # what aiohttp's parser got so far ended with the end of a request
        self._answer: Answer | Upload | None = None
        self._held = bytearray()
        self._saw_end = False

    def connection_made(self, transport: Any) -> None:
        """Set the socket's limits, or turn the connection away."""
        peer = transport.get_extra_info("peername")
        self._peer = str(peer[0]) if peer else ""
        if not self._server.admit(self, self._peer):
            self._force_close = True
            transport.write(_OVERLOADED)
            transport.close()
            return
        limit_socket(transport.get_extra_info("socket"), self._server.limits)
        self._is_encrypted = transport.get_extra_info("sslcontext") is not None
        if self._is_encrypted:
            transport.set_write_buffer_limits(_ENCRYPTED_BYTES_MAX)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Answer a plain read at once, hold what comes during one, leave the rest to aiohttp."""
        if self._answer is not None:
            self._held += data
            if len(self._held) > _HELD_BYTES_MAX and self.transport is not None:
                self.transport.pause_reading()
            return
        if self._is_between and data:
            if self._answers(data):
                return
            self._is_between = is_whole_head(data)
        super().data_received(data)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """Send an answer under way to a reader that will ask no more; else let asyncio close."""
        if self._is_encrypted:  # no half-close there: who ends takes no more either
            if self._answer is not None:
                self._answer.cancel()
            return None
        self._saw_end = self._answer is not None
        return self._saw_end

    def resume_writing(self) -> None:
        """Go on with an answer under way."""
        super().resume_writing()
        if isinstance(self._answer, Answer):
            self._answer.may_write()

    def _connection_of(self, transport: asyncio.Transport) -> Connection:
        return Connection(transport, self._is_encrypted, lambda: self.writing_paused, self._go_on)

    @property
    def _is_idle(self) -> bool:
        """Whether aiohttp has answered all it got, and waits."""
        return self._waiter is not None and not self._waiter.done() and not self._messages

    def _answers(self, data: bytes) -> bool:
        if not self._is_idle or self._close or self._force_close:
            return False
        transport = self.transport
        if not isinstance(transport, asyncio.Transport) or transport.is_closing():
            return False
        answer = self._begun(data, transport)
        if answer is None:
            return False
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if not answer.is_over:
            self._answer = answer
        return True

    def _begun(self, data: bytes, transport: asyncio.Transport) -> Answer | Upload | None:
        reads, puts = self._server.plain_reads, self._server.plain_puts
        if data.startswith(b"GET ") and reads is not None:
            return reads.begin(data, self._connection_of(transport))
        if data.startswith(b"PUT ") and puts is not None and not self._is_encrypted:
            return puts.begin(data, transport, self, self._go_on)
        return None

    def _go_on(self) -> None:
        """Take what came during an answer."""
        self._answer = None
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self.transport is None or self.transport.is_closing():
            return
        held = bytes(self._held)
        self._held.clear()
        if len(held) > _HELD_BYTES_MAX:
            self.transport.resume_reading()
        if held:
            try:
                self.data_received(held)
            except BaseException:  # what follows is no longer known to begin a request
                self.transport.abort()
                raise
        if self._saw_end:
            self._go_to_the_end(self.transport)

    def _go_to_the_end(self, transport: asyncio.WriteTransport) -> None:
        """Close, now or when what has begun is answered: nothing more will come."""
        if isinstance(self._answer, Upload) and self._answer.receives:
            transport.abort()  # the rest of that body never comes
        elif self._answer is None and self._is_idle:
            self.force_close()
        elif self._answer is None:
            self.close()  # once what aiohttp has begun is answered

    def _process_keepalive(self) -> None:
        if self._answer is not None:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Make room for the next connection."""
        if self._answer is not None:
            self._answer.cancel()
            self._answer = None
        self._server.dismiss(self, self._peer)
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it repeats the peer's bytes
    ) -> web.StreamResponse:
        """Answer what could not be parsed, without repeating any of it, and close."""
        if request.writer.output_size > 0:
            raise ConnectionError("the response has begun; it can only be cut")
        if isinstance(exc, LineTooLong):
            problem = HttpProblem(431, "HEADER_TOO_LARGE", "at most 8 KiB of header", closes=True)
        elif isinstance(exc, BadHttpMessage) or status < 500:
            problem = HttpProblem(status, "BAD_REQUEST", "not a valid HTTP request", closes=True)
        else:
            log.error("unforeseen error while answering", exc_info=exc)
            problem = unforeseen()
        self._server.metrics.count_request("other", "unparsed", problem.status)
        response = problem_response(problem)
        response.headers["Server"] = SERVER_NAME
        return response


def limit_socket(connection: socket.socket, limits: NodeLimits) -> None:
    """Bound what a slow reader can hold, and how long it may hold it."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_buffer_bytes)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(
        socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(limits.stall_timeout_s * 1000)
    )
