"""How much redundancy each video gets: two policies behind one contract. Pure.

``threshold``: at most 1000 views -> 3 of 5; above -> three copies, for good.
``hybrid``: one code for all, the smallest that withstands what these nodes do, and a whole copy
besides while a video is hot. So cooling down is a delete.

            40 views a week                      a video of ``hybrid``
    cold ───────────────────▶ hot                between the two it stays what it is, and
         ◀───────────────────                    for ``dwell_s`` after any change
            20 views a week

A policy wishes; ``migration.plan`` decides what may be done today.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from redundancy.durability import Worth, nines, worth
from redundancy.errors import UsageError
from redundancy.scheme import Layout, Scheme
from redundancy.sizing import ClusterFacts, HybridLimits, candidates, choose, misses

# V-Stack's rule.
VIEWS_THRESHOLD = 1000
_HOT = Layout(Scheme(1, 3))
_COLD = Layout(Scheme(3, 5))

# With fewer nodes: first survive the loss of any one, if possible of any two, then save space.
_FALLBACKS = {
    4: Layout(Scheme(2, 4)),
    3: Layout(Scheme(2, 3)),
    2: Layout(Scheme(1, 2)),
    1: Layout(Scheme(1, 1)),
}

# A video is not coded anew to save less than this part of its size.
_GAIN_MIN = 0.05

Numbers = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class VideoFacts:
    """What a policy may know of a video."""

    id: str
    size_bytes: int
    views: int = 0  # all there were
    views_per_week: float = 0.0  # faded, see ``popularity``
    layout: Layout | None = None  # None: not stored yet
    changed_at_s: float = float("-inf")  # when it got this layout
    wish: Layout | None = None  # the owner's, which goes before any rule

    def __post_init__(self) -> None:
        if self.size_bytes < 0 or self.views < 0 or not self.views_per_week >= 0:
            raise UsageError(f"sizes and views are not negative: {self}")


@dataclass(frozen=True, slots=True)
class Watched:
    """What ``wants_hot`` goes by, of one video or, in arrays of equal shape, of many."""

    views: Numbers  # all there were
    views_per_week: Numbers
    was_hot: Flags


@dataclass(frozen=True, slots=True)
class Decision:
    """The layout a video should have, and for people, why."""

    layout: Layout
    reasons: tuple[str, ...]
    is_urgent: bool = False  # it survives fewer losses than it must: no waiting


class Policy(Protocol):
    """Wishes a layout for each video."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""

    @property
    def cold(self) -> Layout:
        """What most videos get."""

    @property
    def hot(self) -> Layout:
        """What those watched much get."""

    @property
    def dwell_s(self) -> float:
        """How long a video keeps its layout after a change, unless that is unsafe."""

    @property
    def starts_hot(self) -> bool:
        """Whether a new video is one of them at first."""

    @property
    def losses_min(self) -> int:
        """Losses of nodes that any video survives to which no owner's wish applies."""

    @property
    def losses_asked(self) -> int:
        """The same as it should be; with few nodes that is more than what can be had."""

    @property
    def summary(self) -> tuple[str, ...]:
        """What it chose for this cluster and why, in sentences."""

    def wants_hot(self, watched: Watched) -> Flags:
        """Return for each of many videos whether it should be hot now."""

    def decide(self, video: VideoFacts, now_s: float) -> Decision:
        """Return the layout a video should have now."""


def losses(count: int) -> str:
    """Return what a layout survives, in words."""
    if not count:
        return "survives no loss"
    return f"survives the loss of any {count} node{'s' if count > 1 else ''}"


def _fit(layout: Layout, nodes: int) -> Layout:
    """Return the layout, or the best one for so few nodes."""
    if layout.fragments_total <= nodes:
        return layout
    if layout.scheme.k == 1:
        return Layout(Scheme(1, nodes))
    return _FALLBACKS.get(nodes, _COLD)


def _tells_instead(asked: Layout, got: Layout, nodes: int) -> list[str]:
    if asked == got:
        return []
    are = "is 1" if nodes == 1 else f"are {nodes}"
    return [f"{asked} needs {asked.fragments_total} nodes and there {are}: {got} instead"]


_WARNING = "WARNING: the loss of one node loses videos; add nodes first"


class _Rule(ABC):
    """What the policies share: the owner's wish, rest after a change, too little redundancy."""

    name: str
    cold: Layout
    hot: Layout
    losses_min: int
    losses_asked: int
    starts_hot = False
    dwell_s = 0.0
    summary: tuple[str, ...]

    def __init__(self, cluster: ClusterFacts) -> None:
        self._nodes = len(cluster.nodes)

    @abstractmethod
    def wants_hot(self, watched: Watched) -> Flags:
        """Return for each of many videos whether it should be hot now."""

    @abstractmethod
    def _why(self, video: VideoFacts, was_hot: bool) -> str:
        """Return in words what ``wants_hot`` went by."""

    def _unless_small(self, _has: Layout, wanted: Layout) -> Layout:
        """Return the layout to have, where changing to ``wanted`` may gain little."""
        return wanted

    def decide(self, video: VideoFacts, now_s: float) -> Decision:
        """Return the layout a video should have now."""
        has = video.layout
        if video.wish is not None:
            return self._as_wished(video, video.wish)
        if has is None:
            return self._for_new()
        was_hot = self._is_hot(has)
        watched = Watched(
            np.asarray(video.views), np.asarray(video.views_per_week), np.asarray(was_hot)
        )
        wanted = self.hot if self.wants_hot(watched) else self.cold
        why = self._why(video, was_hot)
        if has.tolerates < self.losses_min:
            unsafe = f"as {has} it {losses(has.tolerates)}, and must survive {self.losses_min}"
            return Decision(wanted, (unsafe, why), is_urgent=True)
        if wanted.tolerates < min(has.tolerates, self.losses_asked):
            stays = f"but it {losses(has.tolerates)} as {has} and stays that: there are too few"
            return Decision(has, (why, f"{stays} nodes for as much anew"))
        wanted = self._unless_small(has, wanted)
        rests_s = self.dwell_s - (now_s - video.changed_at_s)
        if wanted != has and rests_s > 0:
            waits = f"but it was changed lately and stays {has} for {rests_s / 3600:.0f} h more"
            return Decision(has, (why, waits))
        return Decision(wanted, (why,))

    def _for_new(self) -> Decision:
        if self.starts_hot:
            why = f"new videos are watched most, so it starts with a copy besides: {self.hot}"
            return Decision(self.hot, (why,))
        return Decision(self.cold, (f"a new video: {self.cold}, {_price(self.cold)}",))

    def _is_hot(self, has: Layout) -> bool:
        """Whether this layout, perhaps another policy's, is one for videos watched much."""
        return has.copies > 0 or (has.scheme.k == 1 and self.cold.scheme.k > 1)

    def _as_wished(self, video: VideoFacts, wish: Layout) -> Decision:
        if wish.fragments_total <= self._nodes:
            return Decision(wish, (f"its owner wants {wish}; it {losses(wish.tolerates)}",))
        kept = video.layout or _fit(wish, self._nodes)
        verb = "it stays" if video.layout else "it gets"
        why = (
            f"its owner wants {wish}, which needs {wish.fragments_total} nodes; there are "
            f"{self._nodes}, so {verb} {kept}"
        )
        return Decision(kept, (why,))


class FixedPolicy(_Rule):
    """Responsible for one layout for every video, whatever it is watched."""

    def __init__(self, cluster: ClusterFacts, layout: Layout) -> None:
        super().__init__(cluster)
        self.cold = self.hot = _fit(layout, self._nodes)
        self.name = str(layout)
        self.losses_min, self.losses_asked = self.cold.tolerates, layout.tolerates
        told = [f"{self.cold} for all, {_price(self.cold)}"]
        self.summary = (*told, *_tells_instead(layout, self.cold, self._nodes))

    def wants_hot(self, watched: Watched) -> Flags:
        """Return that none is."""
        return np.zeros_like(watched.was_hot)

    def _why(self, *_: object) -> str:
        return f"{self.cold} for all"


class ThresholdPolicy(_Rule):
    """Responsible for V-Stack's rule: copies for what was watched often, a code for the rest."""

    name = "threshold"

    def __init__(
        self,
        cluster: ClusterFacts,
        *,
        views: int = VIEWS_THRESHOLD,
        hot: Layout = _HOT,
        cold: Layout = _COLD,
    ) -> None:
        super().__init__(cluster)
        self._views = views
        self.hot, self.cold = _fit(hot, self._nodes), _fit(cold, self._nodes)
        self.losses_min = min(self.hot.tolerates, self.cold.tolerates)
        self.losses_asked = min(hot.tolerates, cold.tolerates)
        self.summary = (
            f"up to {views} views: {self.cold}, {_price(self.cold)}",
            f"above {views} views: {self.hot}, {_price(self.hot)}",
            *_tells_instead(cold, self.cold, self._nodes),
            *_tells_instead(hot, self.hot, self._nodes),
            *([] if self.losses_min else [_WARNING]),
        )

    def wants_hot(self, watched: Watched) -> Flags:
        """Return for each of many videos whether it was watched often enough, ever."""
        return np.asarray(watched.views > self._views)

    def _why(self, video: VideoFacts, *_: object) -> str:
        is_hot = video.views > self._views
        than = "more than" if is_hot else "not more than"
        counted = f"{video.views} view{'' if video.views == 1 else 's'}"
        return f"{counted} so far, {than} {self._views}: {self.hot if is_hot else self.cold}"


def _price(layout: Layout) -> str:
    return f"takes {layout.overhead:.2f}x the space, {losses(layout.tolerates)}"


class HybridPolicy(_Rule):
    """Responsible for the smallest sufficient code, and whole copies of what is hot."""

    name = "hybrid"

    def __init__(self, cluster: ClusterFacts, limits: HybridLimits | None = None) -> None:
        super().__init__(cluster)
        self.limits = limits or HybridLimits()
        self._cluster = cluster
        self.candidates = candidates(cluster, self.limits)
        best, short = choose(self.candidates, self.limits)
        self.cold = best.layout
        copies = min(self.limits.hot_copies, self._nodes - self.cold.fragments_total)
        self.hot = Layout(self.cold.scheme, copies)
        self.losses_asked = self.limits.losses_min
        self.losses_min = min(self.cold.tolerates, self.losses_asked)
        self.starts_hot = copies > 0
        self.dwell_s = self.limits.dwell_s
        self.summary = tuple(self._explain(best, short))

    def wants_hot(self, watched: Watched) -> Flags:
        """Return for each of many videos whether it warmed up, or is not cold again yet."""
        limits = self.limits
        rate = watched.views_per_week
        stays_hot = watched.was_hot & (rate > limits.cold_views_per_week)
        is_hot: Flags = (rate >= limits.hot_views_per_week) | stays_hot
        return is_hot

    def _why(self, video: VideoFacts, was_hot: bool) -> str:
        limits, rate = self.limits, video.views_per_week
        watched = f"watched {rate:.3g} times a week lately"
        if rate >= limits.hot_views_per_week:
            return f"{watched}, {limits.hot_views_per_week:g} or more: {self.hot}"
        if was_hot and rate > limits.cold_views_per_week:
            return f"{watched}, still more than {limits.cold_views_per_week:g}: {self.hot}"
        if was_hot:
            return f"{watched}, not more than {limits.cold_views_per_week:g}: {self.cold}"
        return f"{watched}, less than {limits.hot_views_per_week:g}: {self.cold}"

    def _unless_small(self, has: Layout, wanted: Layout) -> Layout:
        """Return ``wanted``, or the same with the code it has, if that is nearly as small."""
        own = Layout(has.scheme, wanted.copies)
        if own.fragments_total > self._nodes or has.scheme == wanted.scheme:
            return wanted
        now = worth(Layout(has.scheme), self._cluster.rates, self._cluster.zones)
        gain = own.overhead - wanted.overhead
        return own if gain < _GAIN_MIN and not any(misses(now, self.limits)) else wanted

    def _explain(self, best: Worth, short: Sequence[str]) -> Iterator[str]:
        zones = self._cluster.zones
        yield (
            f"{self._nodes} node{'s' if self._nodes > 1 else ''} in {zones.zones} "
            f"zone{'s' if zones.zones > 1 else ''}, each up {zones.node_availability:.1%} of the "
            f"time: {best.layout}, {_price(best.layout)}"
        )
        yield (
            f"it loses {best.annual_loss:.1e} of videos a year ({nines(best.annual_loss):.1f} "
            f"nines, {best.model} model) and fails {best.unavailability:.1e} of reads"
        )
        if short:
            yield f"no code on these nodes does all that is asked: {', '.join(short)}"
        if self.hot.copies:
            hot = self.limits.hot_views_per_week
            yield f"{self.hot} for what is watched {hot:g} times a week or more"
        elif self.limits.hot_copies:
            yield "a hot video gets no copy besides: every node holds a fragment of it already"
        if not best.layout.tolerates:
            yield _WARNING
