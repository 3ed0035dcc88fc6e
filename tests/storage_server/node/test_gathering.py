"""How long a commit waits for writes that are about to come."""

import asyncio
import time

import pytest

from storage_server.node import group_commit
from storage_server.node.group_commit import Gathering, GroupCommit
from storage_server.node.memory_store import MemoryChunkStore
from support.fragments import fragment, fragments


def test_nobody_waits_at_the_start():
    assert Gathering().wanted(0.0) == (1, 0.0)


def test_a_lone_writer_never_waits():
    gathering = Gathering()
    gathering.ended(1.0, 1.008, done=1, waiting=0)
    assert gathering.wanted(1.008)[0] == 1


def test_as_many_are_expected_as_were_there_for_half_of_what_the_last_commit_took():
    gathering = Gathering()
    gathering.ended(1.0, 1.008, done=10, waiting=6)
    wanted, patience_s = gathering.wanted(1.009)
    assert wanted == 16
    assert patience_s == pytest.approx(0.003)
    assert gathering.wanted(1.0121) == (1, 0.0)  # they did not come


def test_a_slow_disk_makes_nobody_wait_long():
    gathering = Gathering()
    gathering.ended(1.0, 3.0, done=2, waiting=0)
    assert gathering.wanted(3.0)[1] == pytest.approx(0.01)


def test_waits_in_vain_become_rare_until_one_was_not():
    gathering = Gathering()

    def commits_until_a_wait() -> int:
        count = 1
        while gathering.wanted(0.0)[0] == 1:
            gathering.ended(-1.0, 0.0, done=8, waiting=0)
            count += 1
        return count

    found = []
    gathering.ended(-1.0, 0.0, done=8, waiting=0)
    for _ in range(8):
        found.append(commits_until_a_wait())
        gathering.waited(is_enough=False)
        gathering.ended(-1.0, 0.0, done=8, waiting=0)
    assert found == [1, 2, 4, 8, 16, 32, 32, 32]
    commits_until_a_wait()
    gathering.waited(is_enough=True)
    gathering.ended(-1.0, 0.0, done=8, waiting=0)
    assert commits_until_a_wait() == 1


class SlowStore(MemoryChunkStore):
    """Takes a while for each commit, as a disk does, and remembers how many shared it."""

    def __init__(self):
        super().__init__()
        self.batches: list[int] = []

    def commit(self, writes):
        self.batches.append(len(writes))
        time.sleep(0.02)
        return super().commit(writes)


def be_patient(monkeypatch, patience_s: float) -> None:
    """Let every commit wait so long, if it waits."""
    monkeypatch.setattr(group_commit, "_PATIENCE", 1e9)
    monkeypatch.setattr(group_commit, "_PATIENCE_S_MAX", patience_s)


async def write_in_turn(writer, puts_of_each) -> None:
    """Let each writer write its next fragment soon after the one before is stored."""

    async def one(number, puts):
        for put in puts:
            await writer.put(put)
            await asyncio.sleep(number / 1000)

    await asyncio.gather(*(one(number, puts) for number, puts in enumerate(puts_of_each)))


def test_writers_that_write_again_at_once_share_every_sync(monkeypatch):
    be_patient(monkeypatch, 2.0)
    store = SlowStore()

    async def scenario():
        writer = GroupCommit(store)
        puts = fragments(16 * 10)
        await write_in_turn(writer, [puts[start::16] for start in range(16)])
        await writer.close()

    asyncio.run(scenario())
    assert sum(store.batches) == 160
    assert set(store.batches[1:-2]) == {16}, store.batches  # one may have been alone at the start


def test_large_bodies_do_not_wait_for_each_other(monkeypatch):
    be_patient(monkeypatch, 60.0)

    async def scenario():
        writer = GroupCommit(SlowStore())
        puts = [fragment(number, 4_200_000) for number in range(6)]
        await asyncio.wait_for(write_in_turn(writer, [puts[:1], puts[1:3], puts[3:]]), 30)
        await writer.close()

    asyncio.run(scenario())


def expect_more(writer) -> None:
    """Let the next commit wait for more writes than will come."""
    now_s = time.perf_counter()
    writer._gathering.ended(now_s - 1.0, now_s, done=9, waiting=0)


def test_neither_a_job_nor_the_end_waits_for_writes_to_come(monkeypatch):
    be_patient(monkeypatch, 60.0)

    async def begun(writer, number):
        expect_more(writer)
        waits = asyncio.create_task(writer.put(fragment(number)))
        await asyncio.sleep(0.05)
        assert not waits.done()
        return waits

    async def scenario():
        writer = GroupCommit(SlowStore())
        waits = await begun(writer, 1)
        # A job lets it go on, and so it does with a write behind it.
        job = asyncio.create_task(writer.run(lambda: "done"))
        behind = asyncio.create_task(writer.put(fragment(2)))
        assert await asyncio.wait_for(job, 30) == "done"
        assert await waits is True
        expect_more(writer)
        await asyncio.wait_for(writer.run(lambda: None), 30)
        assert await behind is True
        waits = await begun(writer, 3)
        await asyncio.wait_for(writer.close(), 30)
        assert await waits is True

    asyncio.run(scenario())
