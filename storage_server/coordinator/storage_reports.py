"""How efficiently and how safely everything is stored: one answer about all videos."""

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from redundancy.durability import markov_loss, nines, unavailability
from redundancy.migration import DailyBudget, moved_bytes, plan
from redundancy.policy import Policy, VideoFacts
from redundancy.scheme import Layout, Scheme
from redundancy.sizing import ClusterFacts
from smart_client import wire
from smart_client.storage_report import Advice, PolicyOutlook, StorageReport, VideoStorage
from storage_server.coordinator.keeper.advice import Advisor
from storage_server.coordinator.keeper.counsel import Counsel, PolicyName
from storage_server.coordinator.layouts import ChunkShape
from storage_server.coordinator.library import Library, VideoHealth, VideoTotals
from storage_server.coordinator.membership import Membership

MODEL = "markov"

_COPIES_COMPARED = 3

# A report may be so many times as old as it took to make, so that askers cost little.
_AGE_SHARE = 10.0
_AGE_MIN_S = 1.0


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of one video when a report begins."""

    record: wire.VideoRecord
    facts: VideoFacts
    totals: VideoTotals
    shapes: tuple[ChunkShape, ...]
    health: VideoHealth | None
    is_settled: bool
    is_policys: bool


@dataclass(frozen=True, slots=True)
class _Model:
    """Responsible for what layouts are worth on these nodes."""

    cluster: ClusterFacts | None

    def loss(self, layout: Layout | None) -> float:
        """Return the probability that it is lost in a year; None is a layout without bytes."""
        if layout is None or self.cluster is None:
            return 1.0
        return markov_loss(layout, self.cluster.rates)

    def failed(self, layout: Layout | None) -> float:
        """Return the share of reads that fail."""
        if layout is None or self.cluster is None:
            return 1.0
        return unavailability(layout, self.cluster.zones)


class StorageReporter:
    """Responsible for a report that is up to date, and made in a thread, for it weighs much."""

    def __init__(
        self, library: Library, members: Membership, counsel: Counsel, advisor: Advisor
    ) -> None:
        self._library = library
        self._members = members
        self._counsel = counsel
        self._advisor = advisor
        self._one = asyncio.Lock()
        self._made: StorageReport | None = None
        self._good_until_s = float("-inf")

    async def report(self, health: Mapping[str, VideoHealth]) -> StorageReport:
        """Return the report, a little old at most. Raises: CatalogueError, RegisterDamaged."""
        async with self._one:
            began_s = time.monotonic()
            if self._made is None or began_s >= self._good_until_s:
                budget = await self._advisor.budget()
                making = self._snapshot(health, budget)
                self._made = await asyncio.to_thread(making.report)
                took_s = time.monotonic() - began_s
                self._good_until_s = time.monotonic() + max(_AGE_MIN_S, _AGE_SHARE * took_s)
            return self._made

    def _snapshot(self, health: Mapping[str, VideoHealth], budget: DailyBudget) -> "_Making":
        counsel, library = self._counsel, self._library
        known = [
            _Known(
                video,
                counsel.facts(video),
                library.totals(video.id),
                tuple(library.shapes(video.id)),
                health.get(video.id),
                counsel.is_settled(video),
                counsel.is_policys(video),
            )
            for _, video in sorted(library.videos.items())
            if video.state == "ready" and video.id not in library.trash
        ]
        names = (PolicyName.THRESHOLD, PolicyName.HYBRID)
        others = [policy for name in names if (policy := counsel.policy(name)) is not None]
        measured = sum(self._members.uptime(node) is not None for node in self._members.records)
        return _Making(
            known=known,
            cluster=counsel.cluster(),
            policy_name=counsel.limits.policy,
            policy=counsel.policy(),
            others=others,
            measured=measured,
            budget=budget,
            now_s=counsel.wall_clock(),
        )


@dataclass(frozen=True, slots=True)
class _Making:
    """Responsible for one report, from what was known when it began."""

    known: list[_Known]
    cluster: ClusterFacts | None
    policy_name: str
    policy: Policy | None
    others: list[Policy]
    measured: int
    budget: DailyBudget
    now_s: float

    def report(self) -> StorageReport:
        """Return it."""
        model = _Model(self.cluster)
        advice = self._advice()
        videos = tuple(self._video(each, model, advice[each.record.id]) for each in self.known)
        video_bytes = sum(each.size for each in videos)
        stored_bytes = sum(each.stored_bytes for each in videos)
        weights = [each.views_per_week for each in videos]
        annual_loss = _mean([each.annual_loss for each in videos])
        return StorageReport(
            policy=self.policy_name,
            nodes=len(self.cluster.nodes) if self.cluster else 0,
            node_availability=self.cluster.zones.node_availability if self.cluster else 0.0,
            availabilities_measured=self.measured,
            model=MODEL,
            videos=videos,
            video_bytes=video_bytes,
            stored_bytes=stored_bytes,
            three_copies_bytes=_COPIES_COMPARED * video_bytes,
            saved_bytes=_COPIES_COMPARED * video_bytes - stored_bytes,
            annual_loss=annual_loss,
            nines=_finite_nines(annual_loss),
            failed_reads=_mean([each.failed_reads for each in videos], weights),
            budget_bytes_per_day=self.budget.limit_bytes,
            budget_spent_bytes=self.budget.limit_bytes - self.budget.left_bytes(self.now_s),
            outlooks=tuple(self._outlook(policy, model) for policy in self.others),
        )

    def _video(self, each: _Known, model: _Model, advice: Advice) -> VideoStorage:
        layouts = [_layout_of(shape) for shape in each.shapes]
        video, health = each.record, each.health
        return VideoStorage(
            name=video.name,
            id=video.id,
            layout=video.layout,
            reason=video.reason,
            is_wish=video.wish is not None,
            is_settled=each.is_settled,
            renditions=len(video.renditions),
            size=sum(rendition.size for rendition in video.renditions),
            stored_bytes=each.totals.stored_bytes,
            views=each.facts.views,
            views_per_week=each.facts.views_per_week,
            losses_survived=health.losses_survived if health else None,
            weakest_chunk_fragments_up=health.fewest_pieces if health else None,
            fragments_per_chunk=video.layout.n + video.layout.copies,
            annual_loss=max(map(model.loss, layouts), default=0.0),
            failed_reads=max(map(model.failed, layouts), default=0.0),
            advice=advice,
        )

    def _advice(self) -> dict[str, Advice]:
        """Return what the policy says of each video, by id."""
        if self.policy is None:
            return {
                each.record.id: _stays(each, f"policy {self.policy_name}") for each in self.known
            }
        asked = [each.facts for each in self.known if each.is_policys]
        planned = plan(self.policy, asked, self.now_s, self.budget)
        states = {each.video.id: ("now", "") for each in planned.now}
        states |= {each.video.id: ("later", why) for each, why in planned.later}
        found = {}
        for each in self.known:
            decision = self.policy.decide(replace(each.facts, wish=None), self.now_s)
            before, after = each.record.layout.to_layout(), decision.layout
            state, waits_for = states.get(each.record.id, ("keep", ""))
            if each.record.wish is not None:
                state = "wish"
            elif not each.is_settled:
                state = "moving"
            size = each.facts.size_bytes
            found[each.record.id] = Advice(
                layout=wire.LayoutRecord.of(after),
                reasons=decision.reasons,
                state=state,
                waits_for=waits_for,
                moved_bytes=moved_bytes(before, after, size) if before != after else 0,
                stored_bytes_more=round((after.overhead - before.overhead) * size),
            )
        return found

    def _outlook(self, policy: Policy, model: _Model) -> PolicyOutlook:
        stored = moved = 0.0
        losses, failed = [], []
        for each in self.known:
            before, size = each.record.layout.to_layout(), each.facts.size_bytes
            # As if no video had been changed lately: where the policy is going to.
            rested = replace(each.facts, changed_at_s=float("-inf"))
            after = policy.decide(rested, self.now_s).layout
            stored += after.overhead * size + _kept_bytes(each.record)
            moved += moved_bytes(before, after, size) if before != after else 0
            losses.append(model.loss(after))
            failed.append(model.failed(after))
        weights = [each.facts.views_per_week for each in self.known]
        return PolicyOutlook(
            name=policy.name,
            summary=policy.summary,
            stored_bytes=round(stored),
            moved_bytes=round(moved),
            nines=_finite_nines(_mean(losses)),
            failed_reads=_mean(failed, weights),
        )


def _stays(each: _Known, why: str) -> Advice:
    return Advice(layout=each.record.layout, reasons=(why,), state="keep")


def _kept_bytes(video: wire.VideoRecord) -> float:
    """Return what the renditions take that keep a layout of their own, whatever the policy."""
    return sum(r.size * r.layout.to_layout().overhead for r in video.renditions if r.layout)


def _layout_of(shape: ChunkShape) -> Layout | None:
    """Return the layout of what is recorded of a chunk; None: too little to be read."""
    coded, copies = len(shape.coded), len(shape.copies)
    if coded >= shape.k:
        return Layout(Scheme(shape.k, coded), copies)
    return Layout(Scheme(1, copies)) if copies else None


def _mean(values: Iterable[float], weights: Iterable[float] = ()) -> float:
    found, heavy = list(values), list(weights)
    if sum(heavy) > 0:
        return sum(v * w for v, w in zip(found, heavy, strict=True)) / sum(heavy)
    return sum(found) / len(found) if found else 0.0


def _finite_nines(loss: float) -> float:
    """Return the nines of a loss; a library of nothing loses nothing, and has none to tell."""
    return nines(loss) if loss > 0 else 0.0
