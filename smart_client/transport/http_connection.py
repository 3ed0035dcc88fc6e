"""One connection to a node: a request, its answer straight into its place, the next request."""

import asyncio
import select
from collections.abc import AsyncIterable

import httpx

from smart_client.transport.answer_head import AnswerHead
from smart_client.transport.incoming_answer import IncomingAnswer

# Of bytes that nobody has taken yet, where the caller gave no buffer for them.
_WAITING_BYTES_MAX = 1024 * 1024

# Closing takes two turns of the loop; a bug in a transport must not take for ever.
_CLOSING_S_MAX = 1.0


class HttpConnection(asyncio.BufferedProtocol):
    """Responsible for one socket. Made by ``loop.create_connection``; used by one task at a time.

    What comes while nothing was asked for, or behind the end of an answer, closes it.
    """

    def __init__(self) -> None:
        self.idle_since_s = 0.0
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._answer: IncomingAnswer | None = None
        self._failure: httpx.TransportError | None = None
        self._news: asyncio.Future[None] | None = None
        self._is_writable = asyncio.Event()
        self._is_writable.set()
        self._is_paused = False
        self._is_last = False
        self._is_lost = self._loop.create_future()
        self._unasked = memoryview(bytearray(1))

    # -- for the pool ----------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return (
            self._transport is not None
            and not self._transport.is_closing()
            and not self._is_lost.done()
        )

    async def is_fit(self) -> bool:
        """Whether nothing came meanwhile: neither an end nor bytes that nobody asked for."""
        if not self.is_open:
            return False
        if not self._is_readable():
            return True
        # Under TLS it may be a message of the layer below. The loop reads it in its next turn.
        for _ in range(2):
            await asyncio.sleep(0)
        return not self._is_lost.done() and not self._is_readable()

    def use_tls(self, transport: asyncio.Transport) -> None:
        """Speak through another transport from now on."""
        self._transport = transport
        # Not 0: asyncio's TLS pauses at the limit, and an empty buffer would never end the pause.
        transport.set_write_buffer_limits(high=1, low=0)

    def drop(self) -> None:
        """Close at once; what is under way is lost."""
        if self._transport is not None:
            self._transport.abort()

    async def wait_until_closed(self) -> None:
        """Return when the socket is given back, after ``drop``."""
        await asyncio.wait([self._is_lost], timeout=_CLOSING_S_MAX)

    # -- one exchange ----------------------------------------------------------------------------

    def begin(self, answer: IncomingAnswer) -> None:
        """Expect an answer from now on. Raises: httpx.RemoteProtocolError: one came before."""
        if not self.is_open:
            raise self._failure or httpx.RemoteProtocolError("an answer came before the request")
        self._answer = answer

    async def send(self, head: bytes, body: AsyncIterable[bytes], timeout_s: float | None) -> None:
        """Send a request. Returns early if the answer comes first: it is no error then.

        A connection that breaks meanwhile is found by ``head``. Raises: httpx.WriteTimeout.
        """
        await self._write(head, timeout_s)
        async for block in body:
            if not block:
                continue
            if self._answer is None or self._answer.head is not None or self._failure is not None:
                self._is_last = True  # the rest of the body is never sent
                return
            await self._write(block, timeout_s)

    async def head(self, timeout_s: float | None) -> AnswerHead:
        """Return the head of the answer. Raises: httpx.TransportError."""
        answer = self._answer
        assert answer is not None
        while answer.head is None:
            await self._wait_for_news(timeout_s)
        return answer.head

    async def next_block(self, timeout_s: float | None) -> memoryview | None:
        """Return the next bytes of the body, None behind the last. Raises: httpx.TransportError."""
        answer = self._answer
        assert answer is not None
        while not answer.blocks:
            if answer.is_whole:
                return None
            await self._wait_for_news(timeout_s)
        block = answer.take_block()
        if self._is_paused and answer.waiting_bytes <= _WAITING_BYTES_MAX // 2:
            self._resume_reading()
        return block

    def finish(self) -> bool:
        """End the exchange; return whether another may follow. If not, the connection is closed."""
        answer, self._answer = self._answer, None
        can_be_followed = answer is not None and answer.can_be_followed and not self._is_last
        if not can_be_followed or not self.is_open:
            self.drop()
            return False
        if self._is_paused:
            self._resume_reading()
        self.idle_since_s = self._loop.time()
        return True

    # -- inside ----------------------------------------------------------------------------------

    def _is_readable(self) -> bool:
        """Whether there is something to read, or nobody to read from any more."""
        if self._transport is None or self._transport.is_closing():
            return True
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    async def _write(self, data: bytes, timeout_s: float | None) -> None:
        """Return when the kernel has taken all of it."""
        assert self._transport is not None
        if self._failure is not None or not self.is_open:
            return  # what went wrong, or an answer, is found when the answer is looked for
        self._transport.write(data)
        if self._is_writable.is_set():
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_writable.wait()
        except TimeoutError as error:
            raise httpx.WriteTimeout("the node takes nothing") from error

    async def _wait_for_news(self, timeout_s: float | None) -> None:
        if self._failure is not None:
            raise self._failure
        self._news = self._loop.create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._news
        except TimeoutError as error:
            raise httpx.ReadTimeout("the node sends nothing") from error
        finally:
            self._news = None

    def _pause_reading(self) -> None:
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        self._is_paused = False
        if self._transport is not None and self.is_open:
            self._transport.resume_reading()

    def _fail(self, error: httpx.TransportError) -> None:
        if self._failure is None:
            self._failure = error
        self.drop()
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    # -- called by the loop ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See ``asyncio.BaseProtocol``."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        # What the kernel has not taken is not sent: an upload's progress is what the network took.
        transport.set_write_buffer_limits(high=0)

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.BaseProtocol``."""
        if exc is not None and self._failure is None:
            self._failure = httpx.ReadError(str(exc))
            self._failure.__cause__ = exc
        self._note_end()
        if self._failure is None:
            self._failure = httpx.ReadError("the connection was closed")
        if not self._is_lost.done():
            self._is_lost.set_result(None)
        self._is_writable.set()
        self._tell()

    def pause_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._is_writable.clear()

    def resume_writing(self) -> None:
        """See ``asyncio.BaseProtocol``."""
        self._is_writable.set()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - ours is what we want
        """See ``asyncio.BufferedProtocol``."""
        return self._unasked if self._answer is None else self._answer.room()

    def buffer_updated(self, nbytes: int) -> None:
        """See ``asyncio.BufferedProtocol``."""
        answer = self._answer
        if answer is None:
            self._fail(httpx.RemoteProtocolError("an answer came before the request"))
            return
        try:
            answer.received(nbytes)
        except httpx.RemoteProtocolError as error:
            self._fail(error)
            return
        if answer.takes_memory and answer.waiting_bytes > _WAITING_BYTES_MAX:
            self._pause_reading()
        if answer.has_more:
            self.drop()
        self._tell()

    def eof_received(self) -> bool:
        """See ``asyncio.BaseProtocol``; nothing is said after the other side's last word."""
        self._note_end()
        self._tell()
        return False

    def _note_end(self) -> None:
        """Tell the answer that nothing more comes."""
        if self._answer is None or self._failure is not None:
            return
        try:
            self._answer.ended()
        except httpx.RemoteProtocolError as error:
            self._failure = error
