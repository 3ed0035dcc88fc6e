"""Confusing requests sent to a node through a proxy: both must see the same requests.

Smuggling is a proxy that hands on one request and a node that reads two: the second then speaks
with somebody else's voice, and answers go to the wrong reader.
"""

import socket

import pytest

from support.confusing_requests import HOST, REFUSED, get, put
from support.fragments import fragment
from support.node_in_thread import NodeInThread, read_answer, status_of, wait_until
from support.proxies import is_installed, running_proxy

pytestmark = pytest.mark.real

STORED = fragment(2, 1000)
WANTED = get(HOST, path=b"/v1/chunks/" + STORED.key.hex().encode())

# What one of the two might take for the end of a body, with a request hidden behind it.
HIDDEN = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
SMUGGLED = {
    "length before chunked": put(
        b"Content-Length: %d" % (5 + len(HIDDEN)),
        b"Transfer-Encoding: chunked",
        body=b"0\r\n\r\n" + HIDDEN,
    ),
    "a hidden coding": put(
        b"Content-Length: 5",
        b"Transfer-Encoding:\x0bchunked",
        body=b"0\r\n\r\n" + HIDDEN,
    ),
    "a coding with a space": put(
        b"Content-Length: 5", b"Transfer-Encoding : chunked", body=b"0\r\n\r\n" + HIDDEN
    ),
    "a body of a get": get(HOST, b"Content-Length: %d" % len(HIDDEN)) + HIDDEN,
    "a chunked get": get(HOST, b"Transfer-Encoding: chunked") + b"0\r\n\r\n" + HIDDEN[:-2],
    "a bare line feed in a header": get(HOST, b"X: a\nContent-Length: %d" % len(HIDDEN)) + HIDDEN,
    "chunk extensions": put(
        b"Transfer-Encoding: chunked", body=b"5;a=\n" + b"x" * 5 + b"\r\n0\r\n\r\n" + HIDDEN
    ),
    "a trailer": put(
        b"Transfer-Encoding: chunked", body=b"0\r\nContent-Length: 3\r\n\r\n" + HIDDEN
    ),
    "an old version": put(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + HIDDEN).replace(
        b"HTTP/1.1", b"HTTP/1.0", 1
    ),
}


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with NodeInThread(tmp_path_factory.mktemp("node")) as node:
        node.put(STORED)
        yield node


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def proxy(request, node, tmp_path_factory):
    if not is_installed(request.param):
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    with running_proxy(request.param, node.address, folder) as proxy:
        yield proxy


def requests_seen(node):
    return sum(node.running.node.metrics._requests.values())


def send(address, request):
    """Send the bytes, then hang up: what the proxy answers is its business."""
    with socket.create_connection(address, timeout=20) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except OSError:  # cut off, which is an answer too
            pass


def read_through(proxy):
    with socket.create_connection(proxy.address, timeout=20) as connection:
        connection.sendall(WANTED)
        return read_answer(connection)


@pytest.mark.parametrize(
    "probe", [*REFUSED.values(), *SMUGGLED.values()], ids=[*REFUSED, *SMUGGLED]
)
def test_a_node_never_reads_more_requests_than_its_proxy_handed_on(node, proxy, probe):
    wait_until(lambda: node.running.node.load == 0)  # the last one is counted
    seen, handed_on = requests_seen(node), proxy.handed_on()
    send(proxy.address, probe)
    for _ in range(2):  # on the connection that the proxy kept open to the node
        head, body = read_through(proxy)
        assert status_of(head) == 200
        assert body == STORED.data
    wait_until(lambda: proxy.handed_on() - handed_on >= requests_seen(node) - seen)
