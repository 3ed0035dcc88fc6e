"""What goes on all the time: look, plan, do the most endangered first, look again.

    hold the lease -> look at nodes (lists of bad ones, audits) -> groups that need something
        -> most endangered chunks of all groups first -> drop what is due -> even out

The state is in the registers and on the nodes. A keeper that dies anywhere is followed by one that
plans again from what is there.
"""

import asyncio
import contextlib
import heapq
import logging
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from redundancy.errors import EvenflowError
from redundancy.placement import Placement
from smart_client import wire
from storage_server.coordinator.errors import MoveFailed, NotTheKeeper
from storage_server.coordinator.failure_detector import NodeState
from storage_server.coordinator.keeper.advice import Advisor
from storage_server.coordinator.keeper.audit import Audit
from storage_server.coordinator.keeper.balance import (
    by_catalogue,
    held_bytes,
    is_even,
    moved_bytes,
    plan_moves,
)
from storage_server.coordinator.keeper.jobs import Job, NodeView, View
from storage_server.coordinator.keeper.lease import Lease
from storage_server.coordinator.keeper.plan import Stuck
from storage_server.coordinator.keeper.tools import Tools
from storage_server.coordinator.keeper.wants import needs_work, plan
from storage_server.coordinator.keeper.worker import Worker
from storage_server.coordinator.registers import parse_group_key

log = logging.getLogger(__name__)


# Even in the middle of much work: more may have happened to nodes, and their lists grow old.
_LOOK_ANEW_S = 60.0

# As many who ask for a status cost no more than one.
_LEFT_AGE_MAX_S = 1.0

# A status names so many chunks that nobody can help; the others are like them.
_STUCK_NAMED_MAX = 20


@dataclass(slots=True)
class Round:
    """What one look at everything found and did."""

    done: int = 0  # chunks
    failed: int = 0


class Keeper:
    """Responsible for every chunk of every ready video having its layout, on nodes that live."""

    def __init__(self, tools: Tools, placement: Placement) -> None:
        self._registers = tools.registers
        self._library = tools.library
        self._members = tools.members
        self._placement = placement
        self._clock = tools.clock
        self.limits = tools.limits
        self.lease = Lease(tools.registers, lease_s=tools.limits.lease_s, clock=tools.clock)
        self.worker = Worker(tools)
        self.audit = Audit(tools)
        self.advisor: Advisor | None = None  # who asks the policy, if anybody does
        self.done: Counter[str] = Counter()  # chunks, by kind of job
        self.failed = 0
        self.stuck: dict[tuple[str, int], Stuck] = {}
        self.trouble = ""
        self._settled: dict[str, tuple[int, float]] = {}  # group -> version, seen first
        self._rests: dict[str, tuple[int, float]] = {}
        self._evened: tuple[frozenset[str], float] = (frozenset(), tools.clock())
        self._one_round = asyncio.Lock()
        self._left: tuple[tuple[int, int], float, int] = ((-1, -1), 0.0, 0)
        self._has_work = asyncio.Event()
        self._was_holder = False
        tools.members.when_changed(self._has_work.set)

    def wake(self) -> None:
        """Look now."""
        self._has_work.set()

    async def run(self) -> None:
        """Keep for ever, until cancelled."""
        while True:
            try:
                if await self._take_over():
                    found = await self.round()
                    if not found.done and not found.failed and self._is_evening_due():
                        await self.even_out()
                    if self.advisor is not None and self.advisor.is_due:
                        await self.advisor.advise()
                self.trouble = ""
            except EvenflowError as error:
                if error.message != self.trouble:
                    log.warning("the keeper waits: %s", error.message)
                self.trouble = error.message
            try:
                async with asyncio.timeout(self.limits.round_every_s):
                    await self._has_work.wait()
                    self._has_work.clear()
            except TimeoutError:
                continue

    async def run_now(self) -> wire.KeeperStatus:
        """Compare what all nodes hold with what is recorded, mend what can be mended, and tell.

        Raises: NotTheKeeper: another coordinator keeps; CatalogueError, OutcomeUnknown.
        """
        await self._require_lease()
        self._rests.clear()
        async with self._one_round:
            found = await self._round(audits=True)
            while found.done:
                found = await self._round()
            await self.even_out()
        return self.status()

    async def rebalance_now(self) -> wire.KeeperStatus:
        """Move fragments from fuller nodes to emptier ones now, and tell.

        Raises: as ``run_now``.
        """
        await self._require_lease()
        async with self._one_round:
            await self.even_out()
        return self.status()

    def status(self) -> wire.KeeperStatus:
        """Return what is done and what is left."""
        return wire.KeeperStatus(
            is_keeper=self.lease.is_held,
            groups_left=self._count_left(),
            fragments_missing=len(self.audit.missing) if self.lease.is_held else 0,
            done=dict(self.done),
            failed=self.failed,
            received_bytes=self.worker.received_bytes,
            collected=self.audit.collected,
            drops_waiting=len(self.worker.drops),
            stuck=tuple(
                f"{self._name_of(key)} chunk {number}: {each.reason}"
                for (key, number), each in sorted(self.stuck.items())[:_STUCK_NAMED_MAX]
            ),
            resting=tuple(sorted(self.worker.throttle.resting)),
            trouble=self.trouble or self.audit.warning,
            limits=self.limits.told | {"lost_after_s": self._members.limits.lost_after_s},
        )

    def _name_of(self, key: str) -> str:
        """Return a group's video and rendition in a person's words."""
        video_id, rendition, _ = parse_group_key(key)
        video = self._library.video(video_id)
        name = f"'{video.name}'" if video is not None else key
        return name if rendition == "original" else f"{name} {rendition}"

    def _count_left(self) -> int:
        """Return how many groups need something; at most a second old, if no node changed."""
        nodes, library = self._members.state_version, self._library.version
        known, at_s, count = self._left
        is_old = self._clock() - at_s >= _LEFT_AGE_MAX_S
        if known[0] != nodes or (known[1] != library and is_old):
            count = len(self.needy(self.view()))
            self._left = ((nodes, library), self._clock(), count)
        return count

    async def stop(self) -> None:
        """Let another coordinator keep at once."""
        if self._was_holder:
            self._was_holder = False
            with contextlib.suppress(EvenflowError):  # then its lease runs out
                await self.lease.release()

    async def _require_lease(self) -> None:
        if not await self._take_over():
            raise NotTheKeeper(
                "another coordinator of this catalogue keeps", hint="ask that one, or wait"
            )

    async def _take_over(self) -> bool:
        """Return whether this coordinator keeps; one that begins reads what others wrote."""
        holds = await self.lease.hold()
        if holds and not self._was_holder:
            await self._library.refresh(self._registers)
        if self._was_holder and not holds:  # what it knew of nodes grows old
            self.audit.forget_all()
            self.stuck.clear()
        self._was_holder = holds
        return holds

    async def round(self, *, audits: bool = False) -> Round:
        """Look at everything once and do what can be done now.

        Raises: CatalogueError, OutcomeUnknown, RegisterDamaged.
        """
        async with self._one_round:
            return await self._round(audits=audits)

    async def _round(self, *, audits: bool = False) -> Round:
        self._has_work.clear()
        self._members.advance()
        await self.audit.look(at_all=audits)
        found = Round()
        await self._work_off(found)
        self._left = ((-1, -1), 0.0, 0)  # counted anew when it is asked for
        await self.worker.drop_due()
        return found

    # -- evening out -----------------------------------------------------------------------------

    async def even_out(self) -> int:
        """Move fragments from fuller nodes to emptier ones; return how many chunks changed."""
        groups = self.groups()
        held: Counter[str] = Counter()
        for key in groups:
            stored = await self._registers.get(key, wire.GroupRecord)
            held += held_bytes(stored.record) if stored else Counter()
        self._has_work.clear()
        takers, until_s = self._nodes_that_take(), self._clock() + _LOOK_ANEW_S
        moved = 0
        for key in groups:
            view = self.view()
            if is_even(by_catalogue(view.places, held)) or not await self.lease.hold():
                break
            if self._has_work.is_set() or self._clock() >= until_s:
                self._evened = (frozenset(), self._clock())  # repairs first; then on with this
                self._has_work.set()
                return moved
            stored = await self._registers.get(key, wire.GroupRecord)
            if stored is None:
                continue
            jobs = plan_moves(key, stored.record, view, held, placement=self._placement)
            found = Round()
            await asyncio.gather(*(self._do(job, found) for job in jobs))
            moved += found.done
            if not found.failed:
                for job in jobs:
                    held = moved_bytes(held, job)
        self._evened = (takers, self._clock())
        return moved

    def _is_evening_due(self) -> bool:
        takers, at_s = self._evened
        since_s = self._clock() - at_s
        if since_s < self.limits.balance_pause_s:
            return False
        return since_s >= self.limits.balance_every_s or takers != self._nodes_that_take()

    def _nodes_that_take(self) -> frozenset[str]:
        return frozenset(each.id for each in self.view().places if not each.excluded)

    # -- which groups ----------------------------------------------------------------------------

    def view(self, leaving: Iterable[str] = ()) -> View:
        """Return the cluster as planning needs it now."""
        going = self._members.draining | set(leaving)
        nodes = {}
        for node in self._members.records:
            state = self._members.state(node)
            is_gone = state is NodeState.LOST or (node in going and state is not NodeState.UP)
            nodes[node] = NodeView(state is NodeState.UP, is_gone, node in going)
        places = tuple(each for each in self._members.placement_nodes() if each.id not in going)
        return View(nodes, places, self.audit.missing.keys())

    def needy(self, view: View) -> list[tuple[int, str]]:
        """Return (danger, group) of all groups with something to do, by what is in memory."""
        groups = []
        lacking = set(self.audit.missing.values())
        for video in self._ready():
            for key, shapes in self._library.groups_of(video.id):
                layout = video.layout_of(parse_group_key(key)[1])
                needs = [s for s in shapes if needs_work(s, layout, view)]
                if needs or key in lacking:
                    is_there = self._is_there(view)
                    danger = min(s.losses_survived(is_there) for s in needs or shapes)
                    groups.append((danger - (key in lacking), key))
        return groups

    def groups(self) -> list[str]:
        """Return the keys of all groups that are kept."""
        return [key for video in self._ready() for key, _ in self._library.groups_of(video.id)]

    def _ready(self) -> list[wire.VideoRecord]:
        library = self._library
        return [
            video
            for video in library.videos.values()
            if video.state == "ready" and video.id not in library.trash
        ]

    @staticmethod
    def _is_there(view: View) -> Callable[[str], bool]:
        def is_there(node: str) -> bool:
            found = view.nodes.get(node)
            return found is not None and found.is_at_hand

        return is_there

    def _is_resting(self, key: str) -> bool:
        """Whether a group could not be helped a moment ago, and no node has changed since."""
        version, until_s = self._rests.get(key, (-1, 0.0))
        return version == self._members.state_version and self._clock() < until_s

    def _is_settled(self, key: str, version: int) -> bool:
        """Whether a group was left alone for a while, as one whose upload is over is."""
        seen, since_s = self._settled.get(key, (0, 0.0))
        if seen != version:
            since_s = self._clock()
            self._settled[key] = (version, since_s)
        return self._clock() - since_s >= self.limits.settle_s

    # -- what about them -------------------------------------------------------------------------

    async def _work_off(self, found: Round) -> None:
        """Do what is to be done, the most endangered chunks of all groups first."""
        needy = self.needy(self.view())
        keys = {key for _, key in needy}
        self.stuck = {each: why for each, why in self.stuck.items() if each[0] in keys}
        waiting = [each for each in needy if not self._is_resting(each[1])]
        heapq.heapify(waiting)
        until_s = self._clock() + _LOOK_ANEW_S
        while waiting:
            danger, key = heapq.heappop(waiting)
            if not await self.lease.hold():
                return
            jobs = await self._jobs(key)
            limit = waiting[0][0] if waiting else max((j.danger for j in jobs), default=danger)
            now = [job for job in jobs if job.danger <= max(limit, danger)]
            later = [job for job in jobs if job.danger > max(limit, danger)]
            await asyncio.gather(*(self._do(job, found) for job in now))
            if later:
                heapq.heappush(waiting, (min(job.danger for job in later), key))
            if self._has_work.is_set() or self._clock() >= until_s:
                self._has_work.set()  # a node came or went, or the lists are old: look anew
                return

    async def _jobs(self, key: str) -> list[Job]:
        stored = await self._registers.get(key, wire.GroupRecord)
        video = self._library.video(parse_group_key(key)[0])
        if stored is None or video is None:
            self._library.drop_group(key)
            return []
        self._library.put_group(key, stored.record, stored.version)
        view = self.view()
        is_settled = self._is_settled(key, stored.version)
        layout = video.layout_of(parse_group_key(key)[1])
        planned = [
            plan(key, chunk, layout, view, placement=self._placement)
            for chunk in stored.record.chunks
            # What is only not stored yet may be on its way.
            if is_settled or any(map(view.is_lost, chunk.fragments))
        ]
        for number in range(stored.record.chunks[0].number, stored.record.chunks[-1].number + 1):
            self.stuck.pop((key, number), None)
        for each in planned:
            if isinstance(each, Stuck):
                self.stuck[key, each.number] = each
                until_s = self._clock() + self.limits.stuck_s
                self._rests[key] = (self._members.state_version, until_s)
        return sorted((j for j in planned if isinstance(j, Job)), key=lambda job: job.danger)

    async def _do(self, job: Job, found: Round) -> None:
        try:
            is_done = await self.worker.carry_out(job)
        except MoveFailed as error:
            found.failed += 1
            self.failed += 1
            log.info("%s; it is tried again", error.message)
            return
        if is_done:
            found.done += 1
            self.done[job.kind] += 1
            self.audit.forget((each.node, each.key) for each in job.chunk.fragments)
            self._settle(job.group)

    def _settle(self, key: str) -> None:
        """What this keeper wrote itself need not settle."""
        self._settled[key] = (self._library.group_version(key), float("-inf"))
