"""Plain reads under TLS: written in parts, as fast as the reader takes them."""

import contextlib
import shutil
import socket
import ssl

import pytest

from storage_server.node.plain_reads import PlainReads
from support.certificates import make_certificate
from support.fragments import fragment
from support.node_in_thread import NodeInThread, read_all, read_answer, status_of, wait_until
from support.plain_paths import Paths, without_date

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificates by openssl"),
]

SMALL, LARGE = fragment(1, 5000), fragment(2, 4_000_000)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def paths(monkeypatch):
    return Paths(monkeypatch, PlainReads)


@pytest.fixture
def node(tmp_path, files):
    certificate, key = files
    limits = {"drain_s": 20.0}
    with NodeInThread(tmp_path, limits=limits, tls_certificate=certificate, tls_key=key) as node:
        for put in (SMALL, LARGE):
            node.call(node.running.node.writer.put(put))
        yield node
        wait_until(lambda: node.running.node.load == 0)


@contextlib.contextmanager
def connected(node, files, *, receive_bytes=None):
    context = ssl.create_default_context(cafile=files[0])
    with socket.socket() as plain:
        plain.settimeout(20)
        if receive_bytes is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        plain.connect(node.address)
        with context.wrap_socket(plain, server_hostname=node.address[0]) as connection:
            yield connection


def get(put, *lines: bytes) -> bytes:
    first = b"GET /v1/chunks/%s HTTP/1.1" % put.key.hex().encode()
    return b"\r\n".join((first, b"Host: x", *lines)) + b"\r\n\r\n"


@pytest.mark.parametrize("put", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("wanted", [None, "0-0", "17-4999", "1000000-3500000"], ids=str)
def test_both_paths_answer_alike(node, files, paths, put, wanted):
    lines = [] if wanted is None else [b"Range: bytes=" + wanted.encode()]
    with connected(node, files) as connection:
        answers = []
        for more in ([], [b"X-Other: 1"]):
            connection.sendall(get(put, *lines, *more))
            answers.append(read_answer(connection))
    (plain_head, plain_body), (other_head, other_body) = answers
    assert plain_body == other_body
    assert without_date(plain_head) == without_date(other_head)
    if status_of(plain_head) != 416:
        assert paths.taken == [True, False]


def test_a_slow_reader_gets_all_of_it_and_what_it_asks_meanwhile(node, files, paths):
    with connected(node, files, receive_bytes=8192) as connection:
        connection.sendall(get(LARGE))
        wait_until(lambda: node.running.node.load == 1)
        connection.sendall(get(SMALL) + get(LARGE))
        for put in (LARGE, SMALL, LARGE):
            assert read_answer(connection)[1] == put.data
    assert paths.taken[0]


def test_what_left_memory_meanwhile_is_read_by_a_thread(node, files, paths, monkeypatch):
    sender = node.running.node.sender
    small_in_memory, looks = sender.small_in_memory, []

    def forgetful(found, start, stop):
        looks.append(start)
        return None if len(looks) in (3, 4, 20) else small_in_memory(found, start, stop)

    monkeypatch.setattr(sender, "small_in_memory", forgetful)
    cold = node.running.node.metrics.cold_reads
    with connected(node, files) as connection:
        connection.sendall(get(LARGE))
        assert read_answer(connection)[1] == LARGE.data
    assert node.running.node.metrics.cold_reads >= cold + 3
    assert paths.taken == [True]


def test_an_answer_whose_bytes_cannot_be_read_is_cut_and_the_fragment_looked_at(
    node, files, monkeypatch
):
    sender = node.running.node.sender
    small_in_memory, suspected, looks = sender.small_in_memory, [], []
    monkeypatch.setattr(PlainReads, "suspect", lambda reads, key: suspected.append(key))

    def failing(found, start, stop):
        looks.append(start)
        if len(looks) > 3:
            raise OSError(5, "broken")
        return small_in_memory(found, start, stop)

    monkeypatch.setattr(sender, "small_in_memory", failing)
    with connected(node, files) as connection:
        connection.sendall(get(LARGE))
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            assert len(read_all(connection)) < len(LARGE.data)
    wait_until(lambda: suspected == [LARGE.key])


def test_a_reader_that_ends_in_the_middle_costs_no_more_than_that(node, files, caplog):
    with connected(node, files, receive_bytes=8192) as connection:
        connection.sendall(get(LARGE))
        wait_until(lambda: node.running.node.load == 1)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
        wait_until(lambda: node.running.node.load == 0)
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass
    assert [each for each in caplog.records if each.name == "asyncio"] == []


def test_a_reader_that_leaves_or_takes_too_long_leaves_nothing(node, files, monkeypatch):
    for _ in range(3):
        with connected(node, files, receive_bytes=8192) as connection:
            connection.sendall(get(LARGE))
            wait_until(lambda: node.running.node.load == 1)
        wait_until(lambda: node.running.node.load == 0)
    monkeypatch.setattr(node.running.node.sender, "patience_s", lambda count: 1.5)
    with connected(node, files, receive_bytes=8192) as connection:
        connection.sendall(get(LARGE))
        wait_until(lambda: node.running.node.load == 1)
        wait_until(lambda: node.running.node.load == 0)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            assert len(read_all(connection)) < len(LARGE.data)


def test_a_node_that_stops_ends_the_answers_under_way(node, files):
    with connected(node, files, receive_bytes=8192) as connection:
        connection.sendall(get(LARGE))
        wait_until(lambda: node.running.node.load == 1)
        node.begin_stop()
        wait_until(lambda: node.running.node.is_draining)
        assert read_answer(connection)[1] == LARGE.data
