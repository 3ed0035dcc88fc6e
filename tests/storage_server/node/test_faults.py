"""Faults that belong to no single part: rot anywhere, errors of the system, peers that vanish."""

import contextlib
import errno
import gc
import http.client
import os
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_server.node.errors import NodeBusy, StoreReadOnly
from storage_server.node.store import Delete
from storage_server.node.superblock_scan import DamageKind
from storage_server.node.verification import read_verified
from support.fragments import SIZE, SPACE, fragment, fragments, lost_keys, open_store, stored_bytes
from support.inline_upkeep import compact_all
from support.node_in_thread import NodeInThread, raw_put, read_answer, wait_until
from support.node_process import NodeProcess
from support.simulated_disk import SimulatedDisk

FIRST = "sb-00000001.dat"


def opened(disk):
    return open_store(disk, superblock_bytes=64 * 1024)


def read_everything(store):
    """Do what a scrub pass does."""
    for superblock in store.superblocks():
        for key, location in store.fragments_in(superblock):
            if read_verified(superblock.file, superblock.tag, key, location) is None:
                store.condemn(key, location)


@given(st.integers(0, 2**32), st.integers(1, 6), st.booleans())
@settings(max_examples=100, deadline=None)
def test_wherever_bits_rot_a_fragment_is_right_or_said_to_be_bad(seed, flips, hints_too):
    """After one pass: readable and right, or listed by name, or in a stretch that is counted."""
    rng = random.Random(seed)
    disk = SimulatedDisk(seed=seed)
    store = opened(disk)
    puts = fragments(30, 3000)
    stored = set()
    for _ in range(25):
        batch = [put if rng.random() < 0.7 else Delete(put.key) for put in rng.sample(puts, 4)]
        store.commit(batch)
        for write in batch:
            (stored.discard if isinstance(write, Delete) else stored.add)(write.key)
    names = [name for name in disk.names() if hints_too or name.endswith(".dat")]
    for _ in range(flips):
        name = rng.choice(names)
        disk.flip_bit(name, rng.randrange(len(disk.content(name)) * 8))
    store = opened(disk)
    read_everything(store)
    listed = {bad.key for bad in store.bad()}
    nameless = sum(not damage.keys for damage in store.damage)
    missing = 0
    for put in puts:
        if store.has(put.key):
            assert stored_bytes(store, put.key) == put.data
        elif put.key in stored:
            missing += put.key not in listed
    assert missing <= nameless
    store.commit(puts)  # what others rebuilt
    assert lost_keys(store, puts) == []
    assert store.bad() == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 11)), max_size=40), st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_what_rots_is_missed_and_everything_else_is_kept_whatever_happens_around_it(steps, seed):
    """Puts, deletes, rot found by a pass, compactions and starts, in any order."""
    disk = SimulatedDisk(seed=seed)
    store = opened(disk)
    stored, bad = set(), set()
    for step, number in steps:
        put = fragment(number, (100, 5000, 9000)[number % 3])
        if step <= 1:
            assert store.put(put) is (put.key not in stored)
            stored.add(put.key)
            bad.discard(put.key)
        elif step == 2:
            assert store.delete(put.key) is (put.key in stored | bad)
            stored.discard(put.key)
            bad.discard(put.key)
        elif step == 3 and put.key in stored:
            place = store.location_of(put.key)
            at = place.offset + (3 if number % 2 else 70)  # its header, or its data
            disk.flip_bit(f"sb-{place.number:08d}.dat", at * 8)
            read_everything(store)
            stored.discard(put.key)
            bad.add(put.key)
        elif step == 4:
            compact_all(store)
        elif step == 5:
            store = opened(disk)
        assert {key for key, _ in store.page(b"", 100)} == stored
        assert {each.key for each in store.bad()} == bad


def test_what_is_written_behind_a_bad_last_record_is_kept():
    disk = SimulatedDisk()
    store = opened(disk)
    puts = fragments(3, SIZE)
    store.commit(puts[:2])
    disk.flip_bit(FIRST, (4096 + SPACE + 100) * 8)
    read_everything(store)
    for put in (puts[2], fragment(9)):
        store = opened(disk)
        assert store.put(put) is True
    again = opened(disk)
    assert lost_keys(again, [*puts, fragment(9)]) == [puts[1].key]
    assert [bad.key for bad in again.bad()] == [puts[1].key]


def test_bad_neighbours_are_told_apart_by_every_later_start():
    """A start sees the places of neighbours as one; what is known of each must not be lost."""
    disk = SimulatedDisk()
    store = opened(disk)
    puts = fragments(5, SIZE)
    store.commit(puts)
    for place in (1, 2, 3):
        disk.flip_bit(FIRST, (4096 + place * SPACE + 100) * 8)
    read_everything(store)
    assert store.delete(puts[3].key) is True  # nobody misses this one any more
    for _ in range(3):
        store = opened(disk)
        assert lost_keys(store, puts) == [put.key for put in puts[1:4]]
        assert [bad.key for bad in store.bad()] == [puts[1].key, puts[2].key]
    disk.flip_bit(FIRST, (4096 + 4 * SPACE + 3) * 8)  # one more, seen by a start
    for _ in range(2):
        store = opened(disk)
        assert lost_keys(store, puts) == [put.key for put in puts[1:]]


@pytest.mark.parametrize("part", [0, 5, 30, 64, 70])
def test_a_flip_in_a_tombstone_is_reported_and_loses_nothing(part):
    disk = SimulatedDisk()
    store = opened(disk)
    puts = fragments(4, SIZE)
    store.commit(puts)
    store.delete(puts[1].key)
    store.put(fragment(9))  # behind it, so that it is no torn tail
    disk.flip_bit(FIRST, (4096 + 4 * SPACE + part) * 8)
    again = opened(disk)
    assert [damage.kind for damage in again.damage] == [DamageKind.ROT]
    assert lost_keys(again, [puts[0], *puts[2:], fragment(9)]) == []
    assert stored_bytes(again, puts[1].key) == puts[1].data  # it may come back, never wrong


@pytest.mark.parametrize("error", [errno.EIO, errno.EROFS, errno.ENOMEM, errno.EINTR, errno.EBADF])
@pytest.mark.parametrize("operation", ["write", "allocate", "sync"])
def test_any_error_but_no_space_stops_all_writing(operation, error):
    disk = SimulatedDisk()
    store = open_store(disk, superblock_bytes=1 << 30)
    puts = fragments(3)
    store.commit(puts[:1])
    if operation == "allocate":  # only a new step of space is reserved
        store.superblocks()[-1].cut()
    disk.fail_next(operation, error)
    (outcome,) = store.commit([puts[1]])
    assert isinstance(outcome, StoreReadOnly)
    assert isinstance(store.commit([puts[2]])[0], StoreReadOnly)
    assert stored_bytes(store, puts[0].key) == puts[0].data


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE])
def test_a_lack_of_descriptors_stops_one_write_only(error):
    disk = SimulatedDisk()
    store = opened(disk)
    disk.fail_next("create", error)
    (outcome,) = store.commit([fragment(1)])
    assert isinstance(outcome, NodeBusy)
    assert store.commit([fragment(1)]) == [True]


def descriptors_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.real
def test_a_node_with_few_descriptors_turns_connections_away_and_works_on(tmp_path):
    put = fragment(1)
    with NodeProcess(tmp_path, open_files=180) as node:
        held = [socket.create_connection(node.address, timeout=20) for _ in range(200)]
        refused = sum(is_refused(connection) for connection in held)
        assert 100 < refused < 200
        for connection in held:
            connection.close()

        def stores():
            connection = http.client.HTTPConnection(*node.address, timeout=20)
            with contextlib.closing(connection):
                connection.request("PUT", f"/v1/chunks/{put.key.hex()}", put.data)
                return connection.getresponse().status == 201

        wait_until(stores)
        code, log = node.stop()
        assert code == 0
        assert "ulimit" in log
        assert "error" not in log


def is_refused(connection):
    """Whether the node says 503 to a connection that has not asked for anything."""
    with contextlib.suppress(OSError):
        connection.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
    try:
        return connection.recv(100).startswith(b"HTTP/1.1 503")
    except ConnectionResetError:
        return True


@pytest.mark.real
def test_the_same_fragment_from_many_at_once_is_stored_once(tmp_path):
    put = fragment(1, 50_000)
    with NodeInThread(tmp_path) as node, ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(lambda _: node.put(put).status, range(64)))
        assert sorted(statuses) == [200] * 63 + [201]
        assert node.ask("GET", "/healthz").json["fragments"] == 1
        superblocks = node.running.node.store.superblocks()
        assert sum(len(each.log) for each in superblocks) == 1


@pytest.mark.real
def test_peers_that_vanish_anywhere_leave_nothing_behind(tmp_path):
    put = fragment(1, 200_000)
    rng = random.Random(1)
    with NodeInThread(tmp_path) as node:
        node.put(put)
        gc.collect()
        before, threads = descriptors_of("self"), threading.active_count()
        get = b"GET /v1/chunks/%s HTTP/1.1\r\nHost: x\r\n\r\n" % put.key.hex().encode()
        upload = raw_put(fragment(2, 3000), b"Content-Length: 3000")
        for request in (get, upload) * 60:
            with node.connect() as connection:
                connection.sendall(request[: rng.randint(0, len(request))])
                if rng.random() < 0.5:
                    connection.settimeout(0.002)
                    try:
                        connection.recv(rng.randint(1, 100_000))
                    except TimeoutError:
                        pass
        wait_until(lambda: node.running.node.load == 0)
        wait_until(lambda: descriptors_of("self") <= before + 2)
        assert threading.active_count() <= threads + 20  # pools, which are bounded
        assert node.running.node.put_budget.taken_bytes == 0
        with node.connect() as connection:
            connection.sendall(get)
            assert read_answer(connection)[1] == put.data


# EVENFLOW_SOAK_S=3600 asks for a long run.
SOAK_S = float(os.environ.get("EVENFLOW_SOAK_S", "1"))


def memory_of(pid):
    """Return the bytes of memory a process has for itself."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.split("RssAnon:")[1].split()[0]) * 1024


def ask_at_random(address, seed, until_s):
    """Put, read, remove and break off, of a few fragments, until it is time."""
    rng = random.Random(seed)
    while time.monotonic() < until_s:
        connection = http.client.HTTPConnection(*address, timeout=20)
        with contextlib.closing(connection):
            for _ in range(rng.randint(1, 8)):
                put = fragment(rng.randint(0, 30), rng.choice((500, 70_000, 150_000)))
                path = f"/v1/chunks/{put.key.hex()}"
                method = rng.choice(("GET", "GET", "PUT", "DELETE", "BREAK"))
                if method == "BREAK":
                    connection.request("GET", path)
                    break
                connection.request(method, path, put.data if method == "PUT" else None)
                response = connection.getresponse()
                body = response.read()
                assert response.status in (200, 201, 204, 404)
                if method == "GET" and response.status == 200:
                    assert body == put.data


@pytest.mark.real
@pytest.mark.timeout(SOAK_S + 120)
def test_a_node_under_mixed_requests_neither_grows_nor_leaks(tmp_path):
    with NodeProcess(tmp_path, "--superblock-size", "4MiB") as node:

        def ask_for(seconds):
            until_s = time.monotonic() + seconds
            with ThreadPoolExecutor(4) as pool:
                asking = [pool.submit(ask_at_random, node.address, n, until_s) for n in range(4)]
            for each in asking:
                each.result()

        ask_for(SOAK_S / 2)  # pools, buffers and the index reach their size
        memory, descriptors = memory_of(node.pid), descriptors_of(node.pid)
        ask_for(SOAK_S)
        superblocks = len(list(tmp_path.glob("sb-*.dat")))
        wait_until(lambda: descriptors_of(node.pid) <= descriptors + superblocks + 2)
        grown = memory_of(node.pid) - memory
        print(f"{grown / 1e6:.1f} MB more, {superblocks} superblocks")
        assert grown < 30e6
        code, log = node.stop()
        assert code == 0
        assert '"level": "error"' not in log
