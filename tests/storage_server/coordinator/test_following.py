"""Two coordinators of one catalogue: what one writes the other knows after a look."""

import asyncio

from smart_client import wire
from storage_server.catalogue.memory import MemoryCatalogue
from storage_server.coordinator.registers import group_key, video_key
from storage_server.coordinator.service import Coordinator
from storage_server.node.config import coordinator_urls
from support.running_cluster import chunk_record

LAYOUT = wire.LayoutRecord(k=1, n=2)


def video(name: str, state: str = "ready", number: int = 1) -> wire.VideoRecord:
    return wire.VideoRecord(
        id=f"{number:032x}", name=name, state=state, created_at_s=0.0, layout=LAYOUT
    )


def group(*nodes: str) -> wire.GroupRecord:
    return wire.GroupRecord(chunks=(chunk_record(0, LAYOUT, nodes),))


def with_two(use) -> None:
    async def scenario() -> None:
        catalogue = MemoryCatalogue()
        one, other = Coordinator(catalogue), Coordinator(catalogue)
        await one.load()
        await other.load()
        await use(one, other)

    asyncio.run(scenario())


def test_nodes_that_are_added_and_removed_elsewhere_are_known():
    async def use(one, other):
        await one.members.add(wire.NodeRecord(id="a", urls=("http://a",)), holds_fragments=False)
        await other.follower.look()
        assert other.members.record("a").urls == ("http://a",)
        await one.members.remove("a")
        await other.follower.look()
        assert "a" not in other.members.records

    with_two(use)


def test_videos_and_groups_that_others_store_move_and_delete_are_known():
    async def use(one, other):
        film = video("film")
        key = group_key(film.id, "original", 0)
        version = await one.registers.write(key, group("a", "b"))
        await one.registers.write(video_key("film"), film)
        await other.follower.look()
        assert other.library.videos["film"] == film
        assert other.library.nodes_of(film.id) == {"a", "b"}
        await one.registers.write(key, group("a", "c"), version)
        await other.follower.look()  # its turn: the only video
        assert other.library.nodes_of(film.id) == {"a", "c"}
        await one.trash.begin(film.id, "film")
        await one.trash.free_name("film", film.id)
        await other.follower.look()
        assert other.library.videos == {}
        assert other.library.stored_bytes == 0

    with_two(use)


class SlowToScan(MemoryCatalogue):
    """Something else happens between its reading of groups and its answer."""

    async def meanwhile(self) -> None:
        """Nothing, until it is replaced."""

    async def scan(self, prefix):
        found = await super().scan(prefix)
        if prefix.startswith("group/"):
            await self.meanwhile()
        return found


def test_a_video_that_is_deleted_while_its_groups_are_read_leaves_none_behind():
    async def scenario() -> None:
        catalogue = SlowToScan()
        one = Coordinator(catalogue)
        await one.load()
        film = video("film")
        key = group_key(film.id, "original", 0)
        version = await one.registers.write(key, group("a", "b"))
        await one.registers.write(video_key("film"), film)
        await one.follower.look()
        assert one.library.holds_fragments("a")

        async def delete() -> None:
            await one.trash.begin(film.id, "film")
            await one.trash.free_name("film", film.id)
            await one.registers.write(key, None, version)
            one.library.drop_group(key)

        catalogue.meanwhile = delete
        await one.follower.look()
        assert not one.library.holds_fragments("a")
        assert one.library.stored_bytes == 0

    asyncio.run(scenario())


def test_an_upload_under_way_elsewhere_is_followed_group_by_group():
    async def use(one, other):
        film = video("film", "uploading")
        await one.registers.write(video_key("film"), film)
        for number in range(3):
            await one.registers.write(group_key(film.id, "original", number), group("a", "b"))
            await other.follower.look()
            assert len(other.library.groups_of(film.id)) == number + 1

    with_two(use)


def test_coordinators_may_be_named_in_one_word_or_several():
    words = ["http://a:1,http://b:2/", " http://a:1 ", ""]
    assert coordinator_urls(words) == ("http://a:1", "http://b:2")
