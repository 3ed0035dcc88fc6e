"""The failure detector under virtual time."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redundancy.errors import ConfigError
from storage_server.coordinator.failure_detector import (
    DetectorLimits,
    FailureDetector,
    NodeState,
    StateChange,
)

LIMITS = DetectorLimits()
DAY_S = 24 * 3600


def make(*nodes: str, limits: DetectorLimits = LIMITS) -> FailureDetector:
    detector = FailureDetector(limits, 0.0)
    for node in nodes:
        detector.watch(node, 0.0)
    return detector


def pass_time(detector: FailureDetector, until_s: float) -> list[StateChange]:
    """Tick as the coordinator does, once a second, up to an instant."""
    changes = []
    while (next_s := detector.next_wakeup_s()) < until_s:
        changes += detector.advance(next_s)
        detector.check_invariants()
    changes += detector.advance(until_s)
    detector.check_invariants()
    return changes


def arrivals(rng: random.Random, *, loss: float, duration_s: float) -> list[float]:
    """Beats sent every second over a jittery home link: 20 ms, now and then up to 0.9 s more."""
    times = []
    for beat in range(int(duration_s)):
        if rng.random() >= loss:
            late_s = rng.uniform(0.1, 0.9) if rng.random() < 0.05 else rng.uniform(0, 0.02)
            times.append(beat + 0.02 + late_s)
    return sorted(times)


def alarms(limits: DetectorLimits, *, loss: float, seed: int, duration_s: float = DAY_S) -> int:
    detector = make("a", limits=limits)
    count = 0
    for at_s in arrivals(random.Random(seed), loss=loss, duration_s=duration_s):
        changes = pass_time(detector, at_s) + detector.heard("a", at_s)
        count += sum(change.after is NodeState.SUSPECT for change in changes)
    return count


def test_a_day_with_one_beat_in_a_hundred_lost_gives_no_false_alarm():
    assert alarms(LIMITS, loss=0.01, seed=1) == 0


def test_fewer_missed_beats_would_give_false_alarms_every_day():
    """So the test above can fail: the same day, with 2 and 3 missed beats as the limit."""
    two, three = (
        alarms(DetectorLimits(suspect_after_missed=missed), loss=0.01, seed=1) for missed in (2, 3)
    )
    assert two > 5
    assert two > three


def test_an_idle_healthy_cluster_never_shows_an_unhealthy_node():
    """The trap of a probe interval equal to the health timeout: half of all samples unhealthy."""
    nodes = [f"node-{number}" for number in range(5)]
    detector = make(*nodes)
    rng = random.Random(3)
    for second in range(1, 3600):
        for node in nodes:
            detector.heard(node, second + nodes.index(node) / 10)
        detector.advance(second + rng.uniform(0.5, 0.999))
        assert all(detector.state(node) is NodeState.UP for node in nodes)


@pytest.mark.parametrize("missed", [0, 1])
def test_a_health_timeout_equal_to_the_probe_interval_is_refused(missed):
    with pytest.raises(ConfigError, match="at least 2"):
        DetectorLimits(suspect_after_missed=missed)


@pytest.mark.parametrize(
    "settings", [{"interval_s": 0.0}, {"interval_s": -1.0}, {"lost_after_s": 5.5}]
)
def test_limits_that_make_no_sense_are_refused(settings):
    with pytest.raises(ConfigError):
        DetectorLimits(**settings)


def test_five_missed_beats_make_a_node_suspect_and_a_quarter_of_an_hour_lost():
    detector = make("a")
    assert detector.heard("a", 10.0) == [StateChange("a", NodeState.UNKNOWN, NodeState.UP)]
    assert pass_time(detector, 15.4) == []
    assert pass_time(detector, 15.5) == [StateChange("a", NodeState.UP, NodeState.SUSPECT)]
    assert pass_time(detector, 909.9) == []
    assert pass_time(detector, 910.0) == [StateChange("a", NodeState.SUSPECT, NodeState.LOST)]
    assert detector.seen_s_ago("a") == 900.0


@pytest.mark.parametrize("silence_s", [6.0, 2000.0])
def test_one_sign_of_life_brings_a_silent_node_back(silence_s):
    detector = make("a")
    detector.heard("a", 1.0)
    pass_time(detector, 1.0 + silence_s)
    assert detector.state("a") is not NodeState.UP
    changes = detector.heard("a", 1.5 + silence_s)
    assert [change.after for change in changes] == [NodeState.UP]


def test_a_node_never_heard_is_unknown_then_suspect_then_lost():
    detector = make("a")
    assert detector.state("a") is NodeState.UNKNOWN
    assert detector.seen_s_ago("a") is None
    states = [change.after for change in pass_time(detector, 1000.0)]
    assert states == [NodeState.SUSPECT, NodeState.LOST]


def test_what_the_operator_declares_lost_stays_lost_until_it_is_added_again():
    detector = make("a")
    detector.heard("a", 1.0)
    changes = detector.declare_lost("a", 2.0)
    assert changes == [StateChange("a", NodeState.UP, NodeState.LOST)]
    assert detector.heard("a", 3.0) == []
    assert detector.state("a") is NodeState.LOST
    detector.watch("a", 4.0)
    assert detector.state("a") is NodeState.UNKNOWN
    detector.heard("a", 5.0)
    assert detector.state("a") is NodeState.UP


def test_adding_a_node_again_does_not_change_what_is_known_of_it():
    detector = make("a")
    detector.heard("a", 1.0)
    assert detector.watch("a", 2.0) == []
    assert detector.state("a") is NodeState.UP


def test_a_coordinator_that_was_frozen_itself_suspects_nobody():
    """After an hour in which nobody listened, silence proves nothing; then it counts again."""
    detector = make("a", "b")
    detector.heard("a", 1.0)
    detector.heard("b", 1.0)
    assert detector.advance(3601.0) == []
    detector.heard("a", 3601.2)
    changes = pass_time(detector, 3610.0)
    assert changes == [StateChange(node, NodeState.UP, NodeState.SUSPECT) for node in "ab"]


def test_a_forgotten_node_is_watched_no_more():
    detector = make("a", "b")
    detector.forget("a")
    changes = pass_time(detector, 10.0)
    assert {change.node for change in changes} == {"b"}


_events = st.lists(
    st.tuples(
        st.sampled_from(["tick", "heard", "lost", "watch"]),
        st.sampled_from("abc"),
        st.floats(min_value=0, max_value=1000),
    ),
    max_size=60,
)


@given(_events)
def test_a_state_is_what_the_silence_says_whatever_happened_before(events):
    """Against a naive twin: the silence since the last sign of life, if we listened all along."""
    detector = make(*"abc")
    now_s, heard, declared = 0.0, {}, set()
    for what, node, wait_s in events:
        pass_time(detector, now_s + wait_s)
        now_s += wait_s
        if what == "heard":
            detector.heard(node, now_s)
            heard[node] = now_s
        elif what == "lost":
            detector.declare_lost(node, now_s)
            declared.add(node)
        elif what == "watch" and node in declared:
            detector.watch(node, now_s)
            declared.discard(node)
            heard[node] = None
            heard[node, "since"] = now_s
        detector.check_invariants()
        for each in "abc":
            assert detector.state(each) == _naive_state(each, now_s, heard, declared)


def _naive_state(node, now_s, heard, declared):
    last_s = heard.get(node)
    silence_s = now_s - (heard.get((node, "since"), 0.0) if last_s is None else last_s)
    if node in declared or silence_s >= 900:
        return NodeState.LOST
    if silence_s >= 5.5:
        return NodeState.SUSPECT
    return NodeState.UNKNOWN if last_s is None else NodeState.UP
