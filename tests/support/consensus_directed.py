"""Schedules made by hand for the faults that chance finds seldom."""

from collections.abc import Callable
from itertools import count

from storage_server.consensus.events import Settings
from storage_server.consensus.messages import (
    Accept,
    Ballot,
    Config,
    Install,
    Key,
    Member,
    Prepare,
    Promise,
    Register,
    Snapshot,
    Value,
)
from storage_server.consensus.values import CompareAndSet, Found, Mismatch, ReadKey, Written
from support.consensus_machine import Bugs
from support.consensus_world import Weather, World

PASS, DROP, HOLD = "pass", "drop", "hold"
KEY = Key(b"", "shared")
PATIENT = Settings(attempt_s=30.0, give_up_s=60.0)
IMPATIENT = Settings(attempt_s=0.1, give_up_s=60.0)


class DirectedWorld(World):
    """A healthy world in which the schedule says what becomes of each message."""

    def __init__(self, bugs: Bugs, settings: Settings, **weather: float) -> None:
        self.held: list = []
        self.fate: Callable = lambda *_: PASS
        super().__init__(1, hosts=3, bugs=bugs, weather=Weather(**weather), settings=settings)

    def transmit(self, sender, receiver, message) -> None:
        fate = self.fate(sender.name, receiver.name, message)
        if fate == HOLD:
            self.held.append((sender, receiver, message))
        elif fate == PASS:
            super().transmit(sender, receiver, message)

    def only(self, *machines: str) -> None:
        """Let requests reach these machines alone."""
        self.fate = lambda _, to, __: PASS if to in machines or to.startswith("p") else DROP

    def run_for(self, seconds: float) -> None:
        self.run_until(self.now_s + seconds)

    def survivors(self, unsynced: int) -> int:
        return 0


def fail_fast(bugs: Bugs) -> None:
    """An own attempt lives on at one machine while a majority that has not seen it agrees."""
    world = DirectedWorld(bugs, IMPATIENT)
    creator, writer, reader = world.hosts
    key = creator.proposer.mint()
    world.only("a0")
    creator.do(CompareAndSet(key, 0, b"created"))
    world.run_for(0.02)
    creator.crash()

    def first_attempt(_, to, message) -> str:
        reached = {"a0"} if isinstance(message, Accept) else {"a0", "a1"}
        return PASS if to in reached or to.startswith("p") else DROP

    world.fate = first_attempt
    call = writer.do(CompareAndSet(key, 1, b"written"))
    world.run_for(0.1)
    world.only("a1", "a2")
    world.run_for(1.0)
    assert isinstance(call.outcome, Mismatch)
    world.only("a0", "a1")
    reader.do(ReadKey(key))
    world.run_for(1.0)
    world.judge()


def stale_sync(bugs: Bugs) -> None:
    """A read is answered with what is not on a disk yet, and then the power fails everywhere."""
    world = DirectedWorld(bugs, PATIENT, sync_s=1.0)
    writer, reader, late = world.hosts
    writer.do(CompareAndSet(writer.proposer.mint(), 0, b"written"))
    (key,) = world.calls
    world.run_for(0.05)
    reader.do(ReadKey(key))
    world.run_for(0.05)
    for machine in world.machines.values():
        machine.crash()
    world.run_for(1.0)
    late.do(ReadKey(key))
    world.run_for(5.0)
    world.judge()


def no_sync_promise(bugs: Bugs) -> None:
    """Two prepare, the power fails, and the earlier one's requests arrive after all."""
    world = DirectedWorld(bugs, PATIENT)
    first, second, _ = world.hosts
    use_rounds(second)
    world.fate = lambda _, __, message: HOLD if isinstance(message, Accept) else PASS
    for host, payload in (first, b"first"), (second, b"second"):
        host.do(CompareAndSet(KEY, 0, payload))
        world.run_for(0.05)
    for machine in world.machines.values():
        machine.crash()
    world.run_for(1.0)
    accepts, world.held = world.held, []
    world.fate = lambda *_: PASS
    for half in accepts[:3], accepts[3:]:
        for each in half:
            world.transmit(*each)
        world.run_for(0.05)
    world.run_for(5.0)
    world.judge()


def stale_replies(bugs: Bugs) -> None:
    """A promise of the first attempt arrives while the second collects its own."""
    world = DirectedWorld(bugs, IMPATIENT)
    slow, other, _ = world.hosts

    def first_attempt(sender, to, message) -> str:
        if sender == "a0" and isinstance(message, Promise):
            return HOLD
        return PASS if to in ("a0", "p0") else DROP

    world.fate = first_attempt
    slow.do(CompareAndSet(KEY, 0, b"slow"))
    world.run_for(0.03)
    promises, world.held = world.held, []
    world.fate = lambda sender, to, _: DROP if "p0" in (sender, to) or to == "a1" else PASS
    call = other.do(CompareAndSet(KEY, 0, b"other"))
    world.run_for(0.05)
    assert isinstance(call.outcome, Written)
    use_rounds(slow)

    def second_attempt(_, to, message) -> str:
        return DROP if isinstance(message, Prepare) and to != "a1" else PASS

    world.fate = second_attempt
    while KEY not in world.machines["a1"].disk.registers:
        world.run_for(0.001)
    world.run_for(0.01)
    for each in promises:
        world.transmit(*each)
    world.run_for(0.05)
    world.fate = lambda *_: PASS
    world.run_for(3.0)
    world.judge()


def use_rounds(host) -> None:
    """Let a process have used some ballots already."""
    for _ in range(4):
        host.proposer._ballots.fresh(KEY)


def inherited(bugs: Bugs) -> None:
    """Two who finish one switch merge different majorities; neither value was ever decided.

    The old a1 accepted ``low``; then a0 and a2 promised a higher ballot, and a0 accepted ``high``.
    """
    world = DirectedWorld(bugs, PATIENT)
    low, high = Ballot(5, b"low"), Ballot(8, b"high")
    old = {
        "a0": Register(high, high, Value(1, b"high", (b"high",))),
        "a1": Register(low, low, Value(1, b"low", (b"low",))),
        "a2": Register(high),
    }
    for value in (b"low", b"high"):  # two writers who never heard of it again
        world.hosts[2].do(CompareAndSet(KEY, 0, value))
    world.hosts[2].crash()
    world._events.clear()
    members = tuple(Member(name) for name in old)
    successor = Config(2, members, members)
    for majority, machines in (("a1", "a2"), ("a0", "a1")), (("a0", "a2"), ("a2",)):
        switch = bugs.switch(successor, count(1))
        switch.begin(0.0)
        sent = []
        for name in majority:
            sent += switch.handle(name, Snapshot(switch._number, ((KEY, old[name]),)), 0.0)
        (request,) = {send.member: send.request for send in sent if send.member == "a0"}.values()
        assert isinstance(request, Install)
        for name in machines:
            machine = world.machines[name]
            _, record = machine.acceptor.handle(request)
            machine.disk.apply(record)
    for host, reached in zip(world.hosts, (("a0", "a1"), ("a1", "a2")), strict=False):
        host.proposer.adopt(successor, world.now_s)
        world.only(*reached)
        call = host.do(ReadKey(KEY))
        world.run_for(5.0)
        assert isinstance(call.outcome, Found)
    world.judge()


def keep_cache(bugs: Bugs) -> None:
    """A ballot that was ready in one epoch is used in the next, after another has written."""
    world = DirectedWorld(bugs, PATIENT)
    second, first, reader = world.hosts
    for payload in (b"1", b"2"):
        first.do(CompareAndSet(KEY, first.versions.get(KEY, 0), payload))
        world.run_for(1.0)
    members = world.config.members
    successor = Config(2, members, members)
    switch = bugs.switch(successor, count(1))
    switch.begin(0.0)
    sent = []
    for name, machine in world.machines.items():
        state = tuple(machine.disk.registers.items())
        sent += switch.handle(name, Snapshot(switch._number, state), 0.0)
    for send in sent:
        machine = world.machines[send.member]
        _, record = machine.acceptor.handle(send.request)
        if record is not None:
            machine.disk.apply(record)
    for host in world.hosts:
        host.proposer.adopt(successor, world.now_s)
    world.fate = lambda _, to, message: DROP if isinstance(message, Accept) and to == "a2" else PASS
    call = second.do(CompareAndSet(KEY, 2, b"second"))
    world.run_for(0.2)
    assert isinstance(call.outcome, Written)
    world.only("a2")
    first.do(CompareAndSet(KEY, 2, b"first"))
    world.run_for(0.05)
    first.crash()
    world.only("a1", "a2")
    reader.do(ReadKey(KEY))
    world.run_for(5.0)
    world.judge()


DIRECTED: dict[str, Callable[[Bugs], None]] = {
    "fail_fast": fail_fast,
    "stale_sync": stale_sync,
    "no_sync_promise": no_sync_promise,
    "stale_replies": stale_replies,
    "drop_promises": inherited,
    "trust_inherited": inherited,
    "keep_cache_epoch": keep_cache,
}
