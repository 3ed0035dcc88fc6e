"""Our scheduler told the present: still bound by the optimum, and never surprised by what is."""

from dataclasses import replace

import pytest

from smart_client.simulator.informed import INFORMED
from smart_client.simulator.network import IDEAL
from smart_client.simulator.node_model import Fault, FaultKind
from smart_client.simulator.optimum import optimal_waiting_s
from smart_client.simulator.scenarios import load_scenario
from smart_client.simulator.simulate import simulate
from smart_client.simulator.synthetic import synthetic_library
from smart_client.simulator.world import make_world


@pytest.mark.parametrize("seed", [0, 3])
def test_knowing_the_present_does_not_beat_knowing_the_future(seed: int) -> None:
    world = make_world(load_scenario("harsh/3of5"), seed, synthetic_library())
    best_s = optimal_waiting_s(world)
    outcome = simulate(world, INFORMED, IDEAL)
    assert best_s is not None
    assert outcome.ended
    assert outcome.waiting_s >= best_s - 1e-6


def test_a_node_known_to_be_dead_is_never_asked() -> None:
    world = make_world(load_scenario("calm/rep3"), 1, synthetic_library())
    dead = replace(world.nodes[0], faults=(Fault(FaultKind.FREEZE, 0.0),))
    outcome = simulate(replace(world, nodes=(dead, *world.nodes[1:])), INFORMED, IDEAL)
    assert outcome.ended
    assert outcome.node_bytes[0] == 0
    assert outcome.reissues == 0
