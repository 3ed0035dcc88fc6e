"""Carrying out jobs: orders to nodes, then the compare-and-set, then what is named no more goes."""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from redundancy.errors import EvenflowError
from smart_client import wire
from smart_client.transport.nodes import NodeConnections
from storage_server.coordinator.errors import MoveFailed
from storage_server.coordinator.keeper.jobs import (
    Job,
    Make,
    NodeKey,
    dropped,
    finished,
    replaced,
)
from storage_server.coordinator.keeper.throttle import Throttle
from storage_server.coordinator.keeper.tools import Tools
from storage_server.coordinator.links import NodeLinks
from storage_server.coordinator.registers import parse_group_key
from storage_server.coordinator.trash import drop_quietly
from storage_server.orders import RebuildOrder, Rebuilt, Source, Wanted

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PendingDrop:
    """A fragment that no record names any more, to go when older manifests are forgotten."""

    due_s: float
    group: str
    number: int
    node: str
    key: str


class Worker:
    """Responsible for a job being done wholly, or leaving the record as it was."""

    def __init__(self, tools: Tools) -> None:
        self._registers = tools.registers
        self._library = tools.library
        self._members = tools.members
        self._links = tools.links
        self._limits = tools.limits
        self._clock = tools.clock
        self.throttle = Throttle(tools.limits, tools.members.requests_in_flight, tools.clock)
        self.received_bytes = 0  # by nodes, on orders of this worker
        self.drops: deque[PendingDrop] = deque()

    async def carry_out(self, job: Job, *, drops_now: bool = False) -> bool:
        """Do a job; return whether the record is as the job wants it.

        False: somebody else changed the chunk first. What was made then stays until it is
        collected: the record may name it by now.
        Raises: MoveFailed: some node did not do its part; the record is as it was.
        """
        async with self.throttle.turn(job.nodes, job.wire_bytes, is_urgent=job.danger <= 0):
            began_s = self._clock()
            keys, temporary = await self._make_and_copy(job)
            if self._clock() - began_s > self._limits.job_s_max:
                raise MoveFailed(f"chunk {job.chunk.number} of {job.group} took too long")
            after = finished(job, keys)
            if not await self._record(job, after):
                return False
            going = dropped(job, after, temporary)
            await self._drop(job, going, temporary, now=drops_now)
            return True

    # -- making ----------------------------------------------------------------------------------

    async def _make_and_copy(self, job: Job) -> tuple[dict[int, str], set[NodeKey]]:
        keys: dict[int, str] = job.known_keys
        temporary: set[NodeKey] = set()
        try:
            # The first one codes the chunk; the others know from it what must come out.
            for batch in (job.makes[:1], job.makes[1:]):
                made = await asyncio.gather(*(self._make(job, make, keys) for make in batch))
                for make, rebuilt in zip(batch, made, strict=True):
                    keys |= {each.index: each.key for each in rebuilt.fragments}
                    temporary |= {(make.node, f.key) for f in rebuilt.fragments if f.is_stored}
            for copy in job.copies:
                temporary.add((copy.target, keys[copy.index]))
            await asyncio.gather(
                *(self._copy(copy.target, copy.source, keys[copy.index]) for copy in job.copies)
            )
        except EvenflowError as error:
            raise MoveFailed(
                f"chunk {job.chunk.number} of {job.group}: {error.message}",
                hint="every fragment stays recorded where it is; ask again to go on",
                detail=error.detail,
            ) from error
        return keys, temporary

    async def _make(self, job: Job, make: Make, keys: dict[int, str]) -> Rebuilt:
        chunk = job.chunk
        video_id, rendition, _ = parse_group_key(job.group)
        pattern = None
        if make.pattern is not None:
            urls = self._members.record(job.makes[0].node).urls
            pattern = Source(index=make.pattern, key=keys[make.pattern], urls=urls[:1])
        order = RebuildOrder(
            video_id=video_id,
            rendition=rendition,
            number=chunk.number,
            generation=chunk.generation,
            size=chunk.size,
            sha256=chunk.sha256,
            layout=chunk.layout,
            sources=self._sources(job, make.node),
            wanted=tuple(Wanted(index=i, key=keys.get(i)) for i in make.indices),
            into=job.layout if job.is_new_layout else None,
            pattern=pattern,
            grant=self._links.grants.for_video(video_id),
        )
        answer = await self._links.call(
            make.node, lambda link: link.order("/v1/rebuild", order), needs_token=True
        )
        rebuilt = msgspec.convert(answer, Rebuilt)
        self.received_bytes += rebuilt.received_bytes
        await self._complain(job, rebuilt.bad)
        return rebuilt

    def _sources(self, job: Job, node: str) -> tuple[Source, ...]:
        """Return where to read the chunk: here first, coded before whole, idle before busy."""
        layout = job.chunk.layout.to_layout()
        known = self._members.records

        def rank(fragment: wire.FragmentRecord) -> tuple[bool, bool, int]:
            load = self.throttle.load(fragment.node)
            return fragment.node != node, layout.is_copy(fragment.index), load

        return tuple(
            Source(index=each.index, key=each.key, urls=known[each.node].urls[:4])
            for each in sorted(job.sources, key=rank)
            if each.node in known
        )

    async def _copy(self, target: str, source: str, key: str) -> None:
        urls = self._members.record(source).urls
        grant = self._links.grants.for_fragment(key)
        # The target checks the bytes against the key before it stores and answers.
        self.received_bytes += await self._links.call(
            target, lambda link: link.pull(key, urls, grant=grant), needs_token=True
        )

    async def _complain(self, job: Job, keys: Iterable[str]) -> None:
        """Make the nodes look at fragments whose bytes were wrong."""
        nodes = {each.key: each.node for each in job.sources}
        for key in keys:

            async def complain(link: NodeConnections, key: str = key) -> None:
                await link.order("/v1/suspect", {"key": key})

            try:
                await self._links.call(nodes[key], complain)
            except EvenflowError as error:
                log.info("a bad fragment is not looked at yet: %s", error.message)

    # -- recording and dropping ------------------------------------------------------------------

    async def _record(self, job: Job, after: wire.ChunkRecord) -> bool:
        """Write the group's register if the chunk is still as it was planned for."""
        if after == job.chunk:
            return True  # what rotted was made again where it was
        if parse_group_key(job.group)[0] in self._library.trash:
            return False
        written: list[wire.GroupRecord] = []

        def change(group: wire.GroupRecord | None) -> wire.GroupRecord | None:
            written.clear()
            changed = replaced(group, job.chunk, after)
            if changed is not None and after in changed.chunks:
                written.append(changed)
            return changed

        version = await self._registers.update(job.group, wire.GroupRecord, change)
        for group in written:
            self._library.put_group(job.group, group, version)
        return bool(written)

    async def _drop(
        self, job: Job, going: set[NodeKey], temporary: set[NodeKey], *, now: bool
    ) -> None:
        """Drop at once what no reader can know of; the rest when manifests have grown old."""
        at_once = going if now else going & temporary
        for node, key in at_once:
            if node in self._members.records:
                await drop_quietly(self._links, node, key)
        due_s = self._clock() + self._limits.drop_after_s
        number = job.chunk.number
        self.drops.extend(
            PendingDrop(due_s, job.group, number, node, key) for node, key in going - at_once
        )

    async def drop_due(self) -> int:
        """Drop what is due, if it is still named by nobody and all that is named is there."""
        count = 0
        while self.drops and self.drops[0].due_s <= self._clock():
            drop = self.drops.popleft()
            if await self._may_drop(drop):
                await drop_quietly(self._links, drop.node, drop.key)
                count += 1
        return count

    async def _may_drop(self, drop: PendingDrop) -> bool:
        if drop.node not in self._members.records:
            return False
        stored = await self._registers.get(drop.group, wire.GroupRecord)
        chunks = stored.record.chunks if stored else ()
        fragments = [f for chunk in chunks if chunk.number == drop.number for f in chunk.fragments]
        if any((each.node, each.key) == (drop.node, drop.key) for each in fragments):
            return False
        for each in fragments:
            if not await is_there(self._links, each.node, each.key):
                return False  # the collection looks again later
        return True


async def is_there(links: NodeLinks, node: str, key: str) -> bool:
    """Whether a node says that it holds a fragment."""

    async def ask(link: NodeConnections) -> set[str]:
        return await link.have([key])

    try:
        return key in await links.call(node, ask)
    except EvenflowError as error:
        log.info("node %s did not say whether it holds a fragment: %s", node, error.message)
        return False
