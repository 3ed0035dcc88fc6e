"""What COMPARING.md shows works: its scheduler plays, its scenario has every key there is."""

import re
import tomllib
from pathlib import Path

import msgspec

import smart_client
from smart_client.core.schedulers import SCHEDULERS
from smart_client.simulator import own_schedulers
from smart_client.simulator.own_schedulers import load_schedulers
from smart_client.simulator.scenario import FaultPlan, Scenario, SpellPlan, ViewerPlan
from smart_client.simulator.scenarios import load_scenario
from smart_client.simulator.simulate import simulate
from smart_client.simulator.synthetic import synthetic_library
from smart_client.simulator.world import make_world

TEXT = (Path(smart_client.__file__).parent / "COMPARING.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return found


def test_the_scenario_names_every_key_with_its_default() -> None:
    written = tomllib.loads(block("toml"))
    parsed = Scenario.parse(block("toml"))
    for name in Scenario.__struct_fields__:
        if name in ("ladder", "name"):
            continue
        if name == "viewers":
            assert set(written[name][0]) == set(ViewerPlan.__struct_fields__)
        elif name == "faults":
            assert set(written[name][0]) == set(FaultPlan.__struct_fields__)
        elif name in ("common_outages", "slowdowns"):  # "keys as above"
            assert set(written[name]) <= set(SpellPlan.__struct_fields__)
        elif name != "summary":
            assert set(written[name]) == set(getattr(parsed, name).__struct_fields__), name
    plain = msgspec.structs.replace(parsed, faults=())
    assert plain == Scenario(name="mine")


def test_the_scheduler_plays(tmp_path) -> None:
    path = tmp_path / "greedy.py"
    path.write_text(block("python"))
    before = dict(SCHEDULERS)
    try:
        assert load_schedulers(path) == ["greedy"]
        scenario = load_scenario("calm")
        video = msgspec.structs.replace(scenario.video, duration_s=30.0)
        world = make_world(msgspec.structs.replace(scenario, video=video), 0, synthetic_library())
        assert simulate(world, "greedy").ended
    finally:
        SCHEDULERS.clear()
        SCHEDULERS.update(before)
        own_schedulers._own.clear()
