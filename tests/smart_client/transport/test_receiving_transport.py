"""What our transport does beyond the common contract: straight into place, and more suspicious."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading

import httpx
import pytest

from smart_client import wire
from smart_client.core.events import FailureKind
from smart_client.transport.connection_pool import PoolLimits
from smart_client.transport.errors import TransportFailure
from smart_client.transport.http_connection import HttpConnection
from smart_client.transport.incoming_answer import IncomingAnswer
from smart_client.transport.nodes import NodeConnections
from smart_client.transport.receiving_transport import LANDING, ReceivingTransport
from support.raw_http_server import partial, raw_server, saying

pytestmark = pytest.mark.real

BODY = bytes(range(256)) * 2000
KEY = "0" * 64


def client_of(url, context=None, **limits):
    transport = ReceivingTransport(
        context or ssl.create_default_context(), limits=PoolLimits(**limits)
    )
    return httpx.AsyncClient(transport=transport, base_url=url, timeout=20, trust_env=False)


def served(script, use, context=None, trusted=None, **limits):
    async def scenario():
        async with (
            asyncio.timeout(60),
            raw_server(script, context=context) as server,
            client_of(server.url, trusted, **limits) as client,
        ):
            return await use(client, server)

    return asyncio.run(scenario())


class Sink:
    """Takes a piece of so many bytes; ``stop`` may move while they come."""

    def __init__(self, size):
        self.buffer = bytearray(size)
        self.stop = size
        self.landed_bytes = 0
        self.told = []
        self.rtts_s = []
        self.first_bytes = 0

    def connected(self, rtt_s):
        self.rtts_s.append(rtt_s)

    def first_byte(self):
        self.first_bytes += 1

    def room(self):
        return memoryview(self.buffer)[self.landed_bytes : self.stop]

    def landed(self, count):
        self.landed_bytes += count

    def data(self, block):
        self.told.append(block)


def test_the_blocks_of_a_body_are_the_place_it_landed_in():
    async def use(client, _):
        sink = Sink(len(BODY))
        async with client.stream("GET", "/", extensions={LANDING: sink}) as response:
            blocks = [block async for block in response.aiter_raw()]
        assert all(block.obj is sink.buffer for block in blocks)
        assert b"".join(blocks) == sink.buffer == BODY

    served(saying(partial(BODY)), use)


def test_a_fetch_tells_of_its_connect_its_first_byte_and_every_byte():
    async def use(_, server):
        node = NodeConnections(wire.NodeRecord(id="n", urls=(server.url,)))
        sinks = [Sink(len(BODY)) for _ in range(2)]
        for sink in sinks:
            await node.fetch(KEY, 0, len(BODY), sink)
            assert b"".join(sink.told) == sink.buffer == BODY
            assert sink.first_bytes == 1
        await node.close()
        assert [len(sink.rtts_s) for sink in sinks] == [1, 0]
        assert 0 < sinks[0].rtts_s[0] < 10
        assert server.visits[0].heads[0].startswith(b"GET /v1/chunks/" + KEY.encode())
        assert b"\r\nRange: bytes=0-%d\r\n" % (len(BODY) - 1) in server.visits[0].heads[0]

    served(saying(partial(BODY), closes=False), use)


@pytest.mark.parametrize("size", [len(BODY) - 1, len(BODY) + 1])
def test_an_answer_of_another_length_than_asked_for_is_a_failure(size):
    async def use(_, server):
        node = NodeConnections(wire.NodeRecord(id="n", urls=(server.url,)))
        with pytest.raises(TransportFailure) as failed:
            await node.fetch(KEY, 0, size, Sink(size))
        await node.close()
        assert failed.value.kind is FailureKind.PROTOCOL

    served(saying(partial(BODY)), use)


def test_nothing_lands_behind_a_stop_that_moved():
    half = len(BODY) // 2

    async def use(_, server):
        node = NodeConnections(wire.NodeRecord(id="n", urls=(server.url,)))
        sink = Sink(len(BODY))

        def shorten(block):
            sink.told.append(block)
            sink.stop = 1000
            may_go_on.set()

        sink.data = shorten
        await node.fetch(KEY, 0, len(BODY), sink)
        await node.close()
        assert b"".join(sink.told) == BODY
        landed = sink.landed_bytes
        assert 0 < landed <= half
        assert sink.buffer[:landed] == BODY[:landed]
        assert not any(sink.buffer[landed:])

    may_go_on = asyncio.Event()

    async def script(visit):
        await visit.request()
        whole = partial(BODY)
        await visit.say(whole[: len(whole) - half])
        await may_go_on.wait()
        await visit.say(whole[len(whole) - half :])

    served(script, use)


POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"


@pytest.mark.parametrize("joined", [True, False])
def test_bytes_behind_an_answer_are_never_the_answer_to_the_next_request(joined):
    async def script(visit):
        await visit.request()
        parts = [partial(b"right"), POISON]
        await visit.say(*([b"".join(parts)] if joined else parts))
        await visit.request()

    async def use(client, server):
        for _ in range(3):
            assert (await client.get("/")).content == b"right"
            await said_all(server)
        assert len(server.visits) == 3

    async def said_all(server):
        """Wait until what the server sent last must be in our kernel."""
        while server.visits[-1].writer.transport.get_write_buffer_size():
            await asyncio.sleep(0)
        await asyncio.sleep(0.02)

    served(script, use)


def test_bytes_that_lie_in_the_kernel_are_not_the_answer_to_the_next_request():
    """The loop has no turn between their coming and the next request."""
    may_poison, is_poisoned = threading.Event(), threading.Event()

    def serve(listener):
        for number in range(2):
            connection, _ = listener.accept()
            with connection:
                read_head(connection)
                connection.sendall(partial(b"right"))
                if number == 0:
                    may_poison.wait(20)
                    connection.sendall(POISON)
                    is_poisoned.set()
                with contextlib.suppress(ConnectionError):
                    connection.recv(1)

    def read_head(connection):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += connection.recv(1)

    async def scenario(port):
        async with client_of(f"http://127.0.0.1:{port}") as client:
            assert (await client.get("/")).content == b"right"
            may_poison.set()
            assert is_poisoned.wait(20)
            assert (await client.get("/")).content == b"right"

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        asyncio.run(scenario(listener.getsockname()[1]))
        thread.join(20)


def test_after_an_upload_that_was_cut_short_the_connection_is_not_used_again():
    refused = b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!"

    async def script(visit):
        await visit.request()
        await visit.say(partial(b"fine") if visit.number else refused)
        await visit.reader.read()

    async def parts():
        for _ in range(50):
            yield bytes(1_000_000)

    async def use(client, server):
        headers = {"Content-Length": "50000000"}
        assert (await client.put("/", content=parts(), headers=headers)).content == b"no!"
        assert (await client.get("/")).content == b"fine"
        assert len(server.visits) == 2

    served(script, use)


def test_a_server_that_goes_on_behind_its_answer_is_cut_off():
    cut_off = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.say(partial(b"right"))
        try:
            while True:
                await visit.say(bytes(100_000))
        finally:
            cut_off.set()

    async def use(client, _):
        async with client.stream("GET", "/") as response:
            await cut_off.wait()
            assert await response.aread() == b"right"

    served(script, use)


def test_an_answer_before_the_request_is_no_answer():
    async def script(visit):
        await visit.say(POISON)
        await visit.request()

    async def scenario():
        async with raw_server(script) as server:
            loop = asyncio.get_running_loop()
            transport, connection = await loop.create_connection(
                HttpConnection, "127.0.0.1", server.port
            )
            await asyncio.wait([connection._is_lost], timeout=20)
            with pytest.raises(httpx.RemoteProtocolError):
                connection.begin(IncomingAnswer("GET"))
            transport.abort()

    asyncio.run(scenario())


def test_an_idle_connection_is_forgotten_before_the_node_forgets_it():
    async def use(client, server):
        await client.get("/")
        await client.get("/")
        return len(server.visits)

    assert served(saying(partial(b"x"), closes=False), use, keepalive_s=0.0) == 2


def test_a_body_that_nobody_reads_does_not_fill_the_memory():
    class Wire(asyncio.Transport):
        """A socket's end that notes whether it is read."""

        is_read = True

        def pause_reading(self):
            self.is_read = False

        def resume_reading(self):
            self.is_read = True

        def set_write_buffer_limits(self, high=None, low=None):
            pass

        def is_closing(self):
            return False

    async def scenario():
        connection, wire_end = HttpConnection(), Wire()
        connection.connection_made(wire_end)
        answer = IncomingAnswer("GET")
        connection.begin(answer)
        data = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"
        received = 0
        while wire_end.is_read:
            room = connection.get_buffer(-1)
            count = len(data) or len(room)
            room[: len(data)] = data
            data = b""
            connection.buffer_updated(count)
            received += count
            assert received < 4_000_000
        while not wire_end.is_read:
            assert await connection.next_block(1) is not None
        assert answer.waiting_bytes > 0

    asyncio.run(scenario())


def test_closing_ends_what_is_under_way():
    async def script(visit):
        await visit.request()
        await visit.reader.read()

    async def scenario():
        async with raw_server(script) as server:
            client = client_of(server.url)
            task = asyncio.create_task(client.get("/"))
            while not (server.visits and server.visits[0].heads):
                await asyncio.sleep(0.005)
            await client.aclose()
            with pytest.raises(httpx.TransportError):
                await asyncio.wait_for(task, 10)

    asyncio.run(scenario())


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate by openssl")
def test_tls_bodies_land_too_and_strangers_are_refused(tmp_path):
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    trusted = ssl.create_default_context(cafile=tmp_path / "cert")

    async def use(client, server):
        for _ in range(3):
            sink = Sink(len(BODY))
            response = await client.get("/", extensions={LANDING: sink})
            assert response.content == sink.buffer == BODY
        assert len(server.visits) == 1

    served(saying(partial(BODY), closes=False), use, context, trusted)

    async def refuse(client, _):
        with pytest.raises(httpx.ConnectError):
            await client.get("/")

    served(saying(partial(BODY)), refuse, context)
