"""A machine with an acceptor and a disk, that loses power; and what may be wrong on purpose."""

from dataclasses import dataclass

from msgspec.structs import replace

from storage_server.consensus.acceptor import Acceptor
from storage_server.consensus.messages import BLANK, Begun, Config, Key, Register, Stored
from storage_server.consensus.proposer import Proposer
from storage_server.consensus.switch import Switch


@dataclass(frozen=True)
class Bugs:
    """What is wrong on purpose; by default nothing."""

    acceptor: type[Acceptor] = Acceptor
    proposer: type[Proposer] = Proposer
    switch: type[Switch] = Switch
    replies_before_sync: bool = False
    reads_do_not_wait: bool = False
    forgets_promises: bool = False
    forgets_values: bool = False
    loses_disk: bool = False
    pids_repeat: bool = False


NO_BUGS = Bugs()


class Machine:
    """An acceptor with a disk. Every reply waits for the sync that covers what it shows."""

    def __init__(self, world, name: str) -> None:
        self.world, self.name = world, name
        self.acceptor = world.bugs.acceptor()
        self.disk = world.bugs.acceptor()
        self.is_up = True
        self.life = 0
        self._records: list = []
        self._replies: list = []
        self._is_syncing = False

    def install(self, config: Config) -> None:
        begun = Begun(config, ())
        self.acceptor.apply(begun)
        self.disk.apply(begun)

    def receive(self, sender, request, life: int) -> None:
        """``life``: the sender's when it sent this; a reply is for that life only."""
        reply, record = self.acceptor.handle(request)
        bugs = self.world.bugs
        if record is not None:
            self._records.append(record)
        if reply is not None:
            may_go = bugs.replies_before_sync or (bugs.reads_do_not_wait and record is None)
            if may_go and sender.life == life:
                self.world.transmit(self, sender, reply)
            elif not may_go:
                self._replies.append((sender, life, reply))
        if not self._is_syncing:
            self._sync()

    def _sync(self) -> None:
        records, replies, self._records, self._replies = self._records, self._replies, [], []
        if not records:
            self._reply(replies)
            return
        self._is_syncing = True
        life, world = self.life, self.world
        took_s = world.weather.sync_s * (0.3 + world.rng.random())
        world.at(took_s, lambda: self._synced(life, records, replies))
        self._in_sync = records

    def _synced(self, life: int, records: list, replies: list) -> None:
        if life != self.life:
            return
        self._is_syncing = False
        self._make_durable(records)
        if self.world.rng.random() < self.world.weather.crash_after_sync:
            self.crash()
            return
        self._reply(replies)
        if self._records or self._replies:
            self._sync()

    def _reply(self, replies: list) -> None:
        for sender, life, reply in replies:
            if sender.life == life:
                self.world.transmit(self, sender, reply)

    def _make_durable(self, records: list) -> None:
        for record in records:
            if isinstance(record, Stored):
                self._store(record)
            else:
                self.disk.apply(record)

    def _store(self, record: Stored) -> None:
        bugs, register = self.world.bugs, record.register
        before = self.disk.registers.get(record.key, BLANK)
        is_promise = register.accepted == before.accepted
        if is_promise and bugs.forgets_promises:
            return
        if not is_promise:
            self._note(record.key, register)
            if bugs.forgets_values:
                register = replace(before, promised=register.promised)
        self.disk.apply(Stored(record.key, register))

    def _note(self, key: Key, register: Register) -> None:
        config = self.disk.config
        accepted = key, register.accepted, register.value
        self.world.chain.note(config.epoch, len(config.members), self.name, accepted)

    def crash(self) -> None:
        """Lose power: of what was not synced, the disk may hold a beginning."""
        if not self.is_up:
            return
        rng = self.world.rng
        unsynced = (self._in_sync if self._is_syncing else []) + self._records
        self._make_durable(unsynced[: self.world.survivors(len(unsynced))])
        self._records, self._replies, self._is_syncing = [], [], False
        self.is_up = False
        self.life += 1
        self.world.at(rng.uniform(0.005, 0.15), self.start)

    def start(self) -> None:
        if self.is_up:
            return
        if self.world.bugs.loses_disk:
            config, self.disk = self.disk.config, self.world.bugs.acceptor()
            if config is not None:
                self.disk.apply(Begun(config, ()))
        self.acceptor = self.world.bugs.acceptor()
        for record in self.disk.records():
            self.acceptor.apply(record)
        self.is_up = True
