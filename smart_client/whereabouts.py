"""Where every chunk of every video lies, small enough to be asked for at once.

Chunks with the same k on the same nodes are one *shape*, so a library of thousands of chunks is a
few hundred lines. Nodes and shapes are told once and meant by their position.
"""

from typing import Annotated

import msgspec

from smart_client import wire

Position = Annotated[int, msgspec.Meta(ge=0)]


class ShapeRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes of some chunks' pieces, as positions in ``Whereabouts.names``."""

    k: Annotated[int, msgspec.Meta(ge=1, le=256)]
    coded: tuple[Position, ...]  # of each coded piece; with k = 1 each is a whole copy
    copies: tuple[Position, ...] = ()  # of each whole copy besides


class VideoShapes(msgspec.Struct, frozen=True, kw_only=True):
    """A video's shapes, as positions in ``Whereabouts.shapes``."""

    name: wire.Name
    shapes: tuple[Position, ...]


class Whereabouts(msgspec.Struct, frozen=True, kw_only=True):
    """All videos that can be played, and all nodes, those that are no longer registered too."""

    names: tuple[wire.NodeName, ...]
    nodes: tuple[wire.NodeStatus, ...]
    shapes: tuple[ShapeRecord, ...]
    videos: tuple[VideoShapes, ...]

    def __post_init__(self) -> None:
        for shape in self.shapes:
            if max((*shape.coded, *shape.copies), default=-1) >= len(self.names):
                raise ValueError("a shape names a node that is not listed")
        for video in self.videos:
            if max(video.shapes, default=-1) >= len(self.shapes):
                raise ValueError(f"video '{video.name}' names a shape that is not listed")
