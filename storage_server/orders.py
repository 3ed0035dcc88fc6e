"""What a coordinator orders a node to make, and what the node answers.

A chunk's fragments are made anew from what is left of them, on the node that is to hold them, so
that the coordinator carries no video bytes.
"""

import msgspec

from smart_client import wire

# As many fragments as a chunk may have here.
FRAGMENTS_MAX = 64

# A chunk coded into more than this many times its size is not coded anew on a node: (2, 64) of
# 4 MiB would take 128 MiB of its memory.
EXPANSION_MAX = 16


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A fragment that is there, and where. Without addresses only the node itself may have it."""

    index: wire.Count
    key: wire.Sha256Hex
    urls: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.urls) > 4:
            raise ValueError("a source has at most 4 addresses")
        wire.NodeRecord(id="source", urls=self.urls)  # refuses what is not http://host:port


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A fragment to be made and stored. Its key is empty where nobody knows it yet."""

    index: wire.Count
    key: wire.Sha256Hex | None = None


class RebuildOrder(msgspec.Struct, frozen=True, kw_only=True):
    """Make fragments of one chunk from others.

    Without ``into`` they are fragments as they were first stored. With it the chunk gets another
    layout and the next generation; ``pattern`` then names a coded fragment that was made in it
    already: a node that holds the same coded fragment in the old layout, with the same k, takes
    the footer over and moves no payload.
    """

    video_id: wire.VideoId
    rendition: wire.Name
    number: wire.Count
    generation: wire.Count
    size: wire.Count
    sha256: wire.Sha256Hex
    layout: wire.LayoutRecord  # of the sources
    sources: tuple[Source, ...]  # the best first
    wanted: tuple[Wanted, ...]
    into: wire.LayoutRecord | None = None
    pattern: Source | None = None
    grant: wire.GrantText = ""  # to read the sources, where reading is signed

    def __post_init__(self) -> None:
        made = self.into or self.layout
        total = made.n + made.copies
        if not 1 <= self.size <= 4 * 1024 * 1024:
            raise ValueError("a chunk has 1 byte to 4 MiB")
        if not 1 <= len(self.sources) <= FRAGMENTS_MAX:
            raise ValueError(f"name 1 to {FRAGMENTS_MAX} sources")
        if not self.wanted or len({each.index for each in self.wanted}) != len(self.wanted):
            raise ValueError("name the fragments to make, each once")
        if total > FRAGMENTS_MAX or made.n > EXPANSION_MAX * made.k:
            raise ValueError(f"a node makes no {made.to_layout()}")
        if max(each.index for each in self.wanted) >= total:
            raise ValueError(f"{made.to_layout()} has {total} fragments")
        sources = self.layout.n + self.layout.copies
        if max(each.index for each in self.sources) >= sources:
            raise ValueError(f"{self.layout.to_layout()} has {sources} fragments")
        if self.pattern is not None and self.into is None:
            raise ValueError("a pattern is of another layout")


class MadeFragment(msgspec.Struct, frozen=True, kw_only=True):
    """A fragment of the chunk as it must be: stored by this order, or only its key worked out."""

    index: wire.Count
    key: wire.Sha256Hex
    size: wire.Count
    is_stored: bool


class Rebuilt(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an order."""

    fragments: tuple[MadeFragment, ...]
    received_bytes: wire.Count  # from other nodes
    bad: tuple[wire.Sha256Hex, ...] = ()  # sources whose bytes were not theirs
