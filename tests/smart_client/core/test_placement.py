"""Fragments that move while a session plays: it finds out, takes the news in and plays on."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.rows import RowGeometry
from redundancy.scheme import Layout, Scheme
from smart_client import wire
from smart_client.core import commands, events
from smart_client.core.chunk_progress import ChunkProgress
from smart_client.core.events import FailureKind
from smart_client.core.explanation import Explainer
from smart_client.core.ledger import Ledger
from smart_client.core.placement_desk import ASK_PAUSE_FIRST_S, ASK_PAUSE_MAX_S
from smart_client.core.replay import new_session, replay
from smart_client.core.schedulers import SCHEDULERS
from smart_client.core.state import SessionConfig
from smart_client.dashboard import EventLog
from smart_client.diagnosis import fragment_states, why_it_waits
from smart_client.errors import FragmentsLost
from smart_client.placing import CHUNKS_AT_ONCE, placement_events
from smart_client.recording import Recording
from smart_client.simulator.network import Fault, FaultKind, Network
from support.moving_worlds import MovingEngine, moved_to, moving, stored_as
from support.recorded_worlds import record_play
from support.session_worlds import MEBI, chunk_records, engine_for, steady

FIVE = [steady(mbit_per_s=4.0) for _ in range(5)]


def copies_become_coded(at_s: float, *, scheduler: str = "smart", **settings) -> MovingEngine:
    """Three copies become (3, 5) at an instant, and the copies are dropped at once."""
    chunks = chunk_records(8, size=MEBI, k=1, n=3, seconds=5.0)
    config = SessionConfig(window_s=12.0)
    engine = engine_for(chunks, FIVE, scheduler=scheduler, config=config)
    return moving(engine, chunks, changes=[(at_s, stored_as(chunks, 3, 5))], **settings)


def notices(engine: MovingEngine, kind: str) -> list[commands.Notice]:
    return [notice for _, notice in engine.notices if notice.kind == kind]


def played(engine: MovingEngine, limit_s: float = 600.0):
    handle = engine.session.handle

    def checked(event, now_s):
        issued = handle(event, now_s)
        engine.session.check_invariants()
        return issued

    engine.session.handle = checked
    engine.play(limit_s=limit_s)
    reader = engine.session.state.buffer.readers[0]
    assert reader.state == "ended", f"not ended after {engine.network.now_s:.0f} s"
    return reader


@pytest.mark.parametrize("at_s", [0.0, 0.3, 7.0, 13.3, 21.7])
def test_a_video_whose_layout_changes_on_the_way_plays_on_without_a_stall(at_s: float) -> None:
    engine = copies_become_coded(at_s)
    reader = played(engine)
    assert reader.stalls == 0
    assert reader.startup_s < 1.5
    assert len(engine.asked_s) == 1
    assert engine.session.state.chunks[-1].k == 3
    assert all(chunk.verified for chunk in engine.session.state.chunks)
    assert engine.network.moved_bytes < 1.1 * engine.session.state.timeline.size


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_every_scheduler_lives_through_a_change_of_layout(scheduler: str) -> None:
    played(copies_become_coded(9.1, scheduler=scheduler))


@settings(max_examples=40)
@given(
    at_s=st.floats(0.0, 30.0),
    layouts=st.permutations([(1, 3), (3, 5), (2, 4), (5, 5)]),
    mbit_per_s=st.floats(1.0, 20.0),
)
def test_any_layout_becomes_any_other_at_any_moment(at_s, layouts, mbit_per_s) -> None:
    (k, n), *later = layouts
    chunks = chunk_records(4, size=MEBI + 12_345, k=k, n=n, seconds=5.0)
    changes, stored = [], chunks
    for turn, (then_k, then_n) in enumerate(later[:2]):
        stored = stored_as(stored, then_k, then_n)
        changes.append((at_s + 2.5 * turn, stored))
    nodes = [steady(mbit_per_s=mbit_per_s) for _ in range(5)]
    engine = engine_for(chunks, nodes, config=SessionConfig(window_s=8.0))
    played(moving(engine, chunks, changes=changes))


def test_holders_that_died_are_replaced_by_those_that_hold_their_fragments_now() -> None:
    """Three of five nodes die; what they held is made again on nodes nobody knew of."""
    chunks = chunk_records(12, size=MEBI, seconds=5.0)
    dead = (Fault(FaultKind.REFUSE, 6.0),)
    nodes = [steady(mbit_per_s=2.0, faults=dead if index < 3 else ()) for index in range(5)]
    engine = engine_for(chunks, nodes, config=SessionConfig(window_s=25.0))
    engine.network = Network([*nodes, *(steady(mbit_per_s=4.0) for _ in range(3))])
    homes = {f"node-{index}": f"node-{index + 5}" for index in range(3)}
    world = moving(engine, chunks, changes=[(8.0, moved_to(chunks, homes))], nodes=8)
    reader = played(world)
    assert reader.stalls == 0
    state = world.session.state
    assert [node.id for node in state.nodes.nodes][5:] == ["node-5", "node-6", "node-7"]
    assert all(node.bytes_received for node in state.nodes.nodes[5:])
    assert not world.missing
    # What had come of fragments that moved was kept.
    assert world.network.moved_bytes < 1.03 * state.timeline.size
    assert notices(world, "relocated")[0].reason == "12"


def test_fragments_that_were_missing_are_asked_for_where_they_went() -> None:
    """Three of five nodes gave away what they held, and stay."""
    chunks = chunk_records(8, size=MEBI, seconds=5.0)
    engine = engine_for(chunks, FIVE, config=SessionConfig(window_s=12.0))
    engine.network = Network([*FIVE, *(steady(mbit_per_s=4.0) for _ in range(3))])
    homes = {f"node-{index}": f"node-{index + 5}" for index in range(3)}
    world = moving(engine, chunks, changes=[(7.0, moved_to(chunks, homes))], nodes=8)
    reader = played(world)
    assert reader.stalls == 0
    assert world.missing
    assert len(world.asked_s) == 1
    assert all(not chunk.bad_fragments for chunk in world.session.state.chunks)


def test_a_fragment_made_again_where_it_was_is_found_again() -> None:
    chunks = chunk_records(6, size=MEBI, seconds=5.0)
    lost = [msgspec.structs.replace(chunk, fragments=chunk.fragments[:2]) for chunk in chunks]
    engine = engine_for(chunks, FIVE, config=SessionConfig(window_s=8.0))

    world = moving(engine, chunks, changes=[(5.0, lost), (25.0, chunks)], catalogue=chunks)
    reader = played(world)
    assert 0 < reader.stalled_s < 25.0 + ASK_PAUSE_MAX_S


def test_the_answer_of_another_video_is_ignored() -> None:
    chunks = chunk_records(4)
    for change in (
        {"sha256": "1" * 64},
        {"size": 77},
        {"offset": 1},
        {"number": 3},
        {"number": 4},
    ):
        engine = engine_for(chunks, FIVE)
        engine.post(events.ReaderOpened(0, 0, True))
        state = engine.session.state
        other = msgspec.structs.replace(stored_as(chunks, 2, 4)[1], **change)
        ids = tuple(node.id for node in state.nodes.nodes)
        good = stored_as(chunks, 2, 4)[0]
        issued = engine.session.handle(events.PlacementKnown((good, other), ids), 0.0)
        assert [c.kind for c in issued if isinstance(c, commands.Notice)] == ["misplaced"]
        assert state.records == chunks
        assert all(chunk.k == 3 for chunk in state.chunks)


@pytest.mark.parametrize(
    "names",
    [
        ("node-1", "node-0", "node-2", "node-3", "node-4"),
        ("node-0", "node-1"),
        (*(f"node-{index}" for index in range(5)), "node-4"),
    ],
)
def test_an_answer_that_renames_nodes_is_ignored(names) -> None:
    chunks = chunk_records(2)
    engine = engine_for(chunks, FIVE)
    issued = engine.session.handle(events.PlacementKnown((), names), 0.0)
    assert [c.kind for c in issued if isinstance(c, commands.Notice)] == ["misplaced"]
    assert len(engine.session.state.nodes) == 5


def test_an_older_answer_changes_nothing() -> None:
    chunks = chunk_records(2)
    newer = stored_as(chunks, 2, 4)
    engine = engine_for(newer, FIVE)
    ids = tuple(f"node-{index}" for index in range(5))
    engine.session.handle(events.PlacementKnown(tuple(chunks), ids), 0.0)
    assert engine.session.state.records == newer


@pytest.mark.parametrize("answers", [False, True])
def test_it_is_asked_seldom_while_answers_do_not_help(answers: bool) -> None:
    chunks = chunk_records(4, size=MEBI, seconds=5.0)
    gone = [msgspec.structs.replace(chunk, fragments=()) for chunk in chunks]
    engine = engine_for(chunks, FIVE)
    changes = [(0.5, gone)]
    world = moving(engine, chunks, changes=changes, answers=answers, catalogue=chunks)
    world.run([(0.0, events.ReaderOpened(0, 0, True))], 900.0)
    pauses = [b - a for a, b in zip(world.asked_s, world.asked_s[1:], strict=False)]
    assert 10 < len(world.asked_s) <= 900 / ASK_PAUSE_MAX_S + 8
    assert min(pauses) >= ASK_PAUSE_FIRST_S - 1e-6
    assert max(pauses) <= ASK_PAUSE_MAX_S + 3.5
    assert len(world.missing) < 300


def test_nobody_asks_while_all_is_well_or_a_node_is_only_uneven() -> None:
    blink = (Fault(FaultKind.FREEZE, 4.0, 5.5),)
    chunks = chunk_records(6, size=MEBI, seconds=5.0)
    nodes = [steady(mbit_per_s=4.0, faults=blink) for _ in range(5)]
    world = moving(engine_for(chunks, nodes), chunks)
    played(world)
    assert world.asked_s == []


def test_a_question_that_is_never_answered_is_not_repeated() -> None:
    chunks = chunk_records(3, size=MEBI, seconds=5.0)
    away = (Fault(FaultKind.REFUSE, 0.0),)
    engine = engine_for(chunks, [steady(faults=away) for _ in range(5)], keeps_trace=True)
    engine.run([(0.0, events.ReaderOpened(0, 0, True))], 300.0)
    asked = [at_s for at_s, c in engine.trace if isinstance(c, commands.AskPlacement)]
    assert len(asked) == 1
    assert asked[0] >= 3.0


def test_what_is_lost_is_hopeless_only_after_the_coordinator_was_asked() -> None:
    chunks = chunk_records(2, size=MEBI)
    manifest = wire.Manifest(
        video=wire.VideoRecord(
            id="0" * 32, name="film", state="ready", created_at_s=0, layout=chunks[0].layout
        ),
        rendition=wire.RenditionRecord(
            name="original",
            size=2 * MEBI,
            sha256="0" * 64,
            mime="",
            duration_s=20.0,
            chunk_count=2,
        ),
        chunks=tuple(chunks),
        nodes=(),
    )
    session = engine_for(chunks, FIVE).session
    issued = session.handle(events.ReaderOpened(0, 0, False), 0.0)
    asked = False
    for turn in range(20):
        for command in list(issued):
            if isinstance(command, commands.Fetch | commands.FetchFooter):
                failed = events.PieceFailed(command.piece, FailureKind.MISSING, 0)
                now_s = 0.01 * (turn + 1)
                issued = (
                    session.handle(failed, now_s)
                    if command.piece in (session.state.pieces)
                    else issued
                )
                asked |= any(isinstance(c, commands.AskPlacement) for c in issued)
    state = session.state
    assert asked
    assert state.chunks[0].usable_fragments() < 3
    assert why_it_waits(state, manifest, 0) is None
    assert isinstance(why_it_waits(state, manifest, 0, gave_up_after_s=9.0), FragmentsLost)


def progress(size: int, k: int) -> ChunkProgress:
    layout = Layout(Scheme(k, k + 1), 0)
    return ChunkProgress(0, RowGeometry(size, k), layout, {index: index for index in range(k + 1)})


@given(data=st.data(), size=st.integers(1, 2 * MEBI), k=st.integers(1, 6), then=st.integers(1, 6))
def test_a_row_is_carried_over_if_and_only_if_all_its_bytes_were_decoded(
    data, size: int, k: int, then: int
) -> None:
    old, new = progress(size, k), progress(size, then)
    old.decoded = data.draw(st.integers(0, old.all_rows))
    old.wanted = data.draw(st.integers(0, old.all_rows))
    new.carry(old)
    for row in range(new.geometry.rows):
        start, stop = new.geometry.chunk_range(row, 1)
        under = range(old.geometry.row_at(start), old.geometry.row_at(stop - 1) + 1)
        assert bool(new.decoded >> row & 1) == all(old.decoded >> each & 1 for each in under)
        assert bool(new.wanted >> row & 1) == any(old.wanted >> each & 1 for each in under)
    assert not new.decoded & ~new.all_rows
    assert new.asked.full == new.received.full == new.decoded
    assert new.take_decodable() == []
    new.asked.add(0, new.all_rows & ~new.decoded, whole=then == 1)
    new.take_back(0, new.all_rows)
    assert new.asked.full == new.decoded


def test_a_chunk_put_together_from_two_layouts_that_is_wrong_is_fetched_anew() -> None:
    chunks = chunk_records(1, size=MEBI, seconds=5.0)
    engine = engine_for(chunks, FIVE)
    session = engine.session
    session.handle(events.ReaderOpened(0, 0, False), 0.0)
    chunk = session.state.chunks[0]
    chunk.decoding = chunk.all_rows
    session.handle(events.RowsDecoded(0, 0, chunk.geometry.rows), 0.1)
    ids = tuple(f"node-{index}" for index in range(5))
    known = events.PlacementKnown(tuple(stored_as(chunks, 2, 4)), ids)
    assert commands.VerifyChunk(0) in session.handle(known, 0.2)
    issued = session.handle(events.ChunkRejected(0), 0.3)
    assert commands.Discard(0) in issued
    assert session.state.chunks[0].usable_fragments() == 4
    assert session.state.order == [0]


def test_a_recording_with_news_of_placement_replays_to_the_bit_on_every_screen(tmp_path) -> None:
    chunks = chunk_records(6, size=MEBI // 2, seconds=4.0)
    engine = engine_for(chunks, FIVE, config=SessionConfig(window_s=8.0))
    engine.network = Network([*FIVE, steady()])
    coded = stored_as(chunks, 2, 4, nodes=6)
    world = moving(engine, chunks, changes=[(5.0, coded)], nodes=6)
    log = record_play(world, chunks, tmp_path / "run.jsonl")
    assert any(isinstance(event, events.PlacementKnown) for _, event, _ in log)
    recording = Recording(tmp_path / "run.jsonl")
    session = new_session(recording.head)
    explainer, ledger = Explainer(session), Ledger()
    lines = (tmp_path / "lines").open("w")
    screen = EventLog(recording.head.nodes, lines=lines)
    steps = []
    for now_s, event, issued in replay(session, recording.steps()):
        steps.append((now_s, event, issued))
        for observe in (explainer.observe, ledger.observe, screen.observe):
            observe(now_s, event, issued)
    recording.close()
    lines.close()
    assert steps == log
    assert len(session.state.nodes) == 6
    assert "fragments of 6 chunks lie elsewhere now" in (tmp_path / "lines").read_text()


def test_a_long_answer_comes_in_parts_and_ends_once() -> None:
    chunks = chunk_records(2 * CHUNKS_AT_ONCE + 1, size=10)
    told = placement_events(chunks, stored_as(chunks, 2, 4), ("node-0",))
    assert [len(event.chunks) for event in told] == [CHUNKS_AT_ONCE, CHUNKS_AT_ONCE, 1]
    assert [event.more for event in told] == [True, True, False]
    assert placement_events(chunks, chunks, ("node-0",)) == [events.PlacementKnown((), ("node-0",))]


def test_what_came_of_a_silent_node_is_said_with_its_silence() -> None:
    chunks = chunk_records(1)
    state = engine_for(chunks, FIVE).session.state
    silent = state.nodes[2]
    silent.suspect(0.0)
    told = fragment_states(state, state.chunks[0], {2: "unreachable: not trusted", 1: "old"})
    assert str(told[silent.id]).startswith("no answer for")
    assert str(told[silent.id]).endswith("(unreachable: not trusted)")
    assert all(text == "ok" for node, text in told.items() if node != silent.id)
