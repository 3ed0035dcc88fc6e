"""Requests to nodes: byte ranges in, fragments out."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import httpx

from smart_client import wire
from smart_client.core.events import FailureKind
from smart_client.transport.answers import error_from_answer
from smart_client.transport.connection_pool import CONNECT_COMPLETE, CONNECT_STARTED, PoolLimits
from smart_client.transport.errors import (
    ReadRefused,
    TransportFailure,
    failure_from_httpx,
    failure_from_status,
)
from smart_client.transport.incoming_answer import Landing
from smart_client.transport.receiving_transport import LANDING, ReceivingTransport
from smart_client.transport.tls import tls_context

# Two data requests, a footer and a probe may be out at once.
CONNECTIONS_PER_NODE = 4

# The session decides when a node is silent. These only bound what a bug could leave hanging.
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
PING_TIMEOUT_S = 2.0

# Blocks go to the kernel one by one, into a send buffer of bounded size: an upload that makes no
# progress shows at once instead of hiding in megabytes of buffer.
SEND_BLOCK_BYTES = 64 * 1024
SEND_BUFFER_BYTES = 256 * 1024

# A fragment is at most 4 MiB; a node that cannot take it in this time is left for another.
PUT_TIMEOUT_S = 60.0


class PieceSink(Landing, Protocol):
    """Takes what comes of one request; the bytes may lie in its ``room`` when it hears of them."""

    def connected(self, rtt_s: float) -> None:
        """A new connection was made."""

    def first_byte(self) -> None:
        """The head of the answer is in."""

    def data(self, block: bytes | memoryview) -> None:
        """The next bytes of the range; a view lies in ``room``, if there was room."""


class NodeTransport(Protocol):
    """What the driver needs of the network. ``node`` is a position in the session's table."""

    async def fetch(
        self, node: int, key: str, start: int, stop: int | None, sink: PieceSink
    ) -> None:
        """Bring bytes [start, stop) of a fragment (``None``: to its end).

        Raises: TransportFailure.
        """

    async def ping(self, node: int) -> float:
        """Return the round trip of a small request, in seconds. Raises: TransportFailure."""

    def use_nodes(self, records: Sequence[wire.NodeRecord]) -> tuple[str, ...]:
        """Find nodes where these records say; return the names of all, known ones first.

        Who is known keeps its position, listed or not; others follow in the order of the list.
        """

    async def close(self) -> None:
        """Drop all connections."""


class NodeConnections:
    """Responsible for the HTTP connections to one node."""

    def __init__(
        self, record: wire.NodeRecord, *, token: str | None = None, grant: str = ""
    ) -> None:
        """Args: token: to write; grant: to read, where reading is signed; it may be changed."""
        self.record = record
        self.grant = grant
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http = httpx.AsyncClient(
            base_url=record.urls[0] if record.urls else "http://127.0.0.1:1",
            headers=headers,
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            transport=ReceivingTransport(
                tls_context(record.urls),
                limits=PoolLimits(CONNECTIONS_PER_NODE),
                socket_options=[(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)],
            ),
            trust_env=False,
        )

    async def close(self) -> None:
        """Drop all connections."""
        await self._http.aclose()

    async def fetch(self, key: str, start: int, stop: int | None, sink: PieceSink) -> None:
        """See ``NodeTransport.fetch``."""
        last = "" if stop is None else str(stop - 1)
        request = self._http.build_request(
            "GET",
            f"/v1/chunks/{key}?grant={self.grant}" if self.grant else f"/v1/chunks/{key}",
            headers={"Range": f"bytes={start}-{last}", "Accept-Encoding": "identity"},
            extensions={"trace": _ConnectClock(sink), LANDING: sink},
        )
        left = None if stop is None else stop - start
        try:
            response = await self._http.send(request, stream=True)
            try:
                if response.status_code != 206:
                    raise failure_from_status(response.status_code)
                sink.first_byte()
                async for block in response.aiter_raw():
                    sink.data(block)
                    if left is not None:
                        left -= len(block)
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            raise failure_from_httpx(error) from error
        if left:
            raise TransportFailure(FailureKind.PROTOCOL, f"answer is {left} bytes off")

    async def ping(self) -> float:
        """See ``NodeTransport.ping``."""
        began_s = time.monotonic()
        try:
            response = await self._http.get("/ping", timeout=PING_TIMEOUT_S)
        except httpx.HTTPError as error:
            raise failure_from_httpx(error) from error
        if response.is_error:
            raise failure_from_status(response.status_code)
        return time.monotonic() - began_s

    async def put(
        self, key: str, parts: Sequence[bytes | memoryview], sent: Callable[[int], None]
    ) -> None:
        """Store a fragment; returns when the node has it on disk.

        Args:
            key: SHA-256 of the parts joined.
            sent: told how many bytes the network has taken so far.
        Raises: TransportFailure for what another node may do better; EvenflowError for a refusal
            with a reason (no space, wrong token).
        """
        size = sum(len(part) for part in parts)
        try:
            response = await self._http.put(
                f"/v1/chunks/{key}",
                content=_stream(parts, sent),
                headers={"Content-Length": str(size)},
                timeout=PUT_TIMEOUT_S,
            )
        except httpx.HTTPError as error:
            raise failure_from_httpx(error) from error
        if response.is_error:
            raise error_from_answer(response.status_code, response.content, str(response.url))

    async def have(self, keys: Sequence[str]) -> set[str]:
        """Return which of these fragments the node holds."""
        return set((await self._json("POST", "/v1/have", {"keys": list(keys)}))["have"])

    async def delete(self, key: str) -> None:
        """Drop a fragment; one that is not there is no error."""
        try:
            response = await self._http.delete(f"/v1/chunks/{key}")
        except httpx.HTTPError as error:
            raise failure_from_httpx(error) from error
        if response.is_error and response.status_code != 404:
            raise error_from_answer(response.status_code, response.content, str(response.url))

    async def pull(self, key: str, urls: Sequence[str], *, grant: str = "") -> int:
        """Make the node fetch a fragment from another one; return its size once it is on disk."""
        order = {"key": key, "from": list(urls), "grant": grant}
        answer = await self._json("POST", "/v1/pull", order)
        return int(answer["size"])

    async def health(self) -> Mapping[str, Any]:
        """Return the node's own account of itself."""
        return await self._json("GET", "/healthz", None)

    async def set_limits(self, limits: Mapping[str, float | None]) -> Mapping[str, Any]:
        """Change the node's caps while it runs."""
        return await self._json("PUT", "/v1/admin/limits", dict(limits))

    async def ask(self, path: str) -> Mapping[str, Any]:
        """Return what one of the node's lists says. Raises: as ``put``."""
        return await self._json("GET", path, None)

    async def order(self, path: str, body: object) -> Mapping[str, Any]:
        """Send the node an order; return what became of it. Raises: as ``put``."""
        return await self._json("POST", path, body)

    async def _json(self, method: str, path: str, body: object | None) -> Mapping[str, Any]:
        try:
            response = await self._http.request(
                method, path, content=None if body is None else wire.encode(body)
            )
        except httpx.HTTPError as error:
            raise failure_from_httpx(error) from error
        if response.is_error:
            raise error_from_answer(response.status_code, response.content, str(response.url))
        return wire.decode(response.content, dict[str, Any])


class HttpNodeTransport:
    """Responsible for the connections of a session to all its nodes."""

    def __init__(
        self, nodes: Sequence[wire.NodeRecord], *, token: str | None = None, grant: str = ""
    ) -> None:
        self.nodes = [NodeConnections(record, token=token, grant=grant) for record in nodes]
        self._token = token
        self._grant = grant
        self._left: list[NodeConnections] = []  # where nodes answered before
        self.refused = asyncio.Event()  # set when a node does not let us read

    def use_grant(self, grant: str) -> None:
        """Read with a newer grant from now on."""
        self._grant = grant
        for node in self.nodes:
            node.grant = grant

    def use_nodes(self, records: Sequence[wire.NodeRecord]) -> tuple[str, ...]:
        """See ``NodeTransport``. What is under way to an address that changed is not disturbed."""
        position = {node.record.id: index for index, node in enumerate(self.nodes)}
        for record in records:
            index = position.setdefault(record.id, len(self.nodes))
            known = index < len(self.nodes)
            if known and self.nodes[index].record.urls == record.urls:
                continue
            made = NodeConnections(record, token=self._token, grant=self._grant)
            if known:
                self._left.append(self.nodes[index])
                self.nodes[index] = made
            else:
                self.nodes.append(made)
        return tuple(node.record.id for node in self.nodes)

    async def fetch(
        self, node: int, key: str, start: int, stop: int | None, sink: PieceSink
    ) -> None:
        """See ``NodeTransport``."""
        try:
            await self.nodes[node].fetch(key, start, stop, sink)
        except ReadRefused:
            self.refused.set()
            raise

    async def ping(self, node: int) -> float:
        """See ``NodeTransport``."""
        return await self.nodes[node].ping()

    async def close(self) -> None:
        """See ``NodeTransport``."""
        await asyncio.gather(*(node.close() for node in (*self.nodes, *self._left)))


class _ConnectClock:
    """Responsible for timing the TCP connect."""

    def __init__(self, sink: PieceSink) -> None:
        self._sink = sink
        self._began_s = 0.0

    async def __call__(self, name: str, _: Mapping[str, Any]) -> None:
        if name == CONNECT_STARTED:
            self._began_s = time.monotonic()
        elif name == CONNECT_COMPLETE:
            self._sink.connected(time.monotonic() - self._began_s)


async def _stream(
    parts: Sequence[bytes | memoryview], sent: Callable[[int], None]
) -> AsyncIterator[bytes]:
    total = 0
    for part in parts:
        view = memoryview(part)
        for begin in range(0, len(view), SEND_BLOCK_BYTES):
            block = view[begin : begin + SEND_BLOCK_BYTES]
            yield cast(bytes, block)
            total += len(block)
            sent(total)
