"""Connections to one origin: so many at once, kept for the next request."""

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from smart_client.transport.dial import dial
from smart_client.transport.http_connection import HttpConnection

# Told of the beginning and the end of a connect: httpcore's trace extension.
CONNECT_STARTED = "connection.connect_tcp.started"
CONNECT_COMPLETE = "connection.connect_tcp.complete"

SocketOption = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait at most; None: for ever."""

    connect: float | None = None
    read: float | None = None
    write: float | None = None
    pool: float | None = None


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many connections an origin gets, and for how long an idle one is good."""

    connections_max: int = 4
    # Nodes close after 15 s; a request that meets this close is lost.
    keepalive_s: float = 5.0

    def __post_init__(self) -> None:
        if self.connections_max < 1 or self.keepalive_s < 0:
            raise ValueError("a pool needs at least one connection")


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go."""

    host: str
    port: int
    context: ssl.SSLContext | None = None  # None: plain HTTP


class ConnectionPool:
    """Responsible for the connections to one origin. The one used last is used first."""

    def __init__(
        self, origin: Origin, limits: PoolLimits, socket_options: Sequence[SocketOption] = ()
    ) -> None:
        self._origin = origin
        self._limits = limits
        self._socket_options = tuple(socket_options)
        self._places = asyncio.Semaphore(limits.connections_max)
        self._idle: list[HttpConnection] = []
        self._busy: set[HttpConnection] = set()
        self._loop = asyncio.get_running_loop()

    async def take(self, timeouts: Timeouts, trace: Any = None) -> HttpConnection:
        """Return a connection that is for the caller alone, until ``give_back``.

        Raises: httpx.PoolTimeout, httpx.ConnectTimeout, httpx.ConnectError.
        """
        try:
            async with asyncio.timeout(timeouts.pool):
                await self._places.acquire()
        except TimeoutError as error:
            raise httpx.PoolTimeout("all connections are in use") from error
        try:
            connection = await self._take_idle() or await self._connect(timeouts.connect, trace)
        except BaseException:
            self._places.release()
            raise
        self._busy.add(connection)
        return connection

    def give_back(self, connection: HttpConnection) -> None:
        """Keep a connection whose answer is whole for the next request, or close it."""
        if connection not in self._busy:
            return  # closed meanwhile, with the pool
        self._busy.remove(connection)
        self._places.release()
        if connection.finish():
            self._idle.append(connection)

    async def close(self) -> None:
        """Close all connections, whatever is under way on them."""
        connections = [*self._idle, *self._busy]
        for connection in connections:
            connection.drop()
        for _ in self._busy:
            self._places.release()
        self._idle.clear()
        self._busy.clear()
        for connection in connections:
            await connection.wait_until_closed()

    async def _take_idle(self) -> HttpConnection | None:
        oldest_s = self._loop.time() - self._limits.keepalive_s
        while self._idle:
            connection = self._idle.pop()
            try:
                if connection.idle_since_s >= oldest_s and await connection.is_fit():
                    return connection
            except BaseException:
                connection.drop()
                raise
            connection.drop()
        return None

    async def _connect(self, timeout_s: float | None, trace: Any) -> HttpConnection:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._connect_patiently(trace)
        except TimeoutError as error:
            raise httpx.ConnectTimeout("no connection in time") from error
        except (OSError, UnicodeError) as error:  # a host name may be no host name
            raise httpx.ConnectError(str(error) or type(error).__name__) from error

    async def _connect_patiently(self, trace: Any) -> HttpConnection:
        origin = self._origin
        if trace is not None:
            await trace(CONNECT_STARTED, {"host": origin.host, "port": origin.port})
        transport, connection = await dial(origin.host, origin.port)
        try:
            if trace is not None:
                await trace(CONNECT_COMPLETE, {})
            raw: Any = transport.get_extra_info("socket")
            for option in self._socket_options:
                raw.setsockopt(*option)
            if origin.context is not None:
                await self._start_tls(connection, transport, origin.context)
        except BaseException:
            transport.abort()
            raise
        return connection

    async def _start_tls(
        self, connection: HttpConnection, transport: asyncio.Transport, context: ssl.SSLContext
    ) -> None:
        secured = await self._loop.start_tls(
            transport, connection, context, server_hostname=self._origin.host
        )
        if secured is None:
            raise ConnectionError("the connection ended in the handshake")
        connection.use_tls(secured)
