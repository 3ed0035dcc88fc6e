"""A world whose members change: machines come and go while two processes change who decides."""

import random

import msgspec

from storage_server.consensus.messages import Config, Key, Member
from storage_server.consensus.switch import Switch, config_key
from storage_server.consensus.values import CompareAndSet, Mismatch, ReadKey, Written
from support.consensus_machine import NO_BUGS, Bugs
from support.consensus_schedules import STORM_S, Load, check_liveness
from support.consensus_world import Host, World

EPOCHS_MAX = 5
MACHINES = 6


class Reconfigurer(Host):
    """A process that finishes what is half done, then goes on to the next epoch; and dies."""

    def _boot(self) -> None:
        super()._boot()
        self.switch: Switch | None = None
        self.goes_on = True
        self.flow = self.flow + 1 if self.life else 0

    def begin(self) -> None:
        """Find out which epoch it is, finish the switch to it, propose the next."""
        self.switch = None
        key = config_key(self.proposer.config.epoch)
        self.do(ReadKey(key), self._in_this_flow(lambda _: self._finish()))

    def _in_this_flow(self, action):
        """Let ``action`` happen unless this process begins anew before."""
        self.flow = flow = self.flow + 1
        return lambda *args: action(*args) if self.flow == flow else None

    def _finish(self) -> None:
        if self.proposer.config.previous:
            self._switch_to(self.proposer.config)
        else:
            self._propose()

    def _propose(self) -> None:
        config = self.proposer.config
        if config.epoch >= EPOCHS_MAX or not self.goes_on:
            return
        names = self.world.rng.sample(sorted(self.world.machines), self.world.rng.choice((3, 3, 5)))
        members = tuple(Member(name) for name in sorted(names))
        wanted = Config(config.epoch + 1, members, config.members)
        operation = CompareAndSet(config_key(config.epoch), 0, msgspec.msgpack.encode(wanted))
        self.do(operation, self._in_this_flow(lambda outcome: self._decided(outcome, wanted)))

    def _decided(self, outcome, wanted: Config) -> None:
        if isinstance(outcome, Written):
            self._switch_to(wanted)
        elif isinstance(outcome, Mismatch) and outcome.value.payload is not None:
            self._switch_to(msgspec.msgpack.decode(outcome.value.payload, type=Config))
        else:
            self._later(self._finish)  # perhaps a switch is half done

    def _switch_to(self, successor: Config) -> None:
        self.switch = self.world.bugs.switch(successor, self.numbers)
        self._send(self.switch.begin(self.world.now_s))

    def receive(self, sender, reply, life) -> None:
        super().receive(sender, reply, life)
        if self.switch is not None:
            was_done = self.switch.is_done
            self._send(self.switch.handle(sender.name, reply, self.world.now_s))
            if self.switch.is_done and not was_done:
                self._run(self.proposer.adopt(self.switch.successor, self.world.now_s))
                self._later(self._propose)

    def _later(self, action) -> None:
        delay_s = self.world.rng.uniform(0.02, 0.2)
        self.world.at(delay_s, self._in_this_flow(action))

    def _send(self, commands: list) -> None:
        self._run(commands)
        life, switch = self.life, self.switch
        delay_s = switch.next_wakeup_s() - self.world.now_s
        if delay_s < 10.0:
            self.world.at(max(0.0, delay_s), lambda: self._tick_switch(life, switch))

    def _tick_switch(self, life: int, switch: Switch) -> None:
        is_mine = life == self.life and switch is self.switch
        if is_mine and switch.next_wakeup_s() <= self.world.now_s:
            self._send(switch.tick(self.world.now_s))

    def crash(self) -> None:
        super().crash()
        self.world.at(0.05, self.begin)


class ReconfiguredWorld(World):
    def __init__(self, seed: int, **settings) -> None:
        super().__init__(seed, machines=MACHINES, **settings)
        self.reconfigurers = [Reconfigurer(self, f"r{i}") for i in range(2)]
        self.hosts += self.reconfigurers

    def _first_config(self) -> Config:
        return Config(1, tuple(Member(f"a{i}") for i in range(3)))

    @property
    def epoch(self) -> int:
        return max(
            machine.disk.config.epoch for machine in self.machines.values() if machine.disk.config
        )


def run_reconfigured_schedule(seed: int, bugs: Bugs = NO_BUGS) -> ReconfiguredWorld:
    """Play one schedule; raise ``Violation`` if anything is wrong with it."""
    shape = random.Random(~seed)
    world = ReconfiguredWorld(seed, hosts=2, bugs=bugs)
    keys = [Key(b"", "shared"), Key(b"", "other")]
    load = Load(world, operations=shape.choice((20, 40)), keys=keys, pauses_s=(0.0, 0.02, 0.1))
    world.plan_faults(STORM_S)
    load.start()
    for reconfigurer in world.reconfigurers:
        world.at(shape.uniform(0.0, 0.4), reconfigurer.begin)
    world.run_until(STORM_S)
    world.heal()
    for reconfigurer in world.reconfigurers:
        reconfigurer.begin()
    world.run_until(STORM_S + 3.0)
    for reconfigurer in world.reconfigurers:
        reconfigurer.goes_on = False
        reconfigurer.begin()
    world.run_until(STORM_S + 4.5)
    check_liveness(world, load.keys)
    world.judge()
    return world
