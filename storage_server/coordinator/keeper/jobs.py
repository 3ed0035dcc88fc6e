"""What is to be done about one chunk, and what its record says afterwards. Pure.

    make what is lost -> copy the rest to its nodes -> compare-and-set the group -> drop

A job never takes anything away before its record is written, so one that is cut short anywhere
leaves at worst fragments that no record names.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from msgspec import structs

from redundancy.placement import PlacementNode
from redundancy.rows import RowGeometry
from redundancy.scheme import Layout
from smart_client import wire

NodeKey = tuple[str, str]  # a node and the key of a fragment on it


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node as the keeper sees it."""

    is_at_hand: bool  # up: it can be read from
    is_gone: bool = False  # what it holds is to be made elsewhere
    is_leaving: bool = False  # what it holds is to be moved away


@dataclass(frozen=True, slots=True)
class View:
    """The cluster at one instant, as far as planning needs it."""

    nodes: Mapping[str, NodeView]
    places: tuple[PlacementNode, ...]  # those excluded take nothing
    missing: Set[NodeKey] = frozenset()  # recorded, but not there or not intact

    def is_intact(self, fragment: wire.FragmentRecord) -> bool:
        """Whether a fragment can be read now."""
        node = self.nodes.get(fragment.node)
        return node is not None and node.is_at_hand and not self._is_missing(fragment)

    def is_lost(self, fragment: wire.FragmentRecord) -> bool:
        """Whether a fragment has to be made anew."""
        node = self.nodes.get(fragment.node)
        return node is None or node.is_gone or self._is_missing(fragment)

    def is_staying(self, node: str) -> bool:
        """Whether what a node holds, or is given again, may stay there."""
        view = self.nodes.get(node)
        return view is not None and not view.is_gone and not view.is_leaving

    def _is_missing(self, fragment: wire.FragmentRecord) -> bool:
        return (fragment.node, fragment.key) in self.missing


@dataclass(frozen=True, slots=True)
class Make:
    """One node makes fragments out of what is left of the chunk."""

    node: str
    indices: tuple[int, ...]  # in the layout the chunk gets; all are stored on the node
    pattern: int | None = None  # of a fragment made before, whose footer can be taken over


@dataclass(frozen=True, slots=True)
class Copy:
    """One node fetches a fragment from another."""

    index: int
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Job:
    """All that is to be done about one chunk."""

    group: str  # the register's key
    chunk: wire.ChunkRecord  # as it was when this was planned
    kind: str  # repair, move, migrate or trim
    danger: int  # losses the chunk survives now; the lowest first
    layout: wire.LayoutRecord  # of the chunk afterwards
    homes: Mapping[int, str]  # of the fragments listed afterwards
    sources: tuple[wire.FragmentRecord, ...] = ()  # intact, to make others from
    makes: tuple[Make, ...] = ()
    copies: tuple[Copy, ...] = ()
    unplaced: int = 0  # fragments that are lost and find no node
    wire_bytes: int = field(default=0)  # about what moves between nodes

    @property
    def is_new_layout(self) -> bool:
        """Whether the chunk is coded anew, into its next generation."""
        return self.kind == "migrate"

    @property
    def generation(self) -> int:
        """The chunk's generation afterwards."""
        return self.chunk.generation + self.is_new_layout

    @property
    def nodes(self) -> set[str]:
        """The nodes that have work with this."""
        takers = {make.node for make in self.makes} | {copy.target for copy in self.copies}
        return takers | {copy.source for copy in self.copies}

    @property
    def known_keys(self) -> dict[int, str]:
        """The keys that are known before anything is made, by index."""
        return {} if self.is_new_layout else {f.index: f.key for f in self.chunk.fragments}


def finished(job: Job, keys: Mapping[int, str]) -> wire.ChunkRecord:
    """Return the chunk's record when everything is made and copied.

    Args:
        keys: of all fragments in ``job.homes``, by index.
    """
    return structs.replace(
        job.chunk,
        layout=job.layout,
        generation=job.generation,
        fragments=tuple(
            wire.FragmentRecord(index=index, node=node, key=keys[index])
            for index, node in sorted(job.homes.items())
        ),
    )


def replaced(
    group: wire.GroupRecord | None, before: wire.ChunkRecord, after: wire.ChunkRecord
) -> wire.GroupRecord | None:
    """Return the group with one chunk changed; the group itself if that chunk is not as it was."""
    if group is None or before not in group.chunks:
        return group
    chunks = tuple(after if chunk == before else chunk for chunk in group.chunks)
    return structs.replace(group, chunks=chunks)


def dropped(job: Job, after: wire.ChunkRecord, temporary: Set[NodeKey]) -> set[NodeKey]:
    """Return what lies on nodes and is named no more once the record is ``after``."""
    named = {(fragment.node, fragment.key) for fragment in after.fragments}
    before = {(fragment.node, fragment.key) for fragment in job.chunk.fragments}
    return (before | temporary) - named


def fragment_bytes(size: int, layout: Layout, index: int) -> int:
    """Return the length of a fragment's payload."""
    return RowGeometry(size, 1 if layout.is_copy(index) else layout.scheme.k).payload_bytes
