"""A real node on a real socket, in a thread of the test, and plain ways to talk to it."""

import asyncio
import contextlib
import http.client
import json
import logging
import socket
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass
from urllib.parse import urlsplit

from storage_server.node.config import NodeConfig, NodeLimits
from storage_server.node.service import running_node


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.json["error"]["code"]


class Errors(logging.Handler):
    """Collects what a node calls an error: in these tests nothing may be one."""

    def __init__(self):
        super().__init__(logging.ERROR)
        self.messages = []

    def emit(self, record):
        self.messages.append(self.format(record))


class NodeInThread:
    """Responsible for a node's life within a ``with`` block."""

    def __init__(self, data_dir, *, heartbeat=None, **settings):
        settings.setdefault("capacity_bytes", 1 << 28)
        limits = NodeLimits(**settings.pop("limits", {}))
        self._config = NodeConfig(data_dir=data_dir, limits=limits, **settings)
        self._heartbeat = heartbeat
        self._ready = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self):
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            async with running_node(self._config, heartbeat=self._heartbeat) as running:
                self._ready.set_result(running)
                await self._stop.wait()
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)

    def __enter__(self):
        self._errors = Errors()
        logging.getLogger("storage_server.node").addHandler(self._errors)
        self._thread.start()
        try:
            self.running = self._ready.result(timeout=20)
        except BaseException:
            self._thread.join()
            raise
        self.address = urlsplit(self.running.url).hostname, urlsplit(self.running.url).port
        return self

    def __exit__(self, *_):
        self.begin_stop()
        self._thread.join(timeout=30)
        assert not self._thread.is_alive()
        logging.getLogger("storage_server.node").removeHandler(self._errors)
        assert self._errors.messages == []

    def call(self, coroutine):
        """Run a coroutine in the node's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=20)

    def begin_stop(self):
        """Ask the node to stop; it may have been asked before."""
        with contextlib.suppress(RuntimeError):  # it has stopped
            self._loop.call_soon_threadsafe(self._stop.set)

    def forgive(self):
        """Take the errors logged so far as meant."""
        self._errors.messages.clear()

    def ask(self, method, path, body=None, **headers) -> Answer:
        """Send one request on a connection of its own; underscores in header names are dashes."""
        connection = http.client.HTTPConnection(*self.address, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(method, path, body=body, headers=named)
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())

    def put(self, put, **headers) -> Answer:
        return self.ask("PUT", f"/v1/chunks/{put.key.hex()}", put.data, **headers)

    def get(self, put, **headers) -> Answer:
        return self.ask("GET", f"/v1/chunks/{put.key.hex()}", **headers)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=20)

    def send_raw(self, data: bytes) -> bytes:
        """Send bytes and return the first answer, head and body."""
        with self.connect() as connection:
            connection.sendall(data)
            return b"".join(read_answer(connection))


def raw_put(put, *headers: bytes, body: bytes | None = None) -> bytes:
    lines = [b"PUT /v1/chunks/%s HTTP/1.1" % put.key.hex().encode(), b"Host: x", *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + (put.data if body is None else body)


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ")[1]) if answer else 0


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def read_answer(connection: socket.socket) -> tuple[bytes, bytes]:
    """Return the head of one answer and its body; the connection stays open."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = connection.recv(1)
        assert part, received
        received += part
    length = 0
    for line in received.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    body = b""
    while len(body) < length:
        part = connection.recv(length - len(body))
        assert part, (received, body)
        body += part
    return received, body


def wait_until(fact, timeout_s: float = 15.0) -> None:
    """Return as soon as ``fact()`` holds; fail if it does not in time."""
    deadline_s = time.monotonic() + timeout_s
    while not fact():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.005)
