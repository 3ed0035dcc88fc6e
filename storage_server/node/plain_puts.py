"""The plainest uploads: one fragment, sent as our clients do, taken in without aiohttp.

Its body goes from the socket into the buffer that is hashed and written, and no task waits for it:
that is half the processor time of a put (``BENCHMARKS.md``). What is refused before its body, and
whatever has another form, goes to aiohttp as it came; an answer is the same in every header.

    PUT /v1/chunks/<key> HTTP/1.1, a few known headers, a Content-Length, nothing behind the body
"""

import asyncio
import io
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from http import HTTPStatus

from redundancy.errors import EvenflowError
from storage_server.node.access import Guard
from storage_server.node.limits import LINGER_S
from storage_server.node.node_state import NodeState
from storage_server.node.plain_heads import PlainPut, answer_head, parse_plain_put
from storage_server.node.responses import HttpProblem, problem_response, too_slow, unforeseen
from storage_server.node.store import Outcome, Put
from storage_server.node.superblock_format import FRAGMENT_BYTES_MAX

log = logging.getLogger(__name__)

_SCRATCH_BYTES = 64 * 1024


class PlainPuts:
    """Responsible for deciding which uploads are taken in here."""

    def __init__(self, node: NodeState, guard: Guard, hashers: Executor, route: str) -> None:
        """Args: hashers: compare bodies with their keys; route: what uploads are counted as."""
        self.node = node
        self.hashers = hashers
        self.route = route
        self._guard = guard

    def begin(
        self,
        data: bytes,
        transport: asyncio.Transport,
        protocol: asyncio.Protocol,
        on_end: Callable[[], None],
    ) -> "Upload | None":
        """Take in the upload that ``data`` begins; None: it is for the other path, whole.

        Args:
            protocol: what the connection goes back to behind the body, or when it is lost.
            on_end: called when the upload is answered, or its connection to be closed.
        """
        node = self.node
        if node.is_draining or node.pacer.is_shaped or transport.get_write_buffer_size():
            return None
        wanted = parse_plain_put(data)
        if wanted is None or not self._guard.may_write(wanted.token):
            return None
        length = wanted.length_bytes
        if length > FRAGMENT_BYTES_MAX or len(data) > wanted.head_bytes + length:
            return None
        if not self._has_room(length):
            return None
        upload = Upload(self, wanted, transport, protocol, on_end)
        try:
            upload.begin(data)
        except BaseException:
            upload.abandon()
            raise
        return upload

    def _has_room(self, length_bytes: int) -> bool:
        """Take a body's length from the budget, if it may be received at all."""
        node = self.node
        try:
            facts = node.facts()
        except OSError:
            return False  # the other path says what is wrong
        if facts.read_only_reason or node.refuses_more(facts):
            return False
        return node.put_budget.take(length_bytes)


class Upload:
    """Responsible for one upload: its bytes, its part of the budget and its one answer.

    receives -> is checked and written -> over: answered
       `-> over: its sender left, or was too slow and is told so
    """

    def __init__(
        self,
        desk: PlainPuts,
        wanted: PlainPut,
        transport: asyncio.Transport,
        protocol: asyncio.Protocol,
        on_end: Callable[[], None],
    ) -> None:
        self._desk = desk
        self._node = desk.node
        self._wanted = wanted
        self._transport = transport
        self._protocol = protocol
        self._on_end = on_end
        self._started_s = self._node.clock()
        self._deadline: asyncio.TimerHandle | None = None
        self.receives = True
        self.is_over = False
        self._node.begin_request()

    def begin(self, data: bytes) -> None:
        """Take what came with the head, and have the connection bring the rest."""
        first = memoryview(data)[self._wanted.head_bytes :]
        self._node.metrics.bytes_in += len(first)
        if len(first) == self._wanted.length_bytes:
            self._store(bytes(first))
            return
        body = _Body(self, self._wanted.length_bytes, first, self._protocol)
        timeout_s = self._node.config.limits.body_timeout_s
        self._deadline = asyncio.get_running_loop().call_later(timeout_s, self._give_up)
        self._transport.set_protocol(body)

    def cancel(self) -> None:
        """Stop: the connection is gone. What is all here is stored nevertheless."""
        if self.receives:
            self._count_out(HTTPStatus.BAD_REQUEST)
            self._on_end()

    def count_received(self, count: int) -> None:
        """Count bytes of the body."""
        self._node.metrics.bytes_in += count

    def take_body(self, body: bytes) -> None:
        """Store the body, which is all here."""
        self._transport.set_protocol(self._protocol)
        self._store(body)

    def _store(self, body: bytes) -> None:
        self.receives = False
        if self._deadline is not None:
            self._deadline.cancel()
        check = partial(Put.verified, self._wanted.key, body)
        try:
            length = self._wanted.length_bytes
            done = self._node.writer.begin_checked(self._desk.hashers, check, length)
        except BaseException:
            self.abandon()
            raise
        done.add_done_callback(self._answer)

    def _give_up(self) -> None:
        self._transport.set_protocol(_Rest(self._protocol))
        asyncio.get_running_loop().call_later(LINGER_S, self._transport.close)
        self._refuse(too_slow(), lingers=True)

    def _answer(self, done: "asyncio.Future[Outcome]") -> None:
        error = done.exception()
        if error is not None:  # none of ours: those are outcomes
            log.error("unforeseen error while storing a fragment", exc_info=error)
            self._refuse(unforeseen())
            return
        outcome = done.result()
        if isinstance(outcome, EvenflowError):
            self._refuse(HttpProblem.from_error(outcome))
        else:
            self._node.metrics.observe_put(self._node.clock() - self._started_s)
            self._acknowledge(HTTPStatus.CREATED if outcome else HTTPStatus.OK)

    def _acknowledge(self, status: HTTPStatus) -> None:
        key, length = self._wanted.key.hex(), self._wanted.length_bytes
        body = f'{{"key":"{key}","size":{length}}}\n'.encode("ascii")
        fields = f'ETag: "{key}"\r\nContent-Type: application/json\r\n'
        self._send(status, fields, body, closes=False)

    def _refuse(self, problem: HttpProblem, *, lingers: bool = False) -> None:
        response = problem_response(problem)
        assert isinstance(response.body, bytes)
        fields = "".join(f"{name}: {value}\r\n" for name, value in response.headers.items())
        closes = problem.closes
        self._send(
            HTTPStatus(problem.status), fields, response.body, closes=closes, lingers=lingers
        )

    def _send(
        self,
        status: HTTPStatus,
        fields: str,
        body: bytes,
        *,
        closes: bool,
        lingers: bool = False,
    ) -> None:
        """Answer. Args: lingers: it is closed by somebody else, in a while."""
        closes = closes or self._node.is_draining
        self._count_out(status)  # before anybody can see the answer
        if not self._transport.is_closing():
            self._node.metrics.bytes_out += len(body)
            self._transport.write(answer_head(status, fields, len(body), closes=closes) + body)
            if closes and not lingers:
                self._transport.close()
        self._on_end()

    def _count_out(self, status: HTTPStatus) -> None:
        self._node.metrics.count_request("PUT", self._desk.route, status)
        self.abandon()

    def abandon(self) -> None:
        """Give back what it has, once: it is answered, could not begin, or its sender left."""
        if self.is_over:
            return
        self.receives = False
        self.is_over = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._node.put_budget.give_back(self._wanted.length_bytes)
        self._node.end_request()


class _Interlude(asyncio.BufferedProtocol):
    """Responsible for passing on whatever is no byte to the protocol a connection goes back to."""

    def __init__(self, behind: asyncio.Protocol) -> None:
        self._behind = behind

    def pause_writing(self) -> None:
        """Pass it on."""
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._behind.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on: that ends the upload."""
        self._behind.connection_lost(exc)


class _Body(_Interlude):
    """Responsible for receiving one body, and not a byte more."""

    def __init__(
        self, upload: Upload, length_bytes: int, first: memoryview, behind: asyncio.Protocol
    ) -> None:
        """Args: first: what is here already."""
        super().__init__(behind)
        self._upload = upload
        # Bytes are not to be copied once more to become ``bytes``: BytesIO hands its own out. What
        # was never written takes no memory yet.
        self._buffer = io.BytesIO(bytes(length_bytes))
        self._left = self._buffer.getbuffer()
        self._left[: len(first)] = first
        self._advance(len(first))

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return where the next bytes go."""
        return self._left

    def buffer_updated(self, nbytes: int) -> None:
        """Go on, or hand the whole body over."""
        self._upload.count_received(nbytes)
        self._advance(nbytes)
        if not self._left:
            self._left.release()
            self._upload.take_body(self._buffer.getvalue())

    def _advance(self, count: int) -> None:
        behind = self._left[count:]
        self._left.release()
        self._left = behind


class _Rest(_Interlude):
    """Responsible for dropping what comes of a body that was given up.

    Closing at once would make the peer's kernel throw the answer away.
    """

    def __init__(self, behind: asyncio.Protocol) -> None:
        super().__init__(behind)
        self._scratch = bytearray(_SCRATCH_BYTES)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002
        """Return where bytes go that nobody wants."""
        return self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """Drop them."""
