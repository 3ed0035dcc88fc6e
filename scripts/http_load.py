"""A load of HTTP requests on one core, for the benches: raw sockets, one selector, no library."""

import contextlib
import os
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_SCRATCH_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Server:
    """A server under test: where it listens and whose processor time counts."""

    address: tuple[str, int]
    pids: list[int]


@dataclass(frozen=True)
class Window:
    """What one timed window gave."""

    mb_per_s: float
    cpu_s_per_gb: float
    p50_ms: float
    p99_ms: float


class Exchange:
    """Responsible for one connection that sends the next request when one is answered."""

    def __init__(self, address: tuple[str, int], next_request: Callable[[], list[bytes] | None]):
        self.socket = socket.create_connection(address)
        self.socket.setblocking(False)
        self._next_request = next_request
        self._sending: list[memoryview] = []
        self._left = 0  # bytes of body still to come; -1 while the head is read
        self._head = b""
        self.started_s = 0.0

    def begin(self) -> bool:
        """Take the next request; return whether there was one."""
        request = self._next_request()
        if request is None:
            return False
        self._sending = [memoryview(part) for part in request]
        self._left = -1
        self._head = b""
        self.started_s = time.perf_counter()
        return True

    @property
    def wants_to_write(self) -> bool:
        """Whether a part of the request is still to be sent."""
        return bool(self._sending)

    def write(self) -> None:
        """Send what the kernel takes."""
        with contextlib.suppress(BlockingIOError):
            while self._sending:
                sent = self.socket.sendmsg(self._sending)
                while self._sending and sent >= len(self._sending[0]):
                    sent -= len(self._sending.pop(0))
                if self._sending:
                    self._sending[0] = self._sending[0][sent:]

    def read(self, scratch: memoryview) -> bool:
        """Take what came; return whether the answer is whole."""
        try:
            count = self.socket.recv_into(scratch)
        except BlockingIOError:
            return False
        if not count:
            raise ConnectionError("the server closed the connection")
        if self._left < 0:
            self._head += bytes(scratch[:count])
            head, found, rest = self._head.partition(b"\r\n\r\n")
            if not found:
                return False
            if head.split(b" ", 2)[1] not in (b"200", b"201", b"206"):
                raise RuntimeError(f"unexpected answer: {head[:200]!r}")
            length = head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]
            self._left, count = int(length), len(rest)
        self._left -= count
        return self._left == 0


def run_window(
    server: Server,
    next_request: Callable[[], list[bytes] | None],
    *,
    connections: int,
    seconds: float,
    size: int,
) -> Window:
    """Keep ``connections`` requests of ``size`` bytes under way for ``seconds``."""
    scratch = memoryview(bytearray(_SCRATCH_BYTES))
    exchanges = [Exchange(server.address, next_request) for _ in range(connections)]
    latencies: list[float] = []
    cpu_s = cpu_seconds(server.pids)
    started_s = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for exchange in exchanges:
            if exchange.begin():
                exchange.write()
                selector.register(
                    exchange.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, exchange
                )
        while selector.get_map() and time.perf_counter() - started_s < seconds:
            for key, mask in selector.select(timeout=1.0):
                serve(key, mask, selector, scratch, latencies)
    took_s = time.perf_counter() - started_s
    cpu_s = cpu_seconds(server.pids) - cpu_s
    for exchange in exchanges:
        exchange.socket.close()
    megabytes = len(latencies) * size / 1e6
    ranked = sorted(latencies) or [float("nan")]
    return Window(
        megabytes / took_s,
        cpu_s / (megabytes / 1e3) if megabytes else float("nan"),
        ranked[len(ranked) // 2] * 1e3,
        ranked[min(len(ranked) - 1, len(ranked) * 99 // 100)] * 1e3,
    )


def serve(
    key: selectors.SelectorKey,
    mask: int,
    selector: selectors.BaseSelector,
    scratch: memoryview,
    latencies: list[float],
) -> None:
    """Do what one ready socket allows."""
    exchange: Exchange = key.data
    if mask & selectors.EVENT_WRITE and exchange.wants_to_write:
        exchange.write()
    if mask & selectors.EVENT_READ and exchange.read(scratch):
        latencies.append(time.perf_counter() - exchange.started_s)
        if not exchange.begin():
            selector.unregister(exchange.socket)
            return
        exchange.write()
    wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if exchange.wants_to_write else 0)
    if wanted != key.events:
        selector.modify(exchange.socket, wanted, exchange)


def cpu_seconds(pids: list[int]) -> float:
    """Return the processor time the processes have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
