"""Sessions over a ladder: late opening, one choice a unit, and all that a session keeps anyway."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smart_client.core import commands, events
from smart_client.core.abr.contract import Choice, Situation
from smart_client.core.abr.controllers import CONTROLLERS, make_controller
from smart_client.core.abr.ladder import Ladder
from smart_client.core.abr.ladder_demand import LadderDemand, Opening, ladder_session
from smart_client.core.abr.meter import ThroughputMeter
from smart_client.core.chunk_progress import mask_of
from smart_client.core.schedulers import make_scheduler
from smart_client.core.state import SessionConfig
from smart_client.core.timeline import Timeline
from smart_client.errors import InvalidRequest
from smart_client.simulator.engine import Engine
from smart_client.simulator.network import Fault, FaultKind, Network
from smart_client.wire import ChunkRecord
from support.session_worlds import chunk_records, steady
from support.watched_sessions import Watch

KIB = 1024
SIZES = (40 * KIB, 110 * KIB + 17, 300 * KIB + 7)
CONFIG = SessionConfig(window_s=24.0)


class Scripted:
    """Takes renditions in turn and remembers what it was shown."""

    name = "scripted"

    def __init__(self, *turns: int) -> None:
        self.turns = turns
        self.seen: list[Situation] = []

    def choose(self, situation: Situation) -> Choice:
        self.seen.append(situation)
        return Choice(self.turns[(len(self.seen) - 1) % len(self.turns)], "in turn")


def ladder_of(count: int, *, sizes=SIZES, seconds: float = 2.0, **layout) -> Ladder:
    return Ladder(
        tuple(tuple(chunk_records(count, size=s, seconds=seconds, **layout)) for s in sizes)
    )


def engine_of(
    ladder: Ladder,
    controller,
    *,
    scheduler: str = "smart",
    mbit_per_s: float = 2.0,
    faults=None,
    opening: Opening | None = None,
) -> Engine:
    nodes = [
        steady(
            mbit_per_s=mbit_per_s, rtt_s=0.01 * (1 + index), faults=(faults or {}).get(index, ())
        )
        for index in range(5)
    ]
    session = ladder_session(
        ladder,
        [f"node-{index}" for index in range(5)],
        make_scheduler(scheduler),
        controller=controller,
        config=CONFIG,
        opening=opening,
    )
    return Engine(session, Network(nodes), keeps_trace=True)


def choices_of(engine: Engine) -> dict[int, int]:
    demand = engine.session.demand
    assert isinstance(demand, LadderDemand)
    return {unit: choice.rendition for unit, choice in demand.choices.items()}


@pytest.mark.parametrize("scheduler", ["smart", "content-steering", "time-critical", "all-n"])
@pytest.mark.parametrize("controller", CONTROLLERS)
def test_every_controller_plays_to_the_end_with_any_scheduler(controller, scheduler) -> None:
    engine = engine_of(
        ladder_of(6),
        make_controller(controller),
        scheduler=scheduler,
        faults={1: (Fault(FaultKind.FREEZE, 1.0, 4.0),), 3: (Fault(FaultKind.REFUSE, 2.0),)},
    )
    Watch(engine).play()
    assert sorted(choices_of(engine)) == list(range(6))


@settings(max_examples=40)
@given(data=st.data())
def test_random_ladders_in_random_worlds_are_played_to_the_end(data) -> None:
    count = data.draw(st.integers(1, 6))
    k = data.draw(st.integers(1, 3))
    seconds = data.draw(st.sampled_from([0.5, 2.0, 6.0]))
    sizes = data.draw(
        st.lists(st.integers(1, 300 * KIB), min_size=1, max_size=4, unique=True).map(sorted)
    )
    faults = {}
    for index in (1, 3):
        start_s = data.draw(st.floats(0, 10))
        kind = data.draw(st.sampled_from([FaultKind.FREEZE, FaultKind.REFUSE, FaultKind.DRIP]))
        faults[index] = (Fault(kind, start_s, start_s + data.draw(st.sampled_from([0.4, 20.0]))),)
    turns = data.draw(st.lists(st.integers(0, len(sizes) - 1), min_size=1, max_size=5))
    engine = engine_of(
        ladder_of(count, sizes=sizes, seconds=seconds, k=k),
        Scripted(*turns),
        mbit_per_s=data.draw(st.floats(0.3, 30)),
        faults=faults,
        opening=Opening(data.draw(st.floats(0.1, 20)), data.draw(st.floats(0, 1))),
    )
    Watch(engine).play()
    reader = engine.session.state.buffer.readers[0]
    assert reader.frontier_s == pytest.approx(count * seconds)
    played = sum(sizes[rendition] for rendition in choices_of(engine).values())
    assert engine.session.state.counters.delivered_bytes == played


def test_a_unit_is_opened_once_before_anything_of_it_is_asked_for() -> None:
    controller = Scripted(0, 2, 1)
    engine = engine_of(ladder_of(8), controller)
    engine.play()
    opened: dict[int, int] = {}
    for _, command in engine.trace:
        if isinstance(command, commands.OpenUnit):
            assert command.chunk not in opened
            opened[command.chunk] = command.rendition
        elif isinstance(command, commands.Fetch | commands.FetchFooter):
            assert command.chunk in opened
    assert opened == choices_of(engine) == {unit: (0, 2, 1)[unit % 3] for unit in range(8)}


def test_the_last_choice_the_sizes_to_come_and_the_throughput_are_shown() -> None:
    controller = Scripted(0, 2, 1)
    ladder = ladder_of(8)
    engine_of(ladder, controller).play()
    assert [seen.last for seen in controller.seen] == [-1, 0, 2, 1, 0, 2, 1, 0]
    for unit, seen in enumerate(controller.seen):
        assert seen.sizes == ladder.sizes[unit:]
        assert seen.bitrates == pytest.approx([size / 2 for size in SIZES])
    assert controller.seen[0].bytes_per_s == 0
    # Five nodes of 2 Mbit/s; the first guesses have round trips and idle nodes in them.
    assert 0.3 < controller.seen[-1].bytes_per_s / (10e6 / 8) < 1.1


def test_units_are_opened_late() -> None:
    """Never more than the limit is open and not asked for; what is in reach alone opens nothing."""
    opening = Opening(4.0, 0.0)
    engine = engine_of(ladder_of(30), Scripted(2), mbit_per_s=0.2, opening=opening)
    session = engine.session
    engine.post(events.ReaderOpened(0, 0, True))
    most_s, fewest = 0.0, 30
    while session.state.buffer.readers[0].state != "ended":
        engine.step(600.0)
        state = session.state
        unasked = [i for i in state.order if state.chunks[i].needs_asking]
        most_s = max(most_s, 2.0 * len(unasked))
        if engine.network.now_s > 5 and len(choices_of(engine)) < 30:
            fewest = min(fewest, len(unasked))
    assert most_s == 4.0
    assert fewest >= 1, "nodes were left without work"


def test_with_more_buffered_more_is_opened() -> None:
    def opened_at(share: float) -> int:
        engine = engine_of(ladder_of(30), Scripted(1), mbit_per_s=0.15, opening=Opening(2.0, share))
        engine.post(events.ReaderOpened(0, 0, True))
        while engine.network.now_s < 14.0:
            engine.step(14.0)
        return len(choices_of(engine))

    assert opened_at(1.0) > opened_at(0.0)


def test_nothing_is_opened_beyond_the_window() -> None:
    engine = engine_of(ladder_of(40), Scripted(0), mbit_per_s=20.0)
    engine.post(events.ReaderOpened(0, 0, True))
    state = engine.session.state
    while state.buffer.readers[0].state != "ended":
        engine.step(600.0)
        head_s = state.buffer.readers[0].playhead_s(engine.network.now_s)
        assert 2.0 * max(choices_of(engine)) <= head_s + CONFIG.window_s + 1e-3


def test_a_seek_keeps_what_is_open_and_chooses_anew_where_it_lands() -> None:
    controller = Scripted(0, 1, 2)
    engine = engine_of(ladder_of(40), controller, mbit_per_s=0.5)
    position_at = engine.session.state.timeline.offset_at
    back, forth = position_at(1.0), position_at(61.0)
    jumps = [(0.0, events.ReaderOpened(0, 0, True)), (6.0, events.ReaderMoved(0, forth))]
    jumps.append((9.0, events.ReaderMoved(0, back)))
    engine.run(jumps, 8.9)
    before = choices_of(engine)
    assert 30 in before
    assert 29 not in before
    engine.run(jumps[2:], 600.0)
    after = choices_of(engine)
    assert sorted(after) == list(range(40))
    assert all(after[unit] == rendition for unit, rendition in before.items())
    assert engine.session.state.buffer.readers[0].state == "ended"
    engine.session.check_invariants()


def test_the_same_world_gives_the_same_commands() -> None:
    def run() -> list:
        faults = {1: (Fault(FaultKind.FREEZE, 1.0, 9.0),)}
        engine = engine_of(ladder_of(12), make_controller(), faults=faults)
        engine.play()
        return engine.trace

    assert run() == run()


@given(
    span=st.integers(1, 4_000_000),
    share=st.floats(0, 1),
    byte_share=st.floats(0, 1),
    before=st.integers(1, 1_000_000),
)
def test_positions_and_bytes_of_a_smaller_rendition_are_inverse(
    span: int, share: float, byte_share: float, before: int
) -> None:
    chunks = [
        *chunk_records(1, size=before, seconds=2.0),
        _moved(chunk_records(1, size=span, seconds=2.0)[0], before),
    ]
    timeline = Timeline(chunks)
    size = max(1, int(share * span))
    timeline.replace(1, size)
    byte = int(byte_share * size)
    if byte < size:
        assert timeline.byte_in(1, timeline.offset_of(1, byte)) == byte
    assert timeline.offset_of(1, size) == timeline.offsets[2]
    assert timeline.offset_of(1, 0) == timeline.offsets[1]
    assert timeline.time_in(1, size) == pytest.approx(4.0)
    assert timeline.time_at(timeline.offset_of(1, byte)) == pytest.approx(2.0 + 2.0 * byte / size)


def _moved(chunk: ChunkRecord, offset: int) -> ChunkRecord:
    return ChunkRecord(
        number=1,
        offset=offset,
        size=chunk.size,
        sha256=chunk.sha256,
        start_s=2.0,
        duration_s=2.0,
        layout=chunk.layout,
        fragments=chunk.fragments,
    )


def test_a_ladder_that_does_not_fit_together_is_refused() -> None:
    low, high = chunk_records(3, size=10), chunk_records(3, size=20)
    with pytest.raises(InvalidRequest, match="order of their bitrates"):
        Ladder((tuple(high), tuple(low)))
    with pytest.raises(InvalidRequest, match="equally many"):
        Ladder((tuple(low), tuple(high[:2])))
    with pytest.raises(InvalidRequest, match="do not end together"):
        Ladder((tuple(low), tuple(chunk_records(3, size=20, seconds=9.0))))
    with pytest.raises(InvalidRequest, match="needs a rendition"):
        Ladder(())
    with pytest.raises(ValueError, match="open"):
        Opening(0.0)


@given(st.lists(st.tuples(st.integers(0, 10**7), st.floats(0.05, 3)), min_size=1, max_size=40))
def test_the_meter_stays_between_what_it_saw(spells) -> None:
    meter = ThroughputMeter()
    for received, seconds in spells:
        meter.add(received, seconds)
    if meter.samples and len(meter.samples) < 10:
        assert min(meter.samples) <= meter.bytes_per_s() * (1 + 1e-9)
        assert meter.bytes_per_s() <= max(meter.samples) * (1 + 1e-9)


def test_the_meter_follows_a_drop_fast_and_a_rise_slowly() -> None:
    meter = ThroughputMeter()
    assert meter.bytes_per_s() == 0
    meter.add(100, 0.25)
    assert meter.bytes_per_s() == pytest.approx(400)
    for _ in range(20):
        meter.add(1000, 1.0)
    for _ in range(6):
        meter.add(100, 1.0)
    after_drop = meter.bytes_per_s()
    assert 200 < after_drop < 400
    for _ in range(6):
        meter.add(1000, 1.0)
    assert after_drop < meter.bytes_per_s() < 800


def test_idle_time_with_a_full_window_is_no_lack_of_throughput() -> None:
    """Nodes of 30 Mbit/s in all, of which playing needs a thirtieth."""
    controller = Scripted(2)
    engine_of(ladder_of(60), controller, mbit_per_s=6.0).play()
    assert controller.seen[-1].bytes_per_s > 0.3 * 30e6 / 8


def test_rows_count_only_where_they_were_asked_for() -> None:
    engine = engine_of(ladder_of(2), Scripted(0))
    engine.play()
    for chunk in engine.session.state.chunks:
        assert chunk.decoded == mask_of(0, chunk.geometry.rows)
        assert chunk.geometry.chunk_bytes == SIZES[0]
