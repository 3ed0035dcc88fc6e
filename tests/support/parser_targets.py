"""Every pure parser of a node with what must hold of it, for fuzzers: any bytes in, no surprise.

A check takes bytes, returns whether they were accepted, and raises whatever must not happen. A
``mend`` makes checksums fit again: without it a mutation hardly ever gets past them.
"""

import itertools
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

from redundancy.errors import EvenflowError, UsageError
from smart_client import wire
from smart_client.byte_range import RangeNotSatisfiable, matches_etag, parse_range
from smart_client.errors import InvalidRequest
from storage_server.node.access import Access, Guard
from storage_server.node.chunk_handlers import parse_key
from storage_server.node.config import NodeConfig, parse_address, parse_rate
from storage_server.node.errors import InvalidSuperblock, UnknownFormat, WrongNode
from storage_server.node.lock import IDENTITY_NAME, known_identity
from storage_server.node.quarantine import QUARANTINE_NAME, Quarantine
from storage_server.node.record_log import InvalidHint, RecordLog
from storage_server.node.report_handlers import Complaint, HaveQuestion, LimitsOrder
from storage_server.node.responses import HttpProblem
from storage_server.node.scrub import CHECKPOINT_NAME, read_checkpoint
from storage_server.node.superblock_format import (
    ALIGNMENT_BYTES,
    FILE_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    FileHeader,
    RecordHeader,
    crc32c,
    data_is_intact,
    parse_record_header,
)
from storage_server.node.superblock_scan import BadStretches, guess_tag, scan_superblock
from support.fragments import fragment
from support.mutations import mutated
from support.plain_head_checks import is_put_alike, is_read_alike
from support.simulated_disk import SimulatedDisk

TAG = b"TAGTAGTA"
SIZE = 1 << 20
TOKEN = "correct horse battery staple"


@dataclass(frozen=True)
class Target:
    """One parser: ``check`` returns whether the bytes were accepted."""

    name: str
    corpus: tuple[bytes, ...]
    check: Callable[[bytes], bool]
    mend: Callable[[bytes], bytes] = bytes
    weight: int = 10  # of the inputs; slow ones get fewer


def _file_header(data: bytes) -> bool:
    try:
        header = FileHeader.unpack(data)
    except (InvalidSuperblock, UnknownFormat):
        return False
    assert FileHeader.unpack(header.pack()) == header
    return True


def _mend_file_header(data: bytes) -> bytes:
    covered = data[: FILE_HEADER_BYTES - 4].ljust(FILE_HEADER_BYTES - 4, b"\0")
    return covered + crc32c(covered).to_bytes(4, "little")


def _record_header(data: bytes) -> bool:
    header = parse_record_header(data, TAG)
    if header is None:
        return False
    assert header.pack(TAG) == data[:RECORD_HEADER_BYTES]
    return True


def _mend_record_header(data: bytes) -> bytes:
    head = data[:RECORD_HEADER_BYTES].ljust(RECORD_HEADER_BYTES, b"\0")
    return head[:4] + crc32c(head[8:]).to_bytes(4, "little") + head[8:] + data[len(head) :]


def _hint(data: bytes) -> bool:
    try:
        log = RecordLog.unpack(data, TAG, SIZE)
    except InvalidHint:
        return False
    assert log.pack(TAG, SIZE) == data
    assert len(list(log.rows())) == len(log)
    return True


def _mend_hint(data: bytes) -> bytes:
    return data[:-4] + crc32c(data[:-4]).to_bytes(4, "little")


def _superblock(data: bytes) -> bool:
    """Read a whole file as the newest; nothing it holds may overlap, run out or be unsound."""

    def read(offset: int, length: int) -> bytes:
        return data[offset : offset + length]

    guess_tag(read, len(data))
    verdict = scan_superblock(
        read, len(data), TAG, name="sb", known_bad=BadStretches(), read_tail=read
    )
    stop, sequence = FILE_HEADER_BYTES, 0
    for record in verdict.records:
        assert record.offset >= stop
        assert record.header.sequence > sequence
        assert record.data_offset + record.header.length_bytes <= len(data)
        assert data_is_intact(read, record)
        stop, sequence = record.stop, record.header.sequence
    assert verdict.stop == stop
    for damage in verdict.damage:
        assert damage.offset + damage.length_bytes <= max(len(data), stop)
    return bool(verdict.records)


def _mend_superblock(data: bytes) -> bytes:
    """Make the header of every record fit again, so that its wrong fields are believed."""
    mended = bytearray(data)
    for start in range(FILE_HEADER_BYTES, len(data) - RECORD_HEADER_BYTES, ALIGNMENT_BYTES):
        if data.startswith(b"EVfr", start):
            head = data[start : start + RECORD_HEADER_BYTES]
            mended[start : start + RECORD_HEADER_BYTES] = _mend_record_header(head)
    return bytes(mended)


def _text(data: bytes) -> str:
    """Return header bytes as the HTTP parser hands them over."""
    return data.decode("utf-8", "surrogateescape")


def _range(data: bytes) -> bool:
    accepted = False
    for size, is_strict in itertools.product((1, 1000, 1 << 40), (True, False)):
        try:
            part = parse_range(_text(data), size, is_strict=is_strict)
        except RangeNotSatisfiable:
            continue
        if part is not None:
            assert 0 <= part.start < part.stop <= size
            assert part.content_range == f"bytes {part.start}-{part.stop - 1}/{size}"
            accepted = True
    return accepted


def _etag(data: bytes) -> bool:
    etag = '"' + "ab" * 32 + '"'
    is_match = matches_etag(_text(data), etag)
    assert not is_match or etag in _text(data) or _text(data).strip() == "*"
    return is_match


_GUARDS = [
    Guard(NodeConfig(data_dir=Path("unused"), token=token, insecure=insecure))
    for token in (None, TOKEN)
    for insecure in (False, True)
]


def _authorization(data: bytes) -> bool:
    request = SimpleNamespace(headers={"Authorization": _text(data)}, remote="192.0.2.1")
    allowed = [guard.allows(Access.ADMIN, request) for guard in _GUARDS]
    scheme, _, given = _text(data).partition(" ")
    is_token = scheme.lower() == "bearer" and given.strip() == TOKEN
    assert allowed == [False, False, is_token, is_token]
    return is_token


def _accepts(parse: Callable[[bytes], object], *refusals: type[Exception]) -> Callable:
    def check(data: bytes) -> bool:
        try:
            parse(data)
        except refusals:
            return False
        return True

    return check


def _of_file(name: str, parse: Callable[[SimulatedDisk], object], *refusals: type[Exception]):
    """Return the check of a parser that reads a small file by itself."""

    def check(data: bytes) -> bool:
        disk = SimulatedDisk()
        disk.replace(name, data)
        try:
            parse(disk)
        except refusals:
            return False
        return True

    return check


def _key(data: bytes) -> bytes:
    key = parse_key(_text(data))
    assert len(key) == 32
    return key


def _bodies(*kinds: type) -> Callable[[bytes], bool]:
    checks = [
        _accepts(lambda data, kind=kind: wire.decode(data, kind), InvalidRequest) for kind in kinds
    ]
    return lambda data: sum(check(data) for check in checks) > 0  # all are asked


def _superblock_bytes() -> bytes:
    parts = [FileHeader(TAG * 2, b"s" * 16, 1, "node-1").pack()]
    for number, size in enumerate((100, 5000, 4016, 1, 9000), start=1):
        put = fragment(number, size)
        header = RecordHeader(put.key, size, number, max(0, number - 3))
        parts += [header.pack(TAG), put.data, header.pack_footer(put.data)]
    tombstone = RecordHeader(fragment(1, 100).key, 0, 6, 0, is_tombstone=True)
    return b"".join([*parts, tombstone.pack(TAG), tombstone.pack_footer(b""), bytes(8192)])


def _hint_bytes() -> bytes:
    log = RecordLog()
    for number in range(1, 5):
        log.append(4096 * number, RecordHeader(b"%032d" % number, 100, number))
    return log.pack(TAG, SIZE)


_KEY = b"ab" * 32
_BAD_PLACE = {
    "file": "sb-00000001.dat",
    "offset": 4096,
    "length_bytes": 4096,
    "kind": "rot",
    "tag": TAG.hex(),
    "keys": ["ab" * 32],
}
_DEEP = b"[" * 100_000

TARGETS = (
    Target(
        "file-header",
        (FileHeader(TAG * 2, b"s" * 16, 1, "node-1").pack(),),
        _file_header,
        _mend_file_header,
    ),
    Target(
        "record-header",
        (
            RecordHeader(b"k" * 32, 5000, 7, 2).pack(TAG),
            RecordHeader(b"k" * 32, 0, 2**64 - 1, 0, is_tombstone=True).pack(TAG),
        ),
        _record_header,
        _mend_record_header,
        weight=20,
    ),
    Target("hint", (_hint_bytes(), RecordLog().pack(TAG, SIZE)), _hint, _mend_hint, weight=20),
    Target("superblock", (_superblock_bytes(),), _superblock, _mend_superblock, weight=2),
    Target(
        "range",
        (b"bytes=0-99", b"bytes=-5", b"bytes=7-", b"bytes=0-1,4-5", b"bytes=18446744073709551616-"),
        _range,
        weight=20,
    ),
    Target(
        "plain-read",
        (
            b"GET /v1/chunks/%s HTTP/1.1\r\nHost: x\r\n\r\n" % _KEY,
            b"GET /v1/chunks/%s HTTP/1.1\r\nHost: a.b:8\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n"
            b"Connection: keep-alive\r\nUser-Agent: x\r\nRange: bytes=0-99\r\n\r\n" % _KEY,
            b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n",
        ),
        is_read_alike,
    ),
    Target(
        "plain-put",
        (
            b"PUT /v1/chunks/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" % _KEY,
            b"PUT /v1/chunks/%s HTTP/1.1\r\nHost: a.b:8\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n"
            b"Connection: keep-alive\r\nUser-Agent: x\r\nAuthorization: Bearer abc\r\n"
            b"Content-Length: 2097152\r\n\r\n" % _KEY,
            b"PUT /v1/chunks/%s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: 5\r\nAuthorization: Basic eA==\r\n\r\n" % _KEY,
        ),
        is_put_alike,
    ),
    Target("if-none-match", (b'"%s"' % _KEY, b'W/"%s", "x"' % _KEY, b"*"), _etag),
    Target("authorization", (b"Bearer " + TOKEN.encode(), b"Basic eA=="), _authorization),
    Target("key", (_KEY, b"0" * 64), _accepts(_key, HttpProblem)),
    Target(
        "json-bodies",
        (b'{"keys": ["%s"]}' % _KEY, b'{"key": "%s"}' % _KEY, b'{"delay_s": 0.1}', _DEEP),
        _bodies(HaveQuestion, Complaint, LimitsOrder),
        weight=4,
    ),
    Target(
        "address",
        (b"127.0.0.1:8500", b"[::1]:0", b"host:65535"),
        _accepts(lambda data: parse_address(_text(data)), UsageError),
    ),
    Target(
        "rate",
        (b"10Mbit/s", b"2.5MiB/s", b"1B/s"),
        _accepts(lambda data: parse_rate(_text(data)), UsageError),
    ),
    Target(
        "quarantine-list",
        (json.dumps({"format": 1, "damage": [_BAD_PLACE]}).encode(), _DEEP, b'{"damage": [1e999]}'),
        _of_file(QUARANTINE_NAME, Quarantine),
        weight=4,
    ),
    Target(
        "scrub-place",
        (b'{"format": 1, "superblock": 3, "offset": 4096, "passes": 2}', _DEEP),
        _of_file(CHECKPOINT_NAME, read_checkpoint),
        weight=4,
    ),
    Target(
        "identity",
        (b'{"format": 1, "node": "node-1", "store": "%s"}' % (b"5" * 32), _DEEP),
        _of_file(IDENTITY_NAME, known_identity, WrongNode, UnknownFormat),
        weight=4,
    ),
)


class Surprise(AssertionError):
    """A parser did what it must not; the message holds the bytes that repeat it."""


def fuzz(target: Target, *, inputs: int, seed: int) -> int:
    """Give the parser so many mutated inputs; return how many it accepted. Raises: Surprise."""
    rng = random.Random(f"{target.name}/{seed}")
    accepted = 0
    for turn in range(inputs):
        if turn < len(target.corpus):
            data = target.corpus[turn]
        else:
            data = mutated(rng.choice(target.corpus), rng, rng.choice(target.corpus))
            data = target.mend(data) if rng.random() < 0.6 else data
        accepted += try_one(target, data, f"{target.name}, seed {seed}, input {turn}")
    return accepted


def try_one(target: Target, data: bytes, where: str) -> bool:
    """Give the parser one input. Raises: Surprise."""
    try:
        return target.check(data)
    except Exception as error:
        shown = data if len(data) <= 500 else data[:500] + b"..."
        kind = "" if isinstance(error, EvenflowError) else "unforeseen "
        raise Surprise(f"{where}: {kind}{error!r} at {shown!r}") from error
