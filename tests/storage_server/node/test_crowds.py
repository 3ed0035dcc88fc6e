"""Many connections that mean no good, or nothing at all, beside a few that want something.

``scripts/bench_node --only crowds`` does it with a thousand, and measures.
"""

import contextlib
import resource

import pytest

from support.fragments import fragment
from support.node_in_thread import NodeInThread, read_all, read_answer, status_of, wait_until
from support.node_process import NodeProcess

pytestmark = pytest.mark.real

LARGE, SMALL = fragment(1, 2_000_000), fragment(2, 50_000)


def get(put):
    return b"GET /v1/chunks/%s HTTP/1.1\r\nHost: x\r\n\r\n" % put.key.hex().encode()


def test_readers_that_stall_keep_nobody_from_reading(tmp_path):
    with NodeInThread(tmp_path) as node, contextlib.ExitStack() as stack:
        node.put(LARGE)
        node.put(SMALL)
        for _ in range(90):
            stalled = stack.enter_context(node.connect())
            stalled.sendall(get(LARGE))
        wait_until(lambda: node.running.node.load == 90)
        readers = [stack.enter_context(node.connect()) for _ in range(10)]
        for _ in range(5):
            for reader in readers:
                reader.sendall(get(SMALL))
            for reader in readers:
                assert read_answer(reader)[1] == SMALL.data
        assert node.running.node.load == 90  # they are still there


def test_writers_that_stall_keep_nobody_from_writing(tmp_path):
    with NodeInThread(tmp_path) as node, contextlib.ExitStack() as stack:
        for number in range(60):
            stalled = stack.enter_context(node.connect())
            key = fragment(100 + number).key.hex().encode()
            stalled.sendall(
                b"PUT /v1/chunks/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\nabc" % key
            )
        wait_until(lambda: node.running.node.load == 60)
        assert node.put(SMALL).status == 201
        assert node.get(SMALL).body == SMALL.data


def test_a_flood_of_requests_on_one_connection_is_answered_in_order_and_lets_others_in(tmp_path):
    with NodeInThread(tmp_path) as node, node.connect() as flood:
        node.put(SMALL)
        sizes = [number % 7 for number in range(1500)]
        for size in sizes:
            path = b"/v1/list?limit=%d" % (size + 1)
            flood.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
        assert node.get(SMALL).body == SMALL.data
        flood.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answers = read_all(flood)
        assert answers.count(b"HTTP/1.1 200 ") == len(sizes)
        assert answers.count(b"HTTP/1.1 204 ") == 1


def test_connections_that_say_nothing_go_away_and_others_are_served_meanwhile(tmp_path):
    with NodeInThread(tmp_path, limits={"keepalive_s": 1.0}) as node:
        with contextlib.ExitStack() as stack:
            silent = [stack.enter_context(node.connect()) for _ in range(300)]
            assert node.put(SMALL).status == 201
            assert all(read_all(connection) == b"" for connection in silent)
        assert node.get(SMALL).status == 200


def test_two_thousand_connections_that_say_nothing_are_turned_away_or_go(tmp_path):
    """Twice as many as a node keeps: the others hear that it is busy, and all are gone soon."""
    with (
        room_for_descriptors(4096),
        NodeProcess(tmp_path, "--keepalive", "2", open_files=4096) as node,
        contextlib.ExitStack() as stack,
    ):
        silent = [stack.enter_context(node.connect()) for _ in range(2000)]
        ends = [read_all(connection) for connection in silent]
        refused = [end for end in ends if end]
        assert all(status_of(end) == 503 for end in refused)
        assert 0 < len(refused) <= 2000 - 1024  # fewer if the first ones went meanwhile
        with node.connect() as connection:
            connection.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status_of(read_answer(connection)[0]) == 204


@contextlib.contextmanager
def room_for_descriptors(count):
    """Let this process open so many files for a while."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"at most {hard} open files here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


INJECTED = b"GET /%0d%0aevil\x1b[31m HTTP/1.1\r\nHost: evil\r\nX: evil\x1b\r\n\r\n"


def test_nothing_a_peer_sends_gets_into_the_log(tmp_path):
    requests = [
        INJECTED,
        b"GET /v1/chunks/%0d%0aevil HTTP/1.1\r\nHost: evil\r\nRange: bytes=evil\r\n\r\n",
        b"PUT /v1/chunks/evil HTTP/1.1\r\nHost: evil\r\nContent-Length: 4\r\n\r\nevil",
        b"POST /v1/have HTTP/1.1\r\nHost: x\r\nContent-Length: 17\r\n\r\n" + b'{"keys":["evil"]}',
        b"evil\nevil\r\n\r\n",
    ]
    with NodeProcess(tmp_path, "-vv") as node:
        for request in requests:
            with contextlib.closing(node.connect()) as connection:
                connection.sendall(request)
                head, body = read_answer(connection)
                assert 400 <= status_of(head) < 500
                assert b"\x1b" not in head + body
        code, log = node.stop()
    assert code == 0
    assert "evil" not in log
