"""The keeper with real nodes and real fragments: what is lost is made again."""

import asyncio
import dataclasses

import pytest

from redundancy.popularity import Popularity
from smart_client import wire
from smart_client.errors import Conflict, NodeRefused
from storage_server.catalogue.memory import MemoryCatalogue
from storage_server.coordinator.keeper.advice import BUDGET_KEY, Spent
from storage_server.coordinator.keeper.lease import Lease
from storage_server.coordinator.keeper.throttle import Throttle
from storage_server.coordinator.registers import Registers, Views
from storage_server.coordinator.service import Coordinator
from storage_server.node.store import Delete
from support.kept_videos import (
    AT_ONCE,
    CHUNK,
    content,
    is_whole,
    keep,
    read_back,
    store_video,
)
from support.running_cluster import Cluster, in_a_cluster, keys_on

pytestmark = pytest.mark.real


def in_a_kept_cluster(directory, use, nodes: int = 6, **settings) -> None:
    in_a_cluster(directory, use, nodes, keeper=AT_ONCE, **settings)


def test_what_a_dead_node_held_is_made_again_elsewhere_and_a_second_death_loses_nothing(tmp_path):
    async def use(made: Cluster):
        await store_video(made)
        repaired = 0
        for number in range(2):
            victim = sorted(made.nodes)[number]
            chunks = (await made.client.manifest("kino")).chunks
            repaired += sum(each.node == victim for chunk in chunks for each in chunk.fragments)
            await made.stop(victim)
            made.coordinator.members.declare_lost(victim)
            await keep(made)
            assert await read_back(made) == content("kino", 3)
        assert await is_whole(made)
        assert made.coordinator.keeper.done["repair"] == repaired
        await made.stop(sorted(made.nodes)[0])
        await made.stop(sorted(made.nodes)[0])
        assert await read_back(made) == content("kino", 3)

    in_a_kept_cluster(tmp_path, use, nodes=7)


def test_nothing_is_done_while_a_node_is_only_suspect(tmp_path):
    async def use(made: Cluster):
        await store_video(made)
        before = (await made.client.manifest("kino")).chunks
        await made.stop("node-1")
        await keep(made)
        assert (await made.client.manifest("kino")).chunks == before

    in_a_kept_cluster(tmp_path, use, nodes=5)


def test_a_dead_node_is_removed_and_what_it_held_is_counted(tmp_path):
    async def use(made: Cluster):
        await store_video(made)
        holder = (await made.client.manifest("kino")).chunks[0].fragments[0].node
        held = len(await keys_on(made, holder))
        await made.stop(holder)
        made.coordinator.members.declare_lost(holder)
        removed = await made.client.remove_node(holder)
        assert (removed.moved, held > 0) == (held, True)
        assert holder not in made.coordinator.members.records
        assert await is_whole(made)
        assert await read_back(made) == content("kino", 3)

    in_a_kept_cluster(tmp_path, use)


def test_a_dead_node_whose_fragments_cannot_be_made_is_not_removed(tmp_path):
    async def use(made: Cluster):
        await store_video(made, redundancy="rep:1")
        holder = (await made.client.manifest("kino")).chunks[0].fragments[0].node
        await made.stop(holder)
        made.coordinator.members.declare_lost(holder)
        with pytest.raises(Conflict, match="nothing was changed") as caught:
            await made.client.remove_node(holder)
        assert caught.value.code == "CANNOT_EMPTY_NODE"
        assert caught.value.detail["videos"] == ["kino"]
        await keep(made)
        status = made.coordinator.keeper.status()
        assert status.stuck[0].startswith("'kino' chunk ")
        assert "0 of its fragments can be read" in status.stuck[0]

    in_a_kept_cluster(tmp_path, use, nodes=3)


def test_the_removal_of_a_node_that_died_this_moment_says_to_try_again(tmp_path):
    """It is thought to be up, so what it holds is to be copied from it."""

    async def use(made: Cluster):
        await store_video(made)
        holder = (await made.client.manifest("kino")).chunks[0].fragments[0].node
        await made.stop(holder)
        with pytest.raises(NodeRefused, match=f"node {holder} has stopped answering") as caught:
            await made.client.remove_node(holder)
        assert caught.value.code == "MOVE_FAILED"
        assert "again in some seconds" in caught.value.hint
        assert await read_back(made) == content("kino", 3)

    in_a_kept_cluster(tmp_path, use)


def test_fragments_that_vanish_or_rot_on_a_live_node_are_made_again_there(tmp_path):
    async def use(made: Cluster):
        await store_video(made)
        before = (await made.client.manifest("kino")).chunks
        for chunk in before:
            gone = chunk.fragments[chunk.number]
            made.nodes[gone.node].node.store.commit([Delete(bytes.fromhex(gone.key))])
        assert not await is_whole(made)
        await keep(made, audits=True)
        assert await is_whole(made)
        assert (await made.client.manifest("kino")).chunks == before
        assert made.coordinator.keeper.status().fragments_missing == 0

    in_a_kept_cluster(tmp_path, use, nodes=5)


def test_what_a_node_lists_as_bad_is_made_again(tmp_path):
    async def use(made: Cluster):
        await store_video(made)
        chunk = (await made.client.manifest("kino")).chunks[0]
        rotten = chunk.fragments[0]
        store = made.nodes[rotten.node].node.store
        (path,) = (tmp_path / rotten.node).glob("sb-*.dat")
        body = store.find(bytes.fromhex(rotten.key)).read(0, 64)
        with path.open("r+b") as file:
            whole = file.read()
            file.seek(whole.index(body))
            file.write(bytes(64))
        async with made.link() as http:
            url = f"{made.nodes[rotten.node].url}/v1/suspect"
            assert (await http.post(url, json={"key": rotten.key})).status_code == 200
        assert store.bad()
        await keep(made)
        assert store.bad() == []
        assert await is_whole(made)
        assert await read_back(made) == content("kino", 3)

    in_a_kept_cluster(tmp_path, use, nodes=5)


@pytest.mark.parametrize(
    ("before", "after", "wire_chunks"),
    [
        ("rep:3", "rs:3+2", 2 / 3),
        ("rs:3+2", "rep:3", 2.0),
        ("rs:3+2+1copy", "rs:3+2", 0.0),
        ("rs:3+2", "rs:3+2+1copy", 1.0),
        ("rs:3+2", "rs:3+3", 1.0),
        ("rs:3+3", "rs:3+2", 0.0),
        ("rep:3", "rep:2", 0.0),
        ("rep:2", "rep:3", 1.0),
        ("rs:3+2", "rs:2+2", None),
        ("rs:2+3", "rs:4+2", None),
    ],
)
def test_a_video_goes_from_any_layout_to_any_other_at_the_least_cost(
    tmp_path, before, after, wire_chunks
):
    async def use(made: Cluster):
        await store_video(made, redundancy=before)
        await made.client.set_layout("kino", wire.SetLayout(redundancy=after))
        await keep(made)
        status = made.coordinator.keeper.status()
        assert status.groups_left == 0
        assert status.stuck == ()
        assert await read_back(made) == content("kino", 3)
        manifest = await made.client.manifest("kino")
        wanted = manifest.video.layout
        for chunk in manifest.chunks:
            assert chunk.layout.k == wanted.k
            assert len(chunk.fragments) == wanted.n + wanted.copies
            assert len({each.node for each in chunk.fragments}) == wanted.n + wanted.copies
        await made.coordinator.keeper.worker.drop_due()
        held = [await keys_on(made, name) for name in made.nodes]
        assert sum(map(len, held)) == sum(len(chunk.fragments) for chunk in manifest.chunks)
        if wire_chunks is not None:
            footers = 3 * 12 * 1024
            assert status.received_bytes <= wire_chunks * 3 * CHUNK + footers
            assert bool(status.received_bytes) == bool(wire_chunks)

    in_a_kept_cluster(tmp_path, use, nodes=6)


def test_a_layout_that_no_cluster_like_this_can_have_is_refused(tmp_path):
    async def use(made: Cluster):
        await store_video(made, redundancy="rep:2")
        async with made.link() as http:
            for wish, status in (("rs:6+3", 503), ("nonsense", 400)):
                answer = await http.put("/v1/videos/kino/layout", json={"redundancy": wish})
                assert answer.status_code == status, answer.text

    in_a_kept_cluster(tmp_path, use, nodes=3)


def test_a_new_node_takes_its_share_and_not_more(tmp_path):
    async def use(made: Cluster):
        await store_video(made, chunks=24, redundancy="rs:2+1")
        await made.start_node("node-9")
        await made.wait_until_up("node-9")
        keeper = made.coordinator.keeper
        await keeper.lease.hold()
        moved = await keeper.even_out()
        assert moved >= 12
        await keeper.worker.drop_due()
        sizes = {name: len(await keys_on(made, name)) for name in made.nodes}
        assert sum(sizes.values()) == 72
        assert 16 <= sizes["node-9"] <= 19, sizes
        assert await is_whole(made)
        assert await read_back(made) == content("kino", 24)

    small = {"capacity_bytes": 24 * CHUNK}

    async def scenario(made: Cluster):
        for name in ("node-1", "node-2", "node-3"):
            await made.start_node(name, **small)
        await made.wait_until_up("node-1", "node-2", "node-3")
        start = made.start_node

        async def start_small(name: str, **settings):
            return await start(name, **small, **settings)

        made.start_node = start_small
        await use(made)

    in_a_cluster(tmp_path, scenario, 0, keeper=AT_ONCE)


def test_one_of_two_coordinators_keeps_and_the_other_takes_over_after_its_death():
    now_s = 0.0

    async def use():
        nonlocal now_s
        registers = Registers(MemoryCatalogue())
        first = Lease(registers, lease_s=10.0, clock=lambda: now_s)
        second = Lease(registers, lease_s=10.0, clock=lambda: now_s)
        assert await first.hold()
        assert not await second.hold()
        for _ in range(6):
            now_s += 4.0
            assert await first.hold()
            assert not await second.hold()
        now_s += 9.0
        assert not await second.hold()
        now_s += 2.0
        assert await second.hold()
        assert not first.is_held
        assert not await first.hold()
        await second.release()
        assert await first.hold()

    asyncio.run(use())


def test_two_keepers_at_once_lose_nothing(tmp_path):
    """A lease is no lock: both may believe to hold it, and everything is a compare-and-set.

    What is not recorded yet is an orphan to the other one: that is what its day of grace is for.
    """

    async def use(made: Cluster):
        await store_video(made)
        other = Coordinator(made.coordinator.registers.catalogue, keeper=AT_ONCE)
        await other.load()
        try:
            for name, node in made.nodes.items():
                record = made.coordinator.members.record(name)
                await other.members.hear_beat(
                    wire.Heartbeat(
                        node=name,
                        store=record.store,
                        urls=(node.url,),
                        capacity_bytes=10**9,
                        free_bytes=10**9,
                    ),
                    holds_fragments=True,
                )
            await made.stop("node-1")
            for each in (made.coordinator, other):
                each.members.declare_lost("node-1")

                async def always(self=each) -> bool:
                    return True

                each.keeper.lease.hold = always
            await asyncio.gather(made.coordinator.keeper.round(), other.keeper.round())
            await made.coordinator.library.refresh(made.coordinator.registers)
            await keep(made)
            assert await is_whole(made)
            assert await read_back(made) == content("kino", 3)
        finally:
            await other.links.close()

    in_a_cluster(tmp_path, use, 7, keeper=AT_ONCE)


def test_the_policy_is_asked_and_followed_within_the_day_s_budget(tmp_path):
    async def use(made: Cluster):
        await store_video(made, "hit", redundancy="auto")
        await store_video(made, "flop", redundancy="auto")
        await store_video(made, "mine", redundancy="rs:3+2")
        registers, advisor = made.coordinator.registers, made.coordinator.keeper.advisor
        for name in ("hit", "mine"):
            video = await made.client.video(name)
            views = Views(count=1001, level=Popularity.of(1001, 10**9).level)
            await registers.update(f"views/{video.id}", Views, lambda _, v=views: v)
        await made.coordinator.views.load()
        assert (await made.client.video("mine")).wish is not None
        # Twice the film has to move; a first day allows one byte less.
        dear = dataclasses.replace(AT_ONCE, policy_bytes_per_day=6 * CHUNK - 1)
        advisor._limits = dear
        asked = await advisor.advise()
        assert (asked.now, len(asked.later)) == ((), 1)
        advisor._limits = dataclasses.replace(AT_ONCE, policy_bytes_per_day=6 * CHUNK)
        asked = await advisor.advise()
        assert [each.video.views for each in asked.now] == [1001]
        await keep(made)
        layouts = {each.name: each.layout for each in await made.client.list_videos()}
        cold, hot = wire.LayoutRecord(k=3, n=5), wire.LayoutRecord(k=1, n=3)
        assert layouts == {"hit": hot, "flop": cold, "mine": cold}
        assert await read_back(made, "hit") == content("hit", 3)
        assert "1001 views" in (await made.client.video("hit")).reason
        spent = await registers.get(BUDGET_KEY, Spent)
        assert spent.record.spent_bytes == 6 * CHUNK
        assert (await advisor.advise()).now == ()

    in_a_kept_cluster(tmp_path, use, nodes=5)


def test_repair_waits_for_a_node_that_plays_but_not_for_ever_and_not_in_need():
    loads = {"busy": 5, "idle": 0}
    now_s = 0.0

    async def use():
        nonlocal now_s
        limits = dataclasses.replace(AT_ONCE, patience_s=0.6, wire_bytes_per_s=1e9)
        throttle = Throttle(limits, loads.__getitem__, lambda: now_s)
        async with throttle.turn(["busy"], 0, is_urgent=True):
            pass
        async with throttle.turn(["idle"], 0, is_urgent=False):
            pass
        waiting = asyncio.create_task(throttle.turn(["busy"], 0, is_urgent=False).__aenter__())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        assert throttle.resting == {"busy"}
        now_s = 1.0  # patience has run out
        await asyncio.wait_for(waiting, 5)
        assert throttle.resting == set()

    asyncio.run(use())
