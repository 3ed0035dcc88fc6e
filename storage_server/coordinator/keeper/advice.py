"""Asking the policy, now and then, how each video should be stored, within a day's budget.

    views, sizes, nodes -> policy -> what may be moved today -> the videos' registers -> keeper

What was spent today is a register, so that a restart begins no second budget.
"""

import logging
from collections.abc import Callable
from enum import StrEnum

import msgspec

from redundancy.migration import DailyBudget, Plan, plan
from redundancy.policy import HybridPolicy, Policy, ThresholdPolicy, VideoFacts
from redundancy.sizing import ClusterFacts, NodeFacts
from smart_client import wire
from storage_server.coordinator.keeper.tools import Tools
from storage_server.coordinator.uploads import Uploads
from storage_server.coordinator.views import ViewCounter

log = logging.getLogger(__name__)

BUDGET_KEY = "keeper/budget"


class PolicyName(StrEnum):
    """Which policy decides about videos whose owner wished nothing."""

    OFF = "off"
    THRESHOLD = "threshold"
    HYBRID = "hybrid"


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """The register of what was moved for other layouts on one day."""

    v: int = wire.WIRE_VERSION
    day: wire.Count = 0  # since 1970
    spent_bytes: wire.Count = 0


class Advisor:
    """Responsible for videos following the policy, no faster than the budget allows."""

    def __init__(
        self,
        tools: Tools,
        *,
        uploads: Uploads,
        views: ViewCounter,
        wall_clock: Callable[[], float],
    ) -> None:
        self._registers = tools.registers
        self._library = tools.library
        self._members = tools.members
        self._limits = tools.limits
        self._clock = tools.clock
        self._uploads = uploads
        self._views = views
        self._wall_clock = wall_clock
        self._advised_at_s = tools.clock()  # views are not known before the first hour
        self.plan: Plan | None = None

    @property
    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        is_on = self._limits.policy != PolicyName.OFF
        return is_on and self._clock() - self._advised_at_s >= self._limits.policy_every_s

    async def advise(self) -> Plan | None:
        """Ask about every video and write what is to change now; None: nothing to ask.

        Raises: CatalogueError, OutcomeUnknown, Conflict, VideoNotFound: deleted meanwhile.
        """
        self._advised_at_s = self._clock()
        policy = self._policy()
        if policy is None:
            return None
        now_s = self._wall_clock()
        videos = {video.id: video for video in self._library.videos.values()}
        facts = [self._facts(video) for video in videos.values() if self._is_policys(video)]
        self.plan = plan(policy, facts, now_s, await self._budget())
        budget = self.plan.budget
        spent = Spent(day=budget.day, spent_bytes=budget.spent_bytes)
        # First what it costs, then what it is for: a crash between them moves less, never more.
        await self._registers.update(BUDGET_KEY, Spent, lambda _: spent)
        for each in self.plan.now:
            video = videos[each.video.id]
            reason = "; ".join(each.reasons)
            log.info("video %s: %s -> %s: %s", video.name, each.before, each.after, reason)
            layout = wire.LayoutRecord.of(each.after)
            await self._uploads.follow_policy(video, layout, reason)
        return self.plan

    def _policy(self) -> Policy | None:
        nodes = tuple(NodeFacts(each.id, each.zone) for each in self._members.records.values())
        if not nodes or self._limits.policy == PolicyName.OFF:
            return None
        kind = HybridPolicy if self._limits.policy == PolicyName.HYBRID else ThresholdPolicy
        return kind(ClusterFacts(nodes))

    def _is_policys(self, video: wire.VideoRecord) -> bool:
        """Whether a video is settled and nobody wished how it is stored."""
        if video.state != "ready" or video.wish is not None or video.id in self._library.trash:
            return False
        layout = video.layout
        wanted = (layout.k, layout.n, layout.copies)
        return all(
            (shape.k, len(shape.coded), len(shape.copies)) == wanted
            for shape in self._library.shapes(video.id)
        )

    def _facts(self, video: wire.VideoRecord) -> VideoFacts:
        return VideoFacts(
            id=video.id,
            size_bytes=sum(each.size for each in video.renditions),
            views=self._views.views(video.id),
            views_per_week=self._views.views_per_week(video.id),
            layout=video.layout.to_layout(),
            changed_at_s=video.laid_out_at_s or video.created_at_s,
        )

    async def _budget(self) -> DailyBudget:
        stored = await self._registers.get(BUDGET_KEY, Spent)
        limit_bytes = self._limits.policy_bytes_per_day
        if stored is None:
            return DailyBudget(limit_bytes)
        spent_bytes = min(stored.record.spent_bytes, limit_bytes)
        return DailyBudget(limit_bytes, stored.record.day, spent_bytes)
