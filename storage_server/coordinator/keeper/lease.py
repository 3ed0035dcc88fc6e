"""Which of several coordinators keeps: a register that its holder changes again and again.

Nobody compares clocks of two machines. Who does not hold it watches the register's version; if
that stays the same for a whole lease by the watcher's own clock, the holder is gone. Two that
believe to hold it for a moment do no harm: everything they do is a compare-and-set.
"""

import uuid
from collections.abc import Callable

import msgspec

from smart_client import wire
from smart_client.errors import Conflict
from storage_server.coordinator.registers import Registers

LEASE_KEY = "keeper/lease"

# Whoever has such a catalogue open has it alone: the holder before is dead.
_OF_ONE_PROCESS = frozenset({"sqlite"})


class KeeperLease(msgspec.Struct, frozen=True, kw_only=True):
    """The register of who keeps."""

    v: int = wire.WIRE_VERSION
    holder: str
    beat: int = 0  # so that every renewal changes the register


class Lease:
    """Responsible for one coordinator's claim."""

    def __init__(self, registers: Registers, *, lease_s: float, clock: Callable[[], float]) -> None:
        self._registers = registers
        self._lease_s = lease_s
        self._clock = clock
        self._me = uuid.uuid4().hex
        self._version = 0
        self._changed_at_s = float("-inf")  # when the register was seen to change last
        self._held_until_s = float("-inf")

    @property
    def is_held(self) -> bool:
        """Whether this coordinator may go on keeping."""
        return self._clock() < self._held_until_s

    async def hold(self) -> bool:
        """Take or renew the lease if it may be; return whether it is held.

        Raises: CatalogueError, OutcomeUnknown.
        """
        now_s = self._clock()
        stored = await self._registers.get(LEASE_KEY, KeeperLease)
        version = stored.version if stored else 0
        if version != self._version:
            self._version, self._changed_at_s = version, now_s
        if stored is not None and stored.record.holder == self._me:
            if self._held_until_s - now_s > self._lease_s / 2:
                return True
        elif stored is not None and not self._is_over(now_s):
            self._held_until_s = float("-inf")
            return False
        beat = stored.record.beat + 1 if stored else 0
        wanted = KeeperLease(holder=self._me, beat=beat)
        try:
            self._version = await self._registers.write(LEASE_KEY, wanted, version)
        except Conflict:
            self._held_until_s = float("-inf")
            return False
        self._changed_at_s = now_s
        self._held_until_s = now_s + self._lease_s
        return True

    def _is_over(self, now_s: float) -> bool:
        """Whether the holder is gone: silent for long, or it had this very catalogue's lock."""
        is_alone = self._registers.catalogue.kind in _OF_ONE_PROCESS
        return is_alone or now_s >= self._changed_at_s + self._lease_s

    async def release(self) -> None:
        """Let another take over at once. Raises: CatalogueError, OutcomeUnknown."""

        def free(record: KeeperLease | None) -> KeeperLease | None:
            return None if record is not None and record.holder == self._me else record

        self._held_until_s = float("-inf")
        await self._registers.update(LEASE_KEY, KeeperLease, free)
