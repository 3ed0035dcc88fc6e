"""A TCP relay before one node that answers when, and as, the scenario says.

A connection carries one request at a time. The node is asked at once; its answer is let out when
the think time of the request is over and nothing is frozen.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence

from smart_client.lab.script import NodeScript, Spell

# What the node itself sets for its sockets; a cancelled answer wastes at most that.
_SEND_BUFFER_BYTES = 256 * 1024

# Linux' own default. The kernel lets namespaces choose by default only what its first one allows,
# which need not be that.
_CONGESTION_CONTROL = b"cubic"

# An answer that waits is read up to here.
_HELD_BYTES_MAX = 64 * 1024

# asyncio's timers count in whole milliseconds and round up: on average half of one too late.
_TIMER_LATE_S = 0.0005

# An aborted connection is gone after a turn of the loop, the one behind it after another.
_TURNS_TO_CLOSE = 3

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_END_OF_HEAD = b"\r\n\r\n"
_GARBLED_EVERY = 97


def stop_of(spells: Sequence[Spell], at_s: float) -> float | None:
    """Return the end of the spell that an instant lies in, if it lies in one."""
    for spell in spells:
        if spell.start_s <= at_s < spell.stop_s:
            return spell.stop_s
    return None


class Manners:
    """Responsible for when an answer may go on, and for what was seen of answers."""

    def __init__(self, script: NodeScript | None, origin_s: float) -> None:
        self._script = script
        self._origin_s = origin_s
        self.requests = 0
        self.head_bytes = 0
        self.late_max_s = 0.0

    @classmethod
    def good(cls) -> "Manners":
        """Return those of a node in no scenario."""
        return cls(None, 0.0)

    def answer_at_s(self, now_s: float) -> float:
        """Count a request in; return when its answer may begin."""
        ordinal = self.requests
        self.requests += 1
        return now_s + (self._script.think.of(ordinal) if self._script else 0.0)

    def thaws_at_s(self, now_s: float) -> float | None:
        """Return when the node moves again; None: it does."""
        if self._script is None:
            return None
        stop_s = stop_of(self._script.frozen, now_s - self._origin_s)
        return None if stop_s is None else self._origin_s + stop_s

    def garbles(self, now_s: float) -> bool:
        """Whether bodies are rubbish now."""
        at_s = now_s - self._origin_s
        return self._script is not None and stop_of(self._script.garbling, at_s) is not None


class Relay:
    """Responsible for the listening port, and for all connections through it."""

    def __init__(self, address: str, port: int, node_port: int) -> None:
        self.node_address = (address, node_port)
        self.manners = Manners.good()
        self._own_address = (address, port)
        self._server: asyncio.Server | None = None
        self._refuses = False
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.open: set[ClientSide] = set()

    @property
    def port(self) -> int:
        """Where it listens, or did."""
        return self._own_address[1]

    async def listen(self) -> None:
        """Take connections, if it does not yet and may."""
        async with self._turn:
            if self._server is not None or self._refuses:
                return
            loop = asyncio.get_running_loop()
            bound = _listening_socket(self._own_address)
            self._own_address = bound.getsockname()  # with port 0: the same after a refusal
            self._server = await loop.create_server(
                lambda: ClientSide(self), sock=bound, backlog=256
            )

    def refuse(self) -> None:
        """Reset all connections and have new ones refused."""
        self._refuses = True
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in list(self.open):
            connection.reset()

    def accept(self) -> None:
        """Take connections again."""
        self._refuses = False
        self.spawn(self.listen())

    def reset(self, manners: Manners) -> None:
        """Begin a session: no connection is left of the last one."""
        self.manners = manners
        for connection in list(self.open):
            connection.reset()
        self.accept()

    def spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        """Run something that ends with the relay."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop listening and drop all connections."""
        self.refuse()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(_TURNS_TO_CLOSE):
            await asyncio.sleep(0)


def _listening_socket(address: tuple[str, int]) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
    with contextlib.suppress(OSError):  # not in this kernel: its own default then
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, _CONGESTION_CONTROL)
    bound.bind(address)
    return bound


class ClientSide(asyncio.Protocol):
    """Responsible for one connection: requests in, answers out."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._loop = asyncio.get_running_loop()
        self._client: asyncio.Transport | None = None
        self._node: asyncio.Transport | None = None
        self._asked = b""  # of a request whose head is not complete
        self._waiting: list[bytes] = []  # for the connection to the node
        self._held: list[bytes] = []  # of an answer that may not go on yet
        self._held_bytes = 0
        self._release_timer: asyncio.TimerHandle | None = None
        self._answer_at_s = 0.0
        self._head: bytes | None = None  # of the answer, while it is not complete
        self._full = False  # the client's side takes no more at the moment
        self._closing = False

    # -- the client's side -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio``."""
        assert isinstance(transport, asyncio.Transport)
        self._client = transport
        self._relay.open.add(self)
        transport.set_write_buffer_limits(high=_HELD_BYTES_MAX)
        self._relay.spawn(self._connect())

    def data_received(self, data: bytes) -> None:
        """Hand a request on, and note when its answer may begin."""
        *heads, self._asked = (self._asked + data).split(_END_OF_HEAD)
        for _ in heads:
            now_s = self._loop.time()
            self._head = b""
            self._hold_until(self._relay.manners.answer_at_s(now_s))
        if self._node is None:
            self._waiting.append(data)
        else:
            self._node.write(data)

    def pause_writing(self) -> None:
        """See ``asyncio``."""
        self._full = True
        self._pace_node()

    def resume_writing(self) -> None:
        """See ``asyncio``."""
        self._full = False
        self._pace_node()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - over is over
        """See ``asyncio``."""
        self._relay.open.discard(self)
        if self._release_timer is not None:
            self._release_timer.cancel()
        if self._node is not None:
            self._node.abort()

    def reset(self) -> None:
        """Drop the connection with a reset, as a kernel does for a process that is gone."""
        if self._client is not None:
            with contextlib.suppress(OSError):
                raw = self._client.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self._client.abort()

    # -- the node's side -------------------------------------------------------------------------

    async def _connect(self) -> None:
        try:
            await self._loop.create_connection(lambda: NodeSide(self), *self._relay.node_address)
        except OSError:
            self.reset()

    def node_connected(self, transport: asyncio.Transport) -> None:
        """Send what has waited for it."""
        self._node = transport
        if self._client is None or self._client.is_closing():
            transport.abort()
            return
        for data in self._waiting:
            transport.write(data)
        self._waiting = []

    def answered(self, data: bytes) -> None:
        """Take bytes of an answer in; let them out when they may go."""
        now_s = self._loop.time()
        if self._release_timer is None and (thaws_s := self._relay.manners.thaws_at_s(now_s)):
            self._hold_until(thaws_s)
        if self._release_timer is not None:
            self._held.append(data)
            self._held_bytes += len(data)
            self._pace_node()
            return
        self._let_out(data, now_s)

    def node_lost(self) -> None:
        """The node closed: so do we, after what it has said."""
        self._closing = True
        if self._release_timer is None and self._client is not None:
            self._client.close()

    def _hold_until(self, at_s: float) -> None:
        if self._release_timer is not None:
            self._release_timer.cancel()
        self._answer_at_s = at_s
        self._release_timer = self._loop.call_at(at_s - _TIMER_LATE_S, self._release)

    def _release(self) -> None:
        self._release_timer = None
        now_s = self._loop.time()
        thaws_s = self._relay.manners.thaws_at_s(now_s)
        if thaws_s is not None:
            self._hold_until(thaws_s)
            return
        held, self._held, self._held_bytes = self._held, [], 0
        for data in held:
            self._let_out(data, now_s)
        if self._closing:
            self.node_lost()
        else:
            self._pace_node()

    def _let_out(self, data: bytes, now_s: float) -> None:
        manners, body_at = self._relay.manners, 0
        if self._head is not None:
            if not self._head:
                manners.late_max_s = max(manners.late_max_s, now_s - self._answer_at_s)
            before = len(self._head)
            self._head += data
            end = self._head.find(_END_OF_HEAD)
            body_at = len(data) if end < 0 else end + len(_END_OF_HEAD) - before
            manners.head_bytes += body_at
            if end >= 0:
                self._head = None
        if manners.garbles(now_s):
            data = garbled(data, body_at)
        if self._client is not None and not self._client.is_closing():
            self._client.write(data)

    def _pace_node(self) -> None:
        if self._node is None or self._node.is_closing():
            return
        if self._full or self._held_bytes > _HELD_BYTES_MAX:
            self._node.pause_reading()
        else:
            self._node.resume_reading()


class NodeSide(asyncio.Protocol):
    """Responsible for the other half of a ``ClientSide``."""

    def __init__(self, client: ClientSide) -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio``."""
        assert isinstance(transport, asyncio.Transport)
        self._client.node_connected(transport)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio``."""
        self._client.answered(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - over is over
        """See ``asyncio``."""
        self._client.node_lost()


def garbled(data: bytes, body_at: int) -> bytes:
    """Return data of the same length with wrong bytes in it from ``body_at`` on."""
    rubbish = bytearray(data)
    for position in range(body_at, len(rubbish), _GARBLED_EVERY):
        rubbish[position] ^= 0x55
    return bytes(rubbish)
