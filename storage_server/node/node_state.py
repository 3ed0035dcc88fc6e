"""What the handlers of one node share."""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from storage_server.node.caretaker import Caretaker
from storage_server.node.config import NodeConfig
from storage_server.node.group_commit import GroupCommit
from storage_server.node.limits import Budget, Pacer
from storage_server.node.metrics import NodeMetrics
from storage_server.node.responses import SliceSender
from storage_server.node.store import ChunkStore, StoreFacts
from storage_server.node.superblock import StoreIdentity

log = logging.getLogger(__name__)


@dataclass(slots=True)
class NodeState:
    """Responsible for holding a running node's parts together."""

    config: NodeConfig
    identity: StoreIdentity
    store: ChunkStore
    writer: GroupCommit
    caretaker: Caretaker
    metrics: NodeMetrics
    pacer: Pacer
    sender: SliceSender
    put_budget: Budget
    clock: Callable[[], float]
    started_s: float
    load: int = 0  # requests under way
    is_draining: bool = False
    _is_told_full: bool = False
    _went_idle: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.contextmanager
    def one_request(self) -> Iterator[None]:
        """Count a request as under way."""
        self.begin_request()
        try:
            yield
        finally:
            self.end_request()

    def begin_request(self) -> None:
        """Count one more as under way."""
        self.load += 1

    def end_request(self) -> None:
        """Count one less."""
        self.load -= 1
        if not self.load:
            self._went_idle.set()

    async def wait_until_idle(self) -> None:
        """Return when no request is under way."""
        while self.load:
            self._went_idle.clear()
            await self._went_idle.wait()

    def refuses_more(self, facts: StoreFacts) -> bool:
        """Whether new fragments are refused for want of space; the log hears of each change."""
        if facts.is_full is not self._is_told_full:
            self._is_told_full = facts.is_full
            if facts.is_full:
                used = f"{100 * facts.fullness:.0f} % of the capacity are used"
                log.warning("full: %s; new fragments are refused, reading goes on", used)
            else:
                log.info("there is room for new fragments again")
        return facts.is_full

    def facts(self) -> StoreFacts:
        """Return the store's facts; a writer that broke counts as read-only."""
        facts = self.store.facts()
        if self.writer.failure and not facts.read_only_reason:
            return dataclasses.replace(facts, read_only_reason=self.writer.failure)
        return facts
