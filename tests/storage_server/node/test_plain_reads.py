"""Plain reads: the same answers as by aiohttp, whatever comes before, behind and meanwhile."""

import asyncio
import contextlib
import errno
import os
import socket
import time

import pytest

from storage_server.node import plain_reads
from storage_server.node.limits import Shaping
from storage_server.node.plain_reads import PlainReads
from support.fragments import fragment
from support.node_in_thread import NodeInThread, read_all, read_answer, status_of, wait_until
from support.plain_paths import Paths, without_date

SMALL, LARGE = fragment(1, 5000), fragment(2, 3_000_000)
KEY = SMALL.key.hex().encode()


def request(first_line: bytes, *lines: bytes) -> bytes:
    return b"\r\n".join((first_line, *lines)) + b"\r\n\r\n"


def plain_get(put, *lines: bytes) -> bytes:
    return request(b"GET /v1/chunks/%s HTTP/1.1" % put.key.hex().encode(), b"Host: x", *lines)


@pytest.fixture
def paths(monkeypatch):
    return Paths(monkeypatch, PlainReads)


@pytest.fixture
def node(tmp_path, paths):
    with NodeInThread(tmp_path) as node:
        for put in (SMALL, LARGE):
            node.put(put)
        paths.taken.clear()
        yield node
        wait_until(lambda: node.running.node.load == 0)


@pytest.mark.real
@pytest.mark.parametrize("put", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    "wanted", [None, "0-", "0-0", "17-4999", "4000-999999999", "1000000-2500000"], ids=str
)
def test_both_paths_answer_alike(node, paths, put, wanted):
    lines = [] if wanted is None else [b"Range: bytes=" + wanted.encode()]
    with node.connect() as connection:
        answers = []
        for more in ([], [b"X-Other: 1"]):
            connection.sendall(plain_get(put, *lines, *more))
            answers.append(read_answer(connection))
    (plain_head, plain_body), (other_head, other_body) = answers
    assert plain_body == other_body
    assert without_date(plain_head) == without_date(other_head)
    if status_of(plain_head) in (200, 206):
        assert paths.taken == [True, False]
        start, _, last = (wanted or "0-").partition("-")
        assert plain_body == put.data[int(start) : int(last) + 1 if last else None]


@pytest.mark.real
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"Range: bytes=-5", 206),
        (b"Range: bytes=5000-", 416),
        (b"Range: bytes=7-3", 416),
        (b"Range: bytes=0-1,3-4", 416),
        (b'If-None-Match: "%s"' % KEY, 304),
        (b"Authorization: Bearer x", 200),
        (b"Connection: close", 200),
    ],
    ids=lambda part: part.decode() if isinstance(part, bytes) else str(part),
)
def test_what_is_not_plain_takes_the_other_path(node, paths, line, status):
    with node.connect() as connection:
        connection.sendall(plain_get(SMALL, line))
        assert status_of(read_answer(connection)[0]) == status
    assert paths.taken == [False]


@pytest.mark.real
def test_a_fragment_that_is_not_here_is_an_error_as_before(node, paths):
    assert node.get(fragment(99)).code == "NOT_FOUND"
    assert paths.taken == [False]


@pytest.mark.real
def test_every_answer_is_counted_once_and_no_load_is_left(node, paths):
    before = node.running.node.metrics.bytes_out
    with node.connect() as connection:
        for put in (SMALL, LARGE, SMALL):
            connection.sendall(plain_get(put))
            assert read_answer(connection)[1] == put.data
    assert paths.taken == [True] * 3
    metrics = node.running.node.metrics
    wait_until(lambda: node.running.node.load == 0)  # the last one is counted
    assert metrics._requests["GET", "/v1/chunks/{key}", 200] == 3
    assert metrics.bytes_out == before + 2 * len(SMALL.data) + len(LARGE.data)


@pytest.mark.real
@pytest.mark.parametrize("is_slow", [False, True], ids=["at once", "byte by byte"])
def test_requests_sent_together_are_answered_in_order(node, is_slow):
    wanted = [SMALL, LARGE, SMALL, SMALL, LARGE]
    sent = b"".join(plain_get(put) for put in wanted)
    with node.connect() as connection:
        if is_slow:
            for start in range(len(sent)):
                connection.sendall(sent[start : start + 1])
        else:
            connection.sendall(sent)
        for put in wanted:
            assert read_answer(connection)[1] == put.data


@pytest.mark.real
def test_what_comes_during_an_answer_waits_for_its_end(node, paths):
    with slow_reader(node) as connection:
        connection.sendall(plain_get(LARGE))
        wait_until(lambda: node.running.node.load == 1)
        time.sleep(0.05)
        for put in (SMALL, LARGE):
            connection.sendall(plain_get(put))
            time.sleep(0.05)
        connection.sendall(plain_get(SMALL) * 400)  # more than is held at once
        for put in (LARGE, SMALL, LARGE, *[SMALL] * 400):
            assert read_answer(connection)[1] == put.data
    assert paths.taken[0]


@pytest.mark.real
def test_plain_reads_and_all_else_mix_on_one_connection(node, paths):
    with node.connect() as connection:

        def ask(data):
            connection.sendall(data)
            return read_answer(connection)

        assert ask(plain_get(LARGE))[1] == LARGE.data
        assert status_of(ask(request(b"GET /ping HTTP/1.1", b"Host: x"))[0]) == 204
        assert paths.taken == [True, False]
        for _ in range(50):  # aiohttp may not be done yet with the request before
            assert ask(plain_get(SMALL))[1] == SMALL.data
            if paths.taken[-1]:
                break
        assert paths.taken[-1]
        new = fragment(7)
        put = b"PUT /v1/chunks/%s HTTP/1.1" % new.key.hex().encode()
        body = request(put, b"Host: x", b"Content-Length: 100") + new.data
        assert status_of(ask(body)[0]) == 201
        assert ask(plain_get(new))[1] == new.data


def slow_reader(node) -> socket.socket:
    """Return a connection that takes little before it is read."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    connection.settimeout(20)
    connection.connect(node.address)
    return connection


@pytest.mark.real
def test_a_reader_that_will_ask_no_more_gets_its_whole_answer(node, paths):
    for put in (SMALL, LARGE):
        with slow_reader(node) as connection:
            connection.sendall(plain_get(put))
            connection.shutdown(socket.SHUT_WR)
            time.sleep(0.05)
            answer = read_all(connection)  # to the end: the node closes
            assert answer.endswith(put.data)
    assert paths.taken == [True, True]


@pytest.mark.real
def test_a_reader_that_leaves_in_the_middle_leaves_nothing(node, paths):
    held = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with slow_reader(node) as connection:
            connection.sendall(plain_get(LARGE))
            wait_until(lambda: node.running.node.load == 1)
            assert connection.recv(1000)
        wait_until(lambda: node.running.node.load == 0)
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= held)
    assert paths.taken == [True] * 5
    assert node.get(LARGE).body == LARGE.data


@pytest.mark.real
def test_a_slow_reader_is_no_idle_connection(tmp_path):
    with NodeInThread(tmp_path, limits={"keepalive_s": 0.2}) as node:
        node.put(LARGE)
        with slow_reader(node) as connection:
            connection.sendall(plain_get(LARGE))
            time.sleep(0.7)
            assert read_answer(connection)[1] == LARGE.data
            assert read_all(connection) == b""  # idle now, and closed in time


@pytest.mark.real
def test_a_reader_that_takes_too_long_is_cut(tmp_path, monkeypatch):
    with NodeInThread(tmp_path) as node:
        node.put(LARGE)
        monkeypatch.setattr(node.running.node.sender, "patience_s", lambda count: 0.2)
        with slow_reader(node) as connection:
            connection.sendall(plain_get(LARGE))
            wait_until(lambda: node.running.node.load == 1)
            wait_until(lambda: node.running.node.load == 0)
            with contextlib.suppress(ConnectionError):
                assert len(read_all(connection)) < len(LARGE.data)


@pytest.mark.real
def test_what_left_memory_meanwhile_is_read_by_a_thread(node, paths, monkeypatch):
    sender = node.running.node.sender
    is_in_memory, looks = sender.is_in_memory, []

    def forgetful(fragment, start, count):
        looks.append(start)
        return len(looks) != 4 and is_in_memory(fragment, start, count)

    monkeypatch.setattr(sender, "is_in_memory", forgetful)
    cold = node.running.node.metrics.cold_reads
    assert node.get(LARGE).body == LARGE.data  # three slices: looked at together, then again
    assert node.running.node.metrics.cold_reads == cold + 1
    assert paths.taken == [True]


@pytest.mark.real
@pytest.mark.parametrize("fails", ["sendfile", "read"])
def test_an_answer_whose_bytes_cannot_be_read_is_cut_and_the_fragment_looked_at(
    node, monkeypatch, fails
):
    suspected = []
    monkeypatch.setattr(PlainReads, "suspect", lambda reads, key: suspected.append(key))
    if fails == "sendfile":
        real = os.sendfile
        monkeypatch.setattr(
            plain_reads.os,
            "sendfile",
            lambda out, *rest: 0 if rest[1] > 1 << 20 else real(out, *rest),
        )
    else:
        sender, looks = node.running.node.sender, []
        monkeypatch.setattr(
            sender, "is_in_memory", lambda *about: looks.append(about) is None and len(looks) < 4
        )

        async def broken(*about):
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(sender, "read_cold", broken)
    with node.connect() as connection:
        connection.sendall(plain_get(LARGE))
        with contextlib.suppress(ConnectionError):
            received = read_all(connection)
            assert len(received) < len(LARGE.data)
    wait_until(lambda: suspected == [LARGE.key])


@pytest.mark.real
@pytest.mark.parametrize("put", [SMALL, LARGE], ids=["small", "large"])
def test_a_disk_that_fails_under_a_look_is_told_by_the_other_path(tmp_path, monkeypatch, put):
    with NodeInThread(tmp_path) as node:
        node.put(put)

        def failing(*about):
            raise OSError(errno.EIO, "Input/output error")

        sender = node.running.node.sender
        monkeypatch.setattr(sender, "is_in_memory", failing)
        monkeypatch.setattr(sender, "small_in_memory", failing)
        for _ in range(3):
            assert node.get(put).status == 500
        assert node.running.node.load == 0


@pytest.mark.real
def test_a_reader_that_is_lost_is_no_fault_of_the_disk(node, monkeypatch):
    suspected = []
    monkeypatch.setattr(PlainReads, "suspect", lambda reads, key: suspected.append(key))

    def unreachable(*about):
        raise OSError(errno.EHOSTUNREACH, "No route to host")

    monkeypatch.setattr(plain_reads.os, "sendfile", unreachable)
    with node.connect() as connection:
        connection.sendall(plain_get(LARGE))
        with contextlib.suppress(ConnectionError):
            assert len(read_all(connection)) < len(LARGE.data)
    wait_until(lambda: node.running.node.load == 0)
    assert suspected == []


@pytest.mark.real
def test_a_bad_read_has_the_fragment_checked(node):
    async def suspect():
        reads = PlainReads(node.running.node, "")
        reads.suspect(SMALL.key)
        assert node.running.node.load == 0
        await asyncio.sleep(0)
        await node.running.node.wait_until_idle()

    node.call(suspect())
    assert node.get(SMALL).body == SMALL.data


@pytest.mark.real
@pytest.mark.parametrize("shaping", [Shaping(upload_bytes_per_s=1e9), Shaping(delay_s=0.001)])
def test_a_node_that_is_held_back_holds_these_back_too(node, paths, shaping):
    node._loop.call_soon_threadsafe(node.running.node.pacer.reshape, shaping)
    wait_until(lambda: node.running.node.pacer.is_shaped)
    assert node.get(SMALL).body == SMALL.data
    assert paths.taken == [False]


@pytest.mark.real
def test_a_node_that_stops_ends_the_answers_under_way_and_begins_no_new_ones(node, paths):
    with slow_reader(node) as connection, node.connect() as other:
        other.sendall(plain_get(SMALL))  # it is taken in before the node stops taking in
        read_answer(other)
        connection.sendall(plain_get(LARGE))
        wait_until(lambda: node.running.node.load == 1)
        node.begin_stop()
        wait_until(lambda: node.running.node.is_draining)
        other.sendall(plain_get(SMALL))
        assert b"Connection: close" in read_answer(other)[0]
        assert read_answer(connection)[1] == LARGE.data
    assert paths.taken == [True, True, False]
