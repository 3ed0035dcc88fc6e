"""A range of a fragment in memory, for those who want all of it and nothing in between."""

from smart_client.core.events import FailureKind
from smart_client.transport.errors import TransportFailure


class Collector:
    """Responsible for holding what comes, and for not holding more than is allowed.

    A ``PieceSink``.
    """

    def __init__(self, bytes_max: int) -> None:
        self._buffer = memoryview(bytearray(bytes_max))
        self._landed_bytes = 0
        self._told_bytes = 0

    @property
    def body(self) -> bytes:
        """Everything that came."""
        return bytes(self._buffer[: self._told_bytes])

    def connected(self, rtt_s: float) -> None:
        """See ``PieceSink``."""

    def first_byte(self) -> None:
        """See ``PieceSink``."""

    def room(self) -> memoryview:
        """See ``PieceSink``."""
        return self._buffer[self._landed_bytes :]

    def landed(self, count: int) -> None:
        """See ``PieceSink``."""
        self._landed_bytes += count

    def data(self, block: bytes | memoryview) -> None:
        """See ``PieceSink``. Raises: TransportFailure: there was no room for it."""
        self._told_bytes += len(block)
        if self._told_bytes > self._landed_bytes:
            text = f"the source sends more than {len(self._buffer)} bytes"
            raise TransportFailure(FailureKind.PROTOCOL, text)
