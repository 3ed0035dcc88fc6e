"""A seeded world for consensus: machines that lose power, a network that loses, repeats, delays.

Time is virtual and everything follows from the seed. A *bug* is a subclass put in the place of a
part; the world itself plays by the rules unless a flag of ``Bugs`` says otherwise.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from storage_server.consensus.events import Done, Received, Send, Settings, Submit, Tick
from storage_server.consensus.messages import Config, Key, Member
from storage_server.consensus.values import (
    CompareAndSet,
    Found,
    Mismatch,
    Outcome,
    ReadKey,
    Written,
)
from support.consensus_history import Call, Chain, Violation, is_linearizable
from support.consensus_machine import NO_BUGS, Bugs, Machine


@dataclass(frozen=True)
class Weather:
    """How bad it is: drawn anew for every schedule."""

    loss: float = 0.0
    duplicates: float = 0.0
    stragglers: float = 0.0
    cuts: float = 0.0  # faults per second of each kind
    partitions: float = 0.0
    crashes: float = 0.0
    power_cuts: float = 0.0
    process_crashes: float = 0.0
    crash_after_sync: float = 0.0  # share of syncs
    delay_s: float = 0.004
    sync_s: float = 0.002

    @classmethod
    def draw(cls, rng: random.Random) -> "Weather":
        def some(*choices: float) -> float:
            return rng.choice((0.0, *choices))

        return cls(
            some(0.02, 0.1, 0.25),
            some(0.05, 0.2),
            some(0.03, 0.15),
            some(2.0, 8.0),
            some(1.0, 4.0),
            some(2.0, 6.0),
            some(1.0, 3.0),
            some(1.0, 4.0),
            some(0.02, 0.1),
            rng.choice((0.002, 0.008)),
            rng.choice((0.0005, 0.004)),
        )


class Host:
    """A process with a proposer and clients, each of which waits for its answer."""

    def __init__(self, world: "World", name: str) -> None:
        self.world, self.name = world, name
        self.life = 0
        self.is_up = True
        self._boot()

    def _boot(self) -> None:
        world = self.world
        self.pid = f"{self.name}.{0 if world.bugs.pids_repeat else self.life}".encode()
        self.numbers = count(1)
        self.proposer = world.bugs.proposer(
            self.pid, world.config, world.rng.random, settings=world.settings, numbers=self.numbers
        )
        self.versions: dict[Key, int] = {}
        self._calls: dict[int, tuple[Call, Callable[[Outcome], None]]] = {}
        self._ids = count()

    def do(self, operation, then: Callable[[Outcome], None] = lambda _: None) -> Call:
        call = Call(operation, self.world.now_s)
        if not isinstance(operation, (ReadKey, CompareAndSet)):
            raise TypeError(operation)
        self.world.calls.setdefault(operation.key, []).append(call)
        number = next(self._ids)
        self._calls[number] = call, then
        self._run(self.proposer.handle(Submit(number, operation), self.world.now_s))
        return call

    def receive(self, sender: Machine, reply, _: int) -> None:
        self._run(self.proposer.handle(Received(sender.name, reply), self.world.now_s))

    def _run(self, commands: list) -> None:
        for command in commands:
            if isinstance(command, Send):
                self.world.transmit(self, self.world.machines[command.member], command.request)
            elif isinstance(command, Done):
                self._done(command)
        wake_s = self.proposer.next_wakeup_s()
        if wake_s < float("inf"):
            life = self.life
            self.world.at(max(0.0, wake_s - self.world.now_s), lambda: self._tick(life))

    def _tick(self, life: int) -> None:
        if life == self.life and self.proposer.next_wakeup_s() <= self.world.now_s:
            self._run(self.proposer.handle(Tick(), self.world.now_s))

    def _done(self, done: Done) -> None:
        call, then = self._calls.pop(done.id)
        call.ended_s, call.outcome = self.world.now_s, done.outcome
        key = call.operation.key
        if isinstance(done.outcome, Found | Mismatch):
            value = done.outcome.value
            self.versions[key] = 0 if value.payload is None else value.version
        elif isinstance(done.outcome, Written):
            is_delete = call.operation.payload is None
            self.versions[key] = 0 if is_delete else done.outcome.version
        then(done.outcome)

    def crash(self) -> None:
        self.life += 1
        self._boot()


class World:
    """Responsible for time, the network, and for judging what happened."""

    def __init__(
        self,
        seed: int,
        *,
        machines: int = 3,
        hosts: int = 2,
        bugs: Bugs = NO_BUGS,
        weather: Weather | None = None,
        settings: Settings | None = None,
    ) -> None:
        self.rng = random.Random(seed)
        self.bugs = bugs
        self.weather = weather if weather is not None else Weather.draw(self.rng)
        self.settings = settings or Settings(
            sends_learn=self.rng.random() < 0.3,
            attempt_s=self.rng.choice((0.03, 0.08)),
            give_up_s=self.rng.choice((0.3, 1.0)),
        )
        self.now_s = 0.0
        self.messages = 0
        self.calls: dict[Key, list[Call]] = {}
        self.chain = Chain()
        self._events: list = []
        self._order = count()
        self._blocked: dict[tuple[str, str], int] = {}
        self.machines = {f"a{i}": Machine(self, f"a{i}") for i in range(machines)}
        self.config = self._first_config()
        for name in self.config.ids:
            self.machines[name].install(self.config)
        self.hosts = [Host(self, f"p{i}") for i in range(hosts)]

    def _first_config(self) -> Config:
        return Config(1, tuple(Member(name) for name in self.machines))

    # -- time and network ------------------------------------------------------------------------

    def at(self, delay_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now_s + delay_s, next(self._order), action))

    def run_until(self, stop_s: float) -> None:
        while self._events and self._events[0][0] <= stop_s:
            self.now_s, _, action = heapq.heappop(self._events)
            action()
        self.now_s = stop_s

    def transmit(self, sender, receiver, message) -> None:
        self.messages += 1
        rng, weather = self.rng, self.weather
        life = receiver.life if isinstance(receiver, Host) else None
        sent_in = sender.life
        for _ in range(2 if rng.random() < weather.duplicates else 1):
            if rng.random() < weather.loss or (sender.name, receiver.name) in self._blocked:
                continue
            delay_s = weather.delay_s * (0.25 + rng.random())
            if rng.random() < weather.stragglers:
                delay_s += 0.3 * rng.random()

            def deliver() -> None:
                is_there = receiver.is_up and (life is None or life == receiver.life)
                if is_there and (sender.name, receiver.name) not in self._blocked:
                    receiver.receive(sender, message, sent_in)

            self.at(delay_s, deliver)

    def block(self, pairs: list[tuple[str, str]], for_s: float) -> None:
        def unblock() -> None:
            for pair in pairs:
                self._blocked[pair] -= 1
                if not self._blocked[pair]:
                    del self._blocked[pair]

        for pair in pairs:
            self._blocked[pair] = self._blocked.get(pair, 0) + 1
        self.at(for_s, unblock)

    def survivors(self, unsynced: int) -> int:
        """Return how many of the records that were not synced a power cut leaves on a disk."""
        return self.rng.randint(0, unsynced)

    # -- faults ----------------------------------------------------------------------------------

    def plan_faults(self, until_s: float) -> None:
        rng, weather = self.rng, self.weather
        kinds = (
            (weather.cuts, self._cut),
            (weather.partitions, self._partition),
            (weather.crashes, lambda: rng.choice(list(self.machines.values())).crash()),
            (weather.power_cuts, lambda: [each.crash() for each in self.machines.values()]),
            (weather.process_crashes, lambda: rng.choice(self.hosts).crash()),
        )
        for per_s, action in kinds:
            when_s = rng.expovariate(per_s) if per_s else until_s
            while when_s < until_s:
                self.at(when_s, action)
                when_s += rng.expovariate(per_s)

    def _names(self) -> list[str]:
        return [*self.machines, *(host.name for host in self.hosts)]

    def _cut(self) -> None:
        sender, receiver = self.rng.sample(self._names(), 2)
        self.block([(sender, receiver)], self.rng.uniform(0.02, 0.3))

    def _partition(self) -> None:
        names = self._names()
        left = set(self.rng.sample(names, self.rng.randint(1, len(names) - 1)))
        pairs = [(a, b) for a in names for b in names if (a in left) != (b in left)]
        self.block(pairs, self.rng.uniform(0.02, 0.3))

    def heal(self) -> None:
        self.weather = Weather()
        self._blocked.clear()
        self.block = lambda *_: None
        self._events = [event for event in self._events if not self._is_fault(event[2])]
        heapq.heapify(self._events)
        for machine in self.machines.values():
            machine.start()

    def _is_fault(self, action) -> bool:
        return getattr(action, "__qualname__", "").endswith("unblock")

    # -- judging ---------------------------------------------------------------------------------

    def judge(self) -> None:
        self.chain.check()
        for key, calls in self.calls.items():
            if not is_linearizable(calls):
                lines = "\n".join(map(str, sorted(calls, key=lambda call: call.started_s)))
                raise Violation(f"{key} is not linearizable:\n{lines}")
