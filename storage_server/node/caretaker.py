"""What a node does with its disk when nobody asks: scrub and compaction, within their limits.

    every poll_s: a superblock dead enough? -> compact it
    always:       the next record           -> read, verified -> bad? -> out of the index, listed

A reader's complaint about a fragment is looked into at once, by the same check.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from enum import Enum
from functools import partial

from redundancy.errors import EvenflowError
from storage_server.node.compaction import Compactor
from storage_server.node.config import UpkeepLimits
from storage_server.node.disk import Disk
from storage_server.node.errors import NodeBusy
from storage_server.node.group_commit import GroupCommit
from storage_server.node.limits import TokenBucket
from storage_server.node.scrub import ScrubOrder, Target
from storage_server.node.superblock_store import SuperblockStore
from storage_server.node.verification import read_verified

log = logging.getLogger(__name__)

# Each complaint costs a read of up to 4 MiB: whoever lies gets no more than this.
_COMPLAINTS_MAX = 16
_COMPLAINT_BYTES_PER_S = 8e6

# A crash repeats at most what was read since the place was kept: 10 min.
_SAVE_EVERY_S = 600.0


class Condition(Enum):
    """What a check of one fragment found."""

    INTACT = "intact"
    BAD = "bad"
    MISSING = "missing"


class Caretaker:
    """Responsible for finding rot and giving space back while the node runs."""

    def __init__(
        self,
        store: SuperblockStore,
        writer: GroupCommit,
        disk: Disk,
        *,
        limits: UpkeepLimits,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._writer = writer
        self._limits = limits
        self._clock = clock
        self._order = ScrubOrder(store, disk)
        self._bucket = TokenBucket(limits.compact_bytes_per_s, clock())
        self._compactor = Compactor(store, writer, self._pay)
        self._one_complaint = asyncio.Lock()
        self._complaint_bucket = TokenBucket(_COMPLAINT_BYTES_PER_S, clock())
        self._complaints = 0
        self._saved_s = clock()
        self._wait_until_idle: Callable[[], Awaitable[None]] | None = None
        self.scrubbed_bytes = 0
        self.superblocks_compacted = 0

    @property
    def scrub_passes(self) -> int:
        """How often everything was read."""
        return self._order.checkpoint.passes

    @contextlib.asynccontextmanager
    async def at_work(self, wait_until_idle: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
        """Scrub and compact until this is left.

        Args: wait_until_idle: returns when no request is under way.
        """
        self._wait_until_idle = wait_until_idle
        tasks = [
            asyncio.create_task(_go_on(work, self._limits.poll_s), name=work.__name__)
            for work in (self._scrub, self._compact)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.to_thread(self._save)

    async def check(self, key: bytes) -> Condition:
        """Read a fragment as the disk has it; if it is bad it is missing from now on.

        Raises: NodeBusy: too many complaints at once. StoreReadOnly.
        """
        if self._complaints >= _COMPLAINTS_MAX:
            raise NodeBusy("too many fragments are being checked", hint="ask again later")
        self._complaints += 1
        try:
            async with self._one_complaint:
                await asyncio.sleep(self._complaint_bucket.wait_s(self._clock()))
                location = self._store.location_of(key)
                if location is not None:
                    self._complaint_bucket.take(location.space_bytes, self._clock())
                return await self._check(key)
        finally:
            self._complaints -= 1

    async def _check(self, key: bytes) -> Condition:
        location = self._store.location_of(key)
        if location is None or (superblock := self._store.superblock_at(location)) is None:
            return Condition.MISSING
        data = await asyncio.to_thread(
            read_verified, superblock.file, superblock.tag, key, location
        )
        if data is not None:
            return Condition.INTACT
        if await self._writer.run(partial(self._store.condemn, key, location)):
            log.warning("fragment %s is bad and no longer served", key.hex())
            return Condition.BAD
        return Condition.MISSING  # deleted, or moved to a better place, while it was read

    # Scrubbing

    async def _scrub(self) -> None:
        """Read everything once, at the pace that fills the time for it."""
        credit_bytes, last_s = 0.0, self._clock()
        while (target := await asyncio.to_thread(self._order.next_target)) is not None:
            passes = self._order.checkpoint.passes
            while credit_bytes < target.location.space_bytes:
                missing_s = (target.location.space_bytes - credit_bytes) / self._scrub_rate()
                await asyncio.sleep(min(missing_s, self._limits.poll_s))
                now_s = self._clock()
                credit_bytes += (now_s - last_s) * self._scrub_rate()
                last_s = now_s
            # Time that a slow disk or a busy node took is not made up for by a rush.
            credit_bytes = min(credit_bytes, target.location.space_bytes + self._rush_bytes())
            credit_bytes -= target.location.space_bytes
            await self._give_way()
            await self._scrub_one(target)
            if self._clock() - self._saved_s > _SAVE_EVERY_S:
                await asyncio.to_thread(self._save)
            if passes != self._order.checkpoint.passes:
                log.info("scrub: all fragments were read, pass %d", self.scrub_passes)

    async def _scrub_one(self, target: Target) -> None:
        await self._check(target.key)
        self._order.mark_done(target)
        self.scrubbed_bytes += target.location.space_bytes

    def _scrub_rate(self) -> float:
        """Return how many bytes a second have to be read; it grows with the store."""
        needed = self._store.facts().used_bytes / self._limits.scrub_pass_s
        return min(max(needed, 1.0), self._limits.scrub_bytes_per_s_max)

    def _rush_bytes(self) -> float:
        return self._scrub_rate() * self._limits.poll_s

    def _save(self) -> None:
        self._saved_s = self._clock()
        if self._store.facts().read_only_reason:
            return
        try:
            self._order.save()
        except OSError as error:
            log.warning("the scrub's place could not be kept: %s", error)

    # Compaction

    async def _compact(self) -> None:
        """Compact what is worth it now."""
        while not self._store.facts().read_only_reason:
            plan = await asyncio.to_thread(self._compactor.choose, self._limits.dead_share_min)
            if plan is None:
                await self._give_way()
                if await self._compactor.release_newest(self._limits.dead_share_min):
                    continue
                return
            if not await self._compactor.compact(plan):
                return
            self.superblocks_compacted += 1

    async def _pay(self, amount_bytes: int) -> None:
        await asyncio.sleep(self._bucket.wait_s(self._clock()))
        await self._give_way()
        self._bucket.take(amount_bytes, self._clock())

    async def _give_way(self) -> None:
        """Let requests go first, but not for ever."""
        if self._wait_until_idle is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.give_way_s_max):
                await self._wait_until_idle()


async def _go_on(work: Callable[[], Coroutine[None, None, None]], pause_s: float) -> None:
    """Do the work again and again; an error is logged when it is new, and the work goes on."""
    said = ""
    while True:
        try:
            await work()
            said = ""
        except EvenflowError as error:
            if str(error) != said:
                log.warning("upkeep (%s) is put off: %s", work.__name__, error)
            said = str(error)
        except Exception:  # top of the task: upkeep goes on
            log.exception("unforeseen error in the node's upkeep")
        await asyncio.sleep(pause_s)
