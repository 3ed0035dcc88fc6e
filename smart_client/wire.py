"""The records that travel between clients, coordinators and nodes, and lie in the catalogue.

Plain, frozen, strictly checked data. JSON by msgspec: a record that breaks its rules is refused at
the door with the path of the offending field, so nothing behind it has to look again.
"""

import re
from typing import Annotated, TypeVar

import msgspec

from redundancy.scheme import Layout, Scheme
from smart_client.errors import InvalidRequest, RenditionNotFound

WIRE_VERSION = 1

GROUP_CHUNKS = 64  # whose placement one register holds: ten minutes; more make changes heavier

# A path segment, a file name and a shell word: no separators, no leading dot or dash.
NAME_PATTERN = r"^[^\W_][\w .,@+()\[\]'!&=-]{0,199}\Z"
NODE_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z"

Name = Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
NodeName = Annotated[str, msgspec.Meta(pattern=NODE_NAME_PATTERN)]
Sha256Hex = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
GrantText = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-z.]{0,200}\Z")]
VideoId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
Count = Annotated[int, msgspec.Meta(ge=0)]
Seconds = Annotated[float, msgspec.Meta(ge=0)]

NO_MEDIA = "none"
Record = TypeVar("Record")


class _Base(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """Unknown fields are ignored, so that an older reader survives a newer writer."""


class LayoutRecord(_Base, frozen=True, kw_only=True):
    """(k, n) plus whole copies, as stored."""

    k: Annotated[int, msgspec.Meta(ge=1, le=256)]
    n: Annotated[int, msgspec.Meta(ge=1, le=256)]
    copies: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0

    def __post_init__(self) -> None:
        if self.k > self.n:
            raise ValueError(f"layout needs k <= n, got k={self.k}, n={self.n}")

    def to_layout(self) -> Layout:
        """Return the layout the redundancy package computes with."""
        return Layout(Scheme(self.k, self.n), self.copies)

    @classmethod
    def of(cls, layout: Layout) -> "LayoutRecord":
        """Return the record of a layout."""
        return cls(k=layout.scheme.k, n=layout.scheme.n, copies=layout.copies)


class FragmentRecord(_Base, frozen=True, kw_only=True):
    """Where one fragment lies. Its key is the SHA-256 of its bytes, footer included."""

    index: Annotated[int, msgspec.Meta(ge=0, le=511)]
    node: NodeName
    key: Sha256Hex


class ChunkRecord(_Base, frozen=True, kw_only=True):
    """One chunk of a rendition: its bytes, its time, its layout and where its fragments lie."""

    number: Count
    offset: Count  # of its first byte in the rendition
    size: Annotated[int, msgspec.Meta(ge=1, le=4 * 1024 * 1024)]
    sha256: Sha256Hex
    start_s: Seconds
    duration_s: Seconds  # 0 where the file has no known duration
    layout: LayoutRecord
    generation: Count = 0  # grows when the chunk is stored anew in another layout
    fragments: tuple[FragmentRecord, ...]

    def __post_init__(self) -> None:
        indices = [fragment.index for fragment in self.fragments]
        if len(set(indices)) != len(indices):
            raise ValueError(f"chunk {self.number} lists a fragment index twice")
        total = self.layout.n + self.layout.copies
        if indices and max(indices) >= total:
            raise ValueError(f"chunk {self.number} has fragment {max(indices)} of {total}")


class GroupRecord(_Base, frozen=True, kw_only=True):
    """The register of up to ``GROUP_CHUNKS`` consecutive chunks."""

    v: int = WIRE_VERSION
    chunks: tuple[ChunkRecord, ...]

    def __post_init__(self) -> None:
        if len(self.chunks) > GROUP_CHUNKS:
            raise ValueError(f"a group holds at most {GROUP_CHUNKS} chunks")
        numbers = [chunk.number for chunk in self.chunks]
        if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            raise ValueError("a group's chunks are consecutive")
        if numbers and numbers[0] % GROUP_CHUNKS:
            raise ValueError(f"a group starts at a multiple of {GROUP_CHUNKS}")


class MediaFacts(_Base, frozen=True, kw_only=True):
    """What the container says; empty where nobody could look."""

    container: str = ""  # NO_MEDIA: somebody looked, and found neither picture nor sound
    video_codec: str = ""
    audio_codec: str = ""
    width: Count = 0
    height: Count = 0
    duration_s: Seconds = 0.0


class RenditionRecord(_Base, frozen=True, kw_only=True):
    """One encoding of a video: ``original``, the file byte for byte, or one of its ladder."""

    name: Name
    size: Count
    sha256: Sha256Hex
    mime: str
    duration_s: Seconds
    chunk_count: Count
    kind: Annotated[str, msgspec.Meta(pattern=r"^(|video|audio)\Z")] = ""  # empty: no ladder's
    codecs: str = ""  # as RFC 6381 writes it
    width: Count = 0
    height: Count = 0
    frame_rate: Seconds = 0.0  # pictures a second
    channels: Count = 0  # of sound
    peak_bits_per_s: Count = 0  # of the segment that needs most
    average_bits_per_s: Count = 0
    init_bytes: Count = 0  # the header, at the beginning of the object
    index_bytes: Count = 0  # the index of segments, right behind it
    segment_s: Seconds = 0.0  # of every segment but the last
    layout: LayoutRecord | None = None  # None: the video's

    @property
    def group_count(self) -> int:
        """How many group registers hold its chunks."""
        return -(-self.chunk_count // GROUP_CHUNKS)


class VideoRecord(_Base, frozen=True, kw_only=True):
    """The register of one video. ``state``: registered, uploading or ready."""

    v: int = WIRE_VERSION
    id: VideoId
    name: Name
    state: Annotated[str, msgspec.Meta(pattern=r"^(registered|uploading|ready)\Z")]
    created_at_s: Seconds  # Unix time, for people only; nothing is ordered by it
    layout: LayoutRecord
    reason: str = ""  # why this layout
    wish: LayoutRecord | None = None  # the owner's layout, which goes before any policy
    laid_out_at_s: Seconds = 0.0  # Unix time of the last change of layout; 0: as it was uploaded
    size: Count = 0  # what the uploader announced; 0 for a registered name
    media: MediaFacts = MediaFacts()
    renditions: tuple[RenditionRecord, ...] = ()

    def layout_of(self, rendition: str) -> LayoutRecord | None:
        """Return how a rendition is to be stored; None: it is not committed."""
        for each in self.renditions:
            if each.name == rendition:
                return each.layout or self.layout
        return None

    def rendition(self, name: str = "original") -> RenditionRecord:
        """Return the rendition of that name, or raise ``RenditionNotFound``."""
        for rendition in self.renditions:
            if rendition.name == name:
                return rendition
        have = ", ".join(rendition.name for rendition in self.renditions) or "none"
        raise RenditionNotFound(f"video '{self.name}' has no rendition '{name}' (it has: {have})")


class NodeRecord(_Base, frozen=True, kw_only=True):
    """The register of one node: who it is and where it answers."""

    v: int = WIRE_VERSION
    id: NodeName
    urls: tuple[str, ...]
    zone: str = ""
    capacity_bytes: Count = 0
    store: str = ""  # uuid of its data directory; a new one means the data is gone

    def __post_init__(self) -> None:
        for url in self.urls:
            if not re.fullmatch(r"https?://[^/\s]+/?", url):
                raise ValueError(f"node url must look like http://host:port, got {url!r}")


class Heartbeat(_Base, frozen=True, kw_only=True):
    """What a node says of itself every second."""

    node: NodeName
    store: str
    urls: tuple[str, ...]
    zone: str = ""
    capacity_bytes: Count = 0
    used_bytes: Count = 0
    free_bytes: Count = 0
    fragments: Count = 0
    requests_in_flight: Count = 0
    status: str = "ok"  # ok, warn, full, read-only
    reason: str = ""  # why it is not ok; older nodes do not say
    read_keys: tuple[str, ...] | None = None  # their prints (``signing``); None: it does not say


class NodeStatus(_Base, frozen=True, kw_only=True):
    """A node as the coordinator sees it now. ``state``: up, suspect, lost or unknown."""

    record: NodeRecord
    state: str
    seen_s_ago: float | None = None  # None: never since this coordinator started
    used_bytes: Count = 0
    free_bytes: Count = 0
    fragments: Count = 0
    requests_in_flight: Count = 0
    status: str = ""  # as its heartbeats say, or draining, or "cut off" from the coordinator
    reason: str = ""  # of that status
    uptime: float | None = None  # share of the time it answered, faded; None: never watched
    watched_s: Seconds = 0.0  # for how long that was watched, faded


class Manifest(_Base, frozen=True, kw_only=True):
    """All a client needs to play one rendition, even with every coordinator down."""

    v: int = WIRE_VERSION
    video: VideoRecord
    rendition: RenditionRecord
    chunks: tuple[ChunkRecord, ...]
    nodes: tuple[NodeRecord, ...]
    read_grant: GrantText = ""  # what nodes ask for, where reading is signed; see ``signing``
    read_grant_s: Seconds = 0.0  # how long it was good for when the manifest was made

    def __post_init__(self) -> None:
        offset = 0
        for position, chunk in enumerate(self.chunks):
            if chunk.number != position or chunk.offset != offset:
                raise ValueError(f"chunk {position} does not follow the one before it")
            offset += chunk.size
        if offset != self.rendition.size:
            raise ValueError(f"chunks hold {offset} bytes of {self.rendition.size}")


class CreateVideo(_Base, frozen=True, kw_only=True):
    """Announce an upload. ``redundancy``: ``auto`` or a layout such as ``rs:3+2``, ``rep:3``."""

    name: Name
    size: Count
    redundancy: str = "auto"
    media: MediaFacts = MediaFacts()


class PlaceChunks(_Base, frozen=True, kw_only=True):
    """Ask where the chunks of one group should go."""

    video_id: VideoId
    rendition: Name = "original"
    first_chunk: Count
    count: Annotated[int, msgspec.Meta(ge=1, le=GROUP_CHUNKS)]
    layout: LayoutRecord | None = None  # None: the video's
    size: Count = 0  # of these chunks together; 0: as the whole video's


class ChunkPlacement(_Base, frozen=True, kw_only=True):
    """Fragment i goes to ``nodes[i]``; ``spares`` are next, in order, should one fail."""

    nodes: tuple[NodeName, ...]
    spares: tuple[NodeName, ...] = ()


class Placements(_Base, frozen=True, kw_only=True):
    """The answer to ``PlaceChunks``."""

    chunks: tuple[ChunkPlacement, ...]
    nodes: tuple[NodeRecord, ...]


class StoreGroup(_Base, frozen=True, kw_only=True):
    """Record a group whose chunks are durable. ``expected_version`` guards against a twin."""

    video_id: VideoId
    rendition: Name = "original"
    expected_version: Count = 0
    group: GroupRecord


class StoredGroup(_Base, frozen=True, kw_only=True):
    """A group register with its number and version."""

    number: Count
    version: Count
    group: GroupRecord


class Deleted(_Base, frozen=True, kw_only=True):
    """What ``rm`` freed, or will when the last node is back."""

    name: Name
    fragments: Count
    stored_bytes: Count


class CommitVideo(_Base, frozen=True, kw_only=True):
    """Make an uploaded video visible, or a ready one's further renditions."""

    video_id: VideoId
    media: MediaFacts = MediaFacts()
    renditions: tuple[RenditionRecord, ...]


class CountView(_Base, frozen=True, kw_only=True):
    """One playback, counted once however often it is reported."""

    playback: VideoId  # random, minted by the player
    played_s: Seconds


class VideoSummary(_Base, frozen=True, kw_only=True):
    """One line of ``smart-client ls``."""

    name: Name
    id: VideoId
    state: str
    size: Count
    duration_s: Seconds
    layout: LayoutRecord
    stored_bytes: Count
    chunks: Count
    views: Count
    created_at_s: Seconds
    mime: str = ""
    media: MediaFacts = MediaFacts()
    renditions: tuple[Name, ...] = ()
    views_per_week: float = 0.0  # faded, half of it in a week
    reason: str = ""  # why this layout
    is_wish: bool = False  # its owner chose the layout
    weakest_chunk_fragments_up: int | None = None  # of the chunk with the fewest; None: unknown


class KeeperStatus(_Base, frozen=True, kw_only=True):
    """What repairs, moves and lays out anew, as one coordinator sees it."""

    is_keeper: bool  # another coordinator may be
    groups_left: Count = 0  # of up to 64 chunks, with something to do
    fragments_missing: Count = 0  # found lost on nodes that are up, and not made again yet
    done: dict[str, int] = {}  # chunks since the start: repair, move, migrate, trim
    failed: Count = 0
    received_bytes: Count = 0  # by nodes from nodes
    collected: Count = 0  # fragments that no record named
    drops_waiting: Count = 0  # superseded fragments that go when older manifests are forgotten
    stuck: tuple[str, ...] = ()  # what cannot be done now, and why
    resting: tuple[NodeName, ...] = ()  # nodes that play and are given a rest
    trouble: str = ""
    limits: dict[str, str | float] = {}  # what it may do beside playback, by names with units


class SetLayout(_Base, frozen=True, kw_only=True):
    """Ask for another layout of a stored video: ``rs:3+2``, ``rep:3``, ``rs:6+3+1copy``."""

    redundancy: str


class Removed(_Base, frozen=True, kw_only=True):
    """A node that was taken out."""

    node: NodeName
    moved: Count  # fragments copied away or made anew


class ClusterStatus(_Base, frozen=True, kw_only=True):
    """The cluster at a glance, as one coordinator sees it now."""

    coordinator: str
    catalogue: str  # sqlite, etcd, chunkpaxos or memory
    uptime_s: Seconds
    nodes: tuple[NodeStatus, ...]
    videos: Count  # that are whole
    uploading: Count = 0  # not whole yet, or never: their upload broke off
    stored_bytes: Count  # of fragments, by the catalogue
    video_bytes: Count  # of the videos themselves
    unplayable: tuple[str, ...] = ()  # some chunk has fewer than k fragments on live nodes
    fragile: tuple[str, ...] = ()  # one more lost node would make it unplayable
    deleting: Count = 0  # videos whose fragments are still being dropped
    keeper: KeeperStatus | None = None


def decode(data: bytes | str, record: type[Record]) -> Record:
    """Read a JSON record, or raise ``InvalidRequest`` naming the field that is wrong."""
    try:
        return msgspec.json.decode(data, type=record)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"not a valid {record.__name__}: {error}") from error


def encode(record: object) -> bytes:
    """Write a record as JSON."""
    return msgspec.json.encode(record)
