"""A coordinator that dies between any two steps leaves registers from which all can go on."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from redundancy.errors import EvenflowError
from smart_client import wire
from smart_client.errors import CoordinatorUnreachable
from smart_client.transport.coordinator import CoordinatorClient
from storage_server.coordinator.errors import OutcomeUnknown
from storage_server.coordinator.registers import RemovedNode, Trash
from storage_server.coordinator.service import Coordinator
from storage_server.heartbeats import beat_of
from storage_server.node.config import NodeConfig
from storage_server.node.service import RunningNode, running_node
from storage_server.node.store import Put
from support.faulty_catalogue import FaultyCatalogue
from support.running_cluster import CHUNK_BYTES, body_of, chunk_record, rendition

pytestmark = pytest.mark.real


CHUNKS = 2
RENDITIONS = (rendition(CHUNKS), rendition(CHUNKS, "720p"))


class Story:
    """What a client did, and what it was told: the oracle of what must be there afterwards."""

    def __init__(self, nodes: list[RunningNode]) -> None:
        self.nodes = nodes
        self.ready: dict[str, str] = {}  # name -> id, acknowledged
        self.deleted: set[str] = set()  # ids, acknowledged
        self.announced: dict[str, str] = {}
        self.known_nodes: set[str] = set()
        self.removed_nodes: set[str] = set()

    async def tell(self, coordinator: Coordinator) -> None:
        """Live through everything a coordinator does, until it dies."""
        for node in self.nodes:
            await coordinator.members.hear_beat(beat_of(node.facts()), holds_fragments=False)
            self.known_nodes.add(node.node_id)
        for name in ("kept", "gone", "half"):
            await self._upload(coordinator, name)
        await coordinator.videos.register("bare")
        self.announced["bare"] = ""
        await coordinator.videos.count_view("kept", wire.CountView(playback="a" * 32, played_s=60))
        await coordinator.views.flush()
        going = self.ready.pop("gone")  # from here on until the answer, nothing is promised
        self.announced.pop("gone")
        await coordinator.videos.delete("gone")
        self.deleted.add(going)
        await coordinator.trash.sweep()
        await coordinator.members.add(wire.NodeRecord(id="spare", urls=()), holds_fragments=False)
        await coordinator.members.remove("spare")
        self.removed_nodes.add("spare")

    async def _upload(self, coordinator: Coordinator, name: str) -> None:
        video = await coordinator.uploads.create(
            wire.CreateVideo(name=name, size=CHUNKS * CHUNK_BYTES, redundancy="rep:2")
        )
        self.announced[name] = video.id
        for each in RENDITIONS:
            group = self._group(video, each.name)
            wish = wire.StoreGroup(video_id=video.id, rendition=each.name, group=group)
            await coordinator.uploads.store_group(name, 0, wish)
        if name != "half":
            await coordinator.uploads.commit(
                name, wire.CommitVideo(video_id=video.id, renditions=RENDITIONS)
            )
            self.ready[name] = video.id

    def _group(self, video: wire.VideoRecord, rendition_name: str) -> wire.GroupRecord:
        salt = f"{video.id}/{rendition_name}"
        names = [node.node_id for node in self.nodes]
        chunks = tuple(chunk_record(i, video.layout, names, salt=salt) for i in range(CHUNKS))
        for chunk in chunks:
            for fragment, node in zip(chunk.fragments, self.nodes, strict=True):
                body = body_of(chunk.number, fragment.index, salt)
                node.node.store.put(Put(bytes.fromhex(fragment.key), body))
        return wire.GroupRecord(chunks=chunks)


async def check_after_restart(catalogue: FaultyCatalogue, story: Story) -> None:
    """Start again on what the disk holds: every promise kept, everything can go on."""
    coordinator = Coordinator(catalogue)
    await coordinator.load()
    assert set(coordinator.members.records) >= story.known_nodes
    assert not set(coordinator.members.records) & story.removed_nodes
    removed = await coordinator.registers.scan("removed/", RemovedNode)
    assert not set(coordinator.members.records) & {each.record.id for each in removed}
    videos = {each.name: each for each in await coordinator.videos.summaries({})}
    for name, video_id in story.ready.items():
        assert (videos[name].id, videos[name].state) == (video_id, "ready")
        manifest = wire.decode(
            (await coordinator.videos.manifest(name, "original")).body, wire.Manifest
        )
        assert len(manifest.chunks) == CHUNKS
    for name in story.announced:
        assert name in videos
    assert not story.deleted & {each.id for each in videos.values()}

    for node in story.nodes:
        await coordinator.members.hear_beat(beat_of(node.facts()), holds_fragments=True)
    assert await coordinator.trash.sweep(), "a deletion that began is finished"
    assert await coordinator.registers.scan("trash/", Trash) == []
    alive = {each.id for each in videos.values()} - story.deleted
    recorded = await coordinator.registers.scan("group/", wire.GroupRecord)
    assert {key.key.split("/")[1] for key in recorded} <= alive, "no group without its video"
    for each in await coordinator.videos.summaries({}):
        if each.state == "ready":
            await coordinator.videos.manifest(each.name, "original")
    # Whatever was cut short can be done again under the same name.
    after = Story(story.nodes)
    for name in list(videos):
        with contextlib.suppress(EvenflowError):
            await coordinator.videos.delete(name)
    assert await coordinator.trash.sweep()
    await after._upload(coordinator, "kept")
    assert "kept" in after.ready
    await coordinator.links.close()


async def with_nodes(directory: Path, use) -> None:
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                running_node(NodeConfig(directory / name, node_id=name))
            )
            for name in ("node-1", "node-2")
        ]
        await use(nodes)


@pytest.mark.parametrize("loses_last_answer", [False, True], ids=["between", "answer lost"])
def test_a_crash_after_any_write_keeps_every_promise(tmp_path, loses_last_answer):
    async def use(nodes: list[RunningNode]):
        whole = FaultyCatalogue()
        calm = Coordinator(whole)
        await Story(nodes).tell(calm)
        await calm.links.close()
        writes = len(whole.keys_written)
        assert writes >= 20
        for cut_after in range(1, writes):
            catalogue = FaultyCatalogue(writes_left=cut_after, loses_last_answer=loses_last_answer)
            coordinator, story = Coordinator(catalogue), Story(nodes)
            with contextlib.suppress(EvenflowError):
                await story.tell(coordinator)
            assert catalogue.is_cut
            await coordinator.links.close()
            await check_after_restart(FaultyCatalogue(catalogue.entries), story)

    asyncio.run(with_nodes(tmp_path, use))


def test_a_deletion_is_written_down_before_the_name_is_free_and_forgotten_last(tmp_path):
    async def use(nodes: list[RunningNode]):
        catalogue = FaultyCatalogue()
        coordinator, story = Coordinator(catalogue), Story(nodes)
        await story.tell(coordinator)
        del catalogue.keys_written[:]
        await coordinator.videos.delete("kept")
        await coordinator.trash.sweep()
        await coordinator.links.close()
        kinds = [key.partition("/")[0] for key in catalogue.keys_written]
        assert kinds == ["trash", "video", "group", "group", "views", "trash"]

    asyncio.run(with_nodes(tmp_path, use))


def test_a_write_without_an_answer_is_looked_up_and_not_repeated(tmp_path):
    """The catalogue answers ``Unknown`` to everything, and has done it: the story goes on."""

    async def use(nodes: list[RunningNode]):
        catalogue = FaultyCatalogue()
        catalogue.unknown = "done"
        coordinator, story = Coordinator(catalogue), Story(nodes)
        await story.tell(coordinator)
        assert coordinator.views.views(story.ready["kept"]) == 1
        await coordinator.links.close()
        await check_after_restart(FaultyCatalogue(catalogue.entries), story)

    asyncio.run(with_nodes(tmp_path, use))


def test_a_write_that_may_still_happen_is_neither_success_nor_failure(tmp_path):
    async def use(nodes: list[RunningNode]):
        catalogue = FaultyCatalogue()
        coordinator = Coordinator(catalogue)
        for node in nodes:
            await coordinator.members.hear_beat(beat_of(node.facts()), holds_fragments=False)
        catalogue.unknown = "not done"
        with pytest.raises(OutcomeUnknown, match="did not say") as caught:
            await coordinator.uploads.create(wire.CreateVideo(name="kino", size=1))
        assert caught.value.retryable
        catalogue.unknown = ""
        await coordinator.uploads.create(wire.CreateVideo(name="kino", size=1))
        await coordinator.links.close()

    asyncio.run(with_nodes(tmp_path, use))


def test_views_whose_answer_got_lost_are_not_added_twice(tmp_path):
    async def use(nodes: list[RunningNode]):
        catalogue = FaultyCatalogue()
        coordinator, story = Coordinator(catalogue), Story(nodes)
        await story.tell(coordinator)
        view = wire.CountView(playback="b" * 32, played_s=60)
        await coordinator.videos.count_view("kept", view)
        catalogue.unknown = "not done"
        await coordinator.views.flush()  # nobody knows
        catalogue.unknown = "done"
        await coordinator.views.flush()
        catalogue.unknown = ""
        await coordinator.views.flush()
        await coordinator.links.close()
        again = Coordinator(FaultyCatalogue(catalogue.entries))
        await again.load()
        assert again.views.views(story.ready["kept"]) == 2

    asyncio.run(with_nodes(tmp_path, use))


def start_coordinator(directory: Path, port: int) -> tuple[subprocess.Popen, int]:
    command = [sys.executable, "-m", "storage_server", "coordinator", "--json"]
    command += ["--data", str(directory), "--listen", f"127.0.0.1:{port}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    ready = json.loads(process.stdout.readline())
    assert ready["event"] == "ready"
    assert f"--coordinator {ready['url']}" in ready["join"]
    return process, int(ready["url"].rpartition(":")[2])


def test_a_real_coordinator_killed_with_requests_under_way_forgets_nothing_it_answered(tmp_path):
    rounds = int(os.environ.get("EVENFLOW_KILL_ROUNDS", "3"))

    async def use_until_killed(process, port, known: dict[str, str], names) -> None:
        async with CoordinatorClient([f"http://127.0.0.1:{port}"], timeout_s=5.0) as client:
            for node in ("a", "b"):
                await client.heartbeat(
                    wire.Heartbeat(
                        node=node,
                        store="0",
                        urls=(f"http://127.0.0.1:{port}",),
                        capacity_bytes=10**9,
                        free_bytes=10**9,
                    )
                )

            async def announce(name: str) -> None:
                with contextlib.suppress(EvenflowError):
                    video = await client.create_video(wire.CreateVideo(name=name, size=1))
                    known[name] = video.id
                    if len(known) % 40 == 20:
                        os.kill(process.pid, signal.SIGKILL)

            await asyncio.gather(*(announce(name) for name in names))

    async def check(port: int, known: dict[str, str]) -> None:
        async with CoordinatorClient([f"http://127.0.0.1:{port}"]) as client:
            found = {each.name: each.id for each in await client.list_videos()}
            assert known.items() <= found.items()
            assert {each.record.id for each in await client.nodes()} == {"a", "b"}

    known: dict[str, str] = {}
    port = 0
    for round_number in range(rounds):
        process, port = start_coordinator(tmp_path, port)
        try:
            if round_number:
                asyncio.run(check(port, known))
            names = [f"film {round_number} {i}" for i in range(40)]
            asyncio.run(use_until_killed(process, port, known, names))
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        assert process.returncode == -signal.SIGKILL
    process, port = start_coordinator(tmp_path, port)
    try:
        asyncio.run(check(port, known))
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    with pytest.raises(CoordinatorUnreachable):
        asyncio.run(check(port, known))
