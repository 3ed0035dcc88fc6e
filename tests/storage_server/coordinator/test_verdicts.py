"""Who is lost and who is drained stays so when a coordinator starts again."""

import asyncio
from collections import Counter

import pytest

from smart_client import wire
from smart_client.errors import Conflict
from storage_server.catalogue.memory import MemoryCatalogue
from storage_server.coordinator.failure_detector import DetectorLimits, Loss, NodeState
from storage_server.coordinator.service import Coordinator
from storage_server.coordinator.verdicts import NodeVerdict
from support.kept_videos import AT_ONCE, content, is_whole, keep, read_back, store_video
from support.running_cluster import Cluster, in_a_cluster

pytestmark = pytest.mark.real


async def restart(made: Cluster) -> None:
    await made.stop("coordinator")
    await made.start_coordinator()


def test_a_node_that_was_declared_lost_stays_lost_until_it_is_added_again(tmp_path):
    async def use(made: Cluster):
        await store_video(made)
        await made.client.declare_lost("node-1")
        await restart(made)
        await made.wait_until_up("node-2", "node-3", "node-4", "node-5", "node-6")
        assert await made.state_of("node-1") == "lost"  # though it goes on reporting
        await keep(made)
        assert await is_whole(made)
        record = made.coordinator.members.record("node-1")
        await made.client.add_node(record)
        await restart(made)
        await made.wait_until_up("node-1")

    in_a_cluster(tmp_path, use, 6, keeper=AT_ONCE)


def test_a_verdict_that_cannot_be_written_keeps_no_other_from_it(tmp_path, monkeypatch):
    async def use(made: Cluster):
        coordinator = made.coordinator
        registers, update = coordinator.verdicts._registers, coordinator.verdicts._registers.update
        nodes = sorted(made.nodes)
        for broken in nodes:  # whichever comes first

            async def refusing(key, *about, broken=broken):
                if key == f"verdict/{broken}":
                    raise Conflict("somebody else changes it all the time")
                return await update(key, *about)

            for node in nodes:
                coordinator.members.declare_lost(node)
            monkeypatch.setattr(registers, "update", refusing)
            with pytest.raises(Conflict):
                await coordinator.verdicts.settle()
            monkeypatch.setattr(registers, "update", update)
            written = {each.key for each in await registers.scan("verdict/", NodeVerdict)}
            assert written == {f"verdict/{node}" for node in nodes if node != broken}
            for node in nodes:
                coordinator.members.watch_anew(node)
            await coordinator.verdicts.settle()

    in_a_cluster(tmp_path, use, 3)


def test_a_long_silence_is_remembered_and_repair_goes_on_at_once_after_a_restart(tmp_path):
    async def use(made: Cluster):
        await store_video(made)
        await made.stop("node-1")
        members = made.coordinator.members
        members._detector._nodes["node-1"].silent_since_s -= made.limits.lost_after_s
        await made.coordinator.verdicts.settle()
        await restart(made)
        assert made.coordinator.members.loss("node-1") is Loss.SILENCE
        others = [f"node-{number}" for number in range(2, 7)]
        await made.wait_until_up(*others)
        await keep(made)
        assert await is_whole(made)
        await made.start_node("node-1")
        await made.wait_until_up("node-1")
        await made.coordinator.verdicts.settle()
        await restart(made)
        assert made.coordinator.members.loss("node-1") is Loss.NO

    in_a_cluster(tmp_path, use, 6, keeper=AT_ONCE)


def test_a_drained_node_is_emptied_stays_and_takes_nothing_until_it_is_added_again(tmp_path):
    async def use(made: Cluster):
        await store_video(made)
        chunks = (await made.client.manifest("kino")).chunks
        holders = Counter(each.node for chunk in chunks for each in chunk.fragments)
        [(node, held)] = holders.most_common(1)
        planned = await made.client.drain_node(node)
        assert planned.moves == held
        assert planned.bytes > 0
        await restart(made)
        await made.wait_until_up(*made.nodes)
        await keep(made)
        assert made.coordinator.library.groups_on(node) == []
        assert made.coordinator.members.status(node).status == "draining"
        await store_video(made, "late")
        assert made.coordinator.library.groups_on(node) == []
        assert await read_back(made) == content("kino", 3)
        await made.client.add_node(made.coordinator.members.record(node))
        assert made.coordinator.members.status(node).status != "draining"
        await restart(made)
        assert made.coordinator.members.drains == set()

    in_a_cluster(tmp_path, use, 6, keeper=AT_ONCE)


def test_one_coordinator_follows_what_another_was_told():
    async def scenario() -> None:
        catalogue, now_s = MemoryCatalogue(), 0.0
        first = Coordinator(catalogue, clock=lambda: now_s)
        await first.members.add(_record("a"), False)
        second = Coordinator(catalogue, clock=lambda: now_s)
        await second.load()
        first.members.declare_lost("a")
        first.members.set_drain("a", True)
        await first.verdicts.settle()
        second.members.hear("a")
        await second.verdicts.settle_and_look()
        assert second.members.state("a") is NodeState.UP
        for _ in range(62):
            now_s += 0.5
            second.members.hear("a")
            await second.verdicts.settle_and_look()
        assert (second.members.state("a"), second.members.drains) == (NodeState.LOST, {"a"})
        await first.members.add(_record("a"), False)
        await first.verdicts.settle()
        for _ in range(62):
            now_s += 0.5
            second.members.hear("a")
            await second.verdicts.settle_and_look()
        assert (second.members.state("a"), second.members.drains) == (NodeState.UP, set())
        assert await catalogue.scan("verdict/") == []
        await first.links.close()
        await second.links.close()

    asyncio.run(scenario())


class SlowToScan(MemoryCatalogue):
    """Something else happens between its reading and its answer."""

    async def meanwhile(self) -> None:
        """Nothing, until it is replaced."""

    async def scan(self, prefix):
        found = await super().scan(prefix)
        if prefix == "verdict/":
            await self.meanwhile()
        return found


@pytest.mark.parametrize("is_written", [False, True])
def test_the_operators_word_is_not_undone_by_a_look_that_began_before(is_written):
    async def scenario() -> None:
        catalogue, now_s = SlowToScan(), 0.0
        told = Coordinator(catalogue, clock=lambda: now_s)
        await told.members.add(_record("a"), False)
        await told.members.add(_record("b"), False)
        told.members.declare_lost("b")
        told.members.set_drain("b", True)
        await told.verdicts.settle()

        async def operator() -> None:
            told.members.declare_lost("a")
            told.members.set_drain("a", True)
            await told.members.add(_record("b"), False)
            if is_written:
                await told.verdicts.settle()

        catalogue.meanwhile = operator
        now_s = 31.0
        await told.verdicts.settle_and_look()
        assert (told.members.loss("a"), told.members.drains) == (Loss.TOLD, {"a"})
        assert told.members.loss("b") is Loss.NO
        await told.verdicts.settle()
        (entry,) = await catalogue.scan("verdict/")
        assert entry.key == "verdict/a"
        await told.links.close()

    asyncio.run(scenario())


def test_who_is_silent_for_one_is_not_lost_for_another_that_hears_it():
    async def scenario() -> None:
        catalogue, now_s = MemoryCatalogue(), 0.0
        limits = DetectorLimits(lost_after_s=10.0)
        deaf = Coordinator(catalogue, limits=limits, clock=lambda: now_s)
        await deaf.members.add(_record("a"), False)
        hears = Coordinator(catalogue, limits=limits, clock=lambda: now_s)
        await hears.load()
        for _ in range(80):
            now_s += 0.5
            hears.members.hear("a")
            await deaf.verdicts.settle_and_look()
            await hears.verdicts.settle_and_look()
        assert deaf.members.loss("a") is Loss.SILENCE
        assert hears.members.state("a") is NodeState.UP
        (entry,) = await catalogue.scan("verdict/")
        assert NodeVerdict(lost=Loss.SILENCE).lost in str(entry.value)
        await deaf.links.close()
        await hears.links.close()

    asyncio.run(scenario())


def _record(node: str):
    return wire.NodeRecord(id=node, urls=())
