"""Fragments that no record names: they stay for the time of grace, and go after it."""

import hashlib

import pytest

from smart_client import wire
from storage_server.coordinator.keeper.plan import Stuck
from support.kept_videos import AT_ONCE, COLLECTING, is_whole, store_video
from support.running_cluster import Cluster, in_a_cluster, keys_on

pytestmark = pytest.mark.real


def test_what_no_record_names_is_collected_after_a_second_look_and_nothing_else(tmp_path):
    async def use(made: Cluster):
        await store_video(made)
        stray = b"stray fragment" * 10
        async with made.link() as http:
            key = hashlib.sha256(stray).hexdigest()
            url = f"{made.nodes['node-1'].url}/v1/chunks/{key}"
            assert (await http.put(url, content=stray)).status_code == 201
        keeper = made.coordinator.keeper
        keeper.audit._limits = COLLECTING
        await keeper.round(audits=True)
        assert keeper.status().collected == 1
        assert key not in await keys_on(made, "node-1")
        assert await is_whole(made)

    in_a_cluster(tmp_path, use, 5, keeper=AT_ONCE)


def test_a_stray_fragment_stays_for_the_time_of_grace(tmp_path):
    async def use(made: Cluster):
        keeper = made.coordinator.keeper
        assert keeper.limits.orphan_after_s == 24 * 3600
        await store_video(made)
        video = await made.client.video("kino")
        for key, _ in made.coordinator.library.groups_of(video.id):
            stored = await made.coordinator.registers.get(key, wire.GroupRecord)
            await made.coordinator.registers.write(key, None, stored.version)
            made.coordinator.library.drop_group(key)
        held = [await keys_on(made, name) for name in made.nodes]
        await keeper.round(audits=True)
        await keeper.round(audits=True)
        assert held == [await keys_on(made, name) for name in made.nodes]

    in_a_cluster(tmp_path, use, 5, keeper=AT_ONCE)


def test_a_catalogue_that_names_nothing_has_nothing_dropped(tmp_path):
    """It may be an empty one, started by mistake over the nodes of another."""

    async def use(made: Cluster):
        await store_video(made)
        video = await made.client.video("kino")
        library, registers = made.coordinator.library, made.coordinator.registers
        for key, _ in library.groups_of(video.id):
            stored = await registers.get(key, wire.GroupRecord)
            await registers.write(key, None, stored.version)
            library.drop_group(key)
        held = [await keys_on(made, name) for name in made.nodes]
        assert sum(map(len, held)) == 15
        keeper = made.coordinator.keeper
        keeper.audit._limits = COLLECTING
        for _ in range(3):
            await keeper.round(audits=True)
        assert held == [await keys_on(made, name) for name in made.nodes]
        assert "nodes hold 15 fragments that this catalogue does not name" in (
            keeper.status().trouble
        )
        keeper.audit.missing["node-1", "0" * 64] = "group"
        keeper.stuck["group", 0] = Stuck("group", 0, "no node")
        await keeper._take_over()

        async def another_keeps() -> bool:
            return False

        keeper.lease.hold = another_keeps
        await keeper._take_over()
        told = keeper.status()
        assert (told.trouble, told.fragments_missing, told.stuck) == ("", 0, ())
        assert not keeper.audit.missing, "it would be told again if this one keeps once more"

    in_a_cluster(tmp_path, use, 5, keeper=AT_ONCE)
