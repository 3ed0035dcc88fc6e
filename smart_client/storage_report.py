"""What a coordinator tells of how efficiently, and how safely, everything is stored.

Sizes are of all renditions of a video together. What is lost or cannot be read is computed, not
measured: ``model`` names how, ``availabilities_measured`` of how many nodes the uptime is known.
"""

import msgspec

from smart_client import wire


class Advice(msgspec.Struct, frozen=True, kw_only=True):
    """What the policy would have now for one video, and what getting there takes."""

    layout: wire.LayoutRecord
    reasons: tuple[str, ...]
    # keep: it is as it should be. now, later: the policy's next turn changes it, or a later one.
    # wish: its owner's layout goes before this one. moving: the keeper is at it.
    state: str
    waits_for: str = ""  # why later
    moved_bytes: wire.Count = 0  # between nodes, to get there
    stored_bytes_more: int = 0  # afterwards; negative: freed


class VideoStorage(msgspec.Struct, frozen=True, kw_only=True):
    """How one ready video is stored."""

    name: wire.Name
    id: wire.VideoId
    layout: wire.LayoutRecord  # what it has, or is on its way to
    reason: str
    is_wish: bool  # its owner chose the layout
    is_settled: bool  # every chunk has the layout
    renditions: wire.Count
    size: wire.Count
    stored_bytes: wire.Count
    views: wire.Count
    views_per_week: float  # faded, half of it in a week
    # None: not known, because some node was not heard since the coordinator's start.
    losses_survived: int | None  # more nodes that may go, whichever; -1: some chunk is unreadable
    weakest_chunk_fragments_up: int | None
    fragments_per_chunk: wire.Count
    annual_loss: float  # probability
    failed_reads: float  # share of reads at a random instant
    advice: Advice

    @property
    def overhead(self) -> float:
        """Bytes stored for each byte of the video."""
        return self.stored_bytes / self.size if self.size else 0.0


class PolicyOutlook(msgspec.Struct, frozen=True, kw_only=True):
    """Where the library would be if a policy's wishes were all done."""

    name: str
    summary: tuple[str, ...]  # what it chose for these nodes and why
    stored_bytes: wire.Count
    moved_bytes: wire.Count  # to get there from now
    nines: float
    failed_reads: float


class StorageReport(msgspec.Struct, frozen=True, kw_only=True):
    """The whole library, as one coordinator sees it."""

    v: int = wire.WIRE_VERSION
    policy: str  # off, threshold or hybrid
    nodes: wire.Count
    node_availability: float  # mean share of the time, used by the model
    availabilities_measured: wire.Count  # of how many nodes that is measured rather than assumed
    model: str
    videos: tuple[VideoStorage, ...]  # by name
    video_bytes: wire.Count
    stored_bytes: wire.Count
    three_copies_bytes: wire.Count
    saved_bytes: int  # against three copies
    annual_loss: float  # of a random video
    nines: float
    failed_reads: float  # of a random view; of a random video where nothing was viewed
    budget_bytes_per_day: wire.Count
    budget_spent_bytes: wire.Count  # today
    outlooks: tuple[PolicyOutlook, ...]

    @property
    def overhead(self) -> float:
        """Bytes stored for each byte of the videos."""
        return self.stored_bytes / self.video_bytes if self.video_bytes else 0.0


class HarmRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What happens when exactly these nodes go, beyond what has happened already."""

    nodes: tuple[wire.NodeName, ...]
    stopped: tuple[wire.Name, ...]  # until the nodes are back
    lost: tuple[wire.Name, ...]  # if their data is gone


class NodeExposure(msgspec.Struct, frozen=True, kw_only=True):
    """What one node's going does."""

    id: wire.NodeName
    state: str
    uptime: float  # used for what is to be expected
    harm: HarmRecord


class CombinedExposure(msgspec.Struct, frozen=True, kw_only=True):
    """What the going of any so many nodes does."""

    missing: wire.Count
    combinations: wire.Count
    stopping: wire.Count  # combinations that stop a video
    losing: wire.Count
    worst: tuple[HarmRecord, ...]  # a few that do what no part of them does


class ExposureReport(msgspec.Struct, frozen=True, kw_only=True):
    """Which nodes may go: the summary that ``storage-server exposure`` shows."""

    v: int = wire.WIRE_VERSION
    videos: wire.Count
    now: HarmRecord  # what is stopped and lost already
    nodes: tuple[NodeExposure, ...]
    combined: tuple[CombinedExposure, ...]  # of 2 and 3 nodes
    # How many videos cannot be played at a random instant; between two bounds with many nodes.
    expected_unplayable_low: float
    expected_unplayable_high: float


class NodePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What emptying a node takes; ``node`` is empty where it is about all of them."""

    node: str = ""
    moves: wire.Count  # fragments copied or made anew
    bytes: wire.Count  # between nodes
    seconds: wire.Seconds  # at least, at the keeper's rate
    left: wire.Count = 0  # groups of up to 64 chunks with something to do
