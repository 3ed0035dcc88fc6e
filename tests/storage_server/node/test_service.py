"""The parts around the store: group commit, heartbeats, draining, cold reads, start errors."""

import asyncio
import dataclasses
import logging
import os
import socket
import struct
import threading
import time

import pytest

from storage_server.node.errors import (
    ReadFailed,
    StoreFull,
    StoreReadOnly,
)
from storage_server.node.group_commit import GroupCommit
from storage_server.node.heartbeat import beat_for_ever
from storage_server.node.memory_store import MemoryChunkStore
from support.fragments import fragment, fragments, open_store
from support.node_in_thread import NodeInThread, read_all, read_answer, wait_until
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


# Cold and failing reads


@pytest.mark.real
def test_a_fragment_that_is_not_in_memory_is_read_by_a_thread_and_sent_right(tmp_path):
    put = fragment(1, 1_000_000)
    with NodeInThread(tmp_path) as node:
        node.put(put)
        found = node.running.node.store.find(put.key)
        cold = node.running.node.metrics
        for _ in range(20):  # the kernel may keep some pages: it is only asked to drop them
            os.posix_fadvise(found.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            assert node.get(put).body == put.data
        if not cold.cold_reads:
            pytest.skip("the kernel kept every page")
        warm = cold.cold_reads
        assert node.get(put).body == put.data
        assert cold.cold_reads == warm


@pytest.mark.real
def test_a_fragment_on_a_store_without_files_is_sent_too(tmp_path):
    put = fragment(1, 1_000_000)
    with NodeInThread(tmp_path) as node:
        store = MemoryChunkStore()
        store.put(put)
        node.running.node.store = store
        assert node.get(put).body == put.data
        assert node.get(put, Range="bytes=262140-262150").body == put.data[262140:262151]


@pytest.mark.real
def test_a_file_that_the_kernel_cannot_send_is_written(tmp_path):
    put = fragment(1, 3_000_000)

    class Odd(MemoryChunkStore):
        """Its file can neither tell what is cached nor be sent by sendfile."""

        def find(self, key):
            return dataclasses.replace(super().find(key), descriptor=unsendable)

    unsendable = os.open("/proc/self/environ", os.O_RDONLY)
    with NodeInThread(tmp_path) as node:
        store = Odd()
        store.put(put)
        node.running.node.store = store
        assert node.get(put).body == put.data
        assert node.get(put, Range="bytes=1000000-").body == put.data[1_000_000:]
    os.close(unsendable)


@pytest.mark.real
def test_a_reader_that_goes_away_between_two_slices_is_no_error(tmp_path):
    put = fragment(1, 3_000_000)
    limits = {"send_buffer_bytes": 4096}
    with NodeInThread(tmp_path, limits=limits, upload_bytes_per_s=100_000.0) as node:
        node.put(put)
        metrics = node.running.node.metrics
        path = b"/v1/chunks/%s" % put.key.hex().encode()
        for _ in range(10):
            sent = metrics.bytes_out
            with socket.socket() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )  # it ends with a reset
                connection.connect(node.address)
                connection.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
                wait_until(lambda sent=sent: metrics.bytes_out > sent)
            wait_until(lambda: node.running.node.load == 0)


@pytest.mark.real
def test_a_disk_that_does_not_give_the_bytes_is_an_error_and_never_a_short_answer(tmp_path):
    class Failing(MemoryChunkStore):
        """Gives the first half of everything."""

        def find(self, key):
            found = super().find(key)

            class Half:
                descriptor = None
                offset = 0
                length_bytes = found.length_bytes

                def read(self, start, stop):
                    if stop > self.length_bytes // 2:
                        raise ReadFailed("the disk is dying")
                    return found.read(start, stop)

            return Half()

    small, large = fragment(1, 1000), fragment(2, 4_000_000)
    with NodeInThread(tmp_path) as node:
        store = Failing()
        store.put(small)
        store.put(large)
        node.running.node.store = store
        answer = node.get(small)
        assert (answer.status, answer.code) == (500, "READ_FAILED")
        with node.connect() as connection:
            path = b"/v1/chunks/%s" % large.key.hex().encode()
            connection.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            try:
                received = read_all(connection)
            except ConnectionResetError:
                received = b""
            assert len(received) < 4_000_000
            assert large.data.startswith(received.partition(b"\r\n\r\n")[2])
        assert node.ask("GET", "/ping").status == 204
