"""The records of the network model: what is modelled, and what flows."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from smart_client.simulator.node_model import INFINITY, FaultKind, NodeModel


@dataclass(frozen=True, slots=True)
class NetworkModel:
    """What of real connections is modelled."""

    # A connection starts with ten segments a round trip and doubles until it has its share.
    slow_start: bool = False
    # Giving an answer up closes its connection; otherwise it is as good as new.
    reconnect: bool = True
    # Status line and headers come before the body and take their share of the link. The first byte
    # is theirs: on a nearly dead link it is late too. They are not counted as moved.
    head_bytes: int = 0
    # What is under way when an answer is given up crosses the wire all the same.
    in_flight: bool = False
    # ... at most this much: the node's SO_SNDBUF.
    socket_buffer_bytes: int = 256 * 1024
    # Bytes of a running answer are reported this often, as a socket would.
    report_s: float = 0.05
    # ... and those of all answers at the same instants, so that a session takes them in at once.
    reports_together: bool = False

    def __post_init__(self) -> None:
        if min(self.socket_buffer_bytes, self.head_bytes) < 0 or self.report_s <= 0:
            raise ValueError("buffers and heads are at least 0, reports come at a distance above 0")


IDEAL: Final = NetworkModel(reconnect=False, report_s=0.1, reports_together=True)
# 322 bytes: the head of a node's answer, as seen on real sockets.
REALISTIC: Final = NetworkModel(
    slow_start=True,
    reconnect=True,
    in_flight=True,
    head_bytes=322,
    report_s=0.1,
    reports_together=True,
)


class Happening(StrEnum):
    """What the network reports of a request."""

    CONNECTED = "connected"
    FIRST_BYTE = "first byte"
    BYTES = "bytes"
    DONE = "done"
    REFUSED = "refused"
    RESET = "reset"
    GARBAGE = "garbage"


@dataclass(slots=True, eq=False)
class Connection:
    """A connection to a node: how much it may have under way, and when it last did."""

    window_bytes: float
    used_s: float


@dataclass(slots=True, eq=False)
class Flow:
    """One request in the model."""

    number: int
    node: int
    size: float  # what the client still wants of it
    requested_s: float
    connect_at_s: float  # infinity once connected
    answer_at_s: float
    rtt_s: float
    connection: Connection
    asked_bytes: float  # what the node was asked for
    answered: bool = False
    head_is_in: bool = False
    is_abandoned: bool = False  # what still comes of a request that was given up
    received: float = 0.0  # of the body; below 0 while the head comes
    reported: int = -1
    report_at_s: float = INFINITY
    rate: float = 0.0
    grow_at_s: float = INFINITY


@dataclass(slots=True, eq=False)
class Pipe:
    """A node's flows and connections, valid at ``settled_s``."""

    model: NodeModel
    flows: list[Flow]
    idle: list[Connection]
    settled_s: float = 0.0
    due_s: float = INFINITY  # when something next happens on it
    kind: FaultKind | None = None
    capacity: float = 0.0  # bytes a second, until ``constant_until_s``
    constant_until_s: float = 0.0
    requests: int = 0
    moved_bytes: float = 0.0
    is_dirty: bool = False
