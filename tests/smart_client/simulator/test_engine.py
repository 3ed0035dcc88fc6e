"""The engine: viewers act on time, and the driver commands the same over the same network."""

import pytest

from redundancy.scheme import Layout
from smart_client.core import events
from smart_client.core.schedulers import make_scheduler
from smart_client.core.session import Session
from smart_client.core.state import SessionConfig, SessionState
from smart_client.simulator.engine import Engine
from smart_client.simulator.network import (
    IDEAL,
    REALISTIC,
    Fault,
    FaultKind,
    Network,
    NetworkModel,
    NodeModel,
)
from smart_client.simulator.node_model import ThinkTimes
from smart_client.simulator.scenarios import load_scenario
from smart_client.simulator.simulate import script_of, simulate
from smart_client.simulator.synthetic import synthetic_library
from smart_client.simulator.world import make_world
from smart_client.spool import Spool
from support.session_worlds import chunk_records, engine_for, steady
from support.virtual_world import HandCranked, StoredVideo, VirtualTransport, run_driver

KIB = 1024
LIBRARY = synthetic_library()


def test_viewers_open_and_jump_at_their_instants() -> None:
    world = make_world(load_scenario("seeks"), 1, LIBRARY)
    session = Session(world.chunks, world.node_ids, make_scheduler("smart"), world.config)
    script = script_of(world, session)
    assert [at_s for at_s, _ in script] == [0.0, 20.0, 40.0, 41.0, 60.0]
    engine = Engine(session, Network(world.nodes))
    engine.run(script, world.horizon_s)
    seeks = [at_s for at_s, notice in engine.notices if notice.kind == "seek"]
    assert {20.0, 40.0, 60.0} <= set(seeks)
    assert session.state.buffer.readers[0].state == "ended"


def test_several_viewers_are_all_played_to_the_end() -> None:
    world = make_world(load_scenario("several-viewers/rep3"), 2, LIBRARY)
    outcome = simulate(world, "smart")
    assert outcome.ended
    assert outcome.delivered_bytes <= 60_000_000 * 1.01


def test_blocks_are_reported_one_by_one_while_somebody_waits() -> None:
    """A start of two blocks at 100 kB/s is not delayed to the next report."""
    chunks = chunk_records(1, size=64 * KIB, seconds=4.0, k=1, n=1, nodes=1)
    starts = {}
    for follows in (False, True):
        config = SessionConfig(start_buffer_s=1.0, resume_buffer_s=1.0)
        node = steady(mbit_per_s=0.8, rtt_s=0.1)
        engine = engine_for(chunks, [node], config=config)
        engine.network = Network([node], model=NetworkModel(report_s=1.0))
        engine.follows_readers = follows
        engine.play()
        starts[follows] = engine.session.state.buffer.readers[0].startup_s
    assert starts[True] < starts[False] - 0.05


@pytest.mark.parametrize("model", [IDEAL, REALISTIC], ids=["ideal", "realistic"])
def test_driver_and_engine_command_the_same_in_every_network_model(model) -> None:
    sizes = [300 * KIB + 17, 480 * KIB, 96 * KIB + 1, 350 * KIB, 1]
    video = StoredVideo(sizes, Layout.parse("rs:3+2"))
    faults = {0: (Fault(FaultKind.FREEZE, 3.0, 9.0),), 2: (Fault(FaultKind.REFUSE, 5.0),)}

    def network() -> Network:
        nodes = [
            NodeModel(
                bytes_per_s=(60e3 * (1 + index), 90e3, 30e3 * (1 + index)),
                rtt_s=0.01 * (1 + index),
                faults=faults.get(index, ()),
                think_times=ThinkTimes(seed=1, node=index),
            )
            for index in range(5)
        ]
        return Network(nodes, 400e3, model)

    def session() -> Session:
        ids = [node.id for node in video.manifest.nodes]
        config = SessionConfig(window_s=12.0)
        return Session(video.manifest.chunks, ids, make_scheduler("smart"), config)

    keys = [{f.index: f.key for f in chunk.fragments} for chunk in video.manifest.chunks]
    engine = Engine(session(), network(), keeps_trace=True)
    engine.footer_size_of = lambda chunk, fragment, start: (
        len(video.fragments[keys[chunk][fragment]]) - start
    )
    engine.play()
    driven: list = []
    spool = Spool.nameless()

    def make(transport: VirtualTransport) -> HandCranked:
        def observe(now_s: float, _event, issued) -> None:
            driven.extend((now_s, command) for command in issued)

        return HandCranked(video.manifest, session(), transport, spool, observer=observe)

    try:
        run_driver(
            video,
            network(),
            make,
            first=lambda d: d.post(events.ReaderOpened(0, 0, True)),
            until=lambda d: d.session.state.buffer.readers[0].state == "ended",
        )
        assert spool.read(0, len(video.data) + 1) == video.data
    finally:
        spool.close()
    assert driven == engine.trace


class Impatient:
    """A scheduler that asks for everything at once and wants to be woken again at once."""

    name = "impatient"

    def __init__(self) -> None:
        self.decisions = 0

    def decide(self, state: SessionState) -> None:
        self.decisions += 1
        for index in state.order:
            chunk = state.chunks[index]
            for fragment, node in chunk.node_of.items():
                if chunk.open_rows(fragment) == chunk.all_rows:
                    state.ask(state.nodes[node], chunk, fragment, 0, chunk.geometry.rows)

    def next_wakeup_s(self, state: SessionState) -> float:
        return state.now_s


def test_a_session_that_is_never_content_does_not_stop_the_clock() -> None:
    scheduler = Impatient()
    chunks = chunk_records(2, size=64 * KIB, seconds=1.0, k=1, n=1, nodes=1)
    config = SessionConfig(start_buffer_s=1.0, resume_buffer_s=1.0)
    session = Session(chunks, ["node-0"], scheduler, config)
    engine = Engine(session, Network([steady(mbit_per_s=1.0)]), follows_readers=True)
    engine.play(limit_s=20.0)
    assert session.state.buffer.readers[0].state == "ended"
    assert scheduler.decisions < 1000 * engine.network.now_s + 100
