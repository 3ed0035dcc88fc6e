"""How much of the time each node answers: counted every second, written every ten minutes.

One register for all nodes. What was counted since the last writing is lost in a crash; while no
coordinator runs nothing is counted, for nobody looks.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping

import msgspec

from redundancy.errors import EvenflowError
from redundancy.uptime import Uptime
from smart_client import wire
from storage_server.coordinator.failure_detector import NodeState
from storage_server.coordinator.membership import Membership
from storage_server.coordinator.registers import Registers

log = logging.getLogger(__name__)

UPTIMES_KEY = "uptime/nodes"

FLUSH_INTERVAL_S = 600.0

# Who looked away for longer than this did not look.
_GAP_MAX_S = 5.0


class UptimesRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The register of what was seen of every node."""

    v: int = wire.WIRE_VERSION
    at_s: float = 0.0  # Unix time, of all of them
    nodes: dict[str, tuple[float, float]] = {}  # seconds watched, seconds up; both faded


class UptimeMeter:
    """Responsible for ``Membership.uptimes``, and for their reaching the catalogue."""

    def __init__(
        self, registers: Registers, members: Membership, *, wall_clock: Callable[[], float]
    ) -> None:
        self._registers = registers
        self._members = members
        self._wall_clock = wall_clock
        self._seen: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        self._ticked_at_s: float | None = None
        self._flushed_at_s = float("-inf")

    async def load(self) -> None:
        """Read what was seen before. Raises: CatalogueError, RegisterDamaged."""
        stored = await self._registers.get(UPTIMES_KEY, UptimesRecord)
        self._members.uptimes = _uptimes(stored.record if stored else UptimesRecord())

    def tick(self, now_s: float) -> None:
        """Count the time since the last tick for every node, as it is now."""
        before_s, self._ticked_at_s = self._ticked_at_s, now_s
        if before_s is None or not 0 < now_s - before_s <= _GAP_MAX_S:
            return
        for node in self._members.records:
            state = self._members.state(node)
            if state is NodeState.UNKNOWN:
                continue
            seen = self._seen[node]
            seen[0] += now_s - before_s
            if state is NodeState.UP:
                seen[1] += now_s - before_s

    async def flush_if_due(self, now_s: float) -> None:
        """Write what was counted, every ten minutes."""
        if self._flushed_at_s == float("-inf"):
            self._flushed_at_s = now_s
        if now_s - self._flushed_at_s >= FLUSH_INTERVAL_S:
            self._flushed_at_s = now_s
            await self.flush()

    async def flush(self) -> None:
        """Write what was counted; what fails is written the next time."""
        counted = {node: (seen[0], seen[1]) for node, seen in self._seen.items()}
        if not counted:
            return
        now_s = self._wall_clock()
        written: list[UptimesRecord] = []

        def add(record: UptimesRecord | None) -> UptimesRecord:
            known = _uptimes(record or UptimesRecord())
            after = {
                node: known.get(node, Uptime()).plus(*counted.get(node, (0.0, 0.0)), now_s)
                for node in known.keys() | counted.keys()
                if node in self._members.records
            }
            at_s = max((each.at_s for each in after.values()), default=now_s)
            nodes = {node: (each.watched_s, each.up_s) for node, each in sorted(after.items())}
            written[:] = [UptimesRecord(at_s=at_s, nodes=nodes)]
            return written[0]

        try:
            await self._registers.update(UPTIMES_KEY, UptimesRecord, add)
        except EvenflowError as error:
            log.warning("uptimes are not written yet: %s", error.message)
            return
        self._members.uptimes = _uptimes(written[0])
        for node, (watched_s, up_s) in counted.items():
            self._seen[node][0] -= watched_s
            self._seen[node][1] -= up_s


def _uptimes(record: UptimesRecord) -> Mapping[str, Uptime]:
    return {
        node: Uptime(max(0.0, watched_s), min(max(0.0, up_s), max(0.0, watched_s)), record.at_s)
        for node, (watched_s, up_s) in record.nodes.items()
    }
