"""A TCP proxy that does to a connection what networks and broken nodes do."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    """What the proxy does to bytes from the node."""

    NONE = "none"
    FREEZE = "freeze"  # takes connections and requests, sends nothing
    GARBAGE = "garbage"  # right lengths, wrong bytes
    CUT = "cut"  # closes in the middle of an answer's body
    DRIP = "drip"  # a few bytes now and then
    REFUSE = "refuse"  # resets every connection


CUT_AFTER_BYTES = 5_000
DRIP_BYTES = 64
DRIP_PAUSE_S = 0.05
HEAD_BYTES_MAX = 1024


@dataclass
class FaultProxy:
    """Responsible for one listening port in front of one node; ``fault`` may change at any time."""

    host: str
    port: int
    fault: Fault = Fault.NONE
    sent_bytes: int = 0
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.fault is Fault.REFUSE:
            writer.transport.abort()
            return
        try:
            node_reader, node_writer = await asyncio.open_connection(self.host, self.port)
        except OSError:
            writer.transport.abort()
            return
        try:
            await asyncio.gather(
                self._pump(reader, node_writer), self._pump_back(node_reader, writer)
            )
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for each in (writer, node_writer):
                each.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def _pump_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await reader.read(16384):
            while self.fault is Fault.FREEZE:
                await asyncio.sleep(0.02)
            if self.fault is Fault.REFUSE:
                raise OSError
            if self.fault is Fault.GARBAGE:
                data = _spoil(data)
            if self.fault is Fault.DRIP:
                await self._drip(data, writer)
                continue
            if self.fault is Fault.CUT and passed + len(data) > CUT_AFTER_BYTES:
                writer.write(data[: max(0, CUT_AFTER_BYTES - passed)])
                await writer.drain()
                raise OSError
            passed += len(data)
            self.sent_bytes += len(data)
            writer.write(data)
            await writer.drain()

    async def _drip(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        for begin in range(0, len(data), DRIP_BYTES):
            writer.write(data[begin : begin + DRIP_BYTES])
            await writer.drain()
            if self.fault is Fault.DRIP:
                await asyncio.sleep(DRIP_PAUSE_S)


def _spoil(data: bytes) -> bytes:
    """Flip bytes, but leave the head of an answer readable: a liar speaks proper HTTP."""
    end = data.find(b"\r\n\r\n")
    start = end + 4 if 0 <= end < HEAD_BYTES_MAX and data.startswith(b"HTTP/") else 0
    body = bytearray(data[start:])
    for position in range(0, len(body), 97):
        body[position] ^= 0x55
    return data[:start] + bytes(body)


@contextlib.asynccontextmanager
async def proxies_for(urls: list[str]) -> AsyncIterator[tuple[list[FaultProxy], list[str]]]:
    """Put a proxy before each of these ``http://host:port`` URLs."""
    proxies, fronts = [], []
    for url in urls:
        host, _, port = url.removeprefix("http://").rpartition(":")
        proxies.append(FaultProxy(host, int(port)))
    try:
        for proxy in proxies:
            fronts.append(await proxy.start())
        yield proxies, fronts
    finally:
        for proxy in proxies:
            if proxy._server is not None:
                await proxy.close()
