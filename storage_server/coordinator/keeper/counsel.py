"""The policy that fits the nodes there are now, and what it may know of each video.

Asked by whoever stores a new video, by the advisor that changes old ones, and by reports.
"""

from collections.abc import Callable
from enum import StrEnum

from redundancy.policy import HybridPolicy, Policy, ThresholdPolicy, VideoFacts
from redundancy.sizing import ClusterFacts, HybridLimits, NodeFacts
from smart_client import wire
from storage_server.coordinator.failure_detector import NodeState
from storage_server.coordinator.keeper.limits import KeeperLimits
from storage_server.coordinator.layouts import LayoutChoice
from storage_server.coordinator.library import Library
from storage_server.coordinator.membership import Membership
from storage_server.coordinator.registers import parse_group_key
from storage_server.coordinator.views import ViewCounter

# A measured availability moves all the time; a code is not chosen anew for less than this.
_AVAILABILITY_STEP = 0.005


class PolicyName(StrEnum):
    """Which policy decides about videos whose owner wished nothing."""

    OFF = "off"
    THRESHOLD = "threshold"
    HYBRID = "hybrid"


class Counsel:
    """Responsible for saying what a policy would have, with what is known now."""

    def __init__(
        self,
        library: Library,
        members: Membership,
        views: ViewCounter,
        *,
        limits: KeeperLimits,
        wall_clock: Callable[[], float],
    ) -> None:
        self.limits = limits
        self._library = library
        self._members = members
        self._views = views
        self.wall_clock = wall_clock
        self._made: dict[tuple[str, ClusterFacts], Policy] = {}

    def cluster(self, *, ready_only: bool = False) -> ClusterFacts | None:
        """Return the nodes to store on; None: there is none.

        What is lost or being emptied is none of them; a node that is away for a while is.
        """
        counted = {each.id for each in self._members.placement_nodes() if not each.excluded}
        if not ready_only:
            counted = {
                node
                for node in self._members.records
                if self._members.state(node) is not NodeState.LOST
            } - self._members.draining
        nodes = [record for node, record in self._members.records.items() if node in counted]
        facts = tuple(self._node_facts(record) for record in nodes)
        return ClusterFacts(facts) if facts else None

    def policy(self, name: str = "", *, ready_only: bool = False) -> Policy | None:
        """Return a policy for the nodes there are; None: there are none, or it is off.

        Args:
            name: empty: the one that is configured.
        """
        wanted = name or self.limits.policy
        cluster = self.cluster(ready_only=ready_only)
        if cluster is None or wanted == PolicyName.OFF:
            return None
        made = self._made.get((wanted, cluster))
        if made is None:
            if len(self._made) > 16:  # nodes came and went
                self._made.clear()
            made = self._made[wanted, cluster] = self._make(wanted, cluster)
        return made

    def for_new(self) -> LayoutChoice | None:
        """Return the layout a new video gets; None: the default's rule, see ``layouts``."""
        if self.limits.policy != PolicyName.HYBRID:
            return None
        policy = self.policy(ready_only=True)
        if policy is None:
            return None
        decision = policy.decide(VideoFacts("new", 0), self.wall_clock())
        return LayoutChoice(decision.layout, "; ".join(decision.reasons))

    def facts(self, video: wire.VideoRecord) -> VideoFacts:
        """Return what a policy may know of a video; its size is of all it decides about."""
        return VideoFacts(
            id=video.id,
            size_bytes=sum(each.size for each in video.renditions if each.layout is None),
            views=self._views.views(video.id),
            views_per_week=self._views.views_per_week(video.id),
            layout=video.layout.to_layout(),
            changed_at_s=video.laid_out_at_s or video.created_at_s,
            wish=video.wish.to_layout() if video.wish is not None else None,
        )

    def is_settled(self, video: wire.VideoRecord) -> bool:
        """Whether every chunk of renditions without a layout of their own has the video's."""
        wanted = (video.layout.k, video.layout.n, video.layout.copies)
        return all(
            (shape.k, len(shape.coded), len(shape.copies)) == wanted
            for key, shapes in self._library.groups_of(video.id)
            if video.layout_of(parse_group_key(key)[1]) == video.layout
            for shape in shapes
        )

    def is_policys(self, video: wire.VideoRecord) -> bool:
        """Whether a video is settled and nobody wished how it is stored."""
        if video.state != "ready" or video.wish is not None or video.id in self._library.trash:
            return False
        return self.is_settled(video)

    def _make(self, name: str, cluster: ClusterFacts) -> Policy:
        if name == PolicyName.HYBRID:
            return HybridPolicy(cluster, HybridLimits(dwell_s=self.limits.policy_dwell_s))
        return ThresholdPolicy(cluster)

    def _node_facts(self, record: wire.NodeRecord) -> NodeFacts:
        measured = self._members.uptime(record.id)
        if measured is None:
            return NodeFacts(record.id, record.zone)
        rounded = round(measured / _AVAILABILITY_STEP) * _AVAILABILITY_STEP
        return NodeFacts(record.id, record.zone, availability=min(rounded, 1 - _AVAILABILITY_STEP))
