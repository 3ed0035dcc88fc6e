"""One operation on its way: what was tried, what answered, what was learnt of ballots. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from storage_server.consensus.messages import (
    BLANK,
    NO_BALLOT,
    Accepted,
    Ballot,
    Current,
    Key,
    Listed,
    Nack,
    Promise,
    Refused,
    Register,
    Reply,
    Value,
    WrongEpoch,
)
from storage_server.consensus.quorum import Tally
from storage_server.consensus.values import (
    Collect,
    Collected,
    CompareAndSet,
    Operation,
    Proposal,
    ReadKey,
)

# Registers whose ballots are remembered one by one; see ``Ballots``.
KEYS_REMEMBERED_MAX = 100_000

# A fight is over when for so long nobody was seen: ten attempts on a busy disk.
FIGHT_S = 0.5
FIGHTS_REMEMBERED_MAX = 10_000


class Phase(Enum):
    """What an operation waits for."""

    QUEUED = "queued"  # for an earlier operation on its key
    READING = "reading"
    PREPARING = "preparing"
    ACCEPTING = "accepting"
    PAUSED = "paused"  # an attempt failed


@dataclass(slots=True)
class Task:
    """Responsible for the state of one operation, over all its attempts."""

    id: int  # the caller's name for it
    operation: Operation
    operation_id: bytes
    give_up_s: float
    phase: Phase = Phase.QUEUED
    number: int = 0  # of the attempt under way
    wake_s: float = 0.0  # when the attempt, or the pause, is over
    tally: Tally = field(default_factory=lambda: Tally(()))
    ballot: Ballot = NO_BALLOT
    next_ballot: Ballot = NO_BALLOT
    proposal: Proposal | None = None
    failures: int = 0
    round_trips: int = 0
    requests: int = 0
    looks: int = 0  # that found another at work
    seen: Ballot = NO_BALLOT  # whose work the last of them found
    has_sent_accept: bool = False  # then another may decide our value yet
    sent_version: int | None = None  # the lowest that a write of ours would have made

    @property
    def key(self) -> Key | None:
        """The register it is about; None: many."""
        return None if isinstance(self.operation, Collect) else self.operation.key

    @property
    def is_write(self) -> bool:
        """Whether it may have changed something."""
        return isinstance(self.operation, CompareAndSet)

    @property
    def is_read(self) -> bool:
        """Whether it begins with asking what is there."""
        return isinstance(self.operation, ReadKey | Collect)


class Ballots:
    """Responsible for never using a ballot twice, and for beginning above those seen.

    When too many keys are remembered all are forgotten, and every round is above all before.
    """

    def __init__(self, pid: bytes) -> None:
        self.pid = pid
        self._floor = 0
        self._rounds: dict[Key, int] = {}

    def fresh(self, key: Key) -> Ballot:
        """Return a ballot above all that were used or seen for a key."""
        return self.after(key, Ballot(self._rounds.get(key, self._floor), self.pid))

    def after(self, key: Key, ballot: Ballot) -> Ballot:
        """Return this process's next ballot above one."""
        found = Ballot(ballot.round + 1, self.pid)
        self._see(key, found)
        return found

    def learn(self, key: Key, reply: Reply) -> None:
        """Take note of the ballots in an answer."""
        if isinstance(reply, Nack):
            self._see(key, reply.promised)
        elif isinstance(reply, Promise | Current):
            self._see(key, reply.register.promised)

    def _see(self, key: Key, ballot: Ballot) -> None:
        if ballot.round > self._rounds.get(key, self._floor):
            if len(self._rounds) >= KEYS_REMEMBERED_MAX:
                self._floor = max(self._floor, *self._rounds.values())
                self._rounds.clear()
            self._rounds[key] = max(ballot.round, self._floor)


def registers_of(replies: Iterable[Reply]) -> list[Register]:
    """Return what acceptors say they hold of one key."""
    return [reply.register for reply in replies if isinstance(reply, Promise | Current)]


class Fights:
    """Responsible for knowing which registers several processes want at once.

    There nobody begins without looking: a prepare that comes between another's prepare and accept
    costs him all of it, and he the next one. Forgotten soon, so peace costs nothing.
    """

    def __init__(self) -> None:
        self._until_s: dict[Key, float] = {}

    def note(self, key: Key, now_s: float) -> None:
        """Note that somebody else was seen at work on it."""
        if len(self._until_s) >= FIGHTS_REMEMBERED_MAX:
            self._until_s.clear()
        self._until_s[key] = now_s + FIGHT_S

    def is_on(self, key: Key, now_s: float) -> bool:
        """Whether somebody was at work on it a moment ago."""
        until_s = self._until_s.get(key)
        if until_s is None or now_s < until_s:
            return until_s is not None
        del self._until_s[key]
        return False


def at_work(found: list[Register]) -> Ballot:
    """Return the ballot at which a write seems to be on its way; ``NO_BALLOT``: none is.

    With each accept its ballot itself, or the next one of the same process, is promised. Anything
    else is a prepare whose accept is to come; and accepted ballots differ while an accept travels.
    """
    promised = max(register.promised for register in found)
    accepted = [register.accepted for register in found]
    last = max(accepted)
    if promised.pid != last.pid or promised.round > last.round + 1:
        return promised
    return NO_BALLOT if min(accepted) == last else last


def agreed(found: list[Register]) -> Value | None:
    """Return the value if all accepted it at one ballot in this epoch: then it is decided.

    None: they differ, or have it from the epoch before.
    """
    ballots = {register.accepted for register in found}
    is_proof = len(ballots) == 1 and not any(register.is_inherited for register in found)
    return found[0].value if is_proof else None


def highest(found: list[Register]) -> Value:
    """Return the value of the highest ballot."""
    return max(found, key=lambda register: register.accepted).value


def collected(replies: Iterable[Reply]) -> Collected:
    """Sort registers into those a majority agrees on and those that must be read."""
    listings = [dict(reply.registers) for reply in replies if isinstance(reply, Listed)]
    values: dict[Key, Value] = {}
    disputed = []
    for key in sorted(set().union(*listings)):
        value = agreed([listing.get(key, BLANK) for listing in listings])
        if value is None:
            disputed.append(key)
        else:
            values[key] = value
    return Collected(values, tuple(disputed))


def is_answer(task: Task, reply: Reply) -> bool:
    """Whether a reply answers what an operation asked; a broken peer may say anything."""
    if isinstance(reply, Nack | WrongEpoch | Refused):
        return task.phase is not Phase.PAUSED
    if isinstance(task.operation, Collect):
        return isinstance(reply, Listed)
    wanted = {Phase.READING: Current, Phase.PREPARING: Promise, Phase.ACCEPTING: Accepted}
    return task.phase in wanted and isinstance(reply, wanted[task.phase])
