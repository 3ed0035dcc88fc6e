"""What makes each baseline the method it is named after."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redundancy.rows import RowGeometry
from redundancy.scheme import Layout, Scheme
from smart_client.core import commands
from smart_client.core.baselines.hedging import TAIL_SAMPLES_MIN
from smart_client.core.baselines.mirrors import HLS_PENALTY_S, RandomMirror
from smart_client.core.chunk_progress import ChunkProgress, mask_of
from smart_client.core.session import Session
from smart_client.core.state import SessionConfig
from smart_client.simulator.engine import Engine
from smart_client.simulator.network import Fault, FaultKind, Network, NodeModel
from support.session_worlds import MEBI, chunk_records, engine_for, steady
from support.watched_sessions import Watch

COPIES = (1, 3, 0)
CODED = (3, 5, 0)


def play(scheduler: str, layout=CODED, faults=None, *, count=4, mbit_per_s=8.0, **settings):
    k, n, copies = layout
    chunks = chunk_records(count, size=MEBI, seconds=5.0, k=k, n=n, copies=copies)
    nodes = [
        steady(mbit_per_s=mbit_per_s, rtt_s=0.01 * (1 + i), faults=(faults or {}).get(i, ()))
        for i in range(5)
    ]
    watch = Watch(engine_for(chunks, nodes, scheduler=scheduler, **settings))
    watch.play()
    return watch


def fetches(watch: Watch) -> list[tuple[float, commands.Fetch]]:
    return watch.of(commands.Fetch)  # type: ignore[return-value]


def lanes_at_once(watch: Watch, chunk: int) -> int:
    """How many requests for a chunk were ever under way together."""
    alive: set[int] = set()
    most = 0
    for _, command in watch.commands:
        if isinstance(command, commands.Fetch) and command.chunk == chunk:
            alive.add(command.piece)
        elif isinstance(command, commands.Cancel):
            alive.discard(command.piece)
        most = max(most, len(alive))
    return most


def received_share(watch: Watch) -> float:
    return watch.engine.network.moved_bytes / watch.session.state.timeline.size


# -- duplicates ------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 3), st.data())
def test_a_row_asked_of_more_than_k_is_decoded_once_whoever_comes_first(k, extra, data) -> None:
    layout = Layout(Scheme(k, k + extra))
    chunk = ChunkProgress(0, RowGeometry(200_000, k), layout, {f: f for f in range(k + extra)})
    chunk.wanted = chunk.all_rows
    chunk.footer_coded = True
    for fragment in range(k + extra):
        assert chunk.spare_rows(fragment) == chunk.all_rows
        chunk.ask(fragment, chunk.all_rows)
        assert chunk.spare_rows(fragment) == 0, "asked of it already"
    order = data.draw(st.permutations(range(k + extra)))
    decoded = []
    for count, fragment in enumerate(order, start=1):
        chunk.receive(fragment, chunk.all_rows)
        decoded += chunk.take_decodable()
        assert bool(decoded) == (count >= k)
    assert [(first, rows) for first, rows, _ in decoded] == [(0, chunk.geometry.rows)]
    assert set(decoded[0][2]) == set(order[:k]), "from the first k that came"
    for fragment in order[k:]:
        chunk.take_back(fragment, mask_of(0, 2))
    assert not chunk.needs_asking, "giving a duplicate up opens nothing"


def test_nothing_is_spare_of_a_bad_fragment_or_once_the_rows_are_in() -> None:
    chunk = ChunkProgress(0, RowGeometry(100_000, 1), Layout.parse("rep:3"), {0: 0, 1: 1, 2: 2})
    chunk.wanted = chunk.all_rows
    chunk.reject(2)
    assert chunk.spare_rows(2) == 0
    chunk.ask(0, 0b111)
    chunk.receive(0, 0b011)
    assert chunk.spare_rows(1) == chunk.all_rows & ~0b011


def test_a_copy_serves_begun_rows_when_too_few_coded_fragments_answer() -> None:
    away: set[int] = set()
    layout = Layout.parse("rs:2+1+1copy")
    nodes = dict(enumerate(range(4)))
    chunk = ChunkProgress(0, RowGeometry(200_000, 2), layout, nodes, is_away=away.__contains__)
    chunk.wanted = chunk.all_rows
    chunk.ask(0, 0b11)
    assert not chunk.open_rows(3) & 0b11
    away |= {1, 2}
    assert chunk.open_rows(3) & 0b11 == 0b11
    away.remove(1)
    assert not chunk.open_rows(3) & 0b11


# -- clients that wait -----------------------------------------------------------------------------


def test_round_robin_completes_one_chunk_before_the_next_and_takes_turns() -> None:
    watch = play("round-robin")
    order = [command.chunk for _, command in fetches(watch)]
    assert order == sorted(order)
    assert received_share(watch) < 1.01
    assert {command.node for _, command in fetches(watch)} == set(range(5))


def test_round_robin_with_four_has_four_chunks_under_way() -> None:
    first_s = [at_s for at_s, command in fetches(play("round-robin-4", count=6))]
    assert len([at_s for at_s in first_s if at_s == 0.0]) == 4 * 3


def test_a_random_mirror_chooses_the_same_for_the_same_seed_and_spreads_over_nodes() -> None:
    def nodes_asked(seed: int) -> list[int]:
        chunks = chunk_records(30, size=1000, k=1, n=5)
        session = Session(chunks, [f"node-{i}" for i in range(5)], RandomMirror(seed=seed))
        watch = Watch(Engine(session, Network([steady() for _ in range(5)])))
        watch.play()
        return [command.node for _, command in fetches(watch)]

    assert nodes_asked(1) == nodes_asked(1)
    assert nodes_asked(1) != nodes_asked(2)
    assert min(nodes_asked(1).count(node) for node in range(5)) >= 2


def test_vstack_asks_one_whole_fragment_at_a_time_and_waits_thirty_seconds_for_it() -> None:
    watch = play("vstack", COPIES, {0: (Fault(FaultKind.FREEZE, 0.0),)}, count=1)
    assert lanes_at_once(watch, 0) <= 2  # one that froze, then its successor
    asked = fetches(watch)
    assert [command.stop - command.start for _, command in asked] == [MEBI, MEBI]
    assert asked[1][0] - asked[0][0] == pytest.approx(30.0)
    coded = play("vstack", CODED)
    starts = [at_s for at_s, command in fetches(coded) if command.chunk == 0]
    assert len(set(starts)) == 3, "one after the other"


def test_the_vstack_score_prefers_the_node_with_most_bandwidth_per_latency() -> None:
    nodes = [steady(mbit_per_s=40 if i == 3 else 2, rtt_s=0.02) for i in range(5)]
    chunks = chunk_records(12, size=MEBI, seconds=5.0, k=1, n=5)
    watch = Watch(engine_for(chunks, nodes, scheduler="vstack-score"))
    watch.play()
    last = [command.node for _, command in fetches(watch)][-4:]
    assert last == [3, 3, 3, 3]


def test_content_steering_uses_one_source_and_leaves_it_only_after_a_failure() -> None:
    # Chunk c lies on nodes c, c + 1, c + 2: node 2 holds chunks 0, 1 and 2 but is not the first.
    quiet = play("content-steering", (1, 5, 0), count=6)
    assert {command.node for _, command in fetches(quiet)} == {0}
    broken = play("content-steering", (1, 5, 0), {0: (Fault(FaultKind.REFUSE, 0.5, 1.0),)}, count=6)
    nodes = [command.node for _, command in fetches(broken)]
    assert nodes == [0] * (len(nodes) - nodes.count(1)) + [1] * nodes.count(1)
    assert nodes.count(1) >= 5
    assert broken.engine.network.now_s < HLS_PENALTY_S, "it is back, and still penalised"


def test_tahoe_replaces_a_share_that_is_overdue_and_lets_it_run() -> None:
    # It stands still for eleven seconds and then goes on.
    frozen = {0: (Fault(FaultKind.FREEZE, 0.1, 11.0),)}
    watch = play("tahoe", faults=frozen, count=1, mbit_per_s=2)
    asked = fetches(watch)
    assert [at_s for at_s, _ in asked[:3]] == [0.0] * 3
    assert len(asked) == 4
    assert asked[3][0] == pytest.approx(10.1, abs=0.1)
    slow = next(command.piece for _, command in asked if command.node == 0)
    ((cancelled_s, cancelled),) = watch.of(commands.Cancel)
    assert cancelled.piece in (slow, asked[3][1].piece)
    assert cancelled_s > 11.0, "only when one of the two had brought all of it"


@pytest.mark.parametrize("scheduler", ["round-robin", "tahoe", "hedge-fixed", "time-critical"])
def test_a_footer_is_asked_of_one_more_holder_after_a_second_and_not_before(scheduler) -> None:
    """Footers are this system's own: a method's long time limits must not hold them up."""
    quiet = play(scheduler, count=6)
    first_s: dict[int, float] = {}
    later = {}
    for at_s, command in quiet.of(commands.FetchFooter):
        first_s.setdefault(command.chunk, at_s)
        later[command.chunk] = at_s - first_s[command.chunk]
    assert set(later.values()) == {0.0}
    # The nearest node gives footers; it freezes while chunks are opened one after the other.
    config = SessionConfig(window_s=6.0)
    frozen = {0: (Fault(FaultKind.FREEZE, 4.0),)}
    slow = play(scheduler, faults=frozen, count=8, config=config)
    waits_s = []
    asked: dict[int, float] = {}
    for at_s, command in slow.of(commands.FetchFooter):
        if command.chunk in asked and at_s > asked[command.chunk]:
            waits_s.append(at_s - asked[command.chunk])
        asked.setdefault(command.chunk, at_s)
    assert waits_s, "no footer was hurried"
    assert waits_s[0] == pytest.approx(1.0)


# -- clients that ask for more ---------------------------------------------------------------------


def test_a_fixed_hedge_doubles_what_takes_half_a_second_and_the_first_to_end_wins() -> None:
    # Alone on the link a copy of 1 MiB takes a second on node 0, and 0.1 s on the others.
    nodes = [steady(mbit_per_s=4 if i == 0 else 80, rtt_s=0.01 * (1 + i)) for i in range(5)]
    watch = Watch(engine_for(chunk_records(1, size=MEBI, k=1, n=3), nodes, scheduler="hedge-fixed"))
    watch.play()
    asked = fetches(watch)
    assert [(at_s, command.node) for at_s, command in asked] == [(0.0, 0), (0.5, 1)]
    ((cancelled_s, cancel),) = watch.of(commands.Cancel)
    assert cancel.piece == asked[0][1].piece
    assert 0.6 < cancelled_s < 0.75
    fast = play("hedge-fixed", COPIES, mbit_per_s=80)
    assert received_share(fast) < 1.01, "nothing was late"


def test_a_fixed_hedge_is_not_hedged_again_unless_it_fails() -> None:
    frozen = {i: (Fault(FaultKind.FREEZE, 0.0),) for i in (0, 1)}
    watch = play("hedge-fixed", COPIES, frozen, count=1)
    at_s = [at_s for at_s, _ in fetches(watch)]
    assert at_s[:2] == [0.0, 0.5]
    assert at_s[2] > 9.0, "the third is asked after the socket timeout only"


def test_a_percentile_hedge_learns_what_is_late_and_doubles_little() -> None:
    # Every node crawls for one second in thirty, each at another time.
    nodes = [
        NodeModel(tuple(3e4 if (s + 7 * i) % 31 == 30 else 2.5e6 for s in range(200)), rtt_s=0.02)
        for i in range(5)
    ]
    chunks = chunk_records(150, size=MEBI // 4, seconds=1.0, k=1, n=3)
    config = SessionConfig(window_s=4.0)
    watch = Watch(engine_for(chunks, nodes, scheduler="hedge-p95", config=config))
    watch.play()
    asked = fetches(watch)
    learned_s = [at_s for at_s, _ in asked][TAIL_SAMPLES_MIN + 5]
    first: dict[int, float] = {}
    waited = []
    for at_s, command in asked:
        if command.chunk in first and first[command.chunk] > learned_s:
            waited.append(at_s - first[command.chunk])
        first.setdefault(command.chunk, at_s)
    assert 0 < len(waited) < 0.2 * len(chunks)
    assert max(waited) < 0.7, "sooner than the second it waits before it has learned"


@pytest.mark.parametrize(("scheduler", "lanes"), [("k-plus-1", 4), ("all-n", 5)])
def test_spare_lanes_are_asked_at_once_and_the_last_ones_cancelled(scheduler, lanes) -> None:
    watch = play(scheduler, count=1)
    asked = fetches(watch)
    assert [at_s for at_s, _ in asked] == [0.0] * lanes
    assert len({command.fragment for _, command in asked}) == lanes
    assert len(watch.of(commands.Cancel)) == lanes - 3
    assert 1.02 < received_share(watch) <= lanes / 3 + 0.02


def test_a_spare_lane_that_fails_is_replaced() -> None:
    watch = play("k-plus-1", faults={0: (Fault(FaultKind.REFUSE, 0.1),)}, count=1)
    assert len({command.fragment for _, command in fetches(watch)}) == 5


# -- clients that pull -----------------------------------------------------------------------------


def test_segments_are_pulled_by_whoever_is_idle_and_never_taken_over() -> None:
    nodes = [steady(mbit_per_s=1 if i == 0 else 20, rtt_s=0.02) for i in range(5)]
    chunks = chunk_records(6, size=4 * MEBI, seconds=20.0, k=1, n=5)
    watch = Watch(engine_for(chunks, nodes, scheduler="segmented"))
    watch.play()
    asked = fetches(watch)
    assert received_share(watch) < 1.01
    assert not watch.of(commands.Cancel)
    assert all(command.stop - command.start == MEBI for _, command in asked)
    slow = [command for _, command in asked if command.node == 0]
    assert len(slow) < len(asked) / 20, "a slow node takes few segments"


def test_a_segment_below_the_lowest_speed_is_dropped_after_ten_seconds() -> None:
    watch = play("segmented", COPIES, {0: (Fault(FaultKind.DRIP, 0.0),)}, count=1)
    ((cancelled_s, _),) = watch.of(commands.Cancel)
    assert cancelled_s == pytest.approx(10.0, abs=0.1)


def test_the_time_critical_picker_asks_blocks_of_the_soonest_and_doubles_only_late_ones() -> None:
    quiet = play("time-critical", COPIES)
    assert all(c.stop - c.start <= 64 * 1024 for _, c in fetches(quiet))
    assert received_share(quiet) < 1.02
    late = play("time-critical", COPIES, {0: (Fault(FaultKind.FREEZE, 0.05),)})
    twice: dict[tuple[int, int], list[float]] = {}
    for at_s, command in fetches(late):
        twice.setdefault((command.chunk, command.start), []).append(at_s)
    doubled = [times for times in twice.values() if len(times) > 1]
    assert doubled
    assert all(times[1] - times[0] > 0.05 for times in doubled)
    assert late.session.state.buffer.readers[0].startup_s < 5.0, "not the snub's twenty seconds"
