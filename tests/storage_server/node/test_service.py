"""The parts around the store: group commit, heartbeats, draining."""

import asyncio
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage_server.node.errors import HashMismatch, StoreFull, StoreReadOnly
from storage_server.node.group_commit import GroupCommit
from storage_server.node.heartbeat import beat_for_ever
from storage_server.node.memory_store import MemoryChunkStore
from storage_server.node.store import Put
from support.fragments import fragment, fragments, open_store
from support.node_in_thread import NodeInThread, raw_put, read_all, read_answer, wait_until
from support.simulated_disk import SimulatedDisk

# Group commit


class SlowDisk(SimulatedDisk):
    """A disk whose first sync waits until the test lets it go."""

    def __init__(self):
        super().__init__()
        self.go_on = threading.Event()
        self.is_syncing = threading.Event()

    def _step(self, operation):
        if operation == "sync":
            self.is_syncing.set()
            assert self.go_on.wait(timeout=20)
        super()._step(operation)


def test_what_arrives_during_a_sync_shares_the_next_one():
    async def scenario():
        disk = SlowDisk()
        batches = []
        store = open_store(disk)
        writer = GroupCommit(store, on_commit=lambda writes, _: batches.append(writes))
        first = asyncio.create_task(writer.put(fragment(0)))
        await asyncio.to_thread(disk.is_syncing.wait, 20)
        rest = [asyncio.create_task(writer.put(put)) for put in fragments(50)[1:]]
        await asyncio.sleep(0)
        assert not first.done()
        assert not store.has(fragment(0).key)
        disk.go_on.set()
        assert await asyncio.gather(first, *rest) == [True] * 50
        await writer.close()
        return batches, disk.syncs

    batches, syncs = asyncio.run(scenario())
    assert batches == [1, 49]
    assert syncs == 3  # the new file, the first put, all the others


def test_a_writer_that_gave_up_waiting_stops_nobody():
    async def scenario():
        disk = SlowDisk()
        writer = GroupCommit(open_store(disk))
        gone = asyncio.create_task(writer.put(fragment(0)))
        await asyncio.to_thread(disk.is_syncing.wait, 20)
        gone.cancel()
        stays = asyncio.create_task(writer.put(fragment(1)))
        disk.go_on.set()
        assert await stays is True
        assert await writer.delete(fragment(0).key) is True
        await writer.close()

    asyncio.run(scenario())


def test_closing_finishes_what_waits_and_takes_no_more():
    async def scenario():
        store = MemoryChunkStore()
        writer = GroupCommit(store)
        tasks = [asyncio.create_task(writer.put(put)) for put in fragments(20)]
        await asyncio.sleep(0)
        await writer.close()
        assert await asyncio.gather(*tasks) == [True] * 20
        with pytest.raises(StoreReadOnly):
            await writer.put(fragment(99))
        await writer.close()

    asyncio.run(scenario())


def test_an_error_of_the_store_reaches_the_one_who_wrote():
    async def scenario():
        writer = GroupCommit(MemoryChunkStore(capacity_bytes=1000))
        assert await writer.put(fragment(0, 500)) is True
        with pytest.raises(StoreFull):
            await writer.put(fragment(1, 501))
        await writer.close()

    asyncio.run(scenario())


def test_a_store_that_breaks_unforeseen_leaves_nobody_waiting_and_is_not_used_again(caplog):
    class Broken(MemoryChunkStore):
        calls = 0

        def commit(self, writes):
            self.calls += 1
            raise ZeroDivisionError("a bug")

    async def scenario():
        store = Broken()
        writer = GroupCommit(store)
        for _ in range(2):
            with pytest.raises(StoreReadOnly, match="a bug"):
                await writer.put(fragment(0))
        await writer.close()
        assert writer.failure
        assert store.calls == 1

    asyncio.run(scenario())
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("size_bytes", [5000, 500_000], ids=["in the writer", "in a pool"])
def test_what_is_checked_is_stored_or_refused_and_nobody_waits_for_ever(size_bytes):
    def bug():
        raise ZeroDivisionError("a bug")

    def put(writer, pool, check):
        return writer.put_checked(pool, check, size_bytes)

    async def scenario():
        store = MemoryChunkStore()
        writer = GroupCommit(store)
        with ThreadPoolExecutor(1) as pool:
            assert await put(writer, pool, lambda: fragment(0)) is True
            assert await put(writer, pool, lambda: fragment(0)) is False
            with pytest.raises(HashMismatch):
                await put(writer, pool, lambda: Put.verified(fragment(1).key, b"other"))
            with pytest.raises(ZeroDivisionError):
                await put(writer, pool, bug)
            mixed = [lambda: fragment(2), bug, lambda: fragment(2), lambda: fragment(4)]
            outcomes = await asyncio.gather(
                *(put(writer, pool, check) for check in mixed), return_exceptions=True
            )
            assert [type(outcome) for outcome in outcomes] == [bool, ZeroDivisionError, bool, bool]
            await writer.close()
            with pytest.raises(StoreReadOnly):
                await put(writer, pool, lambda: fragment(3))
        assert not writer.failure
        assert store.has(fragment(2).key)
        assert not store.has(fragment(3).key)

    asyncio.run(scenario())


# Heartbeats


def test_heartbeats_go_on_whatever_they_raise_and_are_logged_once_per_change(caplog):
    beats = []

    async def heartbeat(facts):
        beats.append(facts)
        if len(beats) == 30:
            finished.set()
        if len(beats) in range(5, 10):
            raise OSError("nobody there")
        if len(beats) in range(10, 13):
            raise asyncio.CancelledError
        if len(beats) in range(13, 16):
            await asyncio.sleep(3600)
        if len(beats) in range(16, 19):
            raise SystemError("odd")

    async def scenario():
        nonlocal finished
        finished = asyncio.Event()
        task = asyncio.create_task(
            beat_for_ever(heartbeat, lambda: "facts", interval_s=0, call_timeout_s=0.01)
        )
        async with asyncio.timeout(20):
            await finished.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    finished = None
    with caplog.at_level(logging.INFO):
        asyncio.run(scenario())
    messages = [record.getMessage() for record in caplog.records if "heartbeat" in record.name]
    assert messages == [
        "heartbeat failed: OSError: nobody there",
        "heartbeat failed: cancelled",
        "heartbeat failed: no answer within 0.01 s",
        "heartbeat failed: SystemError: odd",
        "heartbeat works again",
    ]


@pytest.mark.real
def test_a_node_tells_its_facts_once_a_second_from_its_start(tmp_path):
    beats = []

    async def heartbeat(facts):
        beats.append(facts)
        raise ConnectionRefusedError

    with NodeInThread(
        tmp_path, heartbeat=heartbeat, node_id="n", zone="z", advertise=("http://me:1",)
    ) as node:
        node.put(fragment(1))
        wait_until(lambda: len(beats) >= 2)
    facts = beats[1]
    assert (facts.node, facts.zone, facts.urls) == ("n", "z", ("http://me:1",))
    assert facts.fragments == 1
    assert facts.status == "ok"
    assert facts.used_bytes + facts.free_bytes <= facts.capacity_bytes == 1 << 28
    assert len(facts.store_uuid) == 32


# Draining


@pytest.mark.real
def test_requests_under_way_end_before_the_node_does(tmp_path):
    put = fragment(1, 100_000)
    with NodeInThread(tmp_path) as node:
        idle = node.connect()
        slow = node.connect()
        slow.sendall(
            b"PUT /v1/chunks/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
            % put.key.hex().encode()
        )
        wait_until(lambda: node.running.node.load == 1)
        node.begin_stop()
        wait_until(lambda: node.running.node.is_draining)
        with pytest.raises(ConnectionRefusedError):
            node.connect()
        slow.sendall(put.data)
        head, _ = read_answer(slow)
        assert b" 201 " in head
        assert b"connection: close" in head.lower()
        assert read_all(idle) == b""
        idle.close()
        slow.close()
    with NodeInThread(tmp_path) as node:
        assert node.get(put).body == put.data


@pytest.mark.real
def test_a_request_that_never_ends_does_not_keep_the_node(tmp_path):
    with NodeInThread(tmp_path, limits={"drain_s": 0.2}) as node:
        stuck = node.connect()
        stuck.sendall(
            b"PUT /v1/chunks/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n" % (b"ab" * 32)
        )
        wait_until(lambda: node.running.node.load == 1)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 5
    stuck.close()


@pytest.mark.real
def test_a_writer_that_leaves_before_it_is_told_to_go_on_is_no_error(tmp_path):
    put = fragment(1, 1000)
    with NodeInThread(tmp_path) as node:
        node.ask("PUT", "/v1/admin/limits", '{"delay_s": 0.1}')
        for _ in range(3):
            with node.connect() as connection:
                connection.sendall(
                    raw_put(put, b"Content-Length: 1000", b"Expect: 100-continue", body=b"")
                )
                wait_until(lambda: node.running.node.load == 1)
            wait_until(lambda: node.running.node.load == 0)
        assert node.running.node.put_budget.taken_bytes == 0
