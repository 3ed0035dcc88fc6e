"""A server that says exactly what a test tells it to, byte for byte, on a real socket."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Visit:
    """One connection to the server, seen from its side."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heads: list[bytes] = field(default_factory=list)

    async def request(self) -> bytes:
        """Read the head of the next request; empty at the end."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""
        self.heads.append(head)
        return head

    async def say(self, *parts: bytes) -> None:
        """Send each part on its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()

    def reset(self) -> None:
        """Cut the connection off."""
        self.writer.transport.abort()


Script = Callable[[Visit], Awaitable[None]]


@dataclass
class RawServer:
    """Responsible for running a script for each connection, and for remembering them."""

    script: Script
    visits: list[Visit] = field(default_factory=list)
    open_now: int = 0
    open_max: int = 0
    url: str = ""
    port: int = 0

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        visit = Visit(len(self.visits), reader, writer)
        self.visits.append(visit)
        self.open_now += 1
        self.open_max = max(self.open_max, self.open_now)
        try:
            with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                await self.script(visit)
        finally:
            self.open_now -= 1
            writer.close()
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()


@contextlib.asynccontextmanager
async def raw_server(script: Script, *, context: ssl.SSLContext | None = None):
    """Run a server on a free port of 127.0.0.1."""
    made = RawServer(script)
    server = await asyncio.start_server(made._visit, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    made.url = f"{'https' if context else 'http'}://127.0.0.1:{made.port}"
    try:
        yield made
    finally:
        server.close()
        for visit in made.visits:
            visit.writer.transport.abort()
        async with asyncio.timeout(10):
            while made.open_now:
                await asyncio.sleep(0.005)


def saying(*parts: bytes, closes: bool = True) -> Script:
    """A script: answer every request with these bytes, then close or wait for the next."""

    async def script(visit: Visit) -> None:
        while await visit.request():
            await visit.say(*parts)
            if closes:
                return

    return script


def partial(body: bytes, *headers: bytes) -> bytes:
    """A 206 answer as nodes give it."""
    lines = [b"HTTP/1.1 206 Partial Content", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body
