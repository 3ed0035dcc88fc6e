"""What every scheduler of the registry must keep, whatever it decides."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smart_client.cli import SCHEDULER_NAMES
from smart_client.core.schedulers import ALIASES, SCHEDULERS
from smart_client.core.state import SessionConfig
from smart_client.simulator.network import Fault, FaultKind
from support.session_worlds import chunk_records, engine_for, steady
from support.watched_sessions import Watch

KIB = 1024
KINDS = [FaultKind.FREEZE, FaultKind.REFUSE, FaultKind.DRIP, FaultKind.GARBAGE]
LAYOUTS = {"3 copies": (1, 3, 0), "3 of 5": (3, 5, 0), "2 of 3 and a copy": (2, 3, 1)}
CONFIG = SessionConfig(window_s=12.0)


def watched(scheduler: str, layout, faults, *, count: int = 4, mbit_per_s: float = 4.0) -> Watch:
    k, n, copies = layout
    chunks = chunk_records(count, size=300 * KIB + 7, seconds=4.0, k=k, n=n, copies=copies)
    nodes = [
        steady(mbit_per_s=mbit_per_s, rtt_s=0.01 * (1 + index), faults=faults.get(index, ()))
        for index in range(5)
    ]
    return Watch(engine_for(chunks, nodes, scheduler=scheduler, config=CONFIG))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_one_bad_node_at_any_moment_is_survived(scheduler: str, layout) -> None:
    for kind in KINDS:
        for at_s in (0.0, 0.06, 5.0):
            watched(scheduler, layout, {1: (Fault(kind, at_s),)}).play()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_last_holders_are_enough(scheduler: str, layout) -> None:
    """Of three copies one survives, of five fragments three: in one way each node fails."""
    for kind in (FaultKind.FREEZE, FaultKind.REFUSE):
        faults = {index: (Fault(kind, 0.0),) for index in (1, 3)}
        watched(scheduler, layout, faults).play()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_single_copy_on_a_node_that_comes_back_is_waited_for(scheduler: str) -> None:
    for kind in (FaultKind.FREEZE, FaultKind.REFUSE, FaultKind.DRIP):
        faults = {index: (Fault(kind, 1.0, 20.0),) for index in range(5)}
        watched(scheduler, (1, 1, 0), faults, mbit_per_s=0.6).play()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_same_world_gives_the_same_commands(scheduler: str) -> None:
    def run() -> list:
        faults = {1: (Fault(FaultKind.FREEZE, 1.0, 9.0),), 3: (Fault(FaultKind.GARBAGE, 2.0),)}
        watch = watched(scheduler, (3, 5, 0), faults)
        watch.play()
        return watch.commands

    assert run() == run()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@settings(max_examples=25)
@given(data=st.data())
def test_random_small_worlds_are_played_to_the_end(scheduler: str, data) -> None:
    """Two nodes stay well and hold what is needed; the others fail in any way for any time."""
    k = data.draw(st.integers(1, 2))
    copies = data.draw(st.integers(0, 1)) if k > 1 else 0
    chunks = chunk_records(
        data.draw(st.integers(1, 4)),
        size=data.draw(st.integers(1, 400 * KIB)),
        seconds=data.draw(st.floats(0.5, 6)),
        k=k,
        n=5 - copies,
        copies=copies,
    )
    nodes = []
    for index in range(5):
        start_s = data.draw(st.floats(0, 10))
        fault = Fault(data.draw(st.sampled_from(KINDS)), start_s, start_s + data.draw(LENGTHS_S))
        nodes.append(
            steady(
                mbit_per_s=data.draw(st.floats(0.3, 30)),
                rtt_s=data.draw(st.floats(0.001, 0.3)),
                faults=() if index in (0, 2) else (fault,),
            )
        )
    client = data.draw(st.sampled_from([float("inf"), 100e3]))
    engine = engine_for(
        chunks, nodes, scheduler=scheduler, config=CONFIG, client_bytes_per_s=client
    )
    Watch(engine).play()


LENGTHS_S = st.sampled_from([0.05, 0.4, 3.0, 40.0, float("inf")])


def test_the_command_line_names_exactly_the_registered_schedulers() -> None:
    assert set(SCHEDULER_NAMES) == {*SCHEDULERS, *ALIASES}
    assert len(set(SCHEDULER_NAMES)) == len(SCHEDULER_NAMES)
    assert set(ALIASES.values()) <= set(SCHEDULERS)


def test_every_scheduler_is_registered_under_its_own_name() -> None:
    assert {name: make().name for name, make in SCHEDULERS.items()} == {n: n for n in SCHEDULERS}
