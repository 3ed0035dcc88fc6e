"""How a new video is to be stored, and what a stored chunk withstands. Pure."""

from collections.abc import Callable
from dataclasses import dataclass

from redundancy.scheme import Layout, Scheme
from smart_client.errors import InvalidRequest, TooFewNodesUp
from smart_client.wire import ChunkRecord

# A group's register lists every fragment of 64 chunks at about 170 bytes each, and must stay
# below the catalogue's 1 MiB.
FRAGMENTS_PER_CHUNK_MAX = 64

AUTO = "auto"

# V-Stack's rule for a video without views: five fragments, any three of which are enough.
_COLD = Layout(Scheme(3, 5))

# With fewer nodes: first survive the loss of any one, if possible of any two, then save space.
_FALLBACKS = {
    4: Layout(Scheme(2, 4)),
    3: Layout(Scheme(2, 3)),
    2: Layout(Scheme(1, 2)),
    1: Layout(Scheme(1, 1)),
}


@dataclass(frozen=True, slots=True)
class NodeCounts:
    """How many nodes there are to choose from."""

    ready: int  # up, with room
    known: int  # registered, whatever their state


@dataclass(frozen=True, slots=True)
class LayoutChoice:
    """A layout and, for people, why."""

    layout: Layout
    reason: str


def choose_layout(wish: str, nodes: NodeCounts) -> LayoutChoice:
    """Return the layout for a new video.

    Args:
        wish: ``auto``, or a layout such as ``rs:3+2`` or ``rep:3``.
    Raises:
        InvalidScheme, InvalidRequest: no layout can be like that.
        TooFewNodesUp: it needs more nodes than are ready.
    """
    if wish == AUTO:
        return _choose_automatically(nodes)
    layout = Layout.parse(wish)
    if layout.fragments_total > FRAGMENTS_PER_CHUNK_MAX:
        raise InvalidRequest(
            f"{layout} has {layout.fragments_total} fragments a chunk; at most "
            f"{FRAGMENTS_PER_CHUNK_MAX} are possible"
        )
    if layout.fragments_total > nodes.ready:
        raise too_few_nodes(layout, nodes)
    return LayoutChoice(layout, f"as asked; {_worth(layout)}")


def too_few_nodes(layout: Layout, nodes: NodeCounts) -> TooFewNodesUp:
    """Return the error that names how many nodes are needed and how many there are."""
    return TooFewNodesUp(
        f"{layout} needs {layout.fragments_total} nodes that are up and have room, "
        f"{nodes.ready} of {nodes.known} are",
        hint="start more nodes (`storage-server admin node list` shows them), or ask for less "
        "with --redundancy",
        detail={"needed": layout.fragments_total, "up": nodes.ready, "known": nodes.known},
    )


def part_for(layout: Layout, nodes_ready: int) -> Layout | None:
    """Return what so many nodes can hold of a layout that needs more, the first of its pieces.

    None: too little for an upload to go on: a chunk must survive a loss.
    """
    scheme = layout.scheme
    if nodes_ready < min(scheme.k + 1, layout.fragments_total):
        return None
    coded = min(scheme.n, nodes_ready)
    return Layout(Scheme(scheme.k, coded), min(layout.copies, nodes_ready - coded))


def _choose_automatically(nodes: NodeCounts) -> LayoutChoice:
    if nodes.ready >= _COLD.fragments_total:
        return LayoutChoice(_COLD, f"the default for a new video; {_worth(_COLD)}")
    if not nodes.ready:
        raise TooFewNodesUp(
            f"none of {nodes.known} nodes is up and has room",
            hint="start one: storage-server node --data DIR --coordinator URL",
            detail={"needed": 1, "up": 0, "known": nodes.known},
        )
    layout = _FALLBACKS[nodes.ready]
    reason = (
        f"{nodes.ready} of {nodes.known} nodes are up and have room, and the default, {_COLD}, "
        f"needs {_COLD.fragments_total}; {_worth(layout)}"
    )
    if not layout.tolerates:
        reason += ". WARNING: the loss of that node loses the video; add nodes first"
    return LayoutChoice(layout, reason)


def _worth(layout: Layout) -> str:
    losses = {0: "survives no loss", 1: "survives the loss of any 1 node"}.get(
        layout.tolerates, f"survives the loss of any {layout.tolerates} nodes"
    )
    return f"{losses}, takes {layout.overhead:.2f}x the space"


def losses_demanded(layout: Layout, nodes_known: int) -> int:
    """Return how many losses a chunk must survive before its upload counts as durable."""
    if layout.scheme.k == 1 and nodes_known < 2:
        return 0
    return min(1, layout.tolerates)


@dataclass(frozen=True, slots=True)
class ChunkShape:
    """Where a chunk's pieces lie; chunks with equal shapes live and die together."""

    k: int
    coded: tuple[str, ...]  # nodes of the coded fragments, in order
    copies: tuple[str, ...]  # nodes of the whole copies beyond n, in order

    @classmethod
    def of(cls, chunk: ChunkRecord) -> "ChunkShape":
        """Return the shape of a chunk as it is recorded."""
        n = chunk.layout.n
        return cls(
            k=chunk.layout.k,
            coded=tuple(sorted(each.node for each in chunk.fragments if each.index < n)),
            copies=tuple(sorted(each.node for each in chunk.fragments if each.index >= n)),
        )

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes that hold a piece."""
        return self.coded + self.copies

    def pieces(self, is_at_hand: Callable[[str], bool]) -> int:
        """Return how many pieces lie on nodes that are at hand."""
        return sum(map(is_at_hand, self.nodes))

    def losses_survived(self, is_at_hand: Callable[[str], bool]) -> int:
        """Return how many more losses the chunk survives, whichever they are; -1: unreadable now.

        The worst case takes all copies first, then coded fragments until fewer than k are left.
        """
        coded = sum(map(is_at_hand, self.coded))
        copies = sum(map(is_at_hand, self.copies))
        return copies + max(0, coded - self.k + 1) - 1
