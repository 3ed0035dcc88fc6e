"""A node that freezes, refuses or drips costs the start little and a filled buffer nothing.

Six even nodes with ten times the video's rate, round trips of 20-60 ms. What the loss of a sixth of
the capacity costs a clairvoyant client is no fault of the scheduler, so it is subtracted.
"""

import functools
from dataclasses import replace

import msgspec
import pytest

from smart_client.simulator.network import IDEAL
from smart_client.simulator.node_model import Fault, FaultKind, NodeModel
from smart_client.simulator.optimum import optimal_waiting_s
from smart_client.simulator.scenarios import load_scenario
from smart_client.simulator.simulate import Outcome, simulate
from smart_client.simulator.synthetic import synthetic_library
from smart_client.simulator.world import World, make_world

ROUND_TRIPS_S = (0.04, 0.03, 0.05, 0.02, 0.06, 0.04)
ADDED_START_MAX_S = 3 * max(ROUND_TRIPS_S) + 0.2
CAPACITY = 10.0  # all nodes together, as a multiple of the video's rate

FAULTS = [FaultKind.FREEZE, FaultKind.REFUSE, FaultKind.DRIP]
LAYOUTS = ["3of5", "rep3"]


@functools.cache
def world_of(layout: str, fault: Fault | None = None) -> World:
    scenario = load_scenario(f"calm/{layout}")
    scenario = msgspec.structs.replace(
        scenario,
        video=msgspec.structs.replace(scenario.video, duration_s=40.0, chunk_s=10.0),
        playback=msgspec.structs.replace(scenario.playback, start_buffer_s=2.0, window_s=30.0),
    )
    capacity = CAPACITY * scenario.video.bytes_per_s / len(ROUND_TRIPS_S)
    nodes = tuple(
        NodeModel((capacity,), rtt_s, faults=(fault,) if fault and index == 0 else ())
        for index, rtt_s in enumerate(ROUND_TRIPS_S)
    )
    return replace(make_world(scenario, 0, synthetic_library()), nodes=nodes)


def played(world: World) -> Outcome:
    outcome = simulate(world, "smart", IDEAL)
    assert outcome.ended
    return outcome


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_during_the_start_costs_it_three_round_trips_and_200_ms(
    kind: FaultKind, layout: str
) -> None:
    without = world_of(layout)
    start_s, best_s = played(without).startup_s, optimal_waiting_s(without)
    assert best_s is not None
    at_s = 0.0
    while at_s <= start_s:
        world = world_of(layout, Fault(kind, at_s))
        best_with_s = optimal_waiting_s(world)
        assert best_with_s is not None
        added_s = played(world).startup_s - start_s - (best_with_s - best_s)
        assert added_s <= ADDED_START_MAX_S, f"{kind.value} at {at_s:.2f} s"
        at_s += 0.05


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_with_ten_seconds_buffered_stalls_nothing(kind: FaultKind, layout: str) -> None:
    filled_s = played(world_of(layout)).startup_s + 3.0  # ten times the rate: 30 s by then
    for step in range(8):
        outcome = played(world_of(layout, Fault(kind, filled_s + 4.3 * step)))
        assert outcome.stalls == 0, f"{kind.value} at {filled_s + 4.3 * step:.1f} s"
