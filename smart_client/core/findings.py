"""What there is to tell of a session: tagged records, filled while an ``Explainer`` follows it."""

import msgspec

from smart_client.core.lanes import Cause, Lane, Missing
from smart_client.core.metrics import NodeFigures, Snapshot
from smart_client.core.throughput import Throughput


class Finding(msgspec.Struct, tag_field="kind"):
    """Base of what there is to tell. Filled while the session is followed."""

    at_s: float  # on the session's clock


class Started(Finding, tag="started"):
    """A reader began to play."""

    seconds: float  # since it was opened


class Ended(Finding, tag="ended"):
    """A reader played to the end."""


class Sought(Finding, tag="sought"):
    """A reader jumped."""

    media_s: float


class Moved(msgspec.Struct):
    """Bytes that another node was asked for instead."""

    node: str
    bytes: int


class Trouble(Finding, tag="trouble"):
    """A node failed or fell silent; what it owed was asked of others."""

    node: str
    reason: str  # a FailureKind
    is_news: bool = False  # it was in good standing before
    quiet_s: float = 0.0  # since its last sign of life
    left_alone_s: float = 0.0
    chunks: list[int] = []
    bytes: int = 0  # that it owed
    moved: list[Moved] = []
    stall_at_s: float | None = None  # the stall this led to, if it did


class Takeover(Finding, tag="takeover"):
    """A node took the tail of a request that would have come too late."""

    node: str
    from_node: str
    chunk: int
    bytes: int
    needed_s: float  # what the other would still have needed
    due_in_s: float | None = None
    stall_at_s: float | None = None


class Corrupt(Finding, tag="corrupt"):
    """Bytes did not match their checksum."""

    node: str
    chunk: int


class Unplayable(Finding, tag="unplayable"):
    """A chunk has too few usable fragments left."""

    chunk: int
    reason: str


class Returned(Finding, tag="returned"):
    """A node that was left alone answered again."""

    node: str
    seconds: float  # since the trouble


class Stall(Finding, tag="stall"):
    """Playback stopped on an empty buffer."""

    media_s: float
    cause: Cause
    missing: Missing
    blamed: tuple[Lane, ...]
    flow: Throughput
    believed: tuple[NodeFigures, ...]
    troubles: list[str] = []  # nodes whose trouble had taken these rows away
    seconds: float | None = None  # None: it had not ended when the recording did


AnyFinding = Started | Ended | Sought | Trouble | Takeover | Corrupt | Unplayable | Returned | Stall


class Request(msgspec.Struct, frozen=True):
    """One request in flight."""

    node: str
    chunk: int
    fragment: int
    first_row: int
    rows: int
    received_bytes: int
    asked_bytes: int
    asked_s_ago: float


class Belief(msgspec.Struct, frozen=True):
    """What the session knew and believed at one instant."""

    snapshot: Snapshot
    requests: tuple[Request, ...]
    urgent: Missing | None  # the most urgent row that is not ready
