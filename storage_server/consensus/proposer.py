"""A proposer: turns operations on registers into messages, and answers into outcomes. Pure.

    write:  key minted here, or ballot cached ----------------> ACCEPTING --majority--> done
              otherwise  -> PREPARING --majority--> f(highest) -> ACCEPTING
    read:   READING --majority of one ballot--> done; otherwise PREPARING ...
    write of a register others want now: READING, until nobody is seen at work -> PREPARING
    any:    --too many refusals, or too late--> PAUSED -> PREPARING (READING) with a new ballot

One operation at a time per key; keys never wait for each other. With ``Settings.chunk_paxos`` off
the same code is standard Paxos: every write prepares first.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count
from typing import TypeGuard

from storage_server.consensus.attempts import (
    Ballots,
    Fights,
    Phase,
    Task,
    agreed,
    at_work,
    collected,
    highest,
    is_answer,
    registers_of,
)
from storage_server.consensus.events import (
    Command,
    Done,
    Event,
    Received,
    Send,
    Settings,
    Submit,
)
from storage_server.consensus.messages import (
    EMPTY,
    NO_BALLOT,
    Accept,
    Ballot,
    Config,
    Key,
    Learn,
    ListKeys,
    MemberId,
    Nack,
    Prepare,
    Read,
    Refused,
    Register,
    Reply,
    Request,
    Value,
    WrongEpoch,
)
from storage_server.consensus.quorum import Tally
from storage_server.consensus.values import (
    Collect,
    CompareAndSet,
    Found,
    Mismatch,
    Outcome,
    Proposal,
    ReadKey,
    Unclear,
    Unreachable,
    answer_of,
    propose,
)

# Ballots that are ready to use; dropping one only costs a prepare.
_CACHED_MAX = 100_000

_DEFAULTS = Settings()


class Proposer:
    """Responsible for the operations of one process."""

    def __init__(
        self,
        pid: bytes,
        config: Config,
        uniform: Callable[[], float],
        *,
        settings: Settings = _DEFAULTS,
        numbers: Iterator[int] | None = None,
    ) -> None:
        """Begin.

        Args:
            pid: drawn at random when the process starts, and never used again.
            uniform: returns random numbers in [0, 1).
            numbers: numbers of attempts, if others of the process use them too.
        """
        self.config = config
        self._pid = pid
        self._uniform = uniform
        self._settings = settings
        self._numbers = numbers or count(1)
        self._ballots = Ballots(pid)
        self._fights = Fights()
        self._cache: dict[Key, tuple[Ballot, Value]] = {}
        self._minted: set[Key] = set()
        self._operations = 0
        self._queues: dict[Key, deque[Task]] = {}
        self._attempts: dict[int, Task] = {}  # by number
        self._alarms: list[tuple[float, int]] = []  # when, number
        self._out: list[Command] = []

    def mint(self) -> Key:
        """Return a new key whose first write needs no prepare."""
        key = Key(self._pid, str(next(self._numbers)))
        self._minted.add(key)
        return key

    def handle(self, event: Event, now_s: float) -> list[Command]:
        """Take one event in; return what the shell must do, in order."""
        if isinstance(event, Submit):
            self._submit(event, now_s)
        elif isinstance(event, Received):
            self._receive(event.member, event.reply, now_s)
        else:
            self._wake(now_s)
        commands, self._out = self._out, []
        return commands

    def next_wakeup_s(self) -> float:
        """Return when ``Tick`` is wanted; infinity: never."""
        while self._alarms and self._alarms[0][1] not in self._attempts:
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else float("inf")

    def adopt(self, config: Config, now_s: float) -> list[Command]:
        """Go over to a later epoch: what was cached is void, what is under way begins anew."""
        if self._is_later(config):
            self._adopt(config, now_s)
        commands, self._out = self._out, []
        return commands

    # -- beginning -------------------------------------------------------------------------------

    def _submit(self, event: Submit, now_s: float) -> None:
        self._operations += 1
        task = Task(
            event.id,
            event.operation,
            self._operation_id(self._operations),
            now_s + self._settings.give_up_s,
        )
        if task.key is None:
            self._start(task, now_s)
            return
        queue = self._queues.setdefault(task.key, deque())
        queue.append(task)
        if len(queue) == 1:
            self._start(task, now_s)

    def _operation_id(self, number: int) -> bytes:
        return self._pid + number.to_bytes(8, "big")

    def _start(self, task: Task, now_s: float) -> None:
        operation = task.operation
        if isinstance(operation, Collect):
            prefix = operation.prefix
            self._begin(task, Phase.READING, now_s)
            self._ask(ListKeys(task.number, self.config.epoch, prefix))
        elif isinstance(operation, ReadKey):
            self._begin(task, Phase.READING, now_s)
            self._ask(Read(task.number, self.config.epoch, operation.key))
        elif self._fights.is_on(operation.key, now_s):
            self._look_first(task, operation.key, now_s)
        elif not self._start_at_once(task, operation, now_s):
            self._prepare(task, operation.key, now_s)

    def _start_at_once(self, task: Task, operation: CompareAndSet, now_s: float) -> bool:
        """Skip the prepare if this process holds the right to; return whether it could."""
        key = operation.key
        ready = self._take_ready(key) if self._settings.chunk_paxos else None
        if ready is None:
            return False
        ballot, value = ready
        proposal = propose(operation, task.operation_id, value, None)
        if isinstance(proposal.outcome, Mismatch):
            return False  # what we remember proves nothing
        task.ballot = ballot
        self._accept(task, key, proposal, now_s)
        return True

    def _take_ready(self, key: Key) -> tuple[Ballot, Value] | None:
        """Return a ballot that needs no prepare, and what is there. It can be had once."""
        if key in self._minted:
            self._minted.remove(key)
            return Ballot(0, self._pid), EMPTY
        return self._cache.pop(key, None)

    def _begin(self, task: Task, phase: Phase, now_s: float) -> None:
        self._attempts.pop(task.number, None)
        task.number = next(self._numbers)
        task.phase = phase
        task.round_trips += 1
        task.requests += len(self.config.ids)
        task.tally = self._new_tally()
        self._set_alarm(task, now_s + self._settings.attempt_s)

    def _new_tally(self) -> Tally:
        return Tally(self.config.ids)

    def _set_alarm(self, task: Task, wake_s: float) -> None:
        task.wake_s = wake_s
        self._attempts[task.number] = task
        heapq.heappush(self._alarms, (wake_s, task.number))

    def _ask(self, request: Request) -> None:
        self._out += [Send(member, request) for member in self.config.ids]

    def _prepare(self, task: Task, key: Key, now_s: float) -> None:
        self._cache.pop(key, None)
        self._minted.discard(key)
        task.ballot = self._ballots.fresh(key)
        self._begin(task, Phase.PREPARING, now_s)
        self._ask(Prepare(task.number, self.config.epoch, key, task.ballot))

    def _accept(self, task: Task, key: Key, proposal: Proposal, now_s: float) -> None:
        value = proposal.value
        task.proposal = proposal
        task.next_ballot = task.ballot
        if self._settings.chunk_paxos:
            task.next_ballot = self._ballots.after(key, task.ballot)
        task.has_sent_accept = True
        if task.is_write and value.writers[:1] == (task.operation_id,):
            task.sent_version = min(value.version, task.sent_version or value.version)
        self._begin(task, Phase.ACCEPTING, now_s)
        epoch = self.config.epoch
        self._ask(Accept(task.number, epoch, key, task.ballot, value, task.next_ballot))

    # -- answers ---------------------------------------------------------------------------------

    def _receive(self, member: MemberId, reply: Reply, now_s: float) -> None:
        task = self._task_of(reply)
        if isinstance(reply, WrongEpoch) and self._is_later(reply.config):
            self._adopt(reply.config, now_s)
            return
        if task is None or not is_answer(task, reply):
            return
        if task.key is not None:
            self._ballots.learn(task.key, reply)
        if isinstance(reply, Nack | WrongEpoch | Refused):
            task.tally.refuse(member)
            if task.tally.is_impossible:
                self._pause(task, now_s)
            return
        task.tally.grant(member, reply)
        if task.tally.is_reached:
            self._advance(task, now_s)

    def _task_of(self, reply: Reply) -> Task | None:
        return self._attempts.get(reply.number)

    def _advance(self, task: Task, now_s: float) -> None:
        """A majority answered."""
        if task.phase is Phase.ACCEPTING:
            self._decided(task, now_s)
        elif isinstance(task.operation, Collect):
            self._finish(task, collected(task.tally.replies), now_s)
        else:
            self._look(task, task.operation, now_s)

    def _look(self, task: Task, operation: ReadKey | CompareAndSet, now_s: float) -> None:
        """A majority said what it accepted: answer, write, or begin to write."""
        found = registers_of(task.tally.replies)
        settled = self._settled(task, found)
        if task.phase is Phase.READING:
            answer = None if settled is None else answer_of(operation, settled)
            if answer is not None:
                self._finish(task, answer, now_s)
            else:
                self._give_way(task, operation.key, at_work(found), now_s)
            return
        value = self._choose(found)
        proposal = propose(operation, task.operation_id, value, task.sent_version)
        is_answer = isinstance(proposal.outcome, Found | Mismatch) and settled is not None
        if is_answer or isinstance(proposal.outcome, Unclear):
            self._finish(task, proposal.outcome, now_s)
        else:
            self._accept(task, operation.key, proposal, now_s)

    def _settled(self, task: Task, found: list[Register]) -> Value | None:
        """Return the value that may be answered without writing it back, if there is one.

        Not after an ACCEPT of this operation: it may live on at a minority and be decided later,
        which an answer now would contradict.
        """
        return None if task.has_sent_accept else agreed(found)

    def _choose(self, found: list[Register]) -> Value:
        return highest(found)

    def _decided(self, task: Task, now_s: float) -> None:
        assert task.key is not None
        assert task.proposal is not None
        if self._settings.chunk_paxos:
            if len(self._cache) >= _CACHED_MAX:
                self._cache.pop(next(iter(self._cache)))
            self._cache[task.key] = task.next_ballot, task.proposal.value
        if self._settings.sends_learn:
            self._ask(Learn(task.number, self.config.epoch, task.key, task.ballot))
        self._finish(task, task.proposal.outcome, now_s)

    # -- failing, ending -------------------------------------------------------------------------

    def _pause(self, task: Task, now_s: float) -> None:
        doublings = min(task.failures, self._settings.pause_doublings_max)
        if task.failures and task.key is not None:
            self._fights.note(task.key, now_s)
        task.failures += 1
        self._rest(task, now_s + self._settings.pause_s * 2**doublings * self._uniform())

    def _look_first(self, task: Task, key: Key, now_s: float) -> None:
        """See what is going on with a register before disturbing it."""
        self._cache.pop(key, None)
        if task.looks >= self._settings.looks_max:
            self._prepare(task, key, now_s)
            return
        self._begin(task, Phase.READING, now_s)
        self._ask(Read(task.number, self.config.epoch, key))

    def _give_way(self, task: Task, key: Key, other: Ballot, now_s: float) -> None:
        """Let another finish if he is at work, and was not at the same when looked at last."""
        if other in (NO_BALLOT, task.seen) or other.pid == self._pid:
            self._prepare(task, key, now_s)
            return
        task.looks += 1
        task.seen = other
        self._fights.note(key, now_s)
        # After an accept: soon, before so many others write that its trace is gone.
        share = 0.25 if task.has_sent_accept else 1.0
        self._rest(task, now_s + share * self._settings.look_pause_s * self._uniform())

    def _rest(self, task: Task, until_s: float) -> None:
        task.phase = Phase.PAUSED
        self._attempts.pop(task.number)
        task.number = next(self._numbers)
        self._set_alarm(task, until_s)

    def _wake(self, now_s: float) -> None:
        while self.next_wakeup_s() <= now_s:
            _, number = heapq.heappop(self._alarms)
            task = self._attempts[number]
            if now_s >= task.give_up_s:
                self._give_up(task, now_s)
            elif task.phase is Phase.PAUSED:
                self._retry(task, now_s)
            else:
                self._pause(task, now_s)

    def _retry(self, task: Task, now_s: float) -> None:
        if task.is_read or task.key is None:
            self._start(task, now_s)
        elif self._fights.is_on(task.key, now_s):
            self._look_first(task, task.key, now_s)
        else:
            self._prepare(task, task.key, now_s)

    def _give_up(self, task: Task, now_s: float) -> None:
        reason = f"no majority of {len(self.config.members)} answered in time"
        is_open = task.is_write and task.has_sent_accept
        self._finish(task, Unclear(reason) if is_open else Unreachable(reason), now_s)

    def _finish(self, task: Task, outcome: Outcome, now_s: float) -> None:
        self._attempts.pop(task.number, None)
        done = Done(task.id, outcome, task.round_trips, task.requests, task.failures)
        self._out.append(done)
        if task.key is None:
            return
        queue = self._queues[task.key]
        queue.popleft()
        while queue and now_s >= queue[0].give_up_s:
            late = Unreachable("the register was busy for too long")
            self._out.append(Done(queue.popleft().id, late))
        if queue:
            self._start(queue[0], now_s)
        else:
            del self._queues[task.key]

    def _is_later(self, config: Config | None) -> TypeGuard[Config]:
        return config is not None and config.epoch > self.config.epoch

    def _adopt(self, config: Config, now_s: float) -> None:
        self.config = config
        self._forget()
        for task in list(self._attempts.values()):
            self._retry(task, now_s)

    def _forget(self) -> None:
        self._cache.clear()
