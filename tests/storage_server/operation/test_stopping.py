"""A server that stops leaves no socket open, whenever a connection came and whatever it was at."""

import asyncio
import contextlib
import gc
import socket
import ssl
import warnings

import pytest
from aiohttp import web

from smart_client.accepting import serving
from storage_server.coordinator.config import CoordinatorConfig
from storage_server.coordinator.process import running_coordinator
from storage_server.node.config import NodeConfig
from storage_server.node.service import running_node
from support.certificates import make_certificate

pytestmark = pytest.mark.real

CONNECTIONS = 6

# Accepting a connection takes three turns of the loop; a server may stop in any of them.
TURNS = range(7)


@contextlib.asynccontextmanager
async def node(folder):
    async with running_node(NodeConfig(folder)) as running:
        yield running.url


@contextlib.asynccontextmanager
async def node_with_tls(folder):
    certificate, key = make_certificate(folder.parent)
    config = NodeConfig(folder, tls_certificate=certificate, tls_key=key)
    async with running_node(config) as running:
        yield running.url


@contextlib.asynccontextmanager
async def coordinator(folder):
    async with running_coordinator(CoordinatorConfig(folder)) as running:
        yield running.url


@contextlib.asynccontextmanager
async def coordinator_with_tls(folder):
    certificate, key = make_certificate(folder.parent)
    config = CoordinatorConfig(folder, tls_certificate=certificate, tls_key=key)
    async with running_coordinator(config) as running:
        yield running.url


BIG_ANSWER = bytes(32 * 1024 * 1024)  # more than the kernel takes


async def big_answer(_):
    return web.Response(body=BIG_ANSWER)


@contextlib.asynccontextmanager
async def web_application(folder):
    app = web.Application()
    app.router.add_get("/", big_answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.05)
    async with serving(runner, host="127.0.0.1", port=0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


def nothing_is_left_open(scenario):
    """Run a coroutine in a loop of its own; what it left open is an error."""
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(scenario)
        gc.collect()
    assert [str(each.message) for each in caught] == []


def connect(stack, url):
    host, _, port = url.rpartition("//")[2].rpartition(":")
    return stack.enter_context(socket.create_connection((host, int(port)), timeout=10))


WITH_TLS = (node_with_tls, coordinator_with_tls)


@pytest.mark.parametrize(
    "running", [node, node_with_tls, coordinator, coordinator_with_tls, web_application]
)
def test_connections_that_come_while_a_server_stops_are_closed(running, tmp_path):
    async def scenario(folder, turns):
        with contextlib.ExitStack() as stack:
            async with running(folder) as url:
                connections = [connect(stack, url) for _ in range(CONNECTIONS)]
                for _ in range(turns):
                    await asyncio.sleep(0)

            if running not in WITH_TLS:  # a handshake is given up when the loop ends
                for each in connections:
                    with contextlib.suppress(ConnectionResetError):
                        assert each.recv(1) == b""

    for turns in TURNS:
        nothing_is_left_open(scenario(tmp_path / str(turns), turns))


@pytest.mark.parametrize("running", WITH_TLS)
def test_a_handshake_that_ends_after_the_server_stopped_gets_no_connection(running, tmp_path):
    trusting = ssl.create_default_context()
    trusting.check_hostname = False
    trusting.verify_mode = ssl.CERT_NONE

    async def scenario():
        with contextlib.ExitStack() as stack:
            async with running(tmp_path / "server") as url:
                raw = connect(stack, url)
                await asyncio.sleep(0.05)  # accepted; no handshake has begun

            def shake_hands():
                with (
                    contextlib.suppress(ConnectionError, ssl.SSLEOFError),
                    trusting.wrap_socket(raw) as wrapped,
                ):
                    assert wrapped.recv(1) == b""

            await asyncio.to_thread(shake_hands)

    nothing_is_left_open(scenario())


def test_a_reader_that_stalls_while_a_server_stops_is_cut_off(tmp_path):
    async def scenario(stack):
        async with web_application(tmp_path) as url:
            for connection in [connect(stack, url) for _ in range(CONNECTIONS)]:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0.2)

    with contextlib.ExitStack() as stack:
        nothing_is_left_open(scenario(stack))
