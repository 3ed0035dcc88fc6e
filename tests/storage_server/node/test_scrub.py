"""Scrubbing, complaints, and the upkeep of a node that runs."""

import asyncio
import contextlib
import dataclasses
import errno
import json
import os
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_server.node.caretaker import Caretaker, Condition
from storage_server.node.config import UpkeepLimits
from storage_server.node.errors import NodeBusy, ReadFailed
from storage_server.node.group_commit import GroupCommit
from storage_server.node.scrub import CHECKPOINT_NAME, ScrubOrder
from storage_server.node.store import Put
from support.fragments import SIZE, fragment, fragments, lost_keys, open_store
from support.node_in_thread import NodeInThread, wait_until
from support.simulated_disk import SimulatedDisk

FIRST = "sb-00000001.dat"
BUSY_UPKEEP = UpkeepLimits(
    scrub_pass_s=0.2, scrub_bytes_per_s_max=1e9, compact_bytes_per_s=1e9, poll_s=0.02
)


def opened(disk):
    return open_store(disk, superblock_bytes=64 * 1024)


@given(st.lists(st.integers(1, 12), max_size=12))
@settings(max_examples=50, deadline=None)
def test_a_pass_reads_every_fragment_once_however_often_the_node_is_started(runs):
    disk = SimulatedDisk()
    puts = fragments(30, SIZE)
    opened(disk).commit(puts)
    read = []
    for steps in [*runs, 1000]:
        order = ScrubOrder(opened(disk), disk)
        for _ in range(steps):
            target = order.next_target()
            if order.checkpoint.passes:
                break
            read.append(target.key)
            order.mark_done(target)
        order.save()
    assert read == [put.key for put in puts]


def test_fragments_that_come_and_go_during_a_pass_do_not_disturb_it():
    disk = SimulatedDisk()
    store = opened(disk)
    puts = fragments(60, SIZE)
    store.commit(puts[:30])
    order = ScrubOrder(store, disk)
    read = []
    for number in range(30):
        target = order.next_target()
        assert store.has(target.key)
        read.append(target.key)
        order.mark_done(target)
        store.put(puts[30 + number])
        store.delete(puts[29 - number].key)
    assert len(set(read)) == 30
    assert {put.key for put in puts[:15]} <= set(read)  # they were there all the time
    assert order.checkpoint.passes == 0


def test_an_empty_store_has_nothing_to_read():
    disk = SimulatedDisk()
    store = opened(disk)
    order = ScrubOrder(store, disk)
    assert order.next_target() is None
    store.put(fragment(1))
    order.mark_done(order.next_target())
    store.delete(fragment(1).key)
    assert order.next_target() is None
    assert order.checkpoint.passes == 1


@pytest.mark.parametrize(
    "rubbish",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"format": 2}',
        b'{"format": 1, "superblock": -1, "offset": 0, "passes": 0}',
        b'{"format": 1, "superblock": "x", "offset": 0, "passes": 0}',
    ],
)
def test_a_lost_place_is_the_beginning(rubbish):
    disk = SimulatedDisk()
    store = opened(disk)
    store.put(fragment(1))
    disk.replace(CHECKPOINT_NAME, rubbish)
    assert ScrubOrder(store, disk).next_target().key == fragment(1).key


# Checks on demand


def look_after(disk, store, ask):
    """Run ``ask(caretaker)`` with a caretaker that does nothing by itself."""

    async def scenario():
        writer = GroupCommit(store)
        limits = UpkeepLimits(poll_s=3600)
        caretaker = Caretaker(store, writer, disk, limits=limits, clock=time.monotonic)
        try:
            return await ask(caretaker)
        finally:
            await writer.close()

    return asyncio.run(scenario())


def test_a_complaint_is_looked_into():
    disk = SimulatedDisk()
    store = opened(disk)
    puts = fragments(5, SIZE)
    store.commit(puts)
    disk.flip_bit(FIRST, (4096 + 2 * 8192 + 64 + 17) * 8)

    async def ask(caretaker):
        asked = [puts[1], puts[2], puts[2], fragment(99)]
        return [await caretaker.check(put.key) for put in asked]

    found = look_after(disk, store, ask)
    assert found == [Condition.INTACT, Condition.BAD, Condition.MISSING, Condition.MISSING]
    assert lost_keys(store, puts) == [puts[2].key]
    assert [bad.key for bad in opened(disk).bad()] == [puts[2].key]


@pytest.mark.parametrize("part", [3, 20, 40, 64, 64 + SIZE - 1, 64 + SIZE + 5, 64 + SIZE + 10])
def test_a_flip_in_any_part_of_a_record_is_found(part):
    disk = SimulatedDisk()
    store = opened(disk)
    puts = fragments(3, SIZE)
    store.commit(puts)
    disk.flip_bit(FIRST, (4096 + 8192 + part) * 8)
    ask = [puts[1].key]
    assert look_after(disk, store, lambda caretaker: caretaker.check(*ask)) is Condition.BAD


def test_bytes_that_belong_to_another_key_are_found_though_their_checksum_fits():
    disk = SimulatedDisk()
    store = opened(disk)
    store.put(Put(fragment(1).key, fragment(2).data))  # as a misdirected write would
    key = fragment(1).key
    assert look_after(disk, store, lambda caretaker: caretaker.check(key)) is Condition.BAD


class Unreadable(SimulatedDisk):
    """Gives an error at every read while it is told to."""

    fails = 0
    error = errno.EIO

    def _step(self, operation):
        if operation == "read" and self.fails:
            self.fails -= 1
            raise OSError(self.error, os.strerror(self.error))
        super()._step(operation)


@pytest.mark.parametrize(("failures", "condition"), [(1, Condition.INTACT), (2, Condition.BAD)])
def test_a_place_that_cannot_be_read_twice_is_bad(failures, condition):
    disk = Unreadable()
    store = opened(disk)
    store.put(fragment(1))
    disk.fails = failures
    key = fragment(1).key
    assert look_after(disk, store, lambda caretaker: caretaker.check(key)) is condition


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EINTR])
def test_a_fragment_that_cannot_be_looked_at_now_is_not_called_bad(error):
    disk = Unreadable()
    store = opened(disk)
    store.put(fragment(1))
    disk.fails, disk.error = 100, error
    key = fragment(1).key
    with pytest.raises(ReadFailed):
        look_after(disk, store, lambda caretaker: caretaker.check(key))
    disk.fails = 0
    assert store.has(key)
    assert store.bad() == []


def test_too_many_complaints_at_once_are_refused():
    disk = SimulatedDisk()
    store = opened(disk)
    store.put(fragment(1))

    async def ask(caretaker):
        asked = [caretaker.check(fragment(1).key) for _ in range(20)]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = look_after(disk, store, ask)
    assert answers.count(Condition.INTACT) == 16
    assert sum(isinstance(answer, NodeBusy) for answer in answers) == 4


def test_many_complaints_do_not_keep_the_disk_busy():
    """4 MiB at 8 MB/s: the second and third wait for half a second each."""
    disk = SimulatedDisk()
    store = open_store(disk, superblock_bytes=1 << 23)
    put = fragment(1, 4 << 20)
    store.put(put)

    async def ask(caretaker):
        started_s = time.monotonic()
        await asyncio.gather(*(caretaker.check(put.key) for _ in range(3)))
        return time.monotonic() - started_s

    assert look_after(disk, store, ask) > 0.8


# In a node that runs


def rot(folder, put):
    """Flip one bit of a fragment on the disk, past the node and past the page cache."""
    for path in folder.glob("sb-*.dat"):
        at = path.read_bytes().find(put.data)
        if at >= 0:
            with path.open("r+b") as file:
                file.seek(at + 10)
                file.write(bytes([put.data[10] ^ 1]))
                os.fsync(file.fileno())
            return
    raise AssertionError("not there")


@pytest.mark.real
def test_rot_is_found_within_a_pass_listed_and_healed_by_a_new_put(tmp_path):
    puts = fragments(20, SIZE)
    with NodeInThread(tmp_path, upkeep=BUSY_UPKEEP, superblock_bytes=64 * 1024) as node:
        for put in puts:
            node.put(put)
        rot(tmp_path, puts[3])
        wait_until(lambda: node.ask("GET", "/v1/bad").json["count"])
        (bad,) = node.ask("GET", "/v1/bad").json["bad"]
        assert (bad["key"], bad["kind"]) == (puts[3].key.hex(), "rot")
        assert node.get(puts[3]).status == 404
        health = node.ask("GET", "/healthz").json
        assert (health["status"], health["bad"], health["fragments"]) == ("warn", 1, 19)
        assert node.put(puts[3]).status == 201
        assert node.get(puts[3]).body == puts[3].data
        assert node.ask("GET", "/v1/bad").json == {"bad": [], "count": 0}
    with NodeInThread(tmp_path, superblock_bytes=64 * 1024) as node:
        assert [node.get(put).body for put in puts] == [put.data for put in puts]
        assert json.loads((tmp_path / CHECKPOINT_NAME).read_text())["format"] == 1


@pytest.mark.real
def test_a_node_gives_deleted_space_back_by_itself(tmp_path):
    puts = fragments(40, SIZE)
    with NodeInThread(tmp_path, upkeep=BUSY_UPKEEP, superblock_bytes=64 * 1024) as node:
        for put in puts:
            node.put(put)
        for put in puts[:25]:
            node.ask("DELETE", f"/v1/chunks/{put.key.hex()}")
        wait_until(lambda: not (tmp_path / FIRST).exists())
        assert [node.get(put).body for put in puts[25:]] == [put.data for put in puts[25:]]
        assert b"superblocks_compacted" in node.ask("GET", "/metrics").body
    with NodeInThread(tmp_path, superblock_bytes=64 * 1024) as node:
        assert {node.get(put).status for put in puts[:25]} == {404}
        assert {node.get(put).status for put in puts[25:]} == {200}


@pytest.mark.real
def test_a_complaint_over_http_is_answered_and_the_fragment_leaves(tmp_path):
    one, two = fragments(2, SIZE)
    with NodeInThread(tmp_path) as node:
        node.put(one)
        node.put(two)
        rot(tmp_path, two)

        def complain(put):
            answer = node.ask("POST", "/v1/suspect", json.dumps({"key": put.key.hex()}))
            return answer.json["condition"]

        assert complain(one) == "intact"
        assert complain(two) == "bad"
        assert complain(two) == complain(fragment(9)) == "missing"
        assert node.get(two).status == 404
        for body in (b"", b"{}", b'{"key": "AB"}', b'{"key": 3}'):
            assert node.ask("POST", "/v1/suspect", body).status == 400


@pytest.mark.real
def test_a_pass_takes_the_time_it_is_given(tmp_path):
    upkeep = UpkeepLimits(scrub_pass_s=1.5, poll_s=0.05)
    with NodeInThread(tmp_path, upkeep=upkeep) as node:
        for put in fragments(30, SIZE):
            node.put(put)
        caretaker = node.running.node.caretaker
        begun = caretaker.scrubbed_bytes
        started_s = time.monotonic()
        wait_until(lambda: caretaker.scrubbed_bytes - begun > 25 * SIZE)
        assert time.monotonic() - started_s > 0.5


def test_upkeep_ends_when_it_is_told_to_and_keeps_its_place():
    disk = SimulatedDisk()
    store = opened(disk)
    store.commit(fragments(10, SIZE))

    async def scenario():
        writer = GroupCommit(store)
        caretaker = Caretaker(store, writer, disk, limits=BUSY_UPKEEP, clock=time.monotonic)
        async with caretaker.at_work(always_idle):
            while not caretaker.scrub_passes:
                await asyncio.sleep(0.01)
        await writer.close()
        assert not [task for task in asyncio.all_tasks() if task.get_name() in ("_scrub",)]
        return caretaker.scrub_passes

    with contextlib.closing(store):
        passes = asyncio.run(asyncio.wait_for(scenario(), 20))
    assert ScrubOrder(store, disk).checkpoint.passes >= passes


async def always_idle():
    """Nobody asks for anything."""


def test_upkeep_gives_way_to_requests_but_not_for_ever():
    disk = SimulatedDisk()
    store = opened(disk)
    store.commit(fragments(10, SIZE))

    async def scenario(give_way_s_max, idle):
        writer = GroupCommit(store)
        limits = dataclasses.replace(BUSY_UPKEEP, give_way_s_max=give_way_s_max)
        caretaker = Caretaker(store, writer, disk, limits=limits, clock=time.monotonic)
        async with caretaker.at_work(idle.wait):
            await asyncio.sleep(0.2)
            begun = caretaker.scrubbed_bytes
            if give_way_s_max > 1:
                assert not begun
                idle.set()
            while not caretaker.scrubbed_bytes:
                await asyncio.sleep(0.01)
        await writer.close()

    asyncio.run(asyncio.wait_for(scenario(3600, asyncio.Event()), 20))
    asyncio.run(asyncio.wait_for(scenario(0.01, asyncio.Event()), 20))
