"""``/v1/rebuild``: make fragments of a chunk from what is left of it, here and on other nodes.

    what is here -> too little: fetch the best sources -> code (thread) -> check -> store

The node that is to hold a fragment makes it, so no coordinator carries bytes; what it holds itself
costs none on the wire either.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

import msgspec
from aiohttp import web

from redundancy.errors import (
    EvenflowError,
    InsufficientFragments,
    IntegrityMismatch,
    InvalidFragment,
)
from redundancy.fragment_format import FOOTER_BYTES_MAX, footer_offset
from redundancy.fragments import Fragment
from redundancy.rows import RowGeometry
from smart_client.errors import NodeUnreachable
from smart_client.transport.errors import TransportFailure
from storage_server.node.errors import (
    FragmentMissing,
    HashMismatch,
    NodeBusy,
    ReadFailed,
    StoreReadOnly,
)
from storage_server.node.node_state import NodeState
from storage_server.node.pull import fetch_from, fetch_verified
from storage_server.node.remaking import remake, suffices, take_over, wanted_keys
from storage_server.node.request_bodies import read_json
from storage_server.node.responses import HttpProblem, json_response
from storage_server.node.store import Put
from storage_server.orders import MadeFragment, RebuildOrder, Rebuilt, Source

log = logging.getLogger(__name__)

# 64 sources and as many fragments, with keys and addresses.
_BODY_BYTES_MAX = 64 * 1024

# Coding keeps a core busy; readers come first.
_AT_ONCE = 2
_WAITING_MAX = 16


class _Gathering:
    """Responsible for having enough of a chunk in memory, from here before elsewhere."""

    def __init__(self, node: NodeState, order: RebuildOrder) -> None:
        self._node = node
        self._order = order
        self._layout = order.layout.to_layout()
        self.bodies: dict[int, bytes] = {}
        self.received_bytes = 0
        self.bad: list[str] = []
        self._trouble: list[str] = []

    async def gather(self) -> None:
        """Bring together enough to read the chunk. Raises: InsufficientFragments."""
        remote = []
        for source in self._order.sources:
            if not self._is_enough and not await self._take_local(source) and source.urls:
                remote.append(source)
        while not self._is_enough:
            batch = self._next(remote)
            if not batch:
                raise InsufficientFragments(
                    f"chunk {self._order.number} has {len(self.bodies)} of the "
                    f"{self._layout.scheme.k} fragments needed",
                    detail={"tried": self._trouble},
                )
            remote = [source for source in remote if source not in batch]
            await asyncio.gather(*map(self._fetch, batch))

    @property
    def _is_enough(self) -> bool:
        return suffices(self._order, set(self.bodies))

    def _next(self, remote: list[Source]) -> list[Source]:
        """Return what to ask for now: just enough if all goes well, the best first."""
        lacking = self._layout.scheme.k - len(self.bodies)
        coded = [source for source in remote if not self._layout.is_copy(source.index)]
        copies = [source for source in remote if self._layout.is_copy(source.index)]
        if len(coded) < lacking:
            return copies[:1]
        return coded[:lacking]

    async def _take_local(self, source: Source) -> bool:
        body = await asyncio.to_thread(read_local, self._node, bytes.fromhex(source.key))
        if body is not None:
            self.bodies[source.index] = body
        return body is not None

    async def _fetch(self, source: Source) -> None:
        try:
            put = await fetch_verified(
                bytes.fromhex(source.key), source.urls, grant=self._order.grant
            )
        except NodeUnreachable as error:
            tried = str(error.detail.get("tried"))
            self._trouble.append(tried)
            if "SHA-256" in tried:
                self.bad.append(source.key)
            return
        self.bodies[source.index] = put.data
        self.received_bytes += len(put.data)


def read_local(node: NodeState, key: bytes) -> bytes | None:
    """Return a fragment of the node's own, verified; None if it is not here or not intact."""
    try:
        found = node.store.find(key)
        return Put.verified(key, found.read(0, found.length_bytes)).data
    except (FragmentMissing, ReadFailed, HashMismatch):
        return None


class RebuildHandler:
    """Responsible for carrying out orders to make fragments. Access is as for a put."""

    def __init__(self, node: NodeState) -> None:
        self._node = node
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def rebuild(self, request: web.BaseRequest) -> web.StreamResponse:
        """Make fragments; answer when they would survive a power cut."""
        order = await read_json(self._node, request, RebuildOrder, bytes_max=_BODY_BYTES_MAX)
        facts = self._node.facts()
        if facts.read_only_reason:
            raise StoreReadOnly(f"the node is read-only: {facts.read_only_reason}")
        if facts.is_full:
            raise HttpProblem(507, "NODE_FULL", "the node is full; ask another node")
        done = self._done_already(order)
        if done is not None:
            return json_response(msgspec.to_builtins(done))
        try:
            async with self._turn(order):
                done = await self._carry_out(order)
                return json_response(msgspec.to_builtins(done), status=201)
        except (InsufficientFragments, NodeUnreachable) as error:
            raise HttpProblem(502, "NO_SOURCE", f"{error.message}: {error.detail}") from error
        except (InvalidFragment, IntegrityMismatch) as error:
            raise HttpProblem(422, error.code, error.message) from error

    def _done_already(self, order: RebuildOrder) -> Rebuilt | None:
        """Return the answer if all that is ordered is stored: an order may be repeated."""
        keys = wanted_keys(order)
        if keys is None or not all(map(self._node.store.has, keys.values())):
            return None
        made = tuple(
            MadeFragment(
                index=index,
                key=key.hex(),
                size=self._node.store.find(key).length_bytes,
                is_stored=True,
            )
            for index, key in keys.items()
        )
        return Rebuilt(fragments=made, received_bytes=0)

    @contextlib.asynccontextmanager
    async def _turn(self, order: RebuildOrder) -> AsyncIterator[None]:
        """Wait for a turn and for memory. Raises: NodeBusy."""
        if self._waiting >= _WAITING_MAX:
            raise NodeBusy("too many fragments are being made", hint="ask again later")
        self._waiting += 1
        try:
            async with self._turns:
                memory_bytes = _memory_bytes(order)
                if not self._node.put_budget.take(memory_bytes):
                    raise NodeBusy("too many uploads at once", hint="ask again later")
                try:
                    yield
                finally:
                    self._node.put_budget.give_back(memory_bytes)
        finally:
            self._waiting -= 1

    async def _carry_out(self, order: RebuildOrder) -> Rebuilt:
        taken_over = await self._take_over(order)
        if taken_over is not None:
            return await self._store(order, taken_over, Rebuilt(fragments=(), received_bytes=0))
        gathering = _Gathering(self._node, order)
        await gathering.gather()
        made = await asyncio.to_thread(remake, order, gathering.bodies)
        facts = Rebuilt(
            fragments=(), received_bytes=gathering.received_bytes, bad=tuple(gathering.bad)
        )
        return await self._store(order, made, facts)

    async def _take_over(self, order: RebuildOrder) -> list[Fragment] | None:
        """Return the one fragment that needs a new footer only, if that is all there is to do."""
        pattern, into = order.pattern, order.into
        if pattern is None or not pattern.urls or into is None or len(order.wanted) != 1:
            return None
        if into.k != order.layout.k:
            return None
        index = order.wanted[0].index
        key = next((bytes.fromhex(s.key) for s in order.sources if s.index == index), b"")
        body = await asyncio.to_thread(read_local, self._node, key)
        if body is None:
            return None
        offset = footer_offset(order.size, into.k, is_copy=False)
        try:
            footer = await fetch_from(
                pattern.urls[0], bytes.fromhex(pattern.key), offset, grant=order.grant
            )
            return await asyncio.to_thread(take_over, order, index, body, footer)
        except (TransportFailure, TimeoutError, EvenflowError) as error:
            log.info("a footer could not be taken over: %s", error)
            return None

    async def _store(self, order: RebuildOrder, made: list[Fragment], facts: Rebuilt) -> Rebuilt:
        wanted = {each.index for each in order.wanted}
        stored = [each for each in made if each.index in wanted]
        puts = await asyncio.to_thread(
            lambda: [Put(bytes.fromhex(each.key), b"".join(each.parts)) for each in stored]
        )
        await asyncio.gather(*map(self._node.writer.put, puts))
        fragments = tuple(
            MadeFragment(
                index=each.index,
                key=each.key,
                size=each.size_bytes,
                is_stored=each.index in wanted,
            )
            for each in made
        )
        return Rebuilt(fragments=fragments, received_bytes=facts.received_bytes, bad=facts.bad)


def _memory_bytes(order: RebuildOrder) -> int:
    """Return how much making this takes at most: sources, the chunk, and all that is coded."""
    made = order.into or order.layout
    coded_bytes = made.n * RowGeometry(order.size, made.k).payload_bytes
    return 3 * order.size + 2 * coded_bytes + FOOTER_BYTES_MAX
