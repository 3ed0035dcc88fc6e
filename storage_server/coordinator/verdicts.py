"""What was decided about nodes, kept across restarts: who is lost, and who is being emptied.

    the operator's word, or 15 min of silence -> verdict/{node} -> every later start

Without it a coordinator that starts again would wait another 15 minutes before it goes on making
good what a dead node held. A node that is heard again is no longer lost by silence; one that the
operator declared lost, or drains, stays that until it is added again.
"""

import logging
from collections.abc import Callable

import msgspec
from msgspec import structs

from redundancy.errors import EvenflowError
from smart_client import wire
from storage_server.coordinator.failure_detector import Loss
from storage_server.coordinator.membership import Membership
from storage_server.coordinator.registers import Registers

log = logging.getLogger(__name__)

# How soon one coordinator follows what an operator told another of the same catalogue.
_LOOK_EVERY_S = 30.0

_PREFIX = "verdict/"


class NodeVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """The register of what was decided about a node."""

    v: int = wire.WIRE_VERSION
    lost: Loss = Loss.NO
    draining: bool = False


_NOTHING = NodeVerdict()


class Verdicts:
    """Responsible for the registers saying what ``members`` does, and the other way at a start."""

    def __init__(
        self, registers: Registers, members: Membership, clock: Callable[[], float]
    ) -> None:
        self._registers = registers
        self._members = members
        self._clock = clock
        self._known: dict[str, NodeVerdict] = {}  # as the registers said last
        self._looked_at_s = clock()

    async def load(self) -> None:
        """Read what was decided before. Raises: CatalogueError, RegisterDamaged."""
        for stored in await self._registers.scan(_PREFIX, NodeVerdict):
            node = stored.key.removeprefix(_PREFIX)
            if node not in self._members.records:
                await self._registers.update(stored.key, NodeVerdict, lambda _: None)
                continue
            self._known[node] = stored.record
            self._members.take_verdict(node, stored.record.lost)
            self._take_drain(node, stored.record)

    async def settle(self) -> None:
        """Write what changed since; one that cannot be written keeps no other from it.

        Raises: CatalogueError, OutcomeUnknown, Conflict: the first trouble there was.
        """
        trouble: EvenflowError | None = None
        for node in self._members.records.keys() | self._known.keys():
            wanted = self._wanted(node)
            known = self._known.get(node, _NOTHING)
            if wanted == known:
                continue
            try:
                await self._write(node, known, wanted)
            except EvenflowError as error:
                trouble = trouble or error
        if trouble is not None:
            raise trouble

    async def settle_and_look(self) -> None:
        """Do the same in the background, and follow what other coordinators were told."""
        try:
            await self.settle()
            if self._clock() - self._looked_at_s >= _LOOK_EVERY_S:
                self._looked_at_s = self._clock()
                await self._look()
        except EvenflowError as error:
            log.warning("what was decided about nodes is not written yet: %s", error.message)

    def _wanted(self, node: str) -> NodeVerdict:
        if node not in self._members.records:
            return _NOTHING
        return NodeVerdict(lost=self._members.loss(node), draining=node in self._members.drains)

    async def _write(self, node: str, known: NodeVerdict, wanted: NodeVerdict) -> None:
        written: list[NodeVerdict] = []

        def change(there: NodeVerdict | None) -> NodeVerdict | None:
            now = there or _NOTHING
            # What another coordinator was told, and this one has not heard of, stays.
            is_news = now.lost is Loss.TOLD and known.lost is not Loss.TOLD
            draining = now.draining if wanted.draining == known.draining else wanted.draining
            after = NodeVerdict(lost=now.lost if is_news else wanted.lost, draining=draining)
            written[:] = [after]
            return None if after == _NOTHING else after

        await self._registers.update(_PREFIX + node, NodeVerdict, change)
        self._known[node] = written[0]
        self._adopt(node, written[0])

    async def _look(self) -> None:
        before = self._picture()
        found = {
            stored.key.removeprefix(_PREFIX): stored.record
            for stored in await self._registers.scan(_PREFIX, NodeVerdict)
        }
        for node, picture in self._picture().items():
            if picture == before.get(node):  # else what was read is older than what was told here
                self._adopt(node, found.get(node, _NOTHING))

    def _picture(self) -> dict[str, tuple[NodeVerdict, NodeVerdict | None]]:
        """Return what is to be written of each node, and what the register said last."""
        return {node: (self._wanted(node), self._known.get(node)) for node in self._members.records}

    def _adopt(self, node: str, verdict: NodeVerdict) -> None:
        """Take over what the register says, but for silence: that everybody hears for himself."""
        before = self._known.get(node, _NOTHING).lost
        if Loss.TOLD in (verdict.lost, before):
            before = verdict.lost
        self._known[node] = structs.replace(verdict, lost=before)
        if node not in self._members.records:
            self._known.pop(node)
            return
        is_told = self._members.loss(node) is Loss.TOLD
        if verdict.lost is Loss.TOLD and not is_told:
            self._members.declare_lost(node)
        elif is_told and verdict.lost is not Loss.TOLD:
            self._members.watch_anew(node)
        self._take_drain(node, verdict)

    def _take_drain(self, node: str, verdict: NodeVerdict) -> None:
        if verdict.draining != (node in self._members.drains):
            self._members.set_drain(node, verdict.draining)
