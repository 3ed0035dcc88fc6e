"""Scenarios: the shipped ones say what they mean, and a misspelt one is an error."""

import pytest

from smart_client.errors import InvalidRequest
from smart_client.simulator.node_model import FaultKind
from smart_client.simulator.scenario import LAYOUT_NAMES, Scenario
from smart_client.simulator.scenarios import TABLE, load_scenario, scenario_names


@pytest.mark.parametrize("name", scenario_names())
@pytest.mark.parametrize("layout", [*LAYOUT_NAMES, "rs:2+2+1copy"])
def test_every_shipped_scenario_loads_in_every_layout(name: str, layout: str) -> None:
    scenario = load_scenario(f"{name}/{layout}")
    assert scenario.name == name
    assert scenario.summary
    assert scenario.video.layout == layout


def test_the_table_and_its_relatives_are_shipped() -> None:
    wanted = {*TABLE, "harsh", "clientlink", "raw", "common-outages", "evening", "slowdowns"}
    wanted |= {"frozen-node", "refused-node", "dripping-node", "seeks", "several-viewers"}
    assert wanted <= set(scenario_names())


def test_the_worlds_have_the_parameters_they_are_known_for() -> None:
    typical, harsh = load_scenario("typ-B120"), load_scenario("harsh")
    assert (typical.nodes.load, typical.outages.every_s, typical.outages.lasting_s) == (
        0.3,
        600,
        60,
    )
    assert (harsh.nodes.load, harsh.outages.every_s, harsh.outages.lasting_s) == (0.45, 200, 40)
    assert typical.playback.window_s == 120
    assert harsh.playback.window_s == 30
    assert load_scenario("calm").nodes.weight_sigma == 0.5
    assert load_scenario("clientlink-2s").client.link_factor == 1.6
    raw = load_scenario("raw-8M-2s")
    assert (raw.nodes.unscaled, raw.video.mbit_per_s, raw.playback.window_s) == (True, 8, 60)
    frozen = load_scenario("frozen-node").faults[0].to_fault()
    assert (frozen.kind, frozen.start_s) == (FaultKind.FREEZE, 0.15)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = ", "Invalid value"),
        ("", "name"),
        ('name = "x"\nspeed = 3', "speed"),
        ('name = "x"\n[video]\nmbit_per_s = -1', "video.mbit_per_s"),
        ('name = "x"\n[video]\nmbit_per_s = "fast"', "video.mbit_per_s"),
        ('name = "x"\n[video]\nmbit_per_s = 80.0', "4194304"),
        ('name = "x"\n[video]\nlayout = "rs:9"', "not a layout"),
        ('name = "x"\n[nodes]\ncount = 2', "needs more than 2 nodes"),
        ('name = "x"\n[nodes]\nrtt_min_s = 1.0', "rtt_min_s"),
        ('name = "x"\n[outages]\nrefused_share = 1.5', "outages.refused_share"),
        ('name = "x"\n[playback]\nwindow_s = 1.0', "window"),
        ('name = "x"\n[[faults]]\nnode = 6\nkind = "drip"\nat_s = 1', "beyond the 6"),
        ('name = "x"\n[[faults]]\nnode = 1\nkind = "explode"\nat_s = 1', "faults[0].kind"),
        ('name = "x"\nviewers = []', "viewer"),
    ],
)
def test_a_scenario_that_breaks_its_rules_is_refused_with_the_place(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Scenario.parse(text, "mine.toml")
    assert "mine.toml" in caught.value.message
    assert says in caught.value.message


def test_an_unknown_scenario_is_named_with_the_known_ones(tmp_path) -> None:
    with pytest.raises(InvalidRequest) as caught:
        load_scenario("typicl")
    assert "typical" in caught.value.hint
    with pytest.raises(InvalidRequest, match="not a layout"):
        load_scenario("typical/3off5")
    with pytest.raises(InvalidRequest, match="needs more than 6 nodes"):
        load_scenario("typical/rep:7")


def test_a_scenario_may_be_a_file_of_ones_own(tmp_path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\n[nodes]\ncount = 9\n', encoding="utf-8")
    assert load_scenario(str(path)).nodes.count == 9
