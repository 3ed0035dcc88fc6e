"""Policies on the same made-up cluster over years: what they cost and what they spare. Pure.

Each week videos are watched, the policy looks at the counts, changes are made within its budget,
and nodes come, go and fail. A read fails when too few pieces of the video are up at that moment;
the share of such moments is taken over every step of the week, so the only chance left in it is
that of the outages. The last year is measured. Loss is far too rare to be seen: its nines are the
Markov model's over the layouts in use.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from redundancy.durability import ZoneFacts, markov_loss, nines, unavailability
from redundancy.errors import UsageError
from redundancy.migration import moved_bytes
from redundancy.policy import Policy, Watched
from redundancy.popularity import HALF_LIFE_S, WEEK_S
from redundancy.scheme import Layout
from redundancy.simulation_world import STEPS_PER_WEEK, WEEKS_PER_YEAR, World

Floats = npt.NDArray[np.float64]

# What a day's migrations may move, as a share of the library, unless said otherwise.
BUDGET_SHARE_PER_DAY = 0.01


@dataclass(frozen=True, slots=True)
class Efficiency:
    """What a policy cost and gave in the last year of one world."""

    policy: str
    overhead: float  # bytes stored for each byte of video
    annual_loss: float  # of a random video, Markov model
    failed_reads: float  # share, as it happened
    failed_reads_expected: float  # share, by zone convolution
    degraded_reads: float  # share that had to be decoded: a data fragment was away
    repair_per_year: float  # bytes moved for each byte of video
    migration_per_year: float  # the same
    migrations_per_year: float  # for each video
    hot_videos: float  # share
    hot_reads: float  # share
    busiest_day_share: float  # of the daily budget

    @property
    def nines(self) -> float:
        """Durability of a year."""
        return nines(self.annual_loss)

    @property
    def saving(self) -> float:
        """Space saved against three copies, as a share."""
        return 1.0 - self.overhead / 3.0


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over seeds with its 95 % interval (Student's t)."""

    mean: float
    half: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Interval":
        """Return the mean of some values; of one alone nothing is known about its spread."""
        count = len(values)
        mean = math.fsum(values) / count
        if count < 2:
            return cls(mean, math.nan)
        variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
        return cls(mean, _student_95(count - 1) * math.sqrt(variance / count))


def _student_95(freedom: int) -> float:
    """Return the two-sided 95 % point of Student's t (Cornish-Fisher, exact below 3)."""
    if freedom == 1:
        return 12.706204736
    if freedom == 2:
        return 4.30265273
    z, v = 1.959963984540054, float(freedom)
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
    )


class _Outages:
    """Responsible for the share of each week in which the videos of a placement are unreadable."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: dict[Layout, tuple[Floats, Floats]] = {}

    def shares(self, layout: Layout) -> tuple[Floats, Floats]:
        """Return the unreadable and the degraded share, weeks x placements."""
        if layout not in self._known:
            self._known[layout] = self._count(layout)
        return self._known[layout]

    def _count(self, layout: Layout) -> tuple[Floats, Floats]:
        world, k, n = self._world, layout.scheme.k, layout.scheme.n
        shape = (len(world.is_up), len(world.orders))
        coded, data = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8)
        whole = np.zeros(shape, dtype=bool)
        for piece in range(layout.fragments_total):
            at_hand = world.is_up[:, world.orders[:, piece]]
            if piece < n:
                coded += at_hand
                data += at_hand & (piece < k)
            if layout.is_copy(piece):
                whole |= at_hand
        unreadable = (coded < k) & ~whole
        degraded = (data < k) & ~whole & ~unreadable
        return _by_week(unreadable), _by_week(degraded)


def _by_week(states: npt.NDArray[np.bool_]) -> Floats:
    """Return steps x placements as the mean of each week."""
    found: Floats = states.reshape(-1, STEPS_PER_WEEK, states.shape[1]).mean(axis=1)
    return found


@dataclass(slots=True)
class _Sums:
    """What adds up over the measured weeks."""

    weeks: int = 0
    videos: float = 0.0  # video weeks
    held: float = 0.0  # byte weeks of videos
    stored: float = 0.0  # byte weeks
    reads: float = 0.0
    hot_reads: float = 0.0
    hot_weeks: float = 0.0
    failed: float = 0.0
    expected: float = 0.0
    degraded: float = 0.0
    loss: float = 0.0
    repaired: float = 0.0
    moved: float = 0.0
    changes: int = 0


def simulate(
    world: World, policy: Policy, *, budget_share_per_day: float = BUDGET_SHARE_PER_DAY
) -> Efficiency:
    """Return how a policy fares in a world.

    Args:
        budget_share_per_day: of the library's bytes, what migrations may move in a day.
    """
    if not budget_share_per_day >= 0:
        raise UsageError("the budget is not negative")
    return _Run(world, policy, budget_share_per_day).play()


class _Run:
    """Responsible for one policy's years in one world."""

    def __init__(self, world: World, policy: Policy, budget_share_per_day: float) -> None:
        self._world, self._policy = world, policy
        self._outages = _Outages(world)
        self._library = float(world.sizes.sum())
        self._budget = budget_share_per_day * 7 * self._library  # a week
        videos = world.facts.videos
        self._is_hot = np.full(videos, policy.starts_hot)
        self._changed_week = world.birth.astype(np.float64)
        self._views = np.zeros(videos, dtype=np.int64)
        self._rate = np.zeros(videos)
        self._sums = _Sums()
        self._most_moved = 0.0
        facts = world.facts
        self._zones = ZoneFacts(facts.zones, facts.zone_availability, facts.node_availability)

    def play(self) -> Efficiency:
        """Go through all weeks; return the last year's figures."""
        first_measured = self._world.facts.weeks - WEEKS_PER_YEAR
        for week, views in enumerate(self._world.views()):
            if week >= first_measured:
                self._measure(week, views)
            self._views += views
            # Views come evenly through the week, so the early ones have faded a bit already:
            # over a half-life of one week to ln 2 of a rate's worth times (1 - 1/2) / ln 2.
            self._rate = (self._rate + views) * 2.0 ** -(WEEK_S / HALF_LIFE_S)
            moved, changes = self._migrate(week)
            if week >= first_measured:
                self._sums.moved += moved
                self._sums.changes += changes
        return self._efficiency()

    def _migrate(self, week: int) -> tuple[float, int]:
        """Change layouts as the policy wishes, within the week's budget."""
        watched = Watched(self._views, self._rate, self._is_hot)
        rested = week + 1 - self._changed_week >= self._policy.dwell_s / WEEK_S
        may_change = rested & (self._world.birth <= week)
        changing = np.flatnonzero((self._policy.wants_hot(watched) != self._is_hot) & may_change)
        if self._policy.hot == self._policy.cold or not len(changing):
            return 0.0, 0
        warms = ~self._is_hot[changing]
        up = moved_bytes(self._policy.cold, self._policy.hot, 1_000_000) / 1e6
        down = moved_bytes(self._policy.hot, self._policy.cold, 1_000_000) / 1e6
        costs = np.where(warms, up, down) * self._world.sizes[changing]
        gains = np.where(warms, self._rate[changing], np.inf) / np.maximum(costs, 1.0)
        order = np.argsort(-gains, kind="stable")
        fits = np.cumsum(costs[order]) <= self._budget
        done = changing[order[fits]]
        self._is_hot[done] = ~self._is_hot[done]
        self._changed_week[done] = week + 1
        moved = float(costs[order[fits]].sum())
        self._most_moved = max(self._most_moved, moved)
        return moved, len(done)

    def _measure(self, week: int, views: npt.NDArray[np.int64]) -> None:
        sums, world = self._sums, self._world
        sums.weeks += 1
        broken, is_here = world.failures[week], world.birth <= week
        sums.videos += float(is_here.sum())
        sums.held += float(world.sizes[is_here].sum())
        for is_hot, layout in ((False, self._policy.cold), (True, self._policy.hot)):
            chosen = (self._is_hot == is_hot) & is_here
            places = world.placement[chosen]
            reads = np.bincount(places, views[chosen], minlength=len(world.orders))
            held = np.bincount(places, world.sizes[chosen], minlength=len(world.orders))
            failed, degraded = self._outages.shares(layout)
            sums.stored += layout.overhead * float(held.sum())
            sums.reads += float(reads.sum())
            sums.hot_reads += float(reads.sum()) * is_hot
            sums.hot_weeks += float(chosen.sum()) * is_hot
            sums.failed += float(reads @ failed[week])
            sums.degraded += float(reads @ degraded[week])
            sums.expected += float(reads.sum()) * unavailability(layout, self._zones)
            sums.loss += float(chosen.sum()) * markov_loss(layout, world.facts.rates)
            pieces = world.orders[:, : layout.fragments_total]
            sums.repaired += float(held @ broken[pieces].sum(axis=1))

    def _efficiency(self) -> Efficiency:
        sums, policy = self._sums, self._policy
        reads = max(1.0, sums.reads)
        byte_years, video_years = sums.held / WEEKS_PER_YEAR, sums.videos / WEEKS_PER_YEAR
        return Efficiency(
            policy=policy.name,
            overhead=sums.stored / sums.held,
            annual_loss=sums.loss / sums.videos,
            failed_reads=sums.failed / reads,
            failed_reads_expected=sums.expected / reads,
            degraded_reads=sums.degraded / reads,
            repair_per_year=sums.repaired / byte_years,
            migration_per_year=sums.moved / byte_years,
            migrations_per_year=sums.changes / video_years,
            hot_videos=sums.hot_weeks / sums.videos,
            hot_reads=sums.hot_reads / reads,
            busiest_day_share=self._most_moved / self._budget if self._budget else 0.0,
        )
