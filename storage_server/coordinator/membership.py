"""Who the nodes are, what they last said, and whether they live."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import structs

from redundancy.placement import PlacementNode
from redundancy.uptime import Uptime
from smart_client import wire
from smart_client.errors import InvalidRequest, NameTaken, NodeNotFound
from storage_server.coordinator.errors import NodeRemoved, StoreReplaced
from storage_server.coordinator.failure_detector import (
    DetectorLimits,
    FailureDetector,
    Loss,
    NodeState,
    StateChange,
)
from storage_server.coordinator.layouts import NodeCounts
from storage_server.coordinator.registers import Registers, RemovedNode, node_key, removed_key
from storage_server.coordinator.troubles import CUT_OFF, Between, Troubles

log = logging.getLogger(__name__)

# Above this a node takes nothing new: deletes and repairs must still fit.
FULLNESS_MAX = 0.95

_NODE, _REMOVED = wire.NodeRecord, RemovedNode

# A node that sends heartbeats is not pinged besides; a bit more than two beats late is.
BEATS_EXPECTED_S = 2.5


class Membership:
    """Responsible for the node registers and for what this coordinator knows of each node now.

    Two data directories never share a name while one of them holds fragments: the records would
    point to bytes that are not there.
    """

    def __init__(
        self, registers: Registers, detector: FailureDetector, clock: Callable[[], float]
    ) -> None:
        """Start empty; call ``load``.

        Args:
            clock: monotonic seconds.
        """
        self._registers = registers
        self._detector = detector
        self._clock = clock
        self._records: dict[str, wire.NodeRecord] = {}
        self._removed: dict[str, RemovedNode] = {}
        self._said: dict[str, wire.Heartbeat] = {}
        self._beat_at_s: dict[str, float] = {}
        self._listeners: list[Callable[[], None]] = []
        self.drains: set[str] = set()  # being emptied because the operator said so
        self.removing: set[str] = set()  # being emptied and then forgotten
        self.uptimes: Mapping[str, Uptime] = {}  # as measured, see ``uptimes``
        self.troubles = Troubles()
        self.state_version = 0  # grows when a node comes, goes or changes its state

    async def load(self) -> None:
        """Read the registers. A removal that was cut short is finished."""
        removed = await self._registers.scan("removed/", RemovedNode)
        self._removed = {each.record.id: each.record for each in removed}
        now_s = self._clock()
        for stored in await self._registers.scan("node/", wire.NodeRecord):
            if stored.record.id in self._removed:
                await self._registers.write(stored.key, None, stored.version)
                continue
            self._records[stored.record.id] = stored.record
            self._detector.watch(stored.record.id, now_s)
        self._changed()

    async def refresh(self) -> None:
        """Read what other coordinators wrote: nodes that were added, moved or removed."""
        before, removed_before = dict(self._records), dict(self._removed)
        removed = {
            each.record.id: each.record for each in await self._registers.scan("removed/", _REMOVED)
        }
        found = {each.record.id: each.record for each in await self._registers.scan("node/", _NODE)}
        if self._removed == removed_before:
            self._removed = removed
        for node in (before.keys() & removed.keys()) - self.removing:
            if self._records.get(node) is before[node]:
                self._forget(node)
        for node, record in found.items():
            if (
                node in removed
                or record == before.get(node)
                or self._records.get(node) is not (before.get(node))
            ):
                continue
            self._records[node] = record
            if node not in before:
                self._tell(self._detector.watch(node, self._clock()))
            self._changed()

    def when_changed(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever a node comes, goes or changes its state."""
        self._listeners.append(listener)

    # -- what nodes say --------------------------------------------------------------------------

    async def hear_beat(self, beat: wire.Heartbeat, holds_fragments: bool) -> None:
        """Take a full registration, which is what every heartbeat is.

        Args:
            holds_fragments: whether the catalogue has fragments on the node of this name.
        Raises: NodeRemoved, StoreReplaced, NameTaken, InvalidRequest, CatalogueError,
            OutcomeUnknown.
        """
        try:
            await self.hear_health(beat, holds_fragments)
        except StoreReplaced as error:
            self.troubles.note(beat.node, Between.FROM_NODE, error.message)
            raise
        self.troubles.beat_taken(beat.node)
        self._beat_at_s[beat.node] = self._clock()

    def hear(self, node: str) -> None:
        """Note any sign of life of a registered node."""
        if node in self._records:
            self._tell(self._detector.heard(node, self._clock()))

    async def hear_health(self, said: wire.Heartbeat, holds_fragments: bool) -> None:
        """Take what a node answered when asked, which it will have to be again.

        Args, Raises: as ``hear_beat``.
        """
        removed = self._removed.get(said.node)
        if removed is not None and removed.store in ("", said.store):
            raise NodeRemoved(
                f"node {said.node} was removed from this cluster",
                hint=f"to take it back: storage-server admin node add {said.node} URL",
            )
        self._require_same_store(said.node, said.store, holds_fragments)
        await self._record(_record_of(said))
        self._said[said.node] = self.troubles.heard(said)
        self.hear(said.node)

    async def add(self, record: wire.NodeRecord, holds_fragments: bool) -> None:
        """Register a node by hand, or again: what is known and stored stays.

        Raises: StoreReplaced, NameTaken, CatalogueError, OutcomeUnknown.
        """
        if record.store:
            self._require_same_store(record.id, record.store, holds_fragments)
        known = self._records.get(record.id, wire.NodeRecord(id=record.id, urls=()))
        await self._registers.update(removed_key(record.id), RemovedNode, lambda _: None)
        self._removed.pop(record.id, None)
        await self._record(
            wire.NodeRecord(
                id=record.id,
                urls=record.urls or known.urls,
                zone=record.zone or known.zone,
                capacity_bytes=record.capacity_bytes or known.capacity_bytes,
                store=record.store or known.store,
            )
        )
        self.drains.discard(record.id)
        self.watch_anew(record.id)

    async def remove(self, node: str) -> None:
        """Forget a node that holds nothing; its further reports are refused."""
        record = self.record(node)
        mark = RemovedNode(id=node, store=record.store)
        await self._registers.update(removed_key(node), RemovedNode, lambda _: mark)
        self._removed[node] = mark
        await self._registers.update(node_key(node), wire.NodeRecord, lambda _: None)
        self._forget(node)

    def declare_lost(self, node: str) -> None:
        """Take the operator's word that a node does not come back. Raises: NodeNotFound."""
        self.record(node)
        self._tell(self._detector.declare_lost(node, self._clock()))

    def watch_anew(self, node: str) -> None:
        """Forget the operator's word that a node does not come back."""
        self._tell(self._detector.watch(node, self._clock()))
        self._changed()

    def set_drain(self, node: str, is_draining: bool) -> None:
        """Begin or end to empty a node. Raises: NodeNotFound."""
        self.record(node)
        (self.drains.add if is_draining else self.drains.discard)(node)
        self._changed()

    def take_verdict(self, node: str, loss: Loss) -> None:
        """Take over, at a start, what was decided about a node before."""
        if loss is Loss.TOLD:
            self.declare_lost(node)
        elif loss is Loss.SILENCE and self._detector.state(node) is NodeState.UNKNOWN:
            self._tell(self._detector.watch_lost(node, self._clock()))

    def loss(self, node: str) -> Loss:
        """Return whether and why a node is lost. Raises: NodeNotFound."""
        self.record(node)
        self.advance()
        return self._detector.loss(node)

    @property
    def draining(self) -> set[str]:
        """Nodes that are being emptied, and take nothing new."""
        return self.drains | self.removing

    @property
    def limits(self) -> DetectorLimits:
        """How long a silence means what."""
        return self._detector.limits

    # -- questions -------------------------------------------------------------------------------

    @property
    def records(self) -> Mapping[str, wire.NodeRecord]:
        """All registered nodes by name."""
        return self._records

    def record(self, node: str) -> wire.NodeRecord:
        """Return a node's register. Raises: NodeNotFound."""
        record = self._records.get(node)
        if record is None:
            raise NodeNotFound(
                f"no node '{node}'", hint="`storage-server admin node list` shows the nodes"
            )
        return record

    def records_of(self, nodes: Iterable[str]) -> tuple[wire.NodeRecord, ...]:
        """Return the registers of these nodes, by name; one that is gone has no address."""
        return tuple(
            self._records.get(node, wire.NodeRecord(id=node, urls=()))
            for node in sorted(set(nodes))
        )

    def state(self, node: str) -> NodeState:
        """Return the state of a registered node now; one that is not registered is lost."""
        self.advance()
        return self._detector.state(node) if node in self._records else NodeState.LOST

    def statuses(self) -> tuple[wire.NodeStatus, ...]:
        """Return every node as it is now, by name."""
        self.advance()
        return tuple(self.status(node) for node in sorted(self._records))

    def status(self, node: str) -> wire.NodeStatus:
        """Return one node as it is now. Raises: NodeNotFound."""
        record, said = self.record(node), self._said.get(node)
        seen = self.uptimes.get(node, Uptime())
        trouble = self.troubles.of(node)
        status = wire.NodeStatus(
            record=record,
            state=self._detector.state(node),
            seen_s_ago=self._detector.seen_s_ago(node),
            uptime=seen.measured,
            watched_s=seen.watched_s,
            status=CUT_OFF if trouble else "draining" if node in self.draining else "",
            reason=trouble,
        )
        if said is None:
            return status
        return structs.replace(
            status,
            used_bytes=said.used_bytes,
            free_bytes=said.free_bytes,
            fragments=said.fragments,
            requests_in_flight=said.requests_in_flight,
            status=status.status or said.status,
            reason=status.reason if status.status else said.reason,
        )

    def uptime(self, node: str) -> float | None:
        """Return the share of the time a node is expected to answer; None: never watched."""
        seen = self.uptimes.get(node)
        return seen.expected if seen is not None and seen.watched_s > 0 else None

    def placement_nodes(self) -> list[PlacementNode]:
        """Return every node as placement sees it; those not ready take nothing new."""
        self.advance()
        nodes = []
        for node, record in sorted(self._records.items()):
            said = self._said.get(node)
            nodes.append(
                PlacementNode(
                    id=node,
                    weight_bytes=said.capacity_bytes if said else record.capacity_bytes,
                    free_bytes=said.free_bytes if said else 0,
                    zone=record.zone,
                    excluded=not self._is_ready(node),
                )
            )
        return nodes

    def requests_in_flight(self, node: str) -> int:
        """Return how many requests a node had under way when it last said so."""
        said = self._said.get(node)
        return said.requests_in_flight if said else 0

    def counts(self) -> NodeCounts:
        """Return how many nodes there are to choose from."""
        self.advance()
        ready = sum(map(self._is_ready, self._records))
        return NodeCounts(ready=ready, known=len(self._records))

    def ready_without(self, node: str) -> int:
        """Return how many nodes there are to choose from besides one."""
        self.advance()
        return sum(self._is_ready(each) for each in self._records if each != node)

    def without_beats(self) -> Sequence[wire.NodeRecord]:
        """Return the nodes with an address that send no heartbeats: somebody must ask them."""
        now_s = self._clock()
        return [
            record
            for node, record in self._records.items()
            if record.urls
            and now_s - self._beat_at_s.get(node, -BEATS_EXPECTED_S) >= BEATS_EXPECTED_S
        ]

    def advance(self) -> None:
        """Take note of the time."""
        self._tell(self._detector.advance(self._clock()))

    def seconds_to_next_advance(self) -> float:
        """Return how long until ``advance`` should be called again."""
        return max(0.0, self._detector.next_wakeup_s() - self._clock())

    # -- inside ----------------------------------------------------------------------------------

    def _is_ready(self, node: str) -> bool:
        said = self._said.get(node)
        if said is None or self._detector.state(node) is not NodeState.UP:
            return False
        if node in self.draining or said.status in ("full", "read-only"):
            return False
        return said.free_bytes > (1 - FULLNESS_MAX) * said.capacity_bytes

    def _require_same_store(self, node: str, store: str, holds_fragments: bool) -> None:
        known = self._records.get(node)
        if known is None or known.store in ("", store):
            return
        if holds_fragments:
            raise StoreReplaced(
                f"node {node} reports with another data directory than the one that holds its "
                "fragments",
                hint="start it with its old --data, or give the new directory another --id; if its "
                f"disk is gone: storage-server admin node lost {node}, then node remove {node}",
            )
        self.advance()
        if self._detector.state(node) is NodeState.UP:
            raise NameTaken(
                f"another node named {node} is up already", hint="give this one another --id"
            )

    async def _record(self, record: wire.NodeRecord) -> None:
        """Write a node's register if it says something new, and know the node."""
        known = self._records.get(record.id)
        if known == record:
            return
        await self._registers.update(node_key(record.id), wire.NodeRecord, lambda _: record)
        self._records[record.id] = record
        if known is None:
            self._tell(self._detector.watch(record.id, self._clock()))
        self._changed()

    def _forget(self, node: str) -> None:
        del self._records[node]
        self.drains.discard(node)
        self._said.pop(node, None)
        self._beat_at_s.pop(node, None)
        self.troubles.forget(node)
        self._detector.forget(node)
        self._changed()

    def _tell(self, changes: Sequence[StateChange]) -> None:
        for change in changes:
            level = logging.INFO if change.after is NodeState.UP else logging.WARNING
            log.log(level, "node %s: %s -> %s", change.node, change.before, change.after)
        if changes:
            self._changed()

    def _changed(self) -> None:
        self.state_version += 1
        for listener in self._listeners:
            listener()


def _record_of(said: wire.Heartbeat) -> wire.NodeRecord:
    """Return the register of a node that says this of itself. Raises: InvalidRequest."""
    try:
        return wire.NodeRecord(
            id=said.node,
            urls=said.urls,
            zone=said.zone,
            capacity_bytes=said.capacity_bytes,
            store=said.store,
        )
    except ValueError as error:
        raise InvalidRequest(f"not a valid Heartbeat: {error}") from error
