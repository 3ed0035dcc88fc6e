"""Two who change the same thing at the same moment: each case is brought about on purpose."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from smart_client import wire
from smart_client.errors import Conflict, VideoNotFound
from storage_server.catalogue.contract import Entry, Outcome, Write
from storage_server.coordinator.errors import CannotEmptyNode
from storage_server.coordinator.registers import Registers
from storage_server.coordinator.service import Coordinator
from support.faulty_catalogue import FaultyCatalogue
from support.running_cluster import CHUNK_BYTES, chunk_record, rendition


class MeddledCatalogue(FaultyCatalogue):
    """Lets somebody else do something just before the next write to a kind of register."""

    def meddle(self, prefix: str, deed: Callable[[], Awaitable[object]]) -> None:
        self._prefix, self._deed = prefix, deed

    async def batch(self, writes: Sequence[Write]) -> list[Outcome]:
        deed = getattr(self, "_deed", None)
        if deed is not None and writes and writes[0].key.startswith(self._prefix):
            self._deed = None
            await deed()
        return await super().batch(writes)


def with_coordinator(use, nodes: int = 2) -> None:
    async def scenario() -> None:
        catalogue = MeddledCatalogue()
        coordinator = Coordinator(catalogue)
        for number in range(1, nodes + 1):
            beat = wire.Heartbeat(
                node=f"node-{number}",
                store=f"{number}",
                urls=("http://127.0.0.1:1",),
                capacity_bytes=10**9,
                free_bytes=10**9,
            )
            await coordinator.members.hear_beat(beat, holds_fragments=False)
        await use(coordinator, catalogue)
        await coordinator.links.close()

    asyncio.run(scenario())


async def announced(coordinator: Coordinator, name: str = "kino") -> wire.VideoRecord:
    wish = wire.CreateVideo(name=name, size=CHUNK_BYTES, redundancy="rep:2")
    return await coordinator.uploads.create(wish)


def group_wish(video: wire.VideoRecord) -> wire.StoreGroup:
    chunk = chunk_record(0, video.layout, ["node-1", "node-2"])
    return wire.StoreGroup(video_id=video.id, group=wire.GroupRecord(chunks=(chunk,)))


async def group_keys(coordinator: Coordinator) -> list[str]:
    return [each.key for each in await coordinator.registers.catalogue.scan("group/")]


def test_a_group_written_while_its_video_is_deleted_does_not_stay():
    async def use(coordinator: Coordinator, catalogue: MeddledCatalogue):
        video = await announced(coordinator)

        async def delete() -> None:
            await coordinator.videos.delete("kino")
            await coordinator.trash.sweep()

        catalogue.meddle("group/", delete)
        with pytest.raises(VideoNotFound, match="deleted meanwhile"):
            await coordinator.uploads.store_group("kino", 0, group_wish(video))
        for number in (1, 2):  # nodes that are not there any more have nothing to drop
            await coordinator.members.remove(f"node-{number}")
        assert await coordinator.trash.sweep()
        assert await group_keys(coordinator) == []

    with_coordinator(use)


def test_a_node_is_not_removed_while_a_group_that_names_it_is_written():
    async def use(coordinator: Coordinator, catalogue: MeddledCatalogue):
        video = await announced(coordinator)
        removals = []

        async def remove() -> None:
            removals.append(asyncio.create_task(coordinator.emptier.remove("node-2")))
            for _ in range(20):  # as far as it can get
                await asyncio.sleep(0)

        catalogue.meddle("group/", remove)
        await coordinator.uploads.store_group("kino", 0, group_wish(video))
        with pytest.raises(CannotEmptyNode):
            await removals[0]
        assert "node-2" in coordinator.members.records

    with_coordinator(use)


def test_a_group_on_a_node_that_is_being_removed_has_to_go_elsewhere():
    async def use(coordinator: Coordinator, catalogue: MeddledCatalogue):
        video = await announced(coordinator)
        coordinator.members.removing.add("node-2")
        with pytest.raises(Conflict, match="node-2 is being removed"):
            await coordinator.uploads.store_group("kino", 0, group_wish(video))
        assert coordinator.members.status("node-2").status == "draining"

    with_coordinator(use)


def test_of_two_announcements_the_later_finds_the_earlier():
    async def use(coordinator: Coordinator, catalogue: MeddledCatalogue):
        earlier = []

        async def announce() -> None:
            earlier.append(await announced(coordinator))

        catalogue.meddle("video/", announce)
        assert await announced(coordinator) == earlier[0]

    with_coordinator(use)


def test_a_video_deleted_while_it_is_committed_stays_deleted():
    async def use(coordinator: Coordinator, catalogue: MeddledCatalogue):
        video = await announced(coordinator)
        await coordinator.uploads.store_group("kino", 0, group_wish(video))
        catalogue.meddle("video/", lambda: coordinator.videos.delete("kino"))
        with pytest.raises(Conflict):
            await coordinator.uploads.commit(
                "kino", wire.CommitVideo(video_id=video.id, renditions=(rendition(1),))
            )
        with pytest.raises(VideoNotFound):
            await coordinator.videos.find("kino")

    with_coordinator(use)


def test_a_name_taken_again_right_after_its_deletion_is_not_deleted_with_it():
    async def use(coordinator: Coordinator, catalogue: MeddledCatalogue):
        first = await announced(coordinator)
        second = []

        async def delete_and_take() -> None:
            registers = Registers(catalogue)
            await coordinator.trash.free_name("kino", first.id)
            second.append(await announced(coordinator))
            assert await registers.get("video/kino", wire.VideoRecord) is not None

        catalogue.meddle("trash/", delete_and_take)
        await coordinator.videos.delete("kino")
        await coordinator.trash.sweep()
        assert (await coordinator.videos.find("kino")).record == second[0]

    with_coordinator(use)


def test_groups_that_no_video_owns_are_swept_at_the_start():
    async def scenario():
        video = "ab" * 16
        chunk = chunk_record(0, wire.LayoutRecord(k=1, n=2), ["gone-1", "gone-2"])
        group = wire.encode(wire.GroupRecord(chunks=(chunk,)))
        coordinator = Coordinator(
            FaultyCatalogue([Entry(f"group/{video}/original/000000", group, 1)])
        )
        await coordinator.load()
        assert coordinator.status().deleting == 1
        assert await coordinator.trash.sweep()
        assert await group_keys(coordinator) == []
        assert coordinator.status().deleting == 0
        await coordinator.links.close()

    asyncio.run(scenario())
