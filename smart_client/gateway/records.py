"""The gateway's API as records: what pages and programs send and get. All times in seconds."""

from typing import Annotated, Any, Literal

import msgspec

from smart_client import wire
from smart_client.core.metrics import Snapshot
from smart_client.wire import Count, Name, Seconds

Height = Annotated[int, msgspec.Meta(ge=16, le=4320)]

# A player's own random number for itself, so that its reports stay together.
PlayerId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}\Z")]


class _Base(msgspec.Struct, frozen=True, kw_only=True):
    """Unknown fields are ignored, as on the wire."""


class ErrorBody(_Base, frozen=True, kw_only=True):
    """What went wrong and what to do next; ``exit`` is the exit code a command would end with."""

    code: str
    exit: int
    message: str
    detail: dict[str, Any] = {}
    hint: str = ""


class ErrorAnswer(_Base, frozen=True, kw_only=True):
    """The body of every answer that is an error."""

    error: ErrorBody


# -- library ---------------------------------------------------------------------------------------


class VideoUrls(_Base, frozen=True, kw_only=True):
    """Paths on this gateway; ``hls`` and ``dash`` are empty without a ladder."""

    original: str
    hls: str = ""
    dash: str = ""


class LibraryVideo(wire.VideoSummary, frozen=True, kw_only=True):
    """A stored video and where to play it."""

    urls: VideoUrls
    playable_in_browser: bool = False  # as far as its container and codecs tell


class VideoDetails(_Base, frozen=True, kw_only=True):
    """One video with its register."""

    video: LibraryVideo
    record: wire.VideoRecord


# -- uploads ---------------------------------------------------------------------------------------

UploadState = Literal["receiving", "storing", "ladder", "done", "failed"]


class CreateUpload(_Base, frozen=True, kw_only=True):
    """Announce a file. The same name and size of an unfinished upload find that upload again."""

    name: Name
    size: Count
    file_name: Annotated[str, msgspec.Meta(max_length=255)] = ""  # its suffix tells the type
    redundancy: Annotated[str, msgspec.Meta(max_length=64)] = "auto"
    ladder: Annotated[tuple[Height, ...], msgspec.Meta(max_length=8)] = ()


class UploadStatus(_Base, frozen=True, kw_only=True):
    """How far an upload has come: into the gateway (``offset``), then onto the nodes."""

    id: str
    name: Name
    size: Count
    offset: Count  # bytes of the file that are here; send on from there
    state: UploadState
    stored_bytes: Count = 0  # of the file, durable on nodes
    total_bytes: Count = 0
    rate_bytes_per_s: float = 0.0  # of the present step
    eta_s: float | None = None  # of the present step; None: cannot be told
    stage: str = ""  # what the present step does
    layout: str = ""
    redundancy: str = "auto"
    ladder: tuple[Height, ...] = ()
    nodes: dict[str, str] = {}  # node -> what it has got so far
    created_ts: Seconds = 0.0
    sha256: str = ""  # of what was stored
    error: ErrorBody | None = None


# -- sessions --------------------------------------------------------------------------------------


class ChunkMatrix(_Base, frozen=True, kw_only=True):
    """What each node did for each chunk: one row of letters a node, one letter a chunk.

    ``.`` nothing, ``f`` in flight, ``u`` used, ``r`` rescued what came too late from another,
    ``c`` cancelled, ``x`` failed. ``ready``: ``.`` nothing yet, ``p`` a part, ``y`` all of it.
    """

    nodes: tuple[str, ...]
    chunks: Count
    playhead: Count
    rows: tuple[str, ...]
    ready: str


class SessionNotice(_Base, frozen=True, kw_only=True):
    """Something worth telling, with its reason in ``lines`` where there is more to say."""

    id: Count  # grows within a session
    t_s: float  # since the session began
    kind: str
    text: str
    lines: tuple[str, ...] = ()


class PlayerFigures(_Base, frozen=True, kw_only=True):
    """What a player says of itself. ``source``: ``mpv-ipc`` or ``video-element``."""

    player: PlayerId
    source: str
    state: str  # opening, playing, stalled, seeking, paused, ended, failed
    position_s: Seconds
    buffered_s: Seconds
    startup_s: float | None  # None: not started yet
    stalls: Count
    stalled_s: Seconds
    seeks: Count
    shown_s: Seconds  # of the video, each second once
    report_age_s: Seconds
    error: str = ""


class SessionFigures(_Base, frozen=True, kw_only=True):
    """One open video. Stalls are the players' own; see ``qoe_source``."""

    id: str
    video: Name
    rendition: Name
    layout: str
    readers: Count  # requests of players that are open now
    snapshot: Snapshot
    players: tuple[PlayerFigures, ...] = ()
    qoe_source: str = "none"  # mpv-ipc, video-element; none: no player reports
    node_bytes: Count = 0  # everything that came from nodes
    player_bytes: Count = 0  # everything that went to players
    cached_bytes: Count = 0  # of decoded chunks that were still on this disk
    amplification: float | None = None  # node_bytes over player_bytes; None: nothing sent yet


class SessionDetails(SessionFigures, frozen=True, kw_only=True):
    """One open video with its matrix and its latest notices, oldest first."""

    matrix: ChunkMatrix
    notices: tuple[SessionNotice, ...]


PlayerEvent = Literal[
    "open", "playing", "waiting", "seeking", "seeked", "pause", "ended", "progress", "error"
]


class PlayerReport(_Base, frozen=True, kw_only=True):
    """What a player has just done, by its own clock."""

    player: PlayerId
    event: PlayerEvent
    position_s: Annotated[float, msgspec.Meta(ge=0, le=1e7)] = 0.0
    buffered_s: Annotated[float, msgspec.Meta(ge=0, le=1e7)] = 0.0  # ready ahead of the position
    ts_ms: Annotated[float, msgspec.Meta(ge=0, le=1e15)]  # any origin, never going back
    message: Annotated[str, msgspec.Meta(max_length=500)] = ""  # of an error


# -- cluster ---------------------------------------------------------------------------------------


class Comparison(_Base, frozen=True, kw_only=True):
    """One result of ``smart-client compare``; ``cells`` is its summary."""

    id: str
    state: Literal["running", "done", "failed"]
    created_ts: Seconds
    cells: tuple[dict[str, Any], ...] = ()
    error: str = ""


class StartComparison(_Base, frozen=True, kw_only=True):
    """Ask for a small comparison in simulated worlds."""

    scenario: Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,40}\Z")] = "typical"
    runs: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    seconds: Annotated[int, msgspec.Meta(ge=30, le=600)] = 120
    seed: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0


# -- live ------------------------------------------------------------------------------------------


class LiveCluster(_Base, frozen=True, kw_only=True):
    """The cluster, or why nothing is known of it. Old figures are never given as present ones."""

    status: wire.ClusterStatus | None
    error: ErrorBody | None = None
    away_since_ts: float | None = None  # Unix time of the first question without an answer
    as_of_ts: Seconds


class LiveSnapshot(_Base, frozen=True, kw_only=True):
    """The first event of ``/events``; ``videos`` is None while no coordinator answers."""

    videos: tuple[LibraryVideo, ...] | None
    uploads: tuple[UploadStatus, ...]
    sessions: tuple[SessionFigures, ...]
    cluster: LiveCluster


class Health(_Base, frozen=True, kw_only=True):
    """How the gateway is."""

    status: Literal["ok", "degraded"]
    version: str
    uptime_s: Seconds
    sessions: Count
    readers: Count
    uploads: Count
    node_bytes: Count
    player_bytes: Count
    amplification: float | None
    coordinator_away_since_ts: float | None = None


class Ready(_Base, frozen=True, kw_only=True):
    """Whether requests are welcome."""

    ready: bool
