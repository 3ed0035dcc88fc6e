"""Reading a superblock back after a stop of any kind: what is whole, torn, or rotten. Pure.

    offset -> record there? -- yes --> next offset = its end
                  |  no
                  v
       look at every 4 KiB boundary -- a later record --> what lies between is a gap
                  |  none
                  v
       the rest of the file is the last gap

A gap with a valid record behind it is damage: it is reported and left alone. A gap with nothing
behind it at the end of the newest file is a torn tail, a write that was never acknowledged: it is
cut off. Anywhere else it is damage too.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import accumulate

from storage_server.node.superblock_format import (
    ALIGNMENT_BYTES,
    FILE_HEADER_BYTES,
    RECORD_HEADER_BYTES,
    TAG_BYTES,
    FoundRecord,
    ReadAt,
    RecordHeader,
    data_is_intact,
    find_next_record,
    find_record,
    parse_record_header,
)

# The data of records in this last part of the newest file is checked at start. Only one batch can
# be unfinished after a crash; a batch is at most half as long as this (group_commit).
TAIL_CHECKED_BYTES = 64 * 1024 * 1024

_ZEROS = bytes(1024 * 1024)
_WINDOW_BYTES = 8 * 1024 * 1024


class DamageKind(Enum):
    """What is known about bytes that should be a record and are not."""

    ROT = "rot"  # it was durable once: a fragment is lost here
    UNFINISHED = "unfinished"  # rot, or part of a batch that a crash cut short
    TORN = "torn"  # the end of the newest file: a write that was cut short
    FILE_HEADER = "file-header"  # the file's own header; its records are still served


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a superblock that cannot be read as records."""

    file: str
    offset: int
    length_bytes: int
    kind: DamageKind
    tag: bytes  # of the file: another one may get the same name some day
    keys: tuple[bytes, ...] = ()  # of the records in it whose headers are intact

    def describe(self) -> str:
        """Return one line for a log."""
        return f"{self.kind.value}: {self.describe_place()}"

    def describe_place(self) -> str:
        """Return where it is and what is lost there."""
        names = "".join(f" {key.hex()}" for key in self.keys) or " unknown"
        return f"{self.file} at {self.offset}+{self.length_bytes}, fragments:{names}"


@dataclass(frozen=True, slots=True)
class BadStretches:
    """The stretches of one file that were found to be bad, sorted."""

    starts: Sequence[int] = ()
    stops: Sequence[int] = ()  # where the longest so far ends

    @classmethod
    def of(cls, entries: Iterable[Damage]) -> "BadStretches":
        """Return the stretches without the file's own header, which holds no record."""
        spans = sorted(
            (each.offset, each.offset + each.length_bytes)
            for each in entries
            if each.kind is not DamageKind.FILE_HEADER
        )
        return cls([start for start, _ in spans], list(accumulate((s for _, s in spans), max)))

    @property
    def stop(self) -> int:
        """Where the last one ends; 0 if there is none."""
        return self.stops[-1] if self.stops else 0

    def covers(self, offset: int) -> bool:
        """Whether a record that starts there is bad."""
        return self.stop_of(offset) > offset

    def stop_of(self, offset: int) -> int:
        """Return where the bad stretch around ``offset`` ends, or an earlier one did; else 0."""
        place = bisect_right(self.starts, offset)
        return self.stops[place - 1] if place else 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a scan found in one file."""

    records: tuple[FoundRecord, ...]
    damage: tuple[Damage, ...]
    stop: int  # end of the last whole record: the place for the next one


@dataclass(frozen=True, slots=True)
class _Gap:
    offset: int
    stop: int
    before: FoundRecord | None
    behind: FoundRecord | None


def scan_superblock(
    read: ReadAt,
    size_bytes: int,
    tag: bytes,
    *,
    name: str,
    known_bad: BadStretches,
    read_tail: ReadAt | None,
) -> Verdict:
    """Find every whole record of the file whose records carry ``tag``.

    Checked: every header (CRC, tag, growing sequence) and footer (magic, sequence); in the newest
    file also the records in its last ``TAIL_CHECKED_BYTES``, whole, as the disk has them.

    Args:
        known_bad: what was found to be bad earlier: no record there counts, none goes before.
        read_tail: reads past the page cache, which may show what a failed sync lost; None for a
            file that is not the newest.
    """
    is_newest = read_tail is not None
    records = _walk(read, size_bytes, tag, known_bad)
    if read_tail is not None and records:
        checked_from = records[-1].stop - TAIL_CHECKED_BYTES
        read_ahead = _WindowReader(read_tail)
        records = [
            record
            for record in records
            if record.offset < checked_from or _is_whole(read_ahead, record, tag)
        ]
    stop = max(records[-1].stop if records else FILE_HEADER_BYTES, known_bad.stop)
    damage: list[Damage] = []
    for gap in _gaps(records, stop, size_bytes):
        is_tail = is_newest and gap.offset == stop
        if is_tail and _is_zero(read, gap.offset, gap.stop):
            continue  # reserved, not yet written
        headers = _headers_within(read, gap, tag)
        kind = _judge(gap, headers, records) if is_newest else DamageKind.ROT
        keys = tuple(header.key for header in headers)
        kind = DamageKind.TORN if is_tail else kind
        damage.append(Damage(name, gap.offset, gap.stop - gap.offset, kind, tag, keys))
    return Verdict(tuple(records), tuple(damage), stop)


def guess_tag(read: ReadAt, size_bytes: int) -> bytes | None:
    """Return the tag that most record headers of a file carry whose own header is unreadable."""
    votes: dict[bytes, int] = {}
    for offset in range(FILE_HEADER_BYTES, size_bytes, FILE_HEADER_BYTES):
        head = read(offset, RECORD_HEADER_BYTES)
        tag = head[-TAG_BYTES:]
        if parse_record_header(head, tag) is not None:
            votes[tag] = votes.get(tag, 0) + 1
    return max(votes, key=lambda tag: votes[tag], default=None)


def _walk(read: ReadAt, size_bytes: int, tag: bytes, known_bad: BadStretches) -> list[FoundRecord]:
    records: list[FoundRecord] = []
    offset, sequence = FILE_HEADER_BYTES, 0
    while offset < size_bytes:
        found = find_record(read, offset, tag, after=sequence)
        if found is None:
            found = find_next_record(read, offset, size_bytes, tag, after=sequence)
            if found is None:
                break
        if known_bad.covers(found.offset):
            # Not even its sequence counts: a start that did not see it may have used that again.
            offset = known_bad.stop_of(found.offset)
            continue
        records.append(found)
        offset, sequence = found.stop, found.header.sequence
    return records


class _WindowReader:
    """Responsible for reading ahead: small records would else cost one disk access each."""

    def __init__(self, read: ReadAt) -> None:
        self._read = read
        self._start = 0
        self._window = b""

    def __call__(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes at ``offset``; fewer at the end of the file."""
        start = offset - self._start
        if start < 0 or start + length > len(self._window):
            self._start = offset - offset % ALIGNMENT_BYTES
            start = offset - self._start
            wanted = -(-(start + length) // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
            self._window = self._read(self._start, max(wanted, _WINDOW_BYTES))
        return self._window[start : start + length]


def _is_whole(read: ReadAt, record: FoundRecord, tag: bytes) -> bool:
    """Whether the same record is there, data and all, when it is read this way."""
    again = find_record(read, record.offset, tag, after=record.header.sequence - 1)
    return again == record and data_is_intact(read, record)


def _gaps(records: Sequence[FoundRecord], stop: int, size_bytes: int) -> list[_Gap]:
    gaps: list[_Gap] = []
    before: FoundRecord | None = None
    offset = FILE_HEADER_BYTES
    for record in records:
        if record.offset > offset:
            gaps.append(_Gap(offset, record.offset, before, record))
        before, offset = record, record.stop
    for end in (stop, size_bytes):
        if offset < end:
            gaps.append(_Gap(offset, end, before, None))
            offset = end
    return gaps


def _headers_within(read: ReadAt, gap: _Gap, tag: bytes) -> list[RecordHeader]:
    """Return the intact headers in a gap: they name what was lost."""
    headers = []
    offset = gap.offset
    while offset < gap.stop:
        header = parse_record_header(read(offset, RECORD_HEADER_BYTES), tag)
        if header is not None:
            headers.append(header)
        offset += header.space_bytes if header is not None else ALIGNMENT_BYTES
    return headers


def _judge(
    gap: _Gap, headers: Sequence[RecordHeader], records: Sequence[FoundRecord]
) -> DamageKind:
    """Say what a gap in the newest file is; only that file can hold an unfinished batch."""
    if gap.behind is None:
        return DamageKind.ROT  # it was found to be bad earlier
    if headers:
        missing = headers[0].sequence
    elif gap.before is not None:
        missing = gap.before.header.sequence + 1
    else:
        missing = gap.behind.header.sequence - 1
    # Whatever came before the first record of a later batch had been synced.
    was_durable = records[-1].header.batch_first > missing
    return DamageKind.ROT if was_durable else DamageKind.UNFINISHED


def _is_zero(read: ReadAt, start: int, stop: int) -> bool:
    while start < stop:
        block = read(start, min(len(_ZEROS), stop - start))
        if not block:
            return True
        if block != _ZEROS[: len(block)]:
            return False
        start += len(block)
    return True
