"""Going over from one epoch's members to the next. Pure.

    WEDGING --majority of snapshots, or one agreed start--> INSTALLING --all serve--> OVER

The successor is decided first, by compare-and-set of register ``config_key(e)`` in epoch e: there
is exactly one. From then on anybody may do this, again and again, from the beginning: every step
may be repeated, and who finds it half done finishes it.
"""

from collections.abc import Iterable, Iterator
from enum import Enum

from storage_server.consensus.events import Send
from storage_server.consensus.messages import (
    BLANK,
    Config,
    Install,
    Installed,
    Key,
    MemberId,
    Register,
    Registers,
    Reply,
    Request,
    Snapshot,
    Wedge,
)
from storage_server.consensus.quorum import Tally

REPEAT_S = 0.3


def config_key(epoch: int) -> Key:
    """Return the register that says which epoch follows."""
    # No key of a catalogue contains this character.
    return Key(b"", f"\0config/{epoch}")


def merge(snapshots: Iterable[Registers]) -> Registers:
    """Return, for every key, what was accepted at the highest ballot, and the highest promise.

    The promise matters: every accepted ballot was promised by a majority, so each merged state,
    of whichever majority, promises at least every ballot that any other merged state accepted.
    """
    merged: dict[Key, Register] = {}
    for registers in snapshots:
        for key, register in registers:
            known = merged.get(key, BLANK)
            newer = max(known, register, key=lambda each: each.accepted)
            promised = max(known.promised, register.promised)
            merged[key] = Register(promised, newer.accepted, newer.value)
    return tuple(merged.items())


class Stage(Enum):
    """How far a switch is."""

    WEDGING = "wedging"
    INSTALLING = "installing"
    OVER = "over"


class Switch:
    """Responsible for one switch, from a decided successor to all its members serving."""

    def __init__(self, successor: Config, numbers: Iterator[int]) -> None:
        self.successor = successor
        self.stage = Stage.WEDGING
        self._numbers = numbers
        self._number = next(numbers)  # one for each stage: a late answer still counts
        self._tally = self._new_tally(member.id for member in successor.previous)
        self._start: Registers = ()
        self._waiting: set[MemberId] = set()
        self._wake_s = 0.0

    @property
    def is_done(self) -> bool:
        """Whether a majority of the new members serves."""
        return self.stage is not Stage.WEDGING and self._tally.is_reached

    def begin(self, now_s: float) -> list[Send]:
        """Ask the old members to stop."""
        self._waiting = {member.id for member in self.successor.previous}
        return self._ask(now_s)

    def handle(self, member: MemberId, reply: Reply, now_s: float) -> list[Send]:
        """Take an answer in; return what to send."""
        if self.stage is Stage.OVER or reply.number != self._number:
            return []
        if isinstance(reply, Installed):
            return self._found_installed(member, reply, now_s)
        if not isinstance(reply, Snapshot) or self.stage is not Stage.WEDGING:
            return []
        self._waiting.discard(member)
        self._tally.grant(member, reply)
        if not self._tally.is_reached:
            return []
        snapshots = [each.registers for each in self._tally.replies if isinstance(each, Snapshot)]
        return self._install(merge(snapshots), now_s)

    def tick(self, now_s: float) -> list[Send]:
        """Ask those again that did not answer."""
        return self._ask(now_s) if now_s >= self._wake_s else []

    def next_wakeup_s(self) -> float:
        """Return when ``tick`` is wanted; infinity: never."""
        return float("inf") if self.stage is Stage.OVER else self._wake_s

    def _new_tally(self, members: Iterable[MemberId]) -> Tally:
        return Tally(members)

    def _found_installed(self, member: MemberId, reply: Installed, now_s: float) -> list[Send]:
        if reply.config.epoch > self.successor.epoch:
            self.stage = Stage.OVER  # history
            return []
        if self.stage is Stage.WEDGING:
            return self._install(reply.start, now_s)
        self._waiting.discard(member)
        self._tally.grant(member, reply)
        if not self._waiting:
            self.stage = Stage.OVER
        return []

    def _install(self, start: Registers, now_s: float) -> list[Send]:
        self.stage = Stage.INSTALLING
        self._number = next(self._numbers)
        self._start = start
        self._tally = Tally(self.successor.ids)
        self._waiting = set(self.successor.ids)
        return self._ask(now_s)

    def _ask(self, now_s: float) -> list[Send]:
        if self.stage is Stage.OVER:
            return []
        self._wake_s = now_s + REPEAT_S
        return [Send(member, self._request()) for member in sorted(self._waiting)]

    def _request(self) -> Request:
        if self.stage is Stage.WEDGING:
            return Wedge(self._number, self.successor.epoch - 1, self.successor)
        return Install(self._number, self.successor, self._start)
