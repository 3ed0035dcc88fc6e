"""An acceptor: what it promised and accepted, and what it answers. Pure.

    blank --Install--> serving(e) --Wedge(e)--> wedged(e) --Install(e+1)--> serving(e+1)
                            \\--------------Install(e+1)----------------/

``plan`` says what a request is answered and what must be durable first; ``apply`` changes the
state. Whoever runs an acceptor sends NO reply, be it to a read or to a repeated request, before
everything applied until then would survive a power cut: a reply shows state.
"""

from collections.abc import Callable
from typing import TypeAlias

from msgspec.structs import replace

from storage_server.consensus.messages import (
    BLANK,
    Accept,
    Accepted,
    Begun,
    Config,
    Current,
    Hello,
    Install,
    Installed,
    Key,
    Learn,
    Listed,
    ListKeys,
    Nack,
    Prepare,
    Promise,
    Read,
    Record,
    Register,
    Registers,
    Reply,
    Request,
    Snapshot,
    Stored,
    Value,
    Wedge,
    Wedged,
    WrongEpoch,
)

Plan: TypeAlias = tuple[Reply | None, Record | None]


class Acceptor:
    """Responsible for one member's registers."""

    def __init__(self) -> None:
        self.config: Config | None = None  # None: not yet part of any epoch
        self.successor: Config | None = None  # the epoch that follows, once wedged
        self.start: Registers = ()  # what the epoch began with
        self.registers: dict[Key, Register] = {}
        self._decided: dict[Key, Value] = {}

    def handle(self, request: Request) -> Plan:
        """Plan and apply: return the reply, and the record that must be durable before it."""
        reply, record = self.plan(request)
        if record is not None:
            self.apply(record)
        return reply, record

    def plan(self, request: Request) -> Plan:
        """Return the reply and the record that must be applied and durable before it is sent."""
        if isinstance(request, Install):
            return self._install(request)
        if isinstance(request, Wedge):
            return self._wedge(request)
        if isinstance(request, Hello) or not self._serves(request.epoch):
            return WrongEpoch(request.number, self.successor or self.config), None
        return self._serve(request)

    def apply(self, record: Record) -> Callable[[], None]:
        """Change the state; return what undoes it, for a record that could not be written."""
        before = self.config, self.successor, self.start, self.registers
        if isinstance(record, Stored):
            return self._store(record)
        if isinstance(record, Wedged):
            self.successor = record.successor
        else:
            self.config, self.successor = record.config, None
            self.start = record.start
            self.registers = {key: _inherited(register) for key, register in record.start}
            self._decided = {}

        def undo() -> None:
            self.config, self.successor, self.start, self.registers = before

        return undo

    def records(self) -> list[Record]:
        """Return records that make the same state again."""
        if self.config is None:
            return []
        begun = Begun(self.config, self.start)
        started = dict(self.start)
        changed: list[Record] = [
            Stored(key, register)
            for key, register in self.registers.items()
            if register != _inherited(started.get(key, BLANK))
        ]
        return [begun, *changed, *([Wedged(self.successor)] if self.successor else [])]

    def decided(self, key: Key) -> Value | None:
        """Return the last value known to be decided, if any: correct once, maybe stale."""
        return self._decided.get(key)

    # -- one register ----------------------------------------------------------------------------

    def _serves(self, epoch: int) -> bool:
        return self.config is not None and self.successor is None and self.config.epoch == epoch

    def _serve(self, request: Prepare | Accept | Read | ListKeys | Learn) -> Plan:
        if isinstance(request, ListKeys):
            found = sorted(
                (key, register)
                for key, register in self.registers.items()
                if not key.creator and key.name.startswith(request.prefix)
            )
            return Listed(request.number, tuple(found)), None
        register = self.registers.get(request.key, BLANK)
        if isinstance(request, Prepare):
            return self._prepare(request, register)
        if isinstance(request, Accept):
            return self._accept(request, register)
        if isinstance(request, Read):
            return Current(request.number, register), None
        if register.accepted == request.ballot:
            self._decided[request.key] = register.value
        return None, None

    def _prepare(self, request: Prepare, register: Register) -> Plan:
        if request.ballot < register.promised or request.ballot.round < 1:
            return Nack(request.number, register.promised), None
        promise = Promise(request.number, register)
        if request.ballot == register.promised:
            return promise, None
        promised = replace(register, promised=request.ballot)
        return promise, Stored(request.key, promised)

    def _accept(self, request: Accept, register: Register) -> Plan:
        ballot = request.ballot
        is_foreign = ballot.round == 0 and ballot.pid != request.key.creator
        if is_foreign or not ballot.pid:
            return Nack(request.number, register.promised), None
        if ballot == register.accepted:
            return Accepted(request.number), None
        if ballot < register.promised:
            return Nack(request.number, register.promised), None
        accepted = Register(max(ballot, request.next), ballot, request.value)
        return Accepted(request.number), Stored(request.key, accepted)

    def _store(self, record: Stored) -> Callable[[], None]:
        registers, before = self.registers, self.registers.get(record.key)
        registers[record.key] = record.register

        def undo() -> None:
            if before is None:
                del registers[record.key]
            else:
                registers[record.key] = before

        return undo

    # -- membership ------------------------------------------------------------------------------

    def _wedge(self, request: Wedge) -> Plan:
        if self.config is None or self.config.epoch < request.epoch:
            return WrongEpoch(request.number, self.config), None
        if self.config.epoch > request.epoch:
            # Whoever finishes a switch that was left half done needs the agreed start.
            return Installed(request.number, self.config, self.start), None
        record = Wedged(request.successor) if self.successor is None else None
        return Snapshot(request.number, tuple(self.registers.items())), record

    def _install(self, request: Install) -> Plan:
        if self.config is not None and self.config.epoch >= request.config.epoch:
            if self.config.epoch == request.config.epoch and self.config != request.config:
                return WrongEpoch(request.number, self.config), None
            return Installed(request.number, self.config, ()), None
        record = Begun(request.config, request.registers)
        return Installed(request.number, request.config, ()), record


def _inherited(register: Register) -> Register:
    return replace(register, is_inherited=register.accepted != BLANK.accepted)
