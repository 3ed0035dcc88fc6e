"""Plain uploads: the same answers as by aiohttp, however the bytes come and whoever leaves."""

import asyncio
import contextlib
import socket
import struct
import threading
import time

import pytest

from storage_server.node import plain_puts
from storage_server.node.access import Guard
from storage_server.node.errors import StoreFull, StoreReadOnly
from storage_server.node.group_commit import GroupCommit
from storage_server.node.limits import Shaping
from storage_server.node.node_state import NodeState
from storage_server.node.plain_puts import PlainPuts
from storage_server.node.store import Put
from storage_server.node.superblock_store import SuperblockStore
from support.fragments import fragment
from support.node_in_thread import (
    NodeInThread,
    raw_put,
    read_all,
    read_answer,
    status_of,
    wait_until,
)
from support.plain_paths import Paths, without_date

pytestmark = pytest.mark.real

SMALL, LARGE = fragment(1, 5000), fragment(2, 3_000_000)
TOKEN = "correct horse battery staple".replace(" ", "-")
OTHER_PATH = b"X-Other: 1"


@pytest.fixture
def paths(monkeypatch):
    return Paths(monkeypatch, PlainPuts)


@pytest.fixture
def node(tmp_path, paths):
    with NodeInThread(tmp_path) as node:
        yield node
        wait_until(lambda: node.running.node.load == 0)
        assert node.running.node.put_budget.taken_bytes == 0


def length_of(put) -> bytes:
    return b"Content-Length: %d" % len(put.data)


def upload(put, *lines: bytes, body: bytes | None = None) -> bytes:
    return raw_put(put, *lines, length_of(put), body=body)


def answer_to(node, data: bytes) -> tuple[bytes, bytes]:
    with node.connect() as connection:
        connection.sendall(data)
        return read_answer(connection)


@pytest.mark.parametrize("size", [1, 5000, 300_000, 3_000_000])
def test_both_paths_answer_alike_and_store_the_same(node, paths, size):
    plain, other = fragment(1, size), fragment(2, size)
    answers = {}
    for _ in range(2):  # new, then known
        for put, lines in ((plain, []), (other, [OTHER_PATH])):
            head, body = answer_to(node, upload(put, *lines))
            answers.setdefault(put.key, []).append((status_of(head), without_date(head), body))
            assert node.get(put).body == put.data
    assert paths.taken == [True, False] * 2
    for mine, theirs in zip(answers[plain.key], answers[other.key], strict=True):
        alike = [
            [part.replace(put.key.hex().encode(), b"KEY") for part in (*head, body)]
            for put, (_, head, body) in ((plain, mine), (other, theirs))
        ]
        assert alike[0] == alike[1]
    assert [status for status, _, _ in answers[plain.key]] == [201, 200]


@pytest.mark.parametrize("size", [5000, 3_000_000])
def test_a_body_that_is_not_what_its_key_says_is_refused_alike(node, paths, size):
    put = fragment(1, size)
    wrong = put.data[:-1] + bytes([put.data[-1] ^ 1])
    with node.connect() as connection:
        answers = []
        for lines in ([], [OTHER_PATH]):
            connection.sendall(upload(put, *lines, body=wrong))
            answers.append(read_answer(connection))
        (head, body), (other_head, other_body) = answers
        assert without_date(head) == without_date(other_head)
        assert body == other_body
        assert status_of(head) == 422
        connection.sendall(upload(put))  # the connection can be used further
        assert status_of(read_answer(connection)[0]) == 201
    assert paths.taken[:2] == [True, False]


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([b"Content-Length: 0"], 400),
        ([b"Content-Length: 99999999"], 413),
        ([b"Content-Length: 5", b"Content-Length: 5"], 400),
        ([b"Transfer-Encoding: chunked"], 400),
        ([b"Content-Encoding: gzip", b"Content-Length: 5000"], 415),
        ([b"Content-Length: 5000", b"Connection: close"], 201),
    ],
    ids=lambda part: part[0].decode() if isinstance(part, list) else str(part),
)
def test_what_is_not_plain_takes_the_other_path(node, paths, lines, status):
    assert status_of(answer_to(node, raw_put(SMALL, *lines))[0]) == status
    assert paths.taken == [False]


def test_a_browser_may_not_store_and_who_waits_to_be_asked_is_asked(node, paths):
    assert status_of(answer_to(node, upload(SMALL, b"Origin: http://x"))[0]) == 403
    with node.connect() as connection:
        connection.sendall(upload(SMALL, b"Expect: 100-continue", body=b""))
        assert status_of(read_answer(connection)[0]) == 100
        connection.sendall(SMALL.data)
        assert status_of(read_answer(connection)[0]) == 201
    assert paths.taken == [False, False]


def test_with_a_token_only_who_shows_it_may_store(tmp_path, paths):
    with NodeInThread(tmp_path, token=TOKEN) as node:
        right, wrong = f"Bearer {TOKEN}", f"Bearer {TOKEN}x"
        assert node.put(SMALL).status == 401
        assert node.put(SMALL, Authorization=wrong).status == 401
        assert node.get(SMALL).status == 404
        assert node.put(SMALL, Authorization=right).status == 201
        mine = b"authorization: bearer " + TOKEN.encode()
        assert status_of(answer_to(node, raw_put(LARGE, mine, length_of(LARGE)))[0]) == 201
        assert status_of(answer_to(node, raw_put(LARGE, length_of(LARGE), mine))[0]) == 200
    assert paths.taken == [False, False, True, True, True]


def test_a_guard_without_a_token_lets_everybody_store_who_reaches_it(tmp_path):
    with NodeInThread(tmp_path) as node:
        assert Guard(node.running.node.config).may_write("")
        assert Guard(node.running.node.config).may_write("anything")


def test_uploads_sent_together_or_byte_by_byte_are_answered_in_order(node, paths):
    puts = [fragment(number, 3000) for number in range(6)]
    data = b"".join(map(upload, puts))
    with node.connect() as connection:
        for number in range(len(data)):
            connection.sendall(data[number : number + 1])
        for _ in puts:
            assert status_of(read_answer(connection)[0]) == 201
    with node.connect() as connection:
        connection.sendall(data)
        for _ in puts:
            assert status_of(read_answer(connection)[0]) == 200
    assert not any(paths.taken)  # several in one go are for the parser
    for put in puts:
        assert node.get(put).body == put.data


def test_a_body_in_pieces_of_any_size_is_stored(node, paths):
    for number, step in enumerate((1, 7, 4096, 70_000, 262_144, 299_999)):
        put = fragment(number, 300_000 if step > 7 else 3000)
        data = upload(put)
        head = data.index(b"\r\n\r\n") + 4
        with node.connect() as connection:
            connection.sendall(data[:head])
            wait_until(lambda: node.running.node.load == 1)
            for start in range(head, len(data), step):
                connection.sendall(data[start : start + step])
            assert status_of(read_answer(connection)[0]) == 201
        assert node.get(put).body == put.data
        wait_until(lambda: node.running.node.load == 0)
    assert [taken for taken in paths.taken if taken] == [True] * 6


def test_requests_behind_an_upload_are_answered_behind_it(node, paths):
    get = b"GET /v1/chunks/%s HTTP/1.1\r\nHost: x\r\n\r\n" % LARGE.key.hex().encode()
    with node.connect() as connection:
        data = upload(LARGE)
        connection.sendall(data[:100_000])
        wait_until(lambda: node.running.node.load == 1)
        connection.sendall(data[100_000:] + get + upload(SMALL) + get)
        for _ in range(2):
            assert status_of(read_answer(connection)[0]) == 201
            assert read_answer(connection)[1] == LARGE.data
    assert paths.taken[0]


class Gate:
    """Holds all commits back until it is opened."""

    def __init__(self, monkeypatch):
        self.open = threading.Event()
        commit = SuperblockStore.commit

        def slow(store, writes):
            self.open.wait(20)
            return commit(store, writes)

        monkeypatch.setattr(SuperblockStore, "commit", slow)


@pytest.fixture
def gate(monkeypatch):
    gate = Gate(monkeypatch)
    yield gate
    gate.open.set()


def test_an_upload_that_comes_during_a_commit_follows_it(node, paths, gate):
    others = [fragment(7, 9000), fragment(8, 2_000_000)]
    with node.connect() as connection:
        connection.sendall(upload(SMALL))
        wait_until(lambda: paths.taken == [True])
        head = upload(others[0])[:-9000]
        connection.sendall(head)  # held
        time.sleep(0.1)
        gate.open.set()
        assert status_of(read_answer(connection)[0]) == 201
        wait_until(lambda: paths.taken == [True, True])
        connection.sendall(others[0].data)
        assert status_of(read_answer(connection)[0]) == 201
        connection.sendall(upload(others[1]))
        assert status_of(read_answer(connection)[0]) == 201
    for put in (SMALL, *others):
        assert node.get(put).body == put.data


def test_a_sender_that_will_send_no_more_gets_its_answer(node, paths):
    for put in (SMALL, LARGE):
        with node.connect() as connection:
            connection.sendall(upload(put))
            connection.shutdown(socket.SHUT_WR)
            assert status_of(read_all(connection)) == 201  # to the end: the node closes
    assert paths.taken == [True, True]


def test_a_sender_that_leaves_in_the_middle_leaves_nothing(node, paths):
    for _ in range(5):
        with node.connect() as connection:
            connection.sendall(upload(LARGE)[:1_000_000])
            wait_until(lambda: node.running.node.put_budget.taken_bytes == len(LARGE.data))
        wait_until(lambda: node.running.node.put_budget.taken_bytes == 0)
    assert node.get(LARGE).status == 404
    assert node.running.node.metrics._requests["PUT", "/v1/chunks/{key}", 400] == 5
    assert paths.taken == [True] * 5


@pytest.mark.parametrize("resets", [False, True], ids=["fin", "rst"])
def test_a_sender_that_leaves_behind_its_body_has_stored_it(node, paths, gate, resets):
    with node.connect() as connection:
        connection.sendall(upload(LARGE))
        wait_until(lambda: node.running.node.metrics.bytes_in == len(LARGE.data))
        if resets:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    time.sleep(0.1)
    assert node.running.node.load == 1  # nobody waits for it, and it is under way
    gate.open.set()
    wait_until(lambda: node.running.node.load == 0)
    assert node.get(LARGE).body == LARGE.data
    assert paths.taken == [True]


def test_what_a_sender_does_not_read_does_not_pile_up(node, monkeypatch):
    tiny, transports = fragment(1, 1), []
    assert node.put(tiny).status == 201
    begin = PlainPuts.begin

    def watched(puts, data, transport, *args):
        transports.append(transport)
        return begin(puts, data, transport, *args)

    def answered() -> int:
        return node.running.node.metrics._requests["PUT", "/v1/chunks/{key}", 200]

    monkeypatch.setattr(PlainPuts, "begin", watched)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(node.address)
        for number in range(3000):
            connection.sendall(upload(tiny))  # alone in its segment, as the plain path wants it
            until_s = time.monotonic() + 1.0
            while answered() <= number and time.monotonic() < until_s:
                time.sleep(0)
            if answered() <= number:
                break  # it waits until something is read
        assert transports[0].get_write_buffer_size() < 150_000


@pytest.mark.parametrize(
    ("where", "fails", "is_answered"),
    [
        (NodeState, "facts", True),
        (plain_puts, "_Body", False),
        (GroupCommit, "begin_checked", False),
        (Put, "verified", True),
    ],
)
def test_an_upload_that_breaks_leaves_nothing(node, monkeypatch, where, fails, is_answered):
    def broken(*_):
        raise OSError(5, "broken") if fails == "facts" else MemoryError("no room")

    with monkeypatch.context() as patch, node.connect() as connection:
        patch.setattr(where, fails, broken)
        with contextlib.suppress(ConnectionError):
            connection.sendall(upload(LARGE))
        answer = b""
        with contextlib.suppress(ConnectionError):
            answer = read_all(connection)
        assert status_of(answer) == (500 if is_answered else 0)
    wait_until(lambda: node.running.node.load == 0)
    assert node.running.node.put_budget.taken_bytes == 0
    node.forgive()
    assert node.put(LARGE).status == 201


def test_a_body_that_comes_too_slowly_is_given_up(tmp_path, paths):
    with NodeInThread(tmp_path, limits={"body_timeout_s": 1.5}) as node:
        with node.connect() as connection:
            connection.sendall(upload(LARGE)[:1_000_000])
            head, body = read_answer(connection)
            assert status_of(head) == 408
            assert b"Connection: close" in head
            assert b"TOO_SLOW" in body
            connection.sendall(upload(LARGE)[1_000_000:2_000_000])  # dropped, and no error yet
            assert connection.recv(1) == b""
        wait_until(lambda: node.running.node.load == 0)
        assert node.running.node.put_budget.taken_bytes == 0
    assert paths.taken == [True]


def test_a_slow_upload_is_no_idle_connection(tmp_path, paths):
    with NodeInThread(tmp_path, limits={"keepalive_s": 1.0}) as node, node.connect() as connection:
        data = upload(LARGE)
        for start in range(0, len(data), 600_000):
            connection.sendall(data[start : start + 600_000])
            time.sleep(0.5)
        assert status_of(read_answer(connection)[0]) == 201
        assert read_all(connection) == b""  # idle now, and closed in time
    assert paths.taken == [True]


def test_no_more_is_taken_in_than_the_budget_holds(tmp_path, paths):
    with NodeInThread(tmp_path, limits={"put_bytes_in_flight_max": 4_000_000}) as node:
        with node.connect() as first:
            first.sendall(upload(LARGE)[:1000])
            wait_until(lambda: node.running.node.load == 1)
            head, _ = answer_to(node, upload(fragment(3, 3_000_000)))
            assert status_of(head) == 503
            assert b"Retry-After: 1" in head
        wait_until(lambda: node.running.node.load == 0)
        assert node.put(LARGE).status == 201
    assert paths.taken == [True, False, True]


@pytest.mark.parametrize(
    ("error", "status"), [(StoreFull("full"), 507), (StoreReadOnly("broken"), 503)]
)
def test_what_the_store_refuses_is_said(node, monkeypatch, error, status):
    monkeypatch.setattr(SuperblockStore, "commit", lambda store, writes: [error] * len(writes))
    answers = [answer_to(node, upload(SMALL, *lines)) for lines in ([], [OTHER_PATH])]
    assert without_date(answers[0][0]) == without_date(answers[1][0])
    assert answers[0][1] == answers[1][1]
    assert status_of(answers[0][0]) == status


def test_under_a_cap_or_a_delay_and_in_a_node_that_stops_the_other_path_answers(node, paths):
    node.call(reshape(node, Shaping(delay_s=0.01)))
    assert node.put(SMALL).status == 201
    node.call(reshape(node, Shaping()))
    with node.connect() as connection, node.connect() as other:
        connection.sendall(upload(SMALL))
        assert status_of(read_answer(connection)[0]) == 200
        other.sendall(upload(SMALL))
        assert status_of(read_answer(other)[0]) == 200
        data = upload(LARGE)
        connection.sendall(data[:1000])
        wait_until(lambda: node.running.node.load == 1)
        node.begin_stop()
        wait_until(lambda: node.running.node.is_draining)
        other.sendall(upload(SMALL))
        assert b"Connection: close" in read_answer(other)[0]
        connection.sendall(data[1000:])  # what had begun is ended, and acknowledged
        head, _ = read_answer(connection)
        assert status_of(head) == 201
        assert b"Connection: close" in head
        assert connection.recv(1) == b""
    assert paths.taken == [False, True, True, True, False]


async def reshape(node, shaping: Shaping) -> None:
    node.running.node.pacer.reshape(shaping)
    await asyncio.sleep(0)
