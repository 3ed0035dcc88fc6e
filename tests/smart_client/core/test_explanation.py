"""What is said of a session is what happened in it, and the cause is the right one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smart_client.core.explanation import Explainer
from smart_client.core.findings import Returned, Stall, Started, Takeover, Trouble, Unplayable
from smart_client.core.lanes import Cause, Lane, LaneState, Missing, find_cause
from smart_client.core.schedulers import SCHEDULERS
from smart_client.core.state import SessionConfig
from smart_client.core.throughput import Throughput
from smart_client.simulator.engine import Engine
from smart_client.simulator.network import Fault, FaultKind, NodeModel
from support.session_worlds import MEBI, chunk_records, engine_for, steady

SHORT = SessionConfig(window_s=12.0)


def explained(engine: Engine, limit_s: float = 900.0) -> Explainer:
    """Play a session with an explainer beside it."""
    explainer = Explainer(engine.session)
    handle = engine.session.handle

    def followed(event, now_s):
        issued = handle(event, now_s)
        explainer.observe(now_s, event, issued)
        return issued

    engine.session.handle = followed
    engine.play(limit_s=limit_s)
    return explainer


def world(faults=None, *, mbit_per_s=0.9, scheduler="smart", layout=(3, 5), count=6, **settings):
    k, n = layout
    nodes = [steady(mbit_per_s=mbit_per_s, faults=(faults or {}).get(i, ())) for i in range(5)]
    chunks = chunk_records(count, size=MEBI, seconds=5.0, k=k, n=n)
    return engine_for(chunks, nodes, scheduler=scheduler, config=SHORT, **settings)


def of(kind, explainer: Explainer) -> list:
    return [finding for finding in explainer.findings if isinstance(finding, kind)]


def test_a_node_that_falls_silent_is_named_with_how_long_and_who_took_its_rows() -> None:
    explainer = explained(world({2: (Fault(FaultKind.FREEZE, 6.0),)}))
    trouble = of(Trouble, explainer)[0]
    assert (trouble.node, trouble.reason, trouble.is_news) == ("node-2", "silent", True)
    assert 0.2 <= trouble.quiet_s < 0.3
    assert 6.1 < trouble.at_s < 6.4
    assert trouble.bytes > 0
    assert trouble.moved
    assert "node-2" not in {move.node for move in trouble.moved}
    assert sum(move.bytes for move in trouble.moved) <= trouble.bytes + 16 * 1024
    assert trouble.stall_at_s is None
    assert not of(Stall, explainer)


def test_rows_that_the_failing_node_was_asked_for_again_are_not_called_moved() -> None:
    faults = {1: (Fault(FaultKind.FREEZE, 5.0),), 2: (Fault(FaultKind.REFUSE, 12.0, 30.0),)}
    nodes = [steady(1.2 if i else 0.3, faults=faults.get(i, ())) for i in range(5)]
    config = SessionConfig(window_s=20.0)
    explainer = explained(engine_for(chunk_records(6), nodes, config=config))
    troubles = of(Trouble, explainer)
    assert len(troubles) > 4
    for trouble in troubles:
        assert trouble.node not in {move.node for move in trouble.moved}


@pytest.mark.parametrize(
    ("kind", "reasons"),
    [(FaultKind.REFUSE, {"refused", "reset"}), (FaultKind.GARBAGE, {"corrupt"})],
)
def test_a_node_that_fails_is_named_with_the_reason(kind: FaultKind, reasons: set) -> None:
    explainer = explained(world({2: (Fault(kind, 6.0),)}))
    first = of(Trouble, explainer)[0]
    assert first.node == "node-2"
    assert first.reason in reasons
    assert first.moved


def test_a_node_that_comes_back_is_told_with_how_long_it_was_away() -> None:
    explainer = explained(world({2: (Fault(FaultKind.FREEZE, 5.0, 12.0),)}))
    back = of(Returned, explainer)[0]
    assert back.node == "node-2"
    assert back.at_s - back.seconds == pytest.approx(of(Trouble, explainer)[0].at_s)


def test_a_takeover_names_both_nodes_and_what_it_gained() -> None:
    # One node turns slow in the middle of its piece; the others have room.
    rates = tuple(2.5e5 if second < 6 else 1.5e4 for second in range(100))
    nodes = [NodeModel(rates, rtt_s=0.02) if i == 0 else steady(2.0) for i in range(5)]
    engine = engine_for(chunk_records(6, size=MEBI, seconds=5.0), nodes, config=SHORT)
    explainer = explained(engine)
    # At the start, when all is due at once, even nodes take rows over from each other too.
    taken = [finding for finding in of(Takeover, explainer) if finding.at_s > 6]
    assert taken
    assert {finding.from_node for finding in taken} == {"node-0"}
    assert all(f.node != "node-0" and f.bytes > 0 and f.needed_s > 0 for f in taken)
    assert all(f.due_in_s is not None and f.due_in_s >= 0 for f in taken)


def test_a_stall_for_want_of_holders_names_those_that_did_not_answer() -> None:
    away = (Fault(FaultKind.REFUSE, 8.0, 40.0),)
    explainer = explained(world({1: away, 2: away, 3: away}))
    stall = of(Stall, explainer)[0]
    assert stall.cause is Cause.HOLDERS
    assert {lane.node for lane in stall.blamed} <= {"node-1", "node-2", "node-3"}
    assert stall.missing.here < stall.missing.needed == 3
    assert set(stall.troubles) <= {"node-1", "node-2", "node-3"}
    assert {node.state for node in stall.believed if node.id in stall.troubles} == {"suspect"}
    assert stall.seconds == pytest.approx(40.0 - stall.at_s, abs=9.0)
    assert any(trouble.stall_at_s == stall.at_s for trouble in of(Trouble, explainer))


def test_a_stall_on_a_late_node_names_it() -> None:
    frozen = {2: (Fault(FaultKind.FREEZE, 3.0),)}
    explainer = explained(world(frozen, mbit_per_s=2.5, scheduler="tahoe"))
    stall = of(Stall, explainer)[0]
    assert stall.cause is Cause.LATE
    assert [lane.node for lane in stall.blamed] == ["node-2"]


def test_a_stall_on_a_full_link_says_so_when_the_nodes_had_shown_more() -> None:
    engine = world(mbit_per_s=8, scheduler="vstack", client_bytes_per_s=150e3)
    stall = of(Stall, explained(engine))[0]
    assert stall.cause is Cause.LINK
    assert stall.flow.recent == pytest.approx(150e3, rel=0.15)
    assert stall.flow.alone > 1.5 * stall.flow.recent


def test_a_stall_because_all_together_are_too_slow_blames_nobody() -> None:
    stall = of(Stall, explained(world(mbit_per_s=0.25)))[0]
    assert stall.cause is Cause.TOTAL
    assert stall.blamed == ()
    assert stall.flow.recent < stall.flow.needed


def test_a_chunk_with_too_few_fragments_is_reported() -> None:
    liars = {i: (Fault(FaultKind.GARBAGE, 0.0),) for i in (0, 2, 4)}
    explainer = explained(world(liars, count=1), limit_s=20.0)
    assert of(Unplayable, explainer)[0].chunk == 0


def lane(state: LaneState, node: int = 0, **figures) -> Lane:
    return Lane(fragment=node, node=f"node-{node}", state=state, **figures)


def missing(*lanes: Lane, needed: int = 2) -> Missing:
    here = sum(1 for each in lanes if each.state is LaneState.HERE)
    return Missing(0, 0, 1, 0.0, needed, here, lanes)


QUIET = Throughput(recent=0.0, peak=0.0, alone=0.0, sending=0, needed=1e5)
ENOUGH = Throughput(recent=2e5, peak=2e6, alone=2e5, sending=2, needed=1e5)
HERE, FREE = lane(LaneState.HERE), lane(LaneState.FREE, 3)
SUSPECT = lane(LaneState.SUSPECT, 2)
SLOW = lane(LaneState.COMING, 1, asked_s_ago=3.0, bytes_per_s=1e4, believed_bytes_per_s=1e5)
STEADY = lane(LaneState.COMING, 1, asked_s_ago=3.0, bytes_per_s=9e4, believed_bytes_per_s=1e5)


@pytest.mark.parametrize(
    ("lanes", "flow", "cause", "blamed"),
    [
        ((HERE, lane(LaneState.HERE, 1)), QUIET, Cause.UNREADY, []),
        ((HERE, SUSPECT), QUIET, Cause.HOLDERS, ["node-2"]),
        ((HERE, SUSPECT, SLOW), ENOUGH, Cause.LATE, ["node-1"]),
        ((HERE, lane(LaneState.WAITING, 1, quiet_s=2.0)), ENOUGH, Cause.LATE, ["node-1"]),
        ((HERE, STEADY), Throughput(9e4, 9e5, 9e4, 1, 1e5), Cause.TOTAL, []),
        ((HERE, STEADY), Throughput(9e4, 1e5, 3e5, 2, 1e5), Cause.LINK, []),
        ((HERE, STEADY), ENOUGH, Cause.LATE, ["node-1"]),
        ((HERE, FREE, SUSPECT), ENOUGH, Cause.UNASKED, ["node-2", "node-3"]),
    ],
)
def test_every_cause_is_told_from_the_others(lanes, flow, cause, blamed) -> None:
    found, worst = find_cause(missing(*lanes), flow)
    assert found is cause
    assert sorted(each.node for each in worst) == blamed


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@settings(max_examples=12)
@given(st.data())
def test_every_stall_and_every_suspicion_is_accounted_for(scheduler: str, data) -> None:
    kinds = st.sampled_from([FaultKind.FREEZE, FaultKind.REFUSE, FaultKind.DRIP])
    nodes = []
    for index in range(5):
        at_s = data.draw(st.floats(0, 15))
        fault = Fault(data.draw(kinds), at_s, at_s + data.draw(st.floats(0.1, 30)))
        nodes.append(
            steady(
                mbit_per_s=data.draw(st.floats(0.4, 4)),
                faults=() if index < 2 else (fault,),
            )
        )
    chunks = chunk_records(4, size=MEBI // 2, seconds=4.0, k=2, n=5)
    engine = engine_for(chunks, nodes, scheduler=scheduler, config=SHORT)
    explainer = explained(engine)
    reader = engine.session.state.buffer.readers[0]
    stalls = of(Stall, explainer)
    assert len(stalls) == reader.stalls
    assert sum(stall.seconds for stall in stalls) == pytest.approx(reader.stalled_s)
    assert [started.seconds for started in of(Started, explainer)] == [reader.startup_s]
    suspected = [n for _, n in engine.notices if n.kind == "node_suspect"]
    assert len([t for t in of(Trouble, explainer) if t.is_news]) == len(suspected)
    times_s = [finding.at_s for finding in explainer.findings]
    assert times_s == sorted(times_s)
    for stall in stalls:
        assert stall.missing.here < stall.missing.needed or stall.cause is Cause.UNREADY
        assert len(stall.missing.lanes) == 5
