"""One request under way: where its bytes go, and what the session is told of them."""

import asyncio
from collections.abc import Callable

from redundancy.rows import BLOCK_BYTES
from smart_client.chunk_buffers import ChunkBuffers
from smart_client.core import commands, events
from smart_client.core.events import Event, FailureKind
from smart_client.transport.errors import TransportFailure

# No footer is longer: 256 fragments of 128 blocks, a name and a descriptor.
FOOTER_BYTES_MAX = 512 * 1024


class PieceRequest:
    """Responsible for the answer to one ``Fetch`` or ``FetchFooter``; a ``PieceSink``."""

    def __init__(
        self,
        command: commands.Fetch | commands.FetchFooter,
        buffers: ChunkBuffers,
        post: Callable[[Event], None],
    ) -> None:
        self.piece = command.piece
        self.node = command.node
        self.chunk = command.chunk
        self.fragment = command.fragment
        self.start = command.start
        self.stop = command.stop if isinstance(command, commands.Fetch) else None
        self.footer = bytearray()
        self.good_bytes = 0  # received, and every whole block of them is right
        self.wire_bytes = 0
        self.task: asyncio.Task[None] | None = None
        self._buffers = buffers
        self._post = post
        self._landed_bytes = 0  # at their place before ``data`` told of them
        self._checked = 0  # bytes from the start that were handed to the check

    @property
    def is_complete(self) -> bool:
        """Whether everything up to ``stop`` is in, checked."""
        return self.stop is not None and self.good_bytes >= self.stop - self.start

    def connected(self, rtt_s: float) -> None:
        """See ``PieceSink``."""
        self._post(events.Connected(self.node, self.piece, rtt_s))

    def first_byte(self) -> None:
        """See ``PieceSink``."""
        self._post(events.FirstByte(self.piece))

    def room(self) -> memoryview:
        """See ``PieceSink``. Never behind a ``stop`` that moved: what is there may be checked."""
        if self.stop is None:
            return memoryview(b"")
        return self._buffers.room(self.fragment, self.start + self._landed_bytes, self.stop)

    def landed(self, count: int) -> None:
        """See ``PieceSink``."""
        self._landed_bytes += count

    def data(self, block: bytes | memoryview) -> None:
        """See ``PieceSink``. Raises: TransportFailure: what came is wrong, or it is enough."""
        self.wire_bytes += len(block)
        if self.stop is None:
            self.footer += block
            if len(self.footer) > FOOTER_BYTES_MAX:
                raise TransportFailure(FailureKind.CORRUPT, "endless footer")
            return
        have = self.start + self.good_bytes
        take = min(len(block), self.stop - have)
        self._buffers.write(self.fragment, have, block[:take])
        self._check(self.good_bytes + take)
        if not self.is_complete:
            self._post(events.BytesArrived(self.piece, self.good_bytes))
        elif take < len(block):
            # The piece was shortened: the rest of the answer is not wanted. Leaving now closes
            # the connection, and what is in flight is wasted.
            raise TransportFailure(FailureKind.PROTOCOL, "shortened")

    def _check(self, received: int) -> None:
        """Check blocks that are whole now; the last block of a piece may be shorter."""
        assert self.stop is not None
        at_end = self.start + received >= self.stop
        whole = received if at_end else received - received % BLOCK_BYTES
        self.good_bytes = received
        if whole <= self._checked:
            return
        begin = self.start + self._checked
        good = self._buffers.good_bytes(self.fragment, begin, self.start + whole)
        if good < whole - self._checked:
            self.good_bytes = self._checked + good
            raise TransportFailure(FailureKind.CORRUPT, "a block does not match its checksum")
        self._checked = whole
