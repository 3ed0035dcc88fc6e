"""A coordinator and nodes in one event loop, on real sockets, with real stores on disk."""

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from smart_client import wire
from smart_client.transport.coordinator import CoordinatorClient
from storage_server.coordinator.config import CoordinatorConfig
from storage_server.coordinator.failure_detector import DetectorLimits
from storage_server.coordinator.keeper.limits import KeeperLimits
from storage_server.coordinator.process import RunningCoordinator, running_coordinator
from storage_server.heartbeats import HeartbeatSender
from storage_server.node.config import NodeConfig
from storage_server.node.service import RunningNode, running_node

CHUNK_BYTES = 3 * 64
"""Small chunks: the coordinator never sees their bytes."""


async def eventually(is_true: Callable[[], Awaitable[bool]], timeout_s: float = 45.0) -> None:
    """Wait until something that others do has happened; fails by ``TimeoutError``."""
    async with asyncio.timeout(timeout_s):
        while not await is_true():
            await asyncio.sleep(0.02)


# Fast enough for a test, and still more than two of the nodes' beats, which come every second.
FAST_LIMITS = DetectorLimits(interval_s=0.5)


@dataclass
class Cluster:
    """Responsible for a coordinator, its nodes and a client of it while a test runs."""

    directory: Path
    token: str | None = None
    limits: DetectorLimits = field(default_factory=DetectorLimits)
    keeper: KeeperLimits = field(default_factory=KeeperLimits)
    read_keys: Path | None = None
    nodes: dict[str, RunningNode] = field(default_factory=dict)
    _stops: dict[str, contextlib.AsyncExitStack] = field(default_factory=dict)
    _running: RunningCoordinator | None = None
    _port: int = 0

    @property
    def running(self) -> RunningCoordinator:
        assert self._running is not None
        return self._running

    @property
    def coordinator(self):
        return self.running.coordinator

    @property
    def url(self) -> str:
        return self.running.url

    async def start_coordinator(self) -> CoordinatorClient:
        stack = self._stops["coordinator"] = contextlib.AsyncExitStack()
        config = CoordinatorConfig(
            self.directory / "coordinator",
            port=self._port,
            token=self.token,
            detector=self.limits,
            keeper=self.keeper,
            read_keys=self.read_keys,
        )
        self._running = await stack.enter_async_context(running_coordinator(config))
        self._port = int(self.running.url.rsplit(":", 1)[1])
        self.client = CoordinatorClient([self.url], token=self.token)
        stack.push_async_callback(self.client.close)
        return self.client

    async def start_node(self, name: str, *, beats: bool = True, **settings: object) -> RunningNode:
        stack = self._stops[name] = contextlib.AsyncExitStack()
        settings.setdefault("read_keys", self.read_keys)
        config = NodeConfig(self.directory / name, node_id=name, token=self.token, **settings)
        sender = None
        if beats:
            sender = HeartbeatSender([self.url], token=self.token)
            stack.push_async_callback(sender.close)
        self.nodes[name] = await stack.enter_async_context(running_node(config, heartbeat=sender))
        return self.nodes[name]

    async def stop(self, name: str) -> None:
        await self._stops.pop(name).aclose()
        self.nodes.pop(name, None)

    def link(self) -> httpx.AsyncClient:
        """Plain HTTP to the coordinator."""
        return httpx.AsyncClient(base_url=self.url, trust_env=False)

    async def state_of(self, name: str) -> str:
        return {each.record.id: each.state for each in await self.client.nodes()}[name]

    async def stop_all(self) -> None:
        for name in reversed(list(self._stops)):
            await self.stop(name)

    async def wait_until_up(self, *names: str) -> None:
        async def all_up() -> bool:
            up = {each.record.id for each in await self.client.nodes() if each.state == "up"}
            return up >= set(names)

        await eventually(all_up)


@contextlib.asynccontextmanager
async def cluster(
    directory: Path,
    nodes: int = 0,
    *,
    token: str | None = None,
    limits: DetectorLimits | None = None,
    keeper: KeeperLimits | None = None,
    read_keys: Path | None = None,
) -> AsyncIterator[Cluster]:
    """Run a coordinator and some nodes, all up when this is entered."""
    made = Cluster(
        directory, token, limits or DetectorLimits(), keeper or KeeperLimits(), read_keys
    )
    try:
        await made.start_coordinator()
        names = [f"node-{number}" for number in range(1, nodes + 1)]
        for name in names:
            await made.start_node(name)
        await made.wait_until_up(*names)
        yield made
    finally:
        await made.stop_all()


def in_a_cluster(directory: Path, use, nodes: int = 5, **settings) -> None:
    """Run a test's coroutine with a cluster of its own."""

    async def scenario() -> None:
        async with cluster(directory, nodes, **settings) as made:
            await use(made)

    asyncio.run(scenario())


# -- videos ----------------------------------------------------------------------------------------


def body_of(chunk: int, index: int, salt: str = "") -> bytes:
    return hashlib.sha512(f"{salt}/{chunk}/{index}".encode()).digest() * 3


def chunk_record(number: int, layout: wire.LayoutRecord, nodes, salt: str = "") -> wire.ChunkRecord:
    """A chunk whose fragment i lies on ``nodes[i]``; an empty name leaves the fragment out."""
    return wire.ChunkRecord(
        number=number,
        offset=number * CHUNK_BYTES,
        size=CHUNK_BYTES,
        sha256=hashlib.sha256(f"{salt}/{number}".encode()).hexdigest(),
        start_s=number * 10.0,
        duration_s=10.0,
        layout=layout,
        fragments=tuple(
            wire.FragmentRecord(
                index=index, node=node, key=hashlib.sha256(body_of(number, index, salt)).hexdigest()
            )
            for index, node in enumerate(nodes)
            if node
        ),
    )


def rendition(chunks: int, name: str = "original") -> wire.RenditionRecord:
    return wire.RenditionRecord(
        name=name,
        size=chunks * CHUNK_BYTES,
        sha256="0" * 64,
        mime="video/mp4",
        duration_s=chunks * 10.0,
        chunk_count=chunks,
    )


async def announce(
    client: CoordinatorClient, name: str = "kino", chunks: int = 2, redundancy: str = "auto"
) -> wire.VideoRecord:
    return await client.create_video(
        wire.CreateVideo(name=name, size=chunks * CHUNK_BYTES, redundancy=redundancy)
    )


async def place_group(
    client: CoordinatorClient, video: wire.VideoRecord, number: int = 0, count: int = 2
) -> wire.GroupRecord:
    """Ask for placements and return the group they make; nothing is stored."""
    first = number * wire.GROUP_CHUNKS
    placed = await client.place(
        video.name, wire.PlaceChunks(video_id=video.id, first_chunk=first, count=count)
    )
    return wire.GroupRecord(
        chunks=tuple(
            chunk_record(first + i, video.layout, each.nodes, salt=video.name)
            for i, each in enumerate(placed.chunks)
        )
    )


async def store_fragments(made: Cluster, group: wire.GroupRecord, salt: str) -> None:
    """Put the fragments' bytes where the group says they are."""
    headers = {"Authorization": f"Bearer {made.token}"} if made.token else {}
    async with httpx.AsyncClient(headers=headers, trust_env=False) as http:
        for chunk in group.chunks:
            for fragment in chunk.fragments:
                body = body_of(chunk.number, fragment.index, salt)
                url = f"{made.nodes[fragment.node].url}/v1/chunks/{fragment.key}"
                assert (await http.put(url, content=body)).status_code in (200, 201)


async def upload(
    made: Cluster, name: str = "kino", chunks: int = 2, redundancy: str = "auto"
) -> wire.VideoRecord:
    """Store a whole video as an uploader does."""
    client = made.client
    video = await announce(client, name, chunks, redundancy)
    for number in range(-(-chunks // wire.GROUP_CHUNKS)):
        count = min(wire.GROUP_CHUNKS, chunks - number * wire.GROUP_CHUNKS)
        group = await place_group(client, video, number, count)
        await store_fragments(made, group, name)
        await client.store_group(name, number, wire.StoreGroup(video_id=video.id, group=group))
    return await client.commit_video(
        name, wire.CommitVideo(video_id=video.id, renditions=(rendition(chunks),))
    )


async def keys_on(made: Cluster, name: str) -> set[str]:
    """All keys that a node holds."""
    store = made.nodes[name].node.store
    return {key.hex() for key, _ in store.page(b"", 10_000)}


def new_id() -> str:
    return uuid.uuid4().hex
