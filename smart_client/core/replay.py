"""A recorded session lived again: the same core, fed the recorded events at the recorded instants.

The core is a pure state machine, so the replayed commands are the recorded ones. Where they are
not, the recording is damaged or was made by another version, and the replay stops there.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Annotated

import msgspec

from redundancy.errors import EvenflowError
from smart_client.core.commands import AnyCommand, Command
from smart_client.core.events import AnyEvent, Event
from smart_client.core.schedulers import make_scheduler
from smart_client.core.session import Session
from smart_client.core.state import SessionConfig
from smart_client.errors import InvalidRecording
from smart_client.wire import ChunkRecord, NodeName

RECORDING_VERSION = 1
RECORDING_KIND = "evenflow-recording"

# What a session can hold; more is no recording of ours. 256 is the most fragments a chunk can have,
# and chunks of at most 4 MiB make this a video of 4 TB.
NODES_MAX = 4096
CHUNKS_MAX = 1_000_000
TIME_S_MAX = 1e9

# Offsets and counts are below this: more bytes than any disk has.
NUMBER_MAX = 2**60


class RecordingHead(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a recording: everything a session is made of."""

    v: Annotated[int, msgspec.Meta(ge=1)]
    kind: str
    program: str  # which version of Evenflow recorded it
    video: str
    scheduler: str
    config: SessionConfig
    nodes: tuple[NodeName, ...]
    chunks: tuple[ChunkRecord, ...]
    began_ts: float = 0.0  # Unix time, for people

    def __post_init__(self) -> None:
        if len(self.nodes) > NODES_MAX or len(self.chunks) > CHUNKS_MAX:
            raise ValueError("more nodes or chunks than a session can have")
        if len(set(self.nodes)) != len(self.nodes):
            raise ValueError("a node is listed twice")
        offset, at_s = 0, 0.0
        for number, chunk in enumerate(self.chunks):
            if chunk.number != number or chunk.offset != offset:
                raise ValueError(f"chunk {number} does not follow the one before it")
            if chunk.duration_s > 0 and chunk.start_s < at_s - 1e-3:
                raise ValueError(f"chunk {number} begins before the one before it ends")
            offset += chunk.size
            at_s = chunk.start_s + chunk.duration_s
            if at_s > TIME_S_MAX:
                raise ValueError(f"chunk {number} lies beyond any video's end")


class Step(msgspec.Struct, frozen=True, gc=False):
    """One line after the first: what happened, when, and what the session commanded."""

    t: float
    e: AnyEvent
    c: tuple[AnyCommand, ...] = ()


def new_session(head: RecordingHead) -> Session:
    """Return the session as it was before its first event.

    Raises: InvalidRequest: this version has no such scheduler.
    """
    return Session(head.chunks, head.nodes, make_scheduler(head.scheduler), head.config)


def replay(
    session: Session, steps: Iterable[Step], *, first_line: int = 2
) -> Iterator[tuple[float, Event, list[Command]]]:
    """Hand the recorded events to a new session; yield every step after it was taken.

    Args:
        session: from ``new_session``; its state is that after the step just yielded.
        steps: the recorded steps in order.
        first_line: the line of the first one, for messages.
    Raises: InvalidRecording: an event that cannot be, or commands that differ.
    """
    for line, step in enumerate(steps, start=first_line):
        if not math.isfinite(step.t) or not session.state.now_s <= step.t <= TIME_S_MAX:
            raise InvalidRecording(f"line {line}: its time {step.t} is before the line above it")
        try:
            _check(step.e, session)
            issued = session.handle(step.e, step.t)
        except (EvenflowError, AssertionError, ArithmeticError, LookupError, ValueError) as error:
            raise InvalidRecording(
                f"line {line}: what happened there cannot happen to this session",
                detail={"event": type(step.e).__name__, "why": str(error) or type(error).__name__},
            ) from error
        if tuple(issued) != step.c:
            raise InvalidRecording(
                f"line {line}: this version decides otherwise than the recorded one did",
                hint="replay it with the version that recorded it (its first line says which)",
                detail={"at_s": step.t, "first_difference": _difference(step.c, issued)},
            )
        yield step.t, step.e, issued


def _check(event: Event, session: Session) -> None:
    """Raise ``ValueError`` for an event no shell of ours reports: a position out of its table."""
    limits = {"node": len(session.state.nodes), "chunk": len(session.state.chunks)}
    for name in event.__struct_fields__:
        value = getattr(event, name)
        if isinstance(value, int | float) and not 0 <= value < limits.get(name, NUMBER_MAX):
            raise ValueError(f"{name} is {value}")


def _difference(recorded: tuple[Command, ...], issued: list[Command]) -> str:
    for then, now in zip(recorded, issued, strict=False):
        if then != now:
            return f"{then} then, {now} now"
    return f"{len(recorded)} commands then, {len(issued)} now"
