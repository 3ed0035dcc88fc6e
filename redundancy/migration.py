"""From what policies wish to what is done today: bytes a change moves, and a day's budget. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

from redundancy.errors import UsageError
from redundancy.policy import Policy, VideoFacts
from redundancy.quantities import size_text
from redundancy.scheme import Layout

DAY_S = 86_400.0


def moved_bytes(before: Layout, after: Layout, size_bytes: int) -> int:
    """Return what travels between nodes when a video changes its layout, at best.

    A node that gives up a whole copy cuts its fragment out of it on the spot. Where there is no
    copy, a node that holds a fragment fetches k - 1 others once and sends what it makes.

    3 copies -> 3 of 5 moves 2/3 of the video, back twice the video; a copy more costs the video,
    one less nothing.
    """
    k, n = before.scheme.k, before.scheme.n
    k_after, n_after = after.scheme.k, after.scheme.n
    whole, whole_after = _whole(before), _whole(after)
    fetched = 0.0 if whole else (k - 1) / k  # to have the video at one place
    stays_coded = k > 1 and before.scheme == after.scheme
    freed = max(0, whole - whole_after)  # copies that may be cut up where they are
    copies_made = max(0, whole_after - whole)
    moved = copies_made * (1.0 if k == 1 or stays_coded or k_after > 1 else fetched or 1.0)
    if k_after > 1 and not stays_coded:
        made = max(0, n_after - n) if k_after == k else n_after
        sent = max(0, made - (freed if whole else int(k_after != k)))
        moved += (fetched + sent / k_after) if made else 0.0
    return round(moved * size_bytes)


def _whole(layout: Layout) -> int:
    """Return how many whole copies a layout has."""
    return layout.copies + (layout.scheme.n if layout.scheme.k == 1 else 0)


@dataclass(frozen=True, slots=True)
class DailyBudget:
    """What may be moved for migrations each day (of 86,400 s, from the clock's zero)."""

    limit_bytes: int
    day: int = 0
    spent_bytes: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.spent_bytes <= self.limit_bytes:
            raise UsageError(f"spent {self.spent_bytes} of {self.limit_bytes} bytes a day")

    def left_bytes(self, now_s: float) -> int:
        """Return what may still be moved today."""
        return self.limit_bytes - (self.spent_bytes if int(now_s // DAY_S) <= self.day else 0)

    def spend(self, moved_bytes: int, now_s: float) -> Self:
        """Return the budget after moving something that ``left_bytes`` allows."""
        spent_bytes = self.limit_bytes - self.left_bytes(now_s) + moved_bytes
        return replace(self, day=max(self.day, int(now_s // DAY_S)), spent_bytes=spent_bytes)


@dataclass(frozen=True, slots=True)
class Transition:
    """One video's way from a layout to another."""

    video: VideoFacts
    before: Layout
    after: Layout
    moved_bytes: int
    stored_bytes: int  # how many more are stored afterwards; negative: freed
    reasons: tuple[str, ...]
    is_urgent: bool = False

    @property
    def order(self) -> tuple[bool, bool, float]:
        """Sorts first: what is unsafe, what costs nothing, what gains most for its bytes.

        A video that warms up gains by its views, one that is made smaller by the space.
        """
        worth = self.video.views_per_week if self.stored_bytes > 0 else -float(self.stored_bytes)
        return (not self.is_urgent, self.moved_bytes > 0, -worth / max(1, self.moved_bytes))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do now, what waits and why, and the budget after it."""

    now: tuple[Transition, ...]
    later: tuple[tuple[Transition, str], ...]
    unchanged: int
    budget: DailyBudget

    @property
    def moved_bytes(self) -> int:
        """What the transitions of now move."""
        return sum(each.moved_bytes for each in self.now)


def plan(policy: Policy, videos: Iterable[VideoFacts], now_s: float, budget: DailyBudget) -> Plan:
    """Return what to change now, most urgent first, within what is left of the day's budget.

    One that does not fit holds up those after it, so that large videos get their turn on another
    day; one that no day's budget can pay waits by itself until the budget is raised.
    """
    wished, unchanged = [], 0
    for video in videos:
        decision = policy.decide(video, now_s)
        if video.layout is None or decision.layout == video.layout:
            unchanged += 1
            continue
        before, after = video.layout, decision.layout
        wished.append(
            Transition(
                video,
                before,
                after,
                moved_bytes=moved_bytes(before, after, video.size_bytes),
                stored_bytes=round((after.overhead - before.overhead) * video.size_bytes),
                reasons=decision.reasons,
                is_urgent=decision.is_urgent,
            )
        )
    now: list[Transition] = []
    later: list[tuple[Transition, str]] = []
    is_full = False
    for each in sorted(wished, key=lambda each: each.order):
        if each.moved_bytes > budget.limit_bytes:
            later.append((each, _never_fits(each, budget)))
        elif each.moved_bytes > (0 if is_full else budget.left_bytes(now_s)):
            is_full = True
            later.append((each, f"today's {size_text(budget.limit_bytes)} are spoken for"))
        else:
            now.append(each)
            budget = budget.spend(each.moved_bytes, now_s)
    return Plan(tuple(now), tuple(later), unchanged, budget)


def _never_fits(each: Transition, budget: DailyBudget) -> str:
    return (
        f"it moves {size_text(each.moved_bytes)}, more than the {size_text(budget.limit_bytes)} "
        "of a whole day; raise the budget"
    )
