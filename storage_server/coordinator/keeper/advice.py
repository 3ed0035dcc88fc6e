"""Asking the policy, now and then, how each video should be stored, within a day's budget.

    views, sizes, nodes -> policy -> what may be moved today -> the videos' registers -> keeper

What was spent today is a register, so that a restart begins no second budget.
"""

import logging

import msgspec

from redundancy.migration import DailyBudget, Plan, plan
from smart_client import wire
from storage_server.coordinator.keeper.counsel import Counsel, PolicyName
from storage_server.coordinator.keeper.tools import Tools
from storage_server.coordinator.uploads import Uploads

log = logging.getLogger(__name__)

BUDGET_KEY = "keeper/budget"

# The first time after a start: by then every node that lives has been heard.
_FIRST_AFTER_S = 60.0


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """The register of what was moved for other layouts on one day."""

    v: int = wire.WIRE_VERSION
    day: wire.Count = 0  # since 1970
    spent_bytes: wire.Count = 0


class Advisor:
    """Responsible for videos following the policy, no faster than the budget allows."""

    def __init__(self, tools: Tools, *, uploads: Uploads, counsel: Counsel) -> None:
        self._registers = tools.registers
        self._library = tools.library
        self._limits = tools.limits
        self._clock = tools.clock
        self._uploads = uploads
        self._counsel = counsel
        every_s = tools.limits.policy_every_s
        self._due_at_s = tools.clock() + min(_FIRST_AFTER_S, every_s)
        self.plan: Plan | None = None

    @property
    def is_due(self) -> bool:
        """Whether it is time to ask again."""
        is_on = self._limits.policy != PolicyName.OFF
        return is_on and self._clock() >= self._due_at_s

    async def advise(self) -> Plan | None:
        """Ask about every video and write what is to change now; None: nothing to ask.

        Raises: CatalogueError, OutcomeUnknown, Conflict, VideoNotFound: deleted meanwhile.
        """
        self._due_at_s = self._clock() + self._limits.policy_every_s
        policy = self._counsel.policy()
        if policy is None:
            return None
        now_s = self._counsel.wall_clock()
        videos = {video.id: video for video in self._library.videos.values()}
        is_policys, facts_of = self._counsel.is_policys, self._counsel.facts
        facts = [facts_of(video) for video in videos.values() if is_policys(video)]
        self.plan = plan(policy, facts, now_s, await self.budget())
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

    async def budget(self) -> DailyBudget:
        """Return what may be moved a day, and what was moved on the last day of any. Raises: as
        ``advise``.
        """
        stored = await self._registers.get(BUDGET_KEY, Spent)
        limit_bytes = self._limits.policy_bytes_per_day
        if stored is None:
            return DailyBudget(limit_bytes)
        spent_bytes = min(stored.record.spent_bytes, limit_bytes)
        return DailyBudget(limit_bytes, stored.record.day, spent_bytes)
