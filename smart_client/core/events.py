"""What can happen to a session. The shell (driver or simulator) reports it with the instant.

Every event is a small frozen record with a tag, so a session's whole life can be written as JSON
lines and replayed. ``node`` and ``chunk`` are positions in the session's tables; ``piece`` is the
number the session gave the request.
"""

from enum import StrEnum

import msgspec

from smart_client.wire import ChunkRecord, NodeName


class FailureKind(StrEnum):
    """Why a request gave nothing more. Decides how long its node is left alone."""

    REFUSED = "refused"  # nobody listens there
    RESET = "reset"  # the connection broke
    UNREACHABLE = "unreachable"  # no route, or the connect timed out
    BUSY = "busy"  # 429 or 503: try later
    MISSING = "missing"  # 404: the fragment is not there (any more)
    CORRUPT = "corrupt"  # bytes came, and did not match their checksum
    PROTOCOL = "protocol"  # an answer that makes no sense
    SILENT = "silent"  # decided by the session itself: no byte in time


class NodeFacts(msgspec.Struct, frozen=True, gc=False):
    """What one session knows of a node and another may start from."""

    id: NodeName
    rtt_s: float  # smoothed; 0: never measured
    rtt_deviation_s: float
    bytes_per_s: float  # 0: never measured
    reliability: float
    is_suspect: bool


class Event(msgspec.Struct, frozen=True, tag=True, gc=False):
    """Base of all events."""


class ReaderOpened(Event, frozen=True, tag=True, gc=False):
    """Somebody wants the bytes from ``offset`` on, up to ``stop`` (None: to the end).

    A *paced* reader plays: it starts when enough is buffered and then takes one second of media a
    second. The other kind (a player over HTTP, a download) takes bytes when it likes and says so
    with ``ReaderMoved``.
    """

    reader: int
    offset: int
    paced: bool
    stop: int | None = None


class ReaderMoved(Event, frozen=True, tag=True, gc=False):
    """A reader that is not paced has taken everything before ``offset``, or has sought there."""

    reader: int
    offset: int


class ReaderPaused(Event, frozen=True, tag=True, gc=False):
    """A paced reader pauses or goes on."""

    reader: int
    paused: bool


class ReaderClosed(Event, frozen=True, tag=True, gc=False):
    """A reader went away."""

    reader: int


class PlayerTold(Event, frozen=True, tag=True, gc=False):
    """A player behind readers that are not paced says where it is, and how fast that moves on."""

    player: int
    media_s: float
    rate: float


class Connected(Event, frozen=True, tag=True, gc=False):
    """A TCP connection to the node was made in ``rtt_s``, for the request ``piece``."""

    node: int
    piece: int
    rtt_s: float


class FirstByte(Event, frozen=True, tag=True, gc=False):
    """The head of the answer to ``piece`` is in."""

    piece: int


class BytesArrived(Event, frozen=True, tag=True, gc=False):
    """``received_bytes`` of the piece have come so far; every whole block matched its checksum."""

    piece: int
    received_bytes: int


class PieceDone(Event, frozen=True, tag=True, gc=False):
    """The piece is complete, up to where it was last shortened to."""

    piece: int


class PieceFailed(Event, frozen=True, tag=True, gc=False):
    """The request ended early. The first ``received_bytes`` of it are good and are kept."""

    piece: int
    kind: FailureKind
    received_bytes: int


class FooterKnown(Event, frozen=True, tag=True, gc=False):
    """The footer that a piece asked for is in and makes sense: blocks can be checked now."""

    piece: int
    size_bytes: int


class BlocksRejected(Event, frozen=True, tag=True, gc=False):
    """Bytes of this fragment that came before the footer do not match it."""

    chunk: int
    fragment: int


class RowsDecoded(Event, frozen=True, tag=True, gc=False):
    """These rows of the chunk are checked, decoded and ready for readers."""

    chunk: int
    first_row: int
    rows: int


class ChunkVerified(Event, frozen=True, tag=True, gc=False):
    """The whole chunk matches its SHA-256. ``kept``: a copy of it is in the local cache now."""

    chunk: int
    kept: bool = False


class ChunksKept(Event, frozen=True, tag=True, gc=False):
    """Copies of these chunks are in the local cache, from earlier sessions."""

    chunks: tuple[int, ...]


class ChunkRecalled(Event, frozen=True, tag=True, gc=False):
    """A chunk came whole out of the local cache, and matches its SHA-256."""

    chunk: int


class RecallFailed(Event, frozen=True, tag=True, gc=False):
    """The local cache has the chunk no more, or not as it should be."""

    chunk: int


class ChunkRejected(Event, frozen=True, tag=True, gc=False):
    """The whole chunk does not match its SHA-256 although every block matched its footer."""

    chunk: int


class ProbeAnswered(Event, frozen=True, tag=True, gc=False):
    """The node answered a ping."""

    node: int
    rtt_s: float


class ProbeFailed(Event, frozen=True, tag=True, gc=False):
    """The node did not answer a ping."""

    node: int
    kind: FailureKind


class WokeLate(Event, frozen=True, tag=True, gc=False):
    """This process did not run when it should have: nobody listened to the nodes meanwhile."""

    late_s: float  # at least so long


class PlacementKnown(Event, frozen=True, tag=True, gc=False):
    """A newer manifest says where fragments lie: the chunks of which it says something new.

    ``node_ids`` are all nodes from now on: those of the session in their order, then new ones.
    ``more`` of the same answer follows at once, where it is long.
    """

    chunks: tuple[ChunkRecord, ...]
    node_ids: tuple[NodeName, ...]
    more: bool = False


class PlacementUnknown(Event, frozen=True, tag=True, gc=False):
    """Nobody could say where fragments lie now."""


class NodesRemembered(Event, frozen=True, tag=True, gc=False):
    """Another session of the same nodes knows more of them than this one."""

    nodes: tuple[NodeFacts, ...]


class Tick(Event, frozen=True, tag=True, gc=False):
    """Nothing happened but time; sent at ``next_wakeup_s``."""


AnyEvent = (
    ReaderOpened
    | ReaderMoved
    | ReaderPaused
    | ReaderClosed
    | PlayerTold
    | Connected
    | FirstByte
    | BytesArrived
    | PieceDone
    | PieceFailed
    | FooterKnown
    | BlocksRejected
    | RowsDecoded
    | ChunkVerified
    | ChunksKept
    | ChunkRecalled
    | RecallFailed
    | ChunkRejected
    | ProbeAnswered
    | ProbeFailed
    | WokeLate
    | PlacementKnown
    | PlacementUnknown
    | NodesRemembered
    | Tick
)
