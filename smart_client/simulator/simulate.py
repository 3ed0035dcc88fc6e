"""One scheduler in one world: what came of it."""

from collections.abc import Sequence

import msgspec

from smart_client.core import events
from smart_client.core.events import Event
from smart_client.core.playback_buffer import Reader, ReaderState
from smart_client.core.schedulers import make_scheduler
from smart_client.core.session import Session
from smart_client.simulator.engine import Engine
from smart_client.simulator.informed import INFORMED, tell_the_present
from smart_client.simulator.network import REALISTIC, Network, NetworkModel
from smart_client.simulator.scenario import ViewerPlan
from smart_client.simulator.world import World


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A session's figures. Of several viewers: sums, and the first one's startup."""

    ended: bool  # within the world's horizon
    startup_s: float
    stalls: int
    stalled_s: float  # waits after a jump are stalls too
    waiting_s: float  # startup + stalled, of all viewers
    extra_share: float  # bytes that crossed the wire beyond those delivered, as a share of these
    footer_share: float  # ... of which footers
    delivered_bytes: int
    node_bytes: tuple[int, ...]  # that crossed the wire, from each node
    pieces: int
    takeovers: int
    reissues: int


def script_of(world: World, session: Session) -> list[tuple[float, Event]]:
    """Return what the world's viewers do, in the order of time."""
    return viewers_script(world.viewers, session)


def viewers_script(viewers: Sequence[ViewerPlan], session: Session) -> list[tuple[float, Event]]:
    """Return what viewers do, in the order of time."""
    offset_at = session.state.timeline.offset_at
    script: list[tuple[float, Event]] = []
    for number, viewer in enumerate(viewers):
        opened = events.ReaderOpened(number, offset_at(viewer.from_s), True)
        script.append((viewer.opened_s, opened))
        script += [
            (seek.at_s, events.ReaderMoved(number, offset_at(seek.to_s))) for seek in viewer.seeks
        ]
    return sorted(script, key=lambda entry: entry[0])


def simulate(world: World, scheduler_name: str, model: NetworkModel = REALISTIC) -> Outcome:
    """Play a world to its end with a scheduler, or with ours told the present (``INFORMED``).

    Raises: InvalidRequest: no such scheduler.
    """
    scheduler = make_scheduler("smart" if scheduler_name == INFORMED else scheduler_name)
    session = Session(world.chunks, world.node_ids, scheduler, world.config)
    network = Network(world.nodes, world.client_bytes_per_s, model)
    engine = Engine(
        session,
        network,
        footer_size_of=lambda chunk, fragment, _: world.footer_bytes(chunk, fragment),
        follows_readers=True,
        inform=tell_the_present if scheduler_name == INFORMED else None,
    )
    engine.run(script_of(world, session), world.horizon_s)
    return outcome_of(session, len(world.viewers), network.now_s, network.moved_bytes_by_node())


def outcome_of(
    session: Session, viewers: int, now_s: float, node_bytes: Sequence[float]
) -> Outcome:
    """Return the figures of a session at its end.

    Args:
        viewers: how many there should have been; with fewer it has not ended.
        node_bytes: what crossed the wire from each node.
    """
    state = session.state
    readers = list(state.buffer.readers.values())
    delivered = state.counters.delivered_bytes
    stalled_s = sum(_stalled_s(reader, now_s) for reader in readers)
    startups_s = [
        reader.startup_s if reader.startup_s >= 0 else now_s - reader.opened_s for reader in readers
    ]
    return Outcome(
        ended=len(readers) == viewers
        and all(reader.state is ReaderState.ENDED for reader in readers),
        startup_s=startups_s[0],
        stalls=sum(reader.stalls for reader in readers),
        stalled_s=stalled_s,
        waiting_s=sum(startups_s) + stalled_s,
        extra_share=sum(node_bytes) / max(1, delivered) - 1,
        footer_share=state.counters.footer_bytes / max(1, delivered),
        delivered_bytes=delivered,
        node_bytes=tuple(round(moved) for moved in node_bytes),
        pieces=state.counters.pieces,
        takeovers=state.counters.takeovers,
        reissues=state.counters.reissues,
    )


def _stalled_s(reader: Reader, now_s: float) -> float:
    """Count a stall that goes on when the world ends."""
    running_s = now_s - reader.stall_started_s if reader.state is ReaderState.STALLED else 0.0
    return reader.stalled_s + running_s
