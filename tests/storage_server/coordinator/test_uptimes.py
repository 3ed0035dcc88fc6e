"""How much of the time each node answers is counted, kept across restarts, and counted with."""

import asyncio

import pytest

from smart_client import wire
from storage_server.catalogue.memory import MemoryCatalogue
from storage_server.coordinator.service import Coordinator
from storage_server.coordinator.uptimes import FLUSH_INTERVAL_S, UPTIMES_KEY


def test_an_hour_half_of_which_a_node_was_away_is_remembered_by_the_next_coordinator():
    now_s = 0.0

    async def scenario() -> None:
        nonlocal now_s
        catalogue = MemoryCatalogue()

        def coordinator() -> Coordinator:
            made = Coordinator(catalogue, clock=lambda: now_s)
            made.uptimes._wall_clock = lambda: 1e9 + now_s
            return made

        first = coordinator()
        for node in ("well", "ill"):
            await first.members.add(wire.NodeRecord(id=node, urls=()), False)
        for second in range(3600):
            now_s += 1.0
            first.members.hear("well")
            if second < 1800:
                first.members.hear("ill")
            first.uptimes.tick(now_s)
            await first.uptimes.flush_if_due(now_s)
        assert (await catalogue.get(UPTIMES_KEY)) is not None  # before anybody stops it
        now_s += 100_000.0  # asleep: nobody looked, nothing is counted
        first.uptimes.tick(now_s)
        await first.uptimes.flush()
        second = coordinator()
        await second.load()
        status = {each.record.id: each for each in second.members.statuses()}
        assert status["well"].uptime == 1.0
        assert status["ill"].uptime == pytest.approx(0.5, abs=0.01)
        assert status["well"].watched_s == pytest.approx(3600, rel=0.05)
        # An hour is little beside what is assumed: the sick node is not given up for it.
        assert 0.96 < second.members.uptime("ill") < 0.97 < second.members.uptime("well")
        await second.members.remove("ill")
        second.members.hear("well")
        second.uptimes.tick(now_s)
        now_s += 1.0
        second.uptimes.tick(now_s)
        await second.uptimes.flush()
        assert set(second.members.uptimes) == {"well"}
        for each in (first, second):
            await each.links.close()

    asyncio.run(scenario())


def test_it_is_written_seldom():
    now_s = 0.0

    async def scenario() -> None:
        nonlocal now_s
        made = Coordinator(MemoryCatalogue(), clock=lambda: now_s)
        await made.members.add(wire.NodeRecord(id="a", urls=()), False)
        versions = set()
        for _ in range(int(3 * FLUSH_INTERVAL_S)):
            now_s += 1.0
            made.members.hear("a")
            made.uptimes.tick(now_s)
            await made.uptimes.flush_if_due(now_s)
            entry = await made.registers.catalogue.get(UPTIMES_KEY)
            versions.add(entry.version if entry else 0)
        assert len(versions) <= 4
        await made.links.close()

    asyncio.run(scenario())
