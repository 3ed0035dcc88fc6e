"""A gateway and a small cluster in one event loop, on real sockets, with real stores on disk."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from smart_client.config import ClientConfig
from smart_client.gateway.app import Gateway
from smart_client.ingest.upload import Uploader
from smart_client.library import Library
from support.running_cluster import Cluster, cluster


@dataclass
class Running:
    """A gateway under test, plain HTTP to it, and the cluster behind it."""

    gateway: Gateway
    http: httpx.AsyncClient
    cluster: Cluster
    library: Library
    config: ClientConfig
    directory: Path

    async def put(self, name: str, data: bytes, redundancy: str = "rs:3+2") -> None:
        """Store a video as the command does."""
        path = self.directory / f"{name}.bin"
        path.write_bytes(data)
        await Uploader(self.library.coordinator).put(path, name, redundancy)

    async def json(self, path: str, status: int = 200) -> object:
        answer = await self.http.get(path)
        assert answer.status_code == status, answer.text
        return answer.json()

    async def restart(self, **changes: object) -> None:
        """Another gateway over the same directories."""
        await self.stop()
        await self.start(**changes)

    async def stop(self) -> None:
        await self.http.aclose()
        await self.gateway.close()
        await self.library.__aexit__(None, None, None)

    async def start(self, **settings: object) -> None:
        self.library = Library(self.config)
        self.gateway = Gateway(self.config, self.library, **settings)
        url = await self.gateway.start("127.0.0.1:0")
        self.http = httpx.AsyncClient(base_url=url, timeout=60, trust_env=False)


@contextlib.asynccontextmanager
async def gateway(directory: Path, nodes: int = 5, **settings: object) -> AsyncIterator[Running]:
    async with cluster(directory / "cluster", nodes) as made:
        config = ClientConfig(
            coordinator=(made.url,), cache_dir=str(directory / "cache"), **settings
        )
        running = Running(None, None, made, None, config, directory)
        await running.start()
        try:
            yield running
        finally:
            await running.stop()


def in_a_gateway(
    directory: Path, use: Callable[[Running], Awaitable[None]], nodes: int = 5, **settings: object
) -> None:
    """Run a test's coroutine with a gateway and a cluster of its own."""

    async def scenario() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_STATE_HOME", str(directory / "state"))
            async with gateway(directory, nodes, **settings) as running:
                await use(running)

    asyncio.run(scenario())


async def settled(http: httpx.AsyncClient, number: str, timeout_s: float = 30.0) -> dict:
    """Wait until an upload is over; return it."""
    async with asyncio.timeout(timeout_s):
        while True:
            status = (await http.get(f"/api/v1/uploads/{number}")).json()
            if status["state"] in ("done", "failed"):
                return status
            await asyncio.sleep(0.02)
