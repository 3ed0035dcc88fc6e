"""An acceptor on a disk: an append-only log, one write and one sync for all that waits.

    acceptor.log = header (32 B) | unit | unit | ...
    header = magic (8) | format u32 | member id (16) | CRC-32C u32
    unit   = "unit" | length u32 | CRC-32C u32 of the rest | sequence u64 | msgpack [record, ...]

A unit is written whole and synced before the next begins, and answered only then. So a bad unit at
the end was never answered and is cut off; a good one behind a bad one means that the disk lost what
was promised: such an acceptor must not serve again. At every start the log is written anew, since
after a failed sync the page cache may show what the disk does not have.
"""

import contextlib
import errno
import struct
import uuid
from collections.abc import Callable, Sequence
from typing import TypeAlias

import msgspec

from redundancy.errors import EvenflowError, ExitCode
from storage_server.consensus.acceptor import Acceptor
from storage_server.consensus.messages import Record, Refused, Reply, Request
from storage_server.node.disk import Disk
from storage_server.node.superblock_format import crc32c

FILE_NAME = "acceptor.log"
FORMAT_VERSION = 1

# Written anew when it is four times what it holds, but not for less than this.
COMPACT_BYTES_MIN = 16 * 1024 * 1024
_COMPACT_FACTOR = 4

_MAGIC = b"\x89EVAC\r\n\x1a"
_HEADER = struct.Struct("<8sI16sI")
_UNIT_MAGIC = b"unit"
_UNIT = struct.Struct("<4sII")
_SEQUENCE = struct.Struct("<Q")

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Record])

Requests: TypeAlias = Sequence[Request]


class AcceptorDamaged(EvenflowError):
    """The log is not what was written: what the acceptor promised is lost."""

    code = "ACCEPTOR_DAMAGED"
    exit_code = ExitCode.INTEGRITY


class AcceptorLog:
    """Responsible for an acceptor whose answers are durable. One thread at a time."""

    def __init__(self, disk: Disk) -> None:
        """Read the log, or make a new one with a new member id. Raises: AcceptorDamaged, OSError.

        A member that lost its disk comes back as another, since it may have promised anything.
        """
        self.acceptor = Acceptor()
        self.failure = ""  # why nothing is answered any more
        self.commits = 0
        self._disk = disk
        self._sequence = 0
        self._member = uuid.uuid4()
        if FILE_NAME in disk.names():
            self._load()
        self._write_anew()

    @property
    def member_id(self) -> str:
        """The acceptor's name for as long as its log lives."""
        return self._member.hex

    def commit(self, batches: Sequence[Requests]) -> list[list[Reply]]:
        """Answer batches of requests; return when all that the answers show is durable.

        On a full disk what would change something is refused, and the rest is answered.
        """
        if not self.failure:
            replies, records, undos = self._apply(batches)
            if not records:
                return replies
            if self._append(records):
                return replies
            for undo in reversed(undos):
                undo()
        return [
            [reply for request in requests if (reply := self._without_writing(request))]
            for requests in batches
        ]

    def close(self) -> None:
        """Close the file. May be called twice."""
        self._file.close()

    def _apply(
        self, batches: Sequence[Requests]
    ) -> tuple[list[list[Reply]], list[Record], list[Callable[[], None]]]:
        answers: list[list[Reply]] = []
        records, undos = [], []
        for requests in batches:
            replies = []
            for request in requests:
                reply, record = self.acceptor.plan(request)
                if record is not None:
                    undos.append(self.acceptor.apply(record))
                    records.append(record)
                if reply is not None:
                    replies.append(reply)
            answers.append(replies)
        return answers, records, undos

    def _without_writing(self, request: Request) -> Reply | None:
        if self.failure:
            return Refused(request.number, self.failure)
        reply, record = self.acceptor.plan(request)
        return reply if record is None else Refused(request.number, "the disk is full")

    # -- writing ---------------------------------------------------------------------------------

    def _append(self, records: list[Record]) -> bool:
        """Make records durable; return whether they are. If not, nothing is known of the disk."""
        unit = self._unit(records)
        try:
            self._file.write([unit], self._end)
        except OSError as error:
            self._forget_tail(error)
            return False
        try:
            self._file.sync()
        except OSError as error:
            self.failure = f"the disk failed: {error.strerror}"
            return False
        self.commits += 1
        self._end += len(unit)
        if self._end > self._compact_at:
            self._compact()
        return True

    def _forget_tail(self, error: OSError) -> None:
        """Cut off what was half written; only a full disk is something one gets over."""
        try:
            self._file.truncate(self._end)
        except OSError as worse:
            error = worse
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            self.failure = f"the disk failed: {error.strerror}"

    def _unit(self, records: list[Record]) -> bytes:
        self._sequence += 1
        body = _SEQUENCE.pack(self._sequence) + _encoder.encode(records)
        return _UNIT.pack(_UNIT_MAGIC, len(body), crc32c(body)) + body

    def _compact(self) -> None:
        # No room for a second copy: the long log does as well, and is tried again when longer.
        self._compact_at += COMPACT_BYTES_MIN
        with contextlib.suppress(OSError):
            self._write_anew()

    def _write_anew(self) -> None:
        """Put the state in the log's place, durably."""
        head = _HEADER.pack(_MAGIC, FORMAT_VERSION, self._member.bytes, 0)[:-4]
        content = head + crc32c(head).to_bytes(4, "little") + self._unit(self.acceptor.records())
        self._disk.replace(FILE_NAME, content)
        self._file = self._disk.open(FILE_NAME)
        self._end = len(content)
        self._compact_at = max(COMPACT_BYTES_MIN, _COMPACT_FACTOR * self._end)

    # -- reading ---------------------------------------------------------------------------------

    def _load(self) -> None:
        with contextlib.closing(self._disk.open(FILE_NAME)) as file:
            data = file.read(0, file.size_bytes())
        head = data[: _HEADER.size]
        if len(head) < _HEADER.size or crc32c(head[:-4]) != int.from_bytes(head[-4:], "little"):
            raise AcceptorDamaged(f"{FILE_NAME} has no intact header", hint=_HINT)
        magic, version, member, _ = _HEADER.unpack(head)
        if magic != _MAGIC or version != FORMAT_VERSION:
            raise AcceptorDamaged(f"{FILE_NAME} has format {version}, not known here", hint=_HINT)
        self._member = uuid.UUID(bytes=member)
        offset = _HEADER.size
        while (body := _unit_at(data, offset)) is not None:
            (sequence,) = _SEQUENCE.unpack_from(body)
            if sequence <= self._sequence:
                raise AcceptorDamaged(f"{FILE_NAME} is out of order at {offset}", hint=_HINT)
            self._sequence = sequence
            for record in _decoder.decode(body[_SEQUENCE.size :]):
                self.acceptor.apply(record)
            offset += _UNIT.size + len(body)
        self._require_nothing_behind(data, offset)

    def _require_nothing_behind(self, data: bytes, offset: int) -> None:
        is_first = offset == _HEADER.size
        at = data.find(_UNIT_MAGIC, offset + 1)
        while at != -1 and _unit_at(data, at) is None:
            at = data.find(_UNIT_MAGIC, at + 1)
        if at != -1 or is_first:
            raise AcceptorDamaged(f"{FILE_NAME} is damaged at byte {offset}", hint=_HINT)


_HINT = (
    "what this acceptor promised is lost: remove the file, and the node joins as a new member; "
    "never copy an old file back"
)


def _unit_at(data: bytes, offset: int) -> bytes | None:
    """Return what an intact unit holds; None: there is none here."""
    start = offset + _UNIT.size
    if len(data) < start:
        return None
    magic, length, crc = _UNIT.unpack_from(data, offset)
    body = data[start : start + length]
    is_intact = magic == _UNIT_MAGIC and len(body) == length > _SEQUENCE.size
    return body if is_intact and crc32c(body) == crc else None
