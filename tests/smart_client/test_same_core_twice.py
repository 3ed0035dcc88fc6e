"""The driver and the simulator run the identical session: same world, same commands."""

import hashlib

import pytest

from redundancy.scheme import Layout
from smart_client.core import events
from smart_client.core.schedulers import make_scheduler
from smart_client.core.session import Session
from smart_client.core.state import SessionConfig
from smart_client.simulator.engine import Engine
from smart_client.simulator.network import Fault, FaultKind, Network, NodeModel
from smart_client.spool import Spool
from support.virtual_world import HandCranked, StoredVideo, VirtualTransport, run_driver

KIB = 1024

# One of each way to act: whole fragments, duplicates of everything, late duplicates of blocks.
SCHEDULERS = ["smart", "round-robin", "all-n", "time-critical"]

WORLDS = {
    "quiet": {},
    "frozen from the start": {1: (Fault(FaultKind.FREEZE, 0.0),)},
    "frozen, later killed, and a drip": {
        0: (Fault(FaultKind.FREEZE, 3.0, 9.0),),
        2: (Fault(FaultKind.REFUSE, 5.0),),
        4: (Fault(FaultKind.DRIP, 7.0, 12.0),),
    },
    "two nodes tell garbage": {
        1: (Fault(FaultKind.GARBAGE, 0.0),),
        3: (Fault(FaultKind.GARBAGE, 2.0),),
    },
}


def make_network(world: str) -> Network:
    faults = WORLDS[world]
    return Network(
        [
            NodeModel(
                bytes_per_s=(60e3 * (1 + index), 90e3, 30e3 * (1 + index)),
                rtt_s=0.01 * (1 + index),
                faults=faults.get(index, ()),
            )
            for index in range(5)
        ]
    )


@pytest.fixture(scope="module", params=["rs:3+2", "rep:3", "rs:2+2+1copy"])
def video(request: pytest.FixtureRequest) -> StoredVideo:
    sizes = [300 * KIB + 17, 480 * KIB, 96 * KIB + 1, 350 * KIB, 1]
    return StoredVideo(sizes, Layout.parse(request.param))


def make_session(video: StoredVideo, scheduler: str) -> Session:
    nodes = [node.id for node in video.manifest.nodes]
    config = SessionConfig(window_s=12.0)
    return Session(video.manifest.chunks, nodes, make_scheduler(scheduler), config)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_driver_and_simulator_command_the_same(
    video: StoredVideo, world: str, scheduler: str
) -> None:
    engine = Engine(make_session(video, scheduler), make_network(world), keeps_trace=True)
    sizes = {len(f) for f in video.fragments.values()}
    assert sizes
    engine.footer_size_of = video_footer_sizes(video)
    engine.play()
    simulated = engine.trace

    driven: list = []
    log: list = []
    spool = Spool.nameless()

    def make(transport: VirtualTransport) -> HandCranked:
        def observe(now_s: float, event, issued) -> None:
            log.append((now_s, event))
            driven.extend((now_s, command) for command in issued)

        return HandCranked(
            video.manifest, make_session(video, scheduler), transport, spool, observer=observe
        )

    driver = run_driver(
        video,
        make_network(world),
        make,
        first=lambda d: d.post(events.ReaderOpened(0, 0, True)),
        until=lambda d: d.session.state.buffer.readers[0].state == "ended",
    )
    try:
        assert spool.read(0, len(video.data) + 1) == video.data
    finally:
        spool.close()
    assert driver.session.state.buffer.readers[0].state == "ended"
    driver.session.check_invariants()
    assert driven == simulated

    replayed = make_session(video, scheduler)
    again = [(now_s, c) for now_s, event in log for c in replayed.handle(event, now_s)]
    assert again == driven
    assert hashlib.sha256(video.data).hexdigest() == video.manifest.rendition.sha256


def video_footer_sizes(video: StoredVideo):
    """Return the size of each fragment's footer, as a function of (chunk, fragment, start)."""
    keys = [{f.index: f.key for f in chunk.fragments} for chunk in video.manifest.chunks]
    return lambda chunk, fragment, start: len(video.fragments[keys[chunk][fragment]]) - start
