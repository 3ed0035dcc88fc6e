"""What a session asks its shell to do, in order."""

import msgspec


class Command(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Base of all commands."""


class OpenUnit(Command, frozen=True, tag=True, gc=False):
    """From now on ``chunk`` means that of this rendition of the ladder, 0 being the lowest."""

    chunk: int
    rendition: int


class Fetch(Command, frozen=True, tag=True, gc=False):
    """Ask ``node`` for bytes [start, stop) of a fragment's payload."""

    piece: int
    node: int
    chunk: int
    fragment: int
    start: int
    stop: int


class FetchFooter(Command, frozen=True, tag=True, gc=False):
    """Ask ``node`` for a fragment's footer: everything from byte ``start`` on."""

    piece: int
    node: int
    chunk: int
    fragment: int
    start: int


class Shorten(Command, frozen=True, tag=True, gc=False):
    """Stop reading the piece at ``stop`` (an offset in the fragment); the rest comes elsewhere."""

    piece: int
    stop: int


class Cancel(Command, frozen=True, tag=True, gc=False):
    """Give the piece up; nothing more is expected of it."""

    piece: int


class Probe(Command, frozen=True, tag=True, gc=False):
    """Ping the node."""

    node: int


class Decode(Command, frozen=True, tag=True, gc=False):
    """Put rows together from these k fragments, or from a single whole copy."""

    chunk: int
    first_row: int
    rows: int
    fragments: tuple[int, ...]


class VerifyChunk(Command, frozen=True, tag=True, gc=False):
    """Check the whole chunk against its SHA-256, then free its fragment buffers."""

    chunk: int


class Discard(Command, frozen=True, tag=True, gc=False):
    """Forget every byte of the chunk, decoded or not."""

    chunk: int


class Recall(Command, frozen=True, tag=True, gc=False):
    """Take a chunk out of the local cache instead of fetching it."""

    chunk: int


class AskPlacement(Command, frozen=True, tag=True, gc=False):
    """Find out where fragments lie now; the answer is ``PlacementKnown`` or ``PlacementUnknown``.

    Not asked again before the answer. A shell that knows nobody to ask may stay silent.
    """


class Relocate(Command, frozen=True, tag=True, gc=False):
    """From now on ``chunk`` is stored as its record in the session's tables says.

    ``anew``: in another layout, so no payload or footer of it is of use; decoded bytes are.
    """

    chunk: int
    anew: bool


class Notice(Command, frozen=True, tag=True, gc=False):
    """Something worth telling people and logs. ``kind`` is one of ``NOTICE_KINDS``."""

    kind: str
    reader: int = -1
    node: int = -1
    chunk: int = -1
    fragment: int = -1
    seconds: float = 0.0
    bytes: int = 0
    reason: str = ""


NOTICE_KINDS = (
    "playing",  # a paced reader started, after ``seconds``
    "stalled",  # its buffer ran empty at media time ``seconds``
    "resumed",  # ... and it plays again after ``seconds``
    "ended",  # it played to the end
    "seek",  # a reader jumped to media time ``seconds``
    "node_suspect",  # left alone for ``seconds`` because of ``reason``
    "node_up",  # it answered again after ``seconds``
    "takeover",  # ``bytes`` of a late piece were given to another node
    "reissued",  # ``bytes`` of a failed piece go elsewhere because of ``reason``
    "corrupt",  # a node served bytes that do not match
    "unplayable",  # too few fragments of this chunk answer for now
    "chunk_ready",  # a chunk is complete and verified
    "chunk_recalled",  # a chunk came whole out of the local cache
    "relocated",  # fragments of so many chunks (``reason``) lie elsewhere now
    "misplaced",  # what was said of where fragments lie makes no sense (``reason``)
)

AnyCommand = (
    OpenUnit
    | Fetch
    | FetchFooter
    | Shorten
    | Cancel
    | Probe
    | Decode
    | VerifyChunk
    | Discard
    | Recall
    | AskPlacement
    | Relocate
    | Notice
)
