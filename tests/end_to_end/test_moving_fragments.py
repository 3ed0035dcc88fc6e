"""A video is read slowly while the keeper stores it anew: on real sockets, with real nodes."""

import asyncio
import contextlib

import pytest

from smart_client import wire
from smart_client.config import ClientConfig
from smart_client.core import commands, events
from smart_client.core.schedulers import make_scheduler
from smart_client.core.session import Session
from smart_client.core.state import SessionConfig
from smart_client.library import Library
from smart_client.spool import Spool
from smart_client.stream import VideoStream
from storage_server.node.store import Delete
from support.kept_videos import AT_ONCE, CHUNK, content, is_whole, keep, store_video
from support.running_cluster import Cluster, eventually, in_a_cluster, keys_on

pytestmark = pytest.mark.real

CHUNKS = 10
SLOW = SessionConfig(window_s=12.0)  # a chunk is 10 s, so two or three are asked for


class Watched:
    """Responsible for one stream, and for what its session asked for."""

    def __init__(self, stream: VideoStream) -> None:
        self.stream = stream
        self.asked = 0
        self.unknown = 0
        self.steps: list = []
        stream.driver.observe(self._observe)
        self.reader = stream.open_reader()

    def _observe(self, now_s, event, issued) -> None:
        self.steps.append((now_s, event, list(issued)))
        self.unknown += isinstance(event, events.PlacementUnknown)
        self.asked += sum(isinstance(command, commands.AskPlacement) for command in issued)

    async def read(self, count: int) -> bytes:
        """Read so many bytes, or to the end."""
        parts, left = [], count
        while left and (data := await self.reader.read(left, patience_s=20.0)):
            parts.append(data)
            left -= len(data)
        return b"".join(parts)


@contextlib.asynccontextmanager
async def watching(made: Cluster):
    config = ClientConfig(coordinator=(made.url,))
    async with Library(config) as library:
        stream = await library.open_stream("kino", config, spool=Spool.nameless(), session=SLOW)
        try:
            yield Watched(stream)
        finally:
            await stream.close()


async def lay_out(made: Cluster, redundancy: str) -> None:
    """Change the layout; what it was before is dropped at once."""
    before = {
        f.key for chunk in (await made.client.manifest("kino")).chunks for f in chunk.fragments
    }
    await made.client.set_layout("kino", wire.SetLayout(redundancy=redundancy))
    await keep(made)
    assert await is_whole(made)
    for name in made.nodes:
        assert not before & await keys_on(made, name), "old fragments are still there"


@pytest.mark.parametrize(
    ("before", "after"), [("rep:3", "rs:3+2"), ("rs:3+2", "rs:2+2"), ("rs:2+2+1copy", "rep:2")]
)
def test_a_reader_notices_nothing_of_a_new_layout_but_a_question(tmp_path, before, after) -> None:
    async def use(made: Cluster) -> None:
        await store_video(made, chunks=CHUNKS, redundancy=before)
        async with watching(made) as watched:
            data = await watched.read(CHUNK + CHUNK // 3)
            await lay_out(made, after)
            data += await watched.read(CHUNKS * CHUNK)
            assert data == content("kino", CHUNKS)
            assert watched.asked == 1
            stored = (await made.client.manifest("kino")).chunks
            assert watched.stream.session.state.records == list(stored)
            first = watched.stream.manifest
            names = [node.id for node in first.nodes]
            again = Session(first.chunks, names, make_scheduler("smart"), SLOW)
            for now_s, event, issued in watched.steps:
                assert again.handle(event, now_s) == issued

    in_a_cluster(tmp_path, use, 6, keeper=AT_ONCE)


def test_a_reader_follows_fragments_from_dead_nodes_to_one_that_joined_later(tmp_path) -> None:
    async def use(made: Cluster) -> None:
        await store_video(made, chunks=CHUNKS, redundancy="rs:3+2")
        async with watching(made) as watched:
            data = await watched.read(CHUNK // 2)
            joined = ["node-6", "node-7", "node-8"]
            for name in joined:
                await made.start_node(name)
            await made.wait_until_up(*joined)
            for number in (1, 2, 3):
                await made.stop(f"node-{number}")
                made.coordinator.members.declare_lost(f"node-{number}")
                await keep(made)
            assert await is_whole(made)
            data += await watched.read(CHUNKS * CHUNK)
            assert data == content("kino", CHUNKS)
            assert watched.asked >= 1
            state = watched.stream.session.state
            newcomers = {node.id for node in state.nodes.nodes if node.bytes_received} & {*joined}
            assert newcomers
            assert not newcomers & {node.id for node in watched.stream.manifest.nodes}

    in_a_cluster(tmp_path, use, 5, keeper=AT_ONCE)


def test_a_coordinator_that_is_away_is_asked_again_and_reading_goes_on(tmp_path) -> None:
    async def use(made: Cluster) -> None:
        await store_video(made, chunks=CHUNKS, redundancy="rep:3")
        async with watching(made) as watched:
            data = await watched.read(CHUNK)
            await lay_out(made, "rs:3+2")
            await made.stop("coordinator")
            reading = asyncio.create_task(watched.read(CHUNKS * CHUNK))

            async def was_in_vain() -> bool:
                return watched.unknown > 0

            await eventually(was_in_vain)
            await made.start_coordinator()
            data += await reading
            assert data == content("kino", CHUNKS)
            assert watched.asked >= 2

    in_a_cluster(tmp_path, use, 6, keeper=AT_ONCE)


def test_another_video_under_the_same_name_changes_nothing(tmp_path) -> None:
    async def use(made: Cluster) -> None:
        await store_video(made, chunks=CHUNKS, redundancy="rep:2")
        async with watching(made) as watched:
            data = await watched.read(CHUNK)
            state = watched.stream.session.state
            known = list(state.records)
            await made.client.delete_video("kino")
            await store_video(made, chunks=CHUNKS, redundancy="rep:3")

            async def was_in_vain() -> bool:
                return watched.unknown > 0

            reading = asyncio.create_task(watched.read(CHUNKS * CHUNK))
            for name in list(made.nodes):
                for key in {f.key for chunk in known for f in chunk.fragments}:
                    made.nodes[name].node.store.commit([Delete(bytes.fromhex(key))])
            await eventually(was_in_vain)
            assert state.records == known
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                data += await reading
            assert content("kino", CHUNKS).startswith(data)

    in_a_cluster(tmp_path, use, 5, keeper=AT_ONCE)
