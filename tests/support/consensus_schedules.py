"""Storms: schedules with clients and every fault, drawn from a seed, and what must hold after."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from storage_server.consensus.messages import Key
from storage_server.consensus.values import (
    CompareAndSet,
    Outcome,
    ReadKey,
    Unclear,
    Unreachable,
)
from support.consensus_history import Violation
from support.consensus_machine import NO_BUGS, Bugs
from support.consensus_world import Host, World


@dataclass
class Load:
    """Clients that read and write a few registers, some minted by a process, some shared."""

    world: World
    operations: int = 20
    keys: list[Key] = field(default_factory=lambda: [Key(b"", "shared")])
    pauses_s: tuple[float, ...] = (0.0, 0.0, 0.004)
    _payloads: count = field(default_factory=count)

    def start(self) -> None:
        for host in self.world.hosts:
            for _ in range(self.world.rng.choice((1, 1, 2))):
                self.world.at(self.world.rng.random() * 0.02, self._client(host))

    def _client(self, host: Host) -> Callable[[], None]:
        def step() -> None:
            if self.operations <= 0:
                return
            self.operations -= 1
            life = host.life

            def then(_: Outcome) -> None:
                if host.life == life:
                    self.world.at(self.world.rng.choice(self.pauses_s), step)

            operation = self._draw(host)
            host.do(operation, then)
            # A client whose process died begins again with the new one.
            self.world.at(1.2, lambda: step() if host.life != life else None)

        return step

    def _draw(self, host: Host):
        rng = self.world.rng
        if rng.random() < 0.1 and len(self.keys) < 3:
            key = host.proposer.mint()
            self.keys.append(key)
            return CompareAndSet(key, 0, self._payload())
        key = rng.choice(self.keys)
        if rng.random() < 0.35:
            return ReadKey(key)
        expected = host.versions.get(key, 0) if rng.random() < 0.9 else rng.randint(0, 3)
        return CompareAndSet(key, expected, self._payload())

    def _payload(self) -> bytes | None:
        number = next(self._payloads)
        return None if self.world.rng.random() < 0.08 else b"%d" % number


STORM_S = 1.2


def run_schedule(seed: int, bugs: Bugs = NO_BUGS) -> World:
    """Play one schedule; raise ``Violation`` if anything is wrong with it."""
    shape = random.Random(~seed)
    world = World(seed, machines=shape.choice((3, 3, 5)), hosts=shape.choice((2, 2, 3)), bugs=bugs)
    load = Load(world)
    world.plan_faults(STORM_S)
    load.start()
    world.run_until(STORM_S)
    world.heal()
    world.run_until(STORM_S + 1.5)
    check_liveness(world, load.keys)
    world.judge()
    return world


def check_liveness(world: World, keys: list[Key]) -> None:
    """After the storm every process reads every register, and can write it."""
    started_s = world.now_s
    calls = [host.do(ReadKey(key)) for host in world.hosts for key in keys]
    calls += [world.hosts[0].do(CompareAndSet(key, 0, b"last")) for key in keys]
    world.run_until(started_s + 3.0)
    for call in calls:
        outcome = call.outcome
        is_late = isinstance(outcome, Unclear) and "in time" in outcome.reason
        if outcome is None or is_late or isinstance(outcome, Unreachable):
            raise Violation(f"no progress on a healthy network: {call}")
