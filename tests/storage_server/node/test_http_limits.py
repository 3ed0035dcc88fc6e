"""Bounds of the HTTP interface: full nodes, slow and silent peers, too many of them."""

import socket

import pytest

from storage_server.node.superblock_format import FRAGMENT_BYTES_MAX
from support.fragments import fragment, fragments
from support.node_in_thread import (
    NodeInThread,
    raw_put,
    read_all,
    read_answer,
    status_of,
    wait_until,
)

pytestmark = pytest.mark.real


def test_a_full_node_says_507_and_still_reads_and_deletes(tmp_path, caplog):
    with NodeInThread(tmp_path, capacity_bytes=1 << 20) as node:
        puts = fragments(12, 100_000)
        statuses = [node.put(put).status for put in puts]
        assert statuses == [201] * 10 + [507] * 2
        assert node.put(puts[-1]).code == "NODE_FULL"
        assert node.ask("GET", "/healthz").json["status"] == "full"
        header = b"Content-Length: 100000"  # the body is not even asked for
        assert status_of(node.send_raw(raw_put(puts[-1], header, body=b""))) == 507
        assert node.get(puts[0]).body == puts[0].data
        assert node.ask("DELETE", f"/v1/chunks/{puts[0].key.hex()}").status == 204
    told = [record for record in caplog.records if "new fragments are refused" in record.message]
    assert len(told) == 1  # not once for every refusal


def test_too_many_bytes_under_way_are_503_with_a_time_to_come_back(tmp_path):
    with NodeInThread(tmp_path, limits={"put_bytes_in_flight_max": 150_000}) as node:
        one, two = fragments(2, 100_000)
        with node.connect() as connection:
            connection.sendall(raw_put(one, b"Content-Length: 100000", body=one.data[:10]))
            wait_until(lambda: node.running.node.put_budget.taken_bytes)
            busy = node.put(two)
            assert (busy.status, busy.code) == (503, "BUSY")
            assert busy.headers["Retry-After"] == "1"
            connection.sendall(one.data[10:])
            assert status_of(read_answer(connection)[0]) == 201
        assert node.put(two).status == 201


def test_a_body_that_drips_is_given_up(tmp_path):
    with NodeInThread(tmp_path, limits={"body_timeout_s": 0.2}) as node:
        put = fragment(1)
        with node.connect() as connection:
            connection.sendall(raw_put(put, b"Content-Length: 100", body=b"x"))
            assert status_of(read_answer(connection)[0]) == 408
        assert node.running.node.put_budget.taken_bytes == 0


@pytest.mark.parametrize("opening", [b"", b"GET /ping HTTP/1.1\r\nHost: x\r\nA: "])
def test_an_idle_or_dripping_connection_is_closed(tmp_path, opening):
    with NodeInThread(tmp_path, limits={"keepalive_s": 0.3}) as node, node.connect() as idle:
        idle.sendall(opening)
        assert read_all(idle) == b""


def test_an_idle_connection_is_closed_after_its_answer(tmp_path):
    with NodeInThread(tmp_path, limits={"keepalive_s": 0.3}) as node, node.connect() as idle:
        idle.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
        assert status_of(read_all(idle)) == 204


def test_a_reader_that_takes_nothing_is_cut_off(tmp_path):
    limits = {"stall_timeout_s": 0.5, "send_buffer_bytes": 4096}
    with NodeInThread(tmp_path, limits=limits) as node:
        put = fragment(1, FRAGMENT_BYTES_MAX)
        node.put(put)
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(node.address)
            connection.sendall(
                b"GET /v1/chunks/%s HTTP/1.1\r\nHost: x\r\n\r\n" % put.key.hex().encode()
            )
            wait_until(lambda: node.running.node.load == 1)
            wait_until(lambda: node.running.node.load == 0)
            connection.settimeout(5)
            try:
                received = len(read_all(connection))
            except ConnectionResetError:
                received = 0
            assert received < FRAGMENT_BYTES_MAX


def test_no_more_connections_than_allowed(tmp_path):
    with NodeInThread(tmp_path, limits={"connections_max": 3}) as node:
        held = [node.connect() for _ in range(3)]
        for connection in held:
            connection.sendall(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            assert status_of(read_answer(connection)[0]) == 204
        with node.connect() as refused:
            assert status_of(read_all(refused)) == 503
        held.pop().close()
        wait_until(lambda: node.ask("GET", "/ping").status == 204)
        for connection in held:
            connection.close()
