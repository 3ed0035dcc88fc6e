"""The plainest reads: one fragment, or one range of it, in memory, asked for as our clients do.

Most of what a node is asked is this, and building a request object for it costs five times the
answer (measured: 190 µs for 64 KiB). So a connection that owes nothing looks first: bytes that are
exactly one request of the form below are answered on the spot; whatever else comes, and whatever
would be an error, a wait for the disk or a matter of access, goes to aiohttp as it came.

    GET /v1/chunks/<key> HTTP/1.1, a few known headers, no body, nothing behind it

An answer is the same in every header (tested against each other).
"""

import asyncio
import contextlib
import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redundancy.errors import EvenflowError
from storage_server.node.errors import ReadFailed
from storage_server.node.limits import SLICE_BYTES
from storage_server.node.node_state import NodeState
from storage_server.node.plain_heads import PlainGet, parse_plain_get
from storage_server.node.responses import SMALL_BYTES
from storage_server.node.store import StoredFragment


@dataclass(frozen=True, slots=True)
class Connection:
    """What an answer needs of its connection."""

    transport: asyncio.Transport
    is_encrypted: bool
    is_held_up: Callable[[], bool]  # the transport has enough for now; ``may_write`` ends that
    on_end: Callable[[], None]  # called at the end of an answer that was not sent at once


class PlainReads:
    """Responsible for deciding what is answered on the spot, and for beginning the answer."""

    def __init__(self, node: NodeState, route: str) -> None:
        """Args: route: what these requests are counted as."""
        self.node = node
        self.route = route
        # Where reading is signed, who asks matters: that is for the guard.
        self._is_open = node.config.read_keys is None
        # asyncio offers waiting on a transport's socket to nobody but itself (and uvloop not even
        # that): without it long answers take the other path.
        self.can_wait = hasattr(asyncio.get_running_loop(), "_add_writer")
        self._checks: set[asyncio.Task[None]] = set()

    def begin(self, data: bytes, connection: Connection) -> "Answer | None":
        """Answer ``data``, or begin to; None: not one byte was sent, it is for the other path."""
        node = self.node
        if not self._is_open or node.is_draining or node.pacer.is_shaped:
            return None
        wanted = parse_plain_get(data)
        if wanted is None or connection.transport.get_write_buffer_size():
            return None
        kind = WrittenAnswer if connection.is_encrypted else SentAnswer
        try:
            fragment = node.store.find(wanted.key)
        except EvenflowError:
            return None
        span = wanted.span(fragment.length_bytes)
        if span is None or fragment.descriptor is None:
            return None
        answer = kind(self, wanted, fragment, span, connection)
        # Whoever sees no load sees every answer counted.
        with node.one_request(), contextlib.suppress(OSError):
            # The disk failed under a look at what is in memory: the other path says so.
            return answer if answer.begin() else None
        return None

    def suspect(self, key: bytes) -> None:
        """Have a fragment looked at whose bytes could not be read."""
        task = asyncio.create_task(self._check(key))
        self._checks.add(task)
        task.add_done_callback(self._checks.discard)

    async def _check(self, key: bytes) -> None:
        with self.node.one_request(), contextlib.suppress(EvenflowError):
            await self.node.caretaker.check(key)


class Answer(ABC):
    """Responsible for one answer on its way. Nothing else may be written to its connection.

    begun -> over: it was sent at once
    begun -> waits for the reader, or for a cold disk, any number of times -> over
    """

    def __init__(
        self,
        desk: PlainReads,
        wanted: PlainGet,
        fragment: StoredFragment,
        span: tuple[int, int],
        connection: Connection,
    ) -> None:
        self._desk = desk
        self._node = desk.node
        self._wanted = wanted
        self._fragment = fragment
        self._start, self._stop = span
        self._connection = connection
        self._transport = connection.transport
        self._head = wanted.head(span, fragment.length_bytes)
        self._loop: Any = asyncio.get_running_loop()
        self._deadline: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[bytes] | None = None
        self.is_over = False

    @abstractmethod
    def begin(self) -> bool:
        """Send what goes now; return False if nothing was sent and the other path should try."""

    @abstractmethod
    def may_write(self) -> None:
        """Go on, if this waits for it: the transport takes more."""

    def cancel(self) -> None:
        """Stop: the connection is gone."""
        self._finish()

    # -- waiting -----------------------------------------------------------------------------------

    def _begin_to_wait(self) -> None:
        if self._deadline is None:
            patience_s = self._node.sender.patience_s(self._stop - self._start)
            self._deadline = self._loop.call_later(patience_s, self._cut)
            self._node.begin_request()

    def _read_cold(self, count: int) -> None:
        """Have a thread read what comes next."""
        self._begin_to_wait()
        reading = self._node.sender.read_cold(self._fragment, self._start, count)
        self._reading = self._loop.create_task(reading)
        self._reading.add_done_callback(self._is_read)

    def _is_read(self, reading: asyncio.Task[bytes]) -> None:
        self._reading = None
        is_read = not reading.cancelled() and reading.exception() is None
        if self.is_over:
            return
        if not is_read:
            self._fail()
            return
        self._use(reading.result())

    @abstractmethod
    def _use(self, data: bytes) -> None:
        """Go on with what was read; it is in memory now."""

    # -- the end -----------------------------------------------------------------------------------

    def _count(self, body_bytes: int) -> None:
        status = 200 if self._wanted.first is None else 206
        self._node.metrics.count_request("GET", self._desk.route, status)
        self._node.metrics.bytes_out += body_bytes

    def _end(self) -> None:
        has_waited = self._deadline is not None
        self._finish()
        if has_waited:
            self._connection.on_end()

    def _fail(self) -> None:
        """The disk did not give the bytes: cut, so that nobody takes what follows for them."""
        self._cut()
        self._desk.suspect(self._wanted.key)

    def _cut(self) -> None:
        self._finish()
        self._transport.abort()

    def _finish(self) -> None:
        if self.is_over:
            return
        self.is_over = True
        if self._reading is not None:
            self._reading.cancel()
        if self._deadline is not None:
            self._deadline.cancel()
            self._node.end_request()


class SentAnswer(Answer):
    """Responsible for an answer that goes from the page cache into the socket."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._in_memory_stop = self._start  # up to here sending needs no wait for the disk
        self._socket = self._transport.get_extra_info("socket").fileno()
        self._waits_for_reader = False

    def begin(self) -> bool:
        """See ``Answer.begin``."""
        if self._stop - self._start <= SMALL_BYTES:
            return self._send_small()
        if not self._desk.can_wait or not self._is_all_in_memory():
            return False
        try:
            sent = os.write(self._socket, self._head)
        except BlockingIOError:
            return False
        except OSError:
            self._cut()
            return True
        self._head = self._head[sent:]
        self._count(self._stop - self._start)
        self._go_on()
        return True

    def may_write(self) -> None:
        """See ``Answer.may_write``; this waits for the socket."""

    # -- small: one copy, one call -----------------------------------------------------------------

    def _send_small(self) -> bool:
        body = self._node.sender.small_in_memory(self._fragment, self._start, self._stop)
        if body is None:
            return False
        whole = len(self._head) + len(body)
        try:
            sent = os.writev(self._socket, (self._head, body))
        except BlockingIOError:
            return False
        except OSError:
            self._cut()
            return True
        if sent < whole:
            self._transport.write((self._head + bytes(body))[sent:])
        self._count(len(body))
        self.is_over = True
        return True

    # -- large: sendfile, as far as the reader takes it --------------------------------------------

    def _go_on(self) -> None:
        """Send until the reader or the disk is to be waited for."""
        try:
            is_sent = self._send()
        except BlockingIOError:
            self._wait_for_reader()
        except ReadFailed:
            self._fail()
        except OSError as error:
            if error.errno == errno.EIO:
                self._fail()
            else:
                self._cut()  # the reader is gone, one way or another
        else:
            if is_sent:
                self._end()

    def _send(self) -> bool:
        """Return whether all is sent; if not, a thread reads what comes next.

        Raises: BlockingIOError: the reader has to take some first; ReadFailed, OSError.
        """
        descriptor = self._fragment.descriptor
        assert descriptor is not None
        while self._head:
            self._head = self._head[os.write(self._socket, self._head) :]
        while self._start < self._stop:
            if self._start >= self._in_memory_stop and not self._look_ahead():
                return False
            offset, count = self._fragment.offset + self._start, self._in_memory_stop - self._start
            sent = os.sendfile(self._socket, descriptor, offset, count)
            if not sent:
                raise ReadFailed("the superblock ended")
            self._start += sent
        return True

    def _is_all_in_memory(self) -> bool:
        starts = range(self._start, self._stop, SLICE_BYTES)
        if not all(self._is_in_memory(start) for start in starts):
            return False
        self._in_memory_stop = self._slice_stop
        return True

    @property
    def _slice_stop(self) -> int:
        return min(self._stop, self._start + SLICE_BYTES)

    def _is_in_memory(self, start: int) -> bool:
        count = min(SLICE_BYTES, self._stop - start)
        return self._node.sender.is_in_memory(self._fragment, start, count)

    def _look_ahead(self) -> bool:
        """See whether the next slice is in memory still; else have it read and return False."""
        if self._is_in_memory(self._start):
            self._in_memory_stop = self._slice_stop
            return True
        self._stop_waiting_for_reader()
        self._read_cold(self._slice_stop - self._start)
        return False

    def _use(self, data: bytes) -> None:  # noqa: ARG002
        self._in_memory_stop = self._slice_stop
        self._go_on()

    def _wait_for_reader(self) -> None:
        self._begin_to_wait()
        if not self._waits_for_reader:
            self._waits_for_reader = True
            self._loop._add_writer(self._socket, self._go_on)

    def _stop_waiting_for_reader(self) -> None:
        if self._waits_for_reader:
            self._waits_for_reader = False
            self._loop._remove_writer(self._socket)

    def _finish(self) -> None:
        self._stop_waiting_for_reader()
        super()._finish()


class WrittenAnswer(Answer):
    """Responsible for an answer that is encrypted on its way."""

    def begin(self) -> bool:
        """See ``Answer.begin``."""
        first = self._next_part()
        if first is None:
            return False
        self._count(self._stop - self._start)
        self._write(self._head + first)
        self._go_on()
        return True

    def may_write(self) -> None:
        """See ``Answer.may_write``."""
        if not self.is_over and self._reading is None:
            self._go_on()

    def _go_on(self) -> None:
        """Write until the transport has enough for now or the disk is to be waited for."""
        try:
            while self._start < self._stop and not self._transport.is_closing():
                if self._connection.is_held_up():
                    self._begin_to_wait()
                    return
                part = self._next_part()
                if part is None:
                    self._read_cold(self._part_stop - self._start)
                    return
                self._write(part)
        except OSError:
            self._fail()  # of the disk: writing only fills the transport's buffer
        else:
            self._end()

    @property
    def _part_stop(self) -> int:
        return min(self._stop, self._start + SMALL_BYTES)

    def _next_part(self) -> bytes | None:
        part = self._node.sender.small_in_memory(self._fragment, self._start, self._part_stop)
        return None if part is None else bytes(part)

    def _write(self, data: bytes) -> None:
        self._start = self._part_stop
        self._transport.write(data)

    def _use(self, data: bytes) -> None:
        self._write(data)
        self._go_on()
