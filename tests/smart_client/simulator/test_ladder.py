"""Ladders in worlds: the same for every controller, and figures that can be checked by hand."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_client.core.abr.controllers import DEFAULT_CONTROLLER
from smart_client.errors import InvalidRequest
from smart_client.simulator.batch import digest_of
from smart_client.simulator.ladder import linear_qoe, make_ladder, simulate_ladder
from smart_client.simulator.ladder_batch import Player, play_ladders
from smart_client.simulator.ladder_plan import LadderPlan
from smart_client.simulator.scenario import Scenario
from smart_client.simulator.scenarios import load_scenario
from smart_client.simulator.synthetic import synthetic_library
from smart_client.simulator.world import make_world

LIBRARY = synthetic_library()
NAMES = ("ladder", "ladder-tight", "ladder-scarce")


def short(name: str = "ladder", duration_s: float = 20.0) -> Scenario:
    scenario = load_scenario(name)
    video = msgspec.structs.replace(scenario.video, duration_s=duration_s)
    return msgspec.structs.replace(scenario, video=video)


@pytest.mark.parametrize("name", NAMES)
def test_a_ladder_has_the_bitrates_of_its_plan_and_units_of_its_video(name: str) -> None:
    scenario = load_scenario(name)
    plan = scenario.ladder
    assert isinstance(plan, LadderPlan)
    world = make_world(scenario, 5, LIBRARY)
    ladder = make_ladder(world, scenario)
    mbits = [rate * 8 / 1e6 for rate in ladder.bitrates]
    assert mbits == pytest.approx(plan.mbit_per_s, rel=1e-3)
    assert [r[0].duration_s for r in ladder.renditions] == [2.0] * 6
    assert ladder == make_ladder(make_world(scenario, 5, LIBRARY), scenario)
    # A hard scene is hard in every rendition.
    shares = [max(row) / min(row) for row in ladder.sizes]
    assert max(shares) / min(shares) < 1.01
    assert len({row[-1] for row in ladder.sizes}) > 100


def test_the_highest_rendition_lies_where_the_video_does_the_others_elsewhere() -> None:
    scenario = load_scenario("ladder")
    world = make_world(scenario, 1, LIBRARY)
    low, high = (make_ladder(world, scenario).renditions[index] for index in (0, -1))
    assert [r.fragments for r in high] == [c.fragments for c in world.chunks]
    assert [r.fragments for r in low] != [c.fragments for c in world.chunks]


def test_capacities_are_the_named_multiples_of_the_top() -> None:
    for name, capacity in zip(NAMES, (2.5, 1.25, 0.68), strict=True):
        assert 1 / load_scenario(name).nodes.load == pytest.approx(capacity, rel=1e-2)


def test_quality_is_the_sum_of_bitrates_less_steps_and_waits() -> None:
    played = [1.0, 1.0, 3.0, 2.0]
    assert linear_qoe(played, startup_s=0.0, stalled_s=0.0, top=3.0) == pytest.approx(7 - 3)
    assert linear_qoe(played, startup_s=0.5, stalled_s=2.0, top=3.0) == pytest.approx(4 - 7.5)
    assert linear_qoe([], startup_s=1.0, stalled_s=0.0, top=3.0) == pytest.approx(-3)


@given(st.lists(st.floats(0.1, 10), max_size=20), st.floats(0, 9), st.floats(0, 9))
def test_nothing_is_better_than_the_top_without_a_wait(played, startup_s, stalled_s) -> None:
    qoe = linear_qoe(played, startup_s=startup_s, stalled_s=stalled_s, top=10.0)
    assert qoe <= 10.0 * len(played)


def test_a_session_repeats_and_its_figures_agree() -> None:
    scenario = short()
    world = make_world(scenario, 2, LIBRARY)
    outcome = simulate_ladder(world, scenario, "smart", controller=DEFAULT_CONTROLLER)
    again = simulate_ladder(world, scenario, "smart", controller=DEFAULT_CONTROLLER)
    assert outcome == again
    assert outcome.session.ended
    assert outcome.units == 10
    assert 0.3 <= outcome.mbit_per_s <= 4.3
    assert outcome.qoe <= outcome.mbit_per_s
    assert outcome.switches <= 9
    rate = outcome.session.delivered_bytes * 8 / 1e6 / 20.0
    assert rate == pytest.approx(outcome.mbit_per_s, rel=0.5)  # units differ in size


def test_the_lowest_rendition_alone_is_the_floor_and_the_top_the_ceiling() -> None:
    scenario = short()
    world = make_world(scenario, 0, LIBRARY)
    top = simulate_ladder(world, scenario, "smart", controller="fixed")
    assert top.mbit_per_s == pytest.approx(4.3)
    assert top.switches == 0
    waits_s = top.session.startup_s + top.session.stalled_s
    assert top.qoe == pytest.approx(4.3 - 4.3 * waits_s / 10)


@pytest.mark.real
def test_the_number_of_processes_changes_no_figure() -> None:
    players = [Player("content-steering", "bola"), Player("smart", "rate")]
    scenarios = [short(duration_s=10.0), short("ladder-tight", 10.0)]
    alone, together = (
        list(play_ladders(scenarios, players, LIBRARY, seeds=range(3), processes=count))
        for count in (1, 2)
    )
    assert alone == together
    assert [(c.scenario, c.scheduler) for c in alone] == [
        ("ladder", "content-steering"),
        ("ladder", "smart"),
        ("ladder-tight", "content-steering"),
        ("ladder-tight", "smart"),
    ]
    for cell in alone:
        assert cell.sessions == 3
        assert cell.qoe_low <= cell.qoe <= cell.qoe_high
        assert cell.unfinished == 0


def test_a_scenario_without_a_ladder_stays_what_it_was() -> None:
    typical = load_scenario("typical")
    assert b"ladder" not in msgspec.json.encode(typical)
    assert digest_of(typical) != digest_of(load_scenario("ladder"))
    with pytest.raises(InvalidRequest, match="has no ladder"):
        make_ladder(make_world(typical, 0, LIBRARY), typical)


@pytest.mark.parametrize(
    ("ladder", "complaint"),
    [
        ("mbit_per_s = []", "length"),
        ("mbit_per_s = [1.6, 0.8]", "rise"),
        ("mbit_per_s = [0.0, 1.6]", "above 0"),
        ("mbit_per_s = [0.5, 0.8]", "that of the video"),
        ("mbit_per_s = [1.6]\nsizes = 3", "sizes"),
    ],
)
def test_a_ladder_that_cannot_be_is_refused(ladder: str, complaint: str) -> None:
    with pytest.raises(InvalidRequest, match=complaint):
        Scenario.parse(f'name = "x"\n[ladder]\n{ladder}\n')
