"""What a coordinator tells of how its decisions are agreed on, and of the messages that do it.

Counted and measured by one coordinator, for what it asked itself since it started: several
coordinators of one catalogue each tell their own part.
"""

import msgspec

from smart_client import wire

# The most messages in one answer; a reader that is behind asks again at once.
TRACE_EVENTS_MAX = 1000


class AgreementMember(msgspec.Struct, frozen=True, kw_only=True):
    """One of those who keep the catalogue, asked a moment ago."""

    name: str  # the node's, etcd's, or where the file is
    url: str = ""
    state: str  # up; silent: no answer; refuses: an answer, but it takes no part now
    role: str = ""  # acceptor, leader, follower, or alone
    answer_s: wire.Seconds | None = None  # None: it did not answer
    detail: str = ""
    facts: dict[str, str | int] = {}  # epoch; of etcd: term, index, db_bytes, version


class Quantiles(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds, of the last ``count`` measured."""

    count: wire.Count = 0
    p50: wire.Seconds = 0.0
    p95: wire.Seconds = 0.0
    p99: wire.Seconds = 0.0
    max: wire.Seconds = 0.0


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """How one coordinator's decisions are agreed on."""

    catalogue: str  # sqlite, chunkpaxos, etcd or memory
    summary: str  # one sentence for people
    coordinator: str = ""  # who tells
    measured_s: wire.Seconds = 0.0  # since when everything below is counted
    members: tuple[AgreementMember, ...] = ()
    quorum: wire.Count = 1  # so many of them decide
    failures_survived: wire.Count = 0  # so many more may be lost from now on
    epoch: wire.Count | None = None  # of the members (chunkpaxos); etcd's raft term
    decisions: wire.Count = 0  # compare-and-sets that happened
    conflicts: wire.Count = 0  # that did not: the register had another version
    unknown: wire.Count = 0  # without an answer in time
    failed: wire.Count = 0  # refused: nothing happened
    reads: wire.Count = 0
    writing: Quantiles = Quantiles()  # seconds of a compare-and-set
    reading: Quantiles = Quantiles()
    # What follows is told with chunkpaxos only: nobody else shows the messages.
    fast_rounds: wire.Count | None = None  # decided in one round trip, without a prepare
    slow_rounds: wire.Count | None = None
    attempts_failed: wire.Count | None = None  # overtaken or too late, and tried again
    requests: wire.Count | None = None  # one way, to members; also those of reads
    frames: wire.Count | None = None  # bodies they travelled in
    requests_per_decision: float | None = None  # of writes alone; none: nothing decided yet


class TraceEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happened, in the order in which this coordinator saw it."""

    seq: wire.Count
    at_s: float  # seconds since 1970, by the coordinator's clock
    kind: str  # request, reply, outcome
    what: str  # prepare, accept, read, ... promise, accepted, nack, ... decided, conflict, ...
    key: str = ""  # the register
    member: str = ""  # to whom, or from whom
    ballot: str = ""  # round.process, as in 7.3fa9c1
    version: wire.Count | None = None
    took_s: wire.Seconds | None = None  # of an outcome
    number: wire.Count | None = None  # of the attempt: a reply has its request's
    note: str = ""


class AgreementTrace(msgspec.Struct, frozen=True, kw_only=True):
    """What happened since the last question."""

    events: tuple[TraceEvent, ...]
    next: wire.Count  # ask with ``after=next``
    missed: wire.Count = 0  # happened, but the reader came too late for them
    coordinator: str = ""
    catalogue: str = ""
