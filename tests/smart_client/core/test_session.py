"""The session in small simulated worlds: nodes that freeze, die, drip and lie."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smart_client.core import commands, events
from smart_client.core.schedulers import SCHEDULERS, make_scheduler
from smart_client.core.session import Session
from smart_client.core.state import SessionConfig
from smart_client.errors import InvalidRequest
from smart_client.simulator.engine import Engine
from smart_client.simulator.network import Fault, FaultKind
from support.session_worlds import MEBI, chunk_records, engine_for, steady


def played(engine: Engine, limit_s: float = 900.0):
    engine.play(limit_s=limit_s)
    engine.session.check_invariants()
    reader = engine.session.state.buffer.readers[0]
    assert reader.state == "ended", f"not ended after {engine.network.now_s:.0f} s"
    return reader


def extra_share(engine: Engine) -> float:
    counters = engine.session.state.counters
    return engine.network.moved_bytes / counters.delivered_bytes - 1


@pytest.mark.parametrize("scheduler", ["smart", "round-robin", "vstack-score", "segmented"])
@pytest.mark.parametrize("layout", [(3, 5, 0), (1, 3, 0), (1, 1, 0), (2, 4, 1), (5, 5, 0)])
def test_schedulers_that_ask_once_play_a_quiet_world_without_stall_or_waste(
    scheduler, layout
) -> None:
    k, n, copies = layout
    chunks = chunk_records(8, k=k, n=n, copies=copies)
    engine = engine_for(chunks, [steady() for _ in range(5)], scheduler=scheduler)
    reader = played(engine)
    assert reader.stalls == 0
    assert reader.startup_s < 0.6
    assert extra_share(engine) < 0.01


KINDS = [FaultKind.FREEZE, FaultKind.REFUSE, FaultKind.DRIP, FaultKind.GARBAGE]


@pytest.mark.parametrize("first", KINDS)
@pytest.mark.parametrize("second", KINDS)
@pytest.mark.parametrize("at_s", [0.0, 0.03, 7.3, 31.0])
def test_any_two_nodes_may_fail_in_any_way_at_any_moment(first, second, at_s) -> None:
    faults = {1: (Fault(first, at_s),), 4: (Fault(second, at_s / 2 + 0.01),)}
    nodes = [steady(mbit_per_s=20, faults=faults.get(index, ())) for index in range(5)]
    config = SessionConfig(window_s=30.0)
    engine = engine_for(chunk_records(6), nodes, config=config)
    reader = played(engine)
    assert reader.stalls == 0
    assert reader.startup_s < 1.0


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_world_of_random_nodes_and_faults_is_played_to_the_end(data) -> None:
    """Two nodes stay well, so a (2, 5) video can always be read; the session never breaks."""
    kinds = st.sampled_from(KINDS[:3])
    nodes = []
    for index in range(5):
        start_s = data.draw(st.floats(0, 40))
        length_s = data.draw(st.floats(0.05, 20))
        fault = Fault(data.draw(kinds), start_s, start_s + length_s)
        nodes.append(
            steady(
                mbit_per_s=data.draw(st.floats(0.5, 30)),
                rtt_s=data.draw(st.floats(0.002, 0.3)),
                faults=() if index < 2 else (fault,),
            )
        )
    chunks = chunk_records(5, size=MEBI, k=2, n=5)
    engine = engine_for(chunks, nodes, config=SessionConfig(window_s=20.0))
    engine.post(events.ReaderOpened(0, 0, True))
    reader = engine.session.state.buffer.readers[0]
    steps = 0
    while reader.state != "ended":
        engine.step(2000.0)
        engine.session.check_invariants()
        steps += 1
        assert engine.network.now_s < 2000.0, "stuck"
        assert steps < 60_000, "spinning"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_two_bad_nodes_never_hold_a_download_up_however_rows_are_spread(data) -> None:
    """Rates differ, so rows of a chunk lie across nodes in odd patterns when two of them fail."""
    victims = data.draw(st.permutations(range(5)))[:2]
    kinds = st.sampled_from(KINDS)
    nodes = []
    for index in range(5):
        fault = Fault(data.draw(kinds), data.draw(st.floats(0, 4)))
        nodes.append(
            steady(
                mbit_per_s=data.draw(st.floats(4, 60)),
                rtt_s=data.draw(st.floats(0.002, 0.1)),
                faults=(fault,) if index in victims else (),
            )
        )
    engine = engine_for(chunk_records(4), nodes, config=SessionConfig(pace=1000.0))
    engine.post(events.ReaderOpened(0, 0, False))
    reader = engine.session.state.buffer.readers[0]
    while reader.frontier < 4 * 2 * MEBI:
        engine.step(100.0)
        if reader.frontier > reader.offset:
            engine.post(events.ReaderMoved(0, reader.frontier))
        assert engine.network.now_s < 100.0, "stuck"
    # Three good nodes of at least 4 Mbit/s bring 8 MiB in 5.6 s, after faults that start by 4 s.
    assert engine.network.now_s < 10.0


def test_a_node_frozen_before_the_start_costs_less_than_a_silence_limit() -> None:
    healthy = played(engine_for(chunk_records(3), [steady() for _ in range(5)]))
    for index in range(5):
        nodes = [
            steady(faults=(Fault(FaultKind.FREEZE, 0.0),) if node == index else ())
            for node in range(5)
        ]
        reader = played(engine_for(chunk_records(3), nodes))
        assert reader.startup_s - healthy.startup_s < 0.2 + 3 * 0.02 + 0.02


def test_a_frozen_node_is_noticed_and_its_rows_are_asked_of_others_in_half_a_second() -> None:
    config = SessionConfig(window_s=15.0)
    for at_tenths in range(30, 80, 7):
        at_s = at_tenths / 10
        # Slow enough that requests are always in flight.
        nodes = [
            steady(mbit_per_s=0.6, faults=(Fault(FaultKind.FREEZE, at_s),) if i == 2 else ())
            for i in range(5)
        ]
        engine = engine_for(chunk_records(6), nodes, config=config)
        played(engine)
        noticed = [t for t, n in engine.notices if n.kind == "node_suspect" and n.node == 2]
        assert noticed, "nobody noticed"
        assert noticed[0] - at_s < 0.5


def test_a_node_that_returns_is_used_again() -> None:
    nodes = [
        steady(mbit_per_s=1.2, faults=(Fault(FaultKind.FREEZE, 5.0, 15.0),) if i == 0 else ())
        for i in range(5)
    ]
    engine = engine_for(chunk_records(8), nodes, config=SessionConfig(window_s=20.0))
    played(engine)
    back = [t for t, n in engine.notices if n.kind == "node_up" and n.node == 0]
    assert back
    assert 15.0 < back[0] < 15.0 + 8.0 + 1.0, "within the longest pause and a moment"


def test_a_seek_gives_stale_work_up_and_starts_where_the_reader_is() -> None:
    engine = engine_for(chunk_records(40), [steady(mbit_per_s=4) for _ in range(5)])
    engine.post(events.ReaderOpened(0, 0, False))
    for _ in range(200):
        engine.step(10.0)
    target = 30 * 2 * MEBI + 12345
    engine.post(events.ReaderMoved(0, target))
    began_s = engine.network.now_s
    reader = engine.session.state.buffer.readers[0]
    while reader.frontier <= target:
        engine.step(60.0)
    assert engine.network.now_s - began_s < 0.5
    assert all(piece.chunk >= 30 for piece in engine.session.state.pieces.values())
    engine.session.check_invariants()


def test_a_seek_back_into_ready_bytes_fetches_nothing() -> None:
    engine = engine_for(chunk_records(5), [steady() for _ in range(5)])
    played(engine)
    moved = engine.network.moved_bytes
    engine.post(events.ReaderOpened(1, 2 * MEBI, False))
    assert engine.session.state.buffer.readers[1].frontier == 5 * 2 * MEBI
    assert engine.network.moved_bytes == moved


def test_a_paused_reader_does_not_stall_and_its_window_stands_still() -> None:
    nodes = [steady() for _ in range(5)]
    engine = engine_for(chunk_records(30), nodes, config=SessionConfig(window_s=20.0))
    engine.post(events.ReaderOpened(0, 0, True))
    while engine.network.now_s < 5.0:
        engine.step(5.0)
    engine.post(events.ReaderPaused(0, True))
    while engine.network.now_s < 300.0:
        engine.step(300.0)
    reader = engine.session.state.buffer.readers[0]
    assert reader.stalls == 0
    assert reader.playhead_s(300.0) < 5.0
    assert reader.buffered_s(300.0) < 20.0 + 10.0 + 1.0
    engine.post(events.ReaderPaused(0, False))
    while reader.state != "ended":
        engine.step(900.0)
    assert reader.stalls == 0


def test_the_cache_limit_forgets_what_lies_farthest_behind() -> None:
    config = SessionConfig(window_s=20.0, cache_bytes_max=8 * 2 * MEBI)
    engine = engine_for(chunk_records(20), [steady() for _ in range(5)], config=config)
    played(engine)
    held = [c.index for c in engine.session.state.chunks if c.decoded]
    assert len(held) <= 9
    assert max(held) == 19
    assert min(held) > 5


def test_two_readers_share_what_is_fetched() -> None:
    alone = engine_for(chunk_records(10), [steady() for _ in range(5)])
    played(alone)
    engine = engine_for(chunk_records(10), [steady() for _ in range(5)])
    engine.post(events.ReaderOpened(0, 0, True))
    engine.post(events.ReaderOpened(1, 3 * MEBI, True))
    readers = engine.session.state.buffer.readers
    while any(reader.state != "ended" for reader in readers.values()):
        engine.step(900.0)
    assert engine.network.moved_bytes < 1.02 * alone.network.moved_bytes
    assert all(reader.stalls == 0 for reader in readers.values())


def test_garbage_on_more_than_n_minus_k_nodes_is_reported_as_unplayable() -> None:
    nodes = [
        steady(faults=(Fault(FaultKind.GARBAGE, 0.0),) if index < 3 else ()) for index in range(5)
    ]
    engine = engine_for(chunk_records(2), nodes)
    engine.play(limit_s=30.0)
    assert any(n.kind == "unplayable" for _, n in engine.notices)
    engine.session.check_invariants()


def test_all_nodes_away_for_a_while_stalls_and_then_goes_on() -> None:
    nodes = [steady(faults=(Fault(FaultKind.REFUSE, 2.0, 30.0),)) for _ in range(5)]
    config = SessionConfig(window_s=10.0)
    engine = engine_for(chunk_records(6), nodes, config=config)
    reader = played(engine)
    assert reader.stalls == 1
    assert engine.network.now_s > 30.0
    assert reader.stalled_s < 30.0


def test_a_large_copy_of_everything_on_a_slow_client_link_wastes_little() -> None:
    engine = engine_for(
        chunk_records(8, k=1, n=3), [steady() for _ in range(5)], client_bytes_per_s=300_000
    )
    played(engine)
    assert extra_share(engine) < 0.02


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_the_same_events_give_the_same_commands(scheduler: str) -> None:
    def run() -> list:
        nodes = [
            steady(faults=(Fault(FaultKind.FREEZE, 3.0, 9.0),) if index == 1 else ())
            for index in range(5)
        ]
        engine = engine_for(chunk_records(6), nodes, scheduler=scheduler, keeps_trace=True)
        engine.play()
        return engine.trace

    first = run()
    assert first == run()
    assert any(isinstance(command, commands.Fetch) for _, command in first)


def test_time_that_runs_backwards_is_our_own_bug() -> None:
    session = Session(chunk_records(1), ["node-0"], make_scheduler("smart"))
    session.handle(events.Tick(), 5.0)
    with pytest.raises(AssertionError, match="backwards"):
        session.handle(events.Tick(), 4.0)


def test_an_unknown_scheduler_is_named_with_the_known_ones() -> None:
    with pytest.raises(InvalidRequest) as caught:
        make_scheduler("smrt")
    assert "round-robin" in caught.value.hint


def test_an_empty_video_ends_at_once() -> None:
    session = Session([], [], make_scheduler("smart"))
    issued = session.handle(events.ReaderOpened(0, 0, True), 1.0)
    issued += session.handle(events.Tick(), 1.0)
    assert [c.kind for c in issued if isinstance(c, commands.Notice)] == ["playing", "ended"]


@given(st.lists(st.floats(0.001, 0.1), min_size=5, max_size=5), st.integers(1, 100_000))
@settings(max_examples=60, deadline=None)
def test_nodes_do_not_take_a_small_chunk_from_each_other_for_ever(rtts, size) -> None:
    nodes = [steady(rtt_s=rtt_s) for rtt_s in rtts]
    engine = engine_for(chunk_records(1, size=size, seconds=0.1), nodes)
    played(engine)
    assert engine.session.state.counters.pieces <= 3 * 5 + 5
    assert engine.network.now_s < 0.1 + 6 * max(rtts) + 0.3


@pytest.mark.parametrize("told", [True, False])
def test_when_we_did_not_run_no_node_was_silent(told) -> None:
    engine = engine_for(chunk_records(6), [steady(mbit_per_s=0.6) for _ in range(5)])
    engine.play(limit_s=5.0)
    session = engine.session
    now_s = session.state.now_s
    assert session.state.pieces
    late_s = now_s + 3.0 - session.next_wakeup_s()
    happened = [events.WokeLate(late_s), events.Tick()] if told else [events.Tick()]
    issued = session.handle_all(happened, now_s + 3.0)
    blamed = [c for c in issued if isinstance(c, commands.Notice) and c.kind == "node_suspect"]
    assert bool(blamed) is not told
