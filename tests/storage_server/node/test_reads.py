"""Reading what is cold, what cannot be sent, what fails; and readers that go away."""

import contextlib
import dataclasses
import os
import socket
import struct
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from storage_server.node.errors import ReadFailed
from storage_server.node.memory_store import MemoryChunkStore
from support.fragments import fragment
from support.node_in_thread import NodeInThread, read_all, wait_until


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
def test_readers_of_cold_fragments_keep_nobody_waiting(tmp_path):
    """More cold readers than threads for them, all stuck; hot fragments are served all the same."""
    hot, small, cold = fragment(1, 500_000), fragment(2, 1000), fragment(3, 300_000)
    go_on = threading.Event()

    @dataclasses.dataclass
    class StuckFragment:
        """A fragment that nobody can tell to be in memory, on a disk that does not answer."""

        descriptor: int
        offset = 0
        length_bytes = len(cold.data)

        def read(self, start, stop):
            assert go_on.wait(timeout=20)
            return cold.data[start:stop]

    with contextlib.ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile(dir="/dev/shm"))
        file.write(cold.data)
        file.flush()
        node = stack.enter_context(NodeInThread(tmp_path))
        stack.callback(go_on.set)
        for put in (hot, small):
            node.put(put)
        store = node.running.node.store
        find = store.find
        store.find = lambda key: StuckFragment(file.fileno()) if key == cold.key else find(key)
        pool = stack.enter_context(ThreadPoolExecutor(24))
        stuck = [pool.submit(node.get, cold) for _ in range(24)]
        wait_until(lambda: node.running.node.load == 24)
        for _ in range(5):
            assert node.get(hot).body == hot.data
            assert node.get(small).body == small.data
        assert node.put(fragment(4)).status == 201
        assert not any(answer.done() for answer in stuck)
        go_on.set()
        assert all(answer.result(timeout=20).body == cold.data for answer in stuck)


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
