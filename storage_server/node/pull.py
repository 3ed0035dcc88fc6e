"""``/v1/pull``: fetch a fragment from another node, so that no coordinator carries bytes."""

import asyncio
from collections.abc import Sequence

import msgspec
from aiohttp import web

from smart_client import wire
from smart_client.errors import NodeUnreachable
from smart_client.transport.collector import Collector
from smart_client.transport.errors import TransportFailure
from smart_client.transport.nodes import NodeConnections
from storage_server.node.chunk_handlers import parse_key
from storage_server.node.errors import HashMismatch, StoreReadOnly
from storage_server.node.group_commit import GroupCommit
from storage_server.node.node_state import NodeState
from storage_server.node.request_bodies import read_json
from storage_server.node.responses import HttpProblem, json_response
from storage_server.node.store import Put
from storage_server.node.superblock_format import FRAGMENT_BYTES_MAX

# A key and some addresses.
_BODY_BYTES_MAX = 16 * 1024
_SOURCES_MAX = 16

# One source gets this long for a whole fragment, 4 MiB at 2 Mbit/s.
SOURCE_TIMEOUT_S = 20.0


class PullOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a coordinator orders."""

    key: wire.Sha256Hex
    sources: tuple[str, ...] = msgspec.field(name="from")
    grant: wire.GrantText = ""  # to read it there, where reading is signed

    def __post_init__(self) -> None:
        if not 1 <= len(self.sources) <= _SOURCES_MAX:
            raise ValueError(f"name 1 to {_SOURCES_MAX} sources")
        wire.NodeRecord(id="source", urls=self.sources)  # refuses what is not http://host:port


async def pull(store: GroupCommit, key: bytes, urls: Sequence[str], *, grant: str = "") -> int:
    """Fetch a fragment from the first address that gives the right bytes, and store it.

    Returns: its size, once it would survive a power cut.
    Raises: NodeUnreachable: no source gave it; StoreFull, StoreReadOnly.
    """
    put = await fetch_verified(key, urls, grant=grant)
    await store.put(put)
    return len(put.data)


async def fetch_verified(key: bytes, urls: Sequence[str], *, grant: str = "") -> Put:
    """Return a fragment from the first address that gives the right bytes.

    Raises: NodeUnreachable: no source gave it.
    """
    trouble = []
    for url in urls:
        try:
            body = await fetch_from(url, key, grant=grant)
            return await asyncio.to_thread(Put.verified, key, body)
        except (TransportFailure, TimeoutError, HashMismatch) as error:
            trouble.append(f"{url}: {str(error) or type(error).__name__}")
    raise NodeUnreachable(f"no source gave fragment {key.hex()}", detail={"tried": trouble})


async def fetch_from(url: str, key: bytes, start: int = 0, *, grant: str = "") -> bytes:
    """Return a fragment's bytes from ``start`` on, not verified.

    Raises: TransportFailure, TimeoutError.
    """
    collector = Collector(FRAGMENT_BYTES_MAX)
    source = NodeConnections(wire.NodeRecord(id="source", urls=(url,)), grant=grant)
    try:
        async with asyncio.timeout(SOURCE_TIMEOUT_S):
            await source.fetch(key.hex(), start, None, collector)
    finally:
        await source.close()
    return collector.body


class PullHandler:
    """Responsible for carrying out orders to fetch. They are writes: access is as for a put."""

    def __init__(self, node: NodeState) -> None:
        self._node = node

    async def pull(self, request: web.BaseRequest) -> web.StreamResponse:
        """Fetch one fragment; answer with its size when it would survive a power cut."""
        order = await read_json(self._node, request, PullOrder, bytes_max=_BODY_BYTES_MAX)
        key = parse_key(order.key)
        facts = self._node.facts()
        if facts.read_only_reason:
            raise StoreReadOnly(f"the node is read-only: {facts.read_only_reason}")
        if facts.is_full:
            raise HttpProblem(507, "NODE_FULL", "the node is full; ask another node")
        if self._node.store.has(key):
            size = self._node.store.find(key).length_bytes
            return json_response({"key": order.key, "size": size})
        budget = self._node.put_budget
        if not budget.take(FRAGMENT_BYTES_MAX):
            raise HttpProblem(503, "BUSY", "too many uploads at once", headers={"Retry-After": "1"})
        try:
            size = await pull(self._node.writer, key, order.sources, grant=order.grant)
        except NodeUnreachable as error:
            raise HttpProblem(502, "NO_SOURCE", f"{error.message}: {error.detail}") from error
        finally:
            budget.give_back(FRAGMENT_BYTES_MAX)
        return json_response({"key": order.key, "size": size}, status=201)
