"""The optimum: an independent linear program agrees, and no session is ever faster."""

import dataclasses
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from smart_client.core.schedulers import SCHEDULERS
from smart_client.core.state import SessionConfig
from smart_client.errors import InvalidRequest
from smart_client.simulator.network import IDEAL, REALISTIC, Fault, FaultKind, NodeModel
from smart_client.simulator.optimum import (
    TOLERANCE_S,
    TOLERANCE_SHARE,
    optimal_waiting_s,
    units_of,
)
from smart_client.simulator.scenario import Scenario, ViewerPlan
from smart_client.simulator.scenarios import load_scenario
from smart_client.simulator.simulate import simulate
from smart_client.simulator.supply import supply_of
from smart_client.simulator.synthetic import synthetic_library
from smart_client.simulator.world import World, make_world
from smart_client.wire import ChunkRecord, FragmentRecord, LayoutRecord

LIBRARY = synthetic_library()
BLOCK = 16 * 1024


def tiny_world(nodes, holders, *, k=1, n=2, client=float("inf"), start_s=1.0, window_s=100.0):
    """Return a world whose chunks are one row each: media of one second, deadlines exact."""
    layout = LayoutRecord(k=k, n=n)
    chunks = tuple(
        ChunkRecord(
            number=number,
            offset=number * k * BLOCK,
            size=k * BLOCK,
            sha256="0" * 64,
            start_s=float(number),
            duration_s=1.0,
            layout=layout,
            fragments=tuple(
                FragmentRecord(index=index, node=f"node-{node}", key=f"{number:060x}{index:04x}")
                for index, node in enumerate(nodes_of)
            ),
        )
        for number, nodes_of in enumerate(holders)
    )
    return World(
        scenario="tiny",
        seed=0,
        layout=layout.to_layout(),
        nodes=tuple(nodes),
        chunks=chunks,
        config=SessionConfig(window_s=window_s, start_buffer_s=start_s, resume_buffer_s=0.5),
        viewers=(ViewerPlan(),),
        client_bytes_per_s=client,
        horizon_s=1000.0,
    )


# -- the linear program ------------------------------------------------------------------------


def carried(node: NodeModel, start_s: float, stop_s: float) -> float:
    """Integrate a node's capacity in steps between its changes, nothing in the first round trip."""
    total, now_s = 0.0, max(start_s, node.rtt_s)
    while now_s < stop_s:
        next_s = min(stop_s, node.next_change_s(now_s))
        total += node.capacity_at((now_s + next_s) / 2) * (next_s - now_s)
        now_s = next_s
    return total


def lp_feasible(world: World, waiting_s: float) -> bool:
    """Time-expanded program over (chunk, node, slot), with no window on the buffer."""
    k, size = world.layout.scheme.k, world.chunks[0].size
    first = sum(c.start_s < world.config.start_buffer_s - 1e-6 for c in world.chunks)
    due = [waiting_s + (0.0 if c.number < first else c.start_s) for c in world.chunks]
    edges = sorted({0.0, *due, *(float(s) for s in range(int(max(due)) + 1))})
    slots = list(pairwise(edges))
    holders = [{int(f.node.split("-")[1]) for f in c.fragments} for c in world.chunks]
    variables = [
        (chunk, node, slot)
        for chunk in range(len(due))
        for node in holders[chunk]
        for slot, (_, stop_s) in enumerate(slots)
        if stop_s <= due[chunk] + 1e-9
    ]
    if not variables:
        return False
    rows, limits = [], []

    def at_most(limit: float, chosen) -> None:
        rows.append([1.0 if chosen(*v) else 0.0 for v in variables])
        limits.append(limit)

    for chunk in range(len(due)):
        for node in holders[chunk]:
            at_most(size / k, lambda c, i, _, chunk=chunk, node=node: (c, i) == (chunk, node))
    for slot, (start_s, stop_s) in enumerate(slots):
        for node, model in enumerate(world.nodes):
            limit = carried(model, start_s, stop_s)
            at_most(limit, lambda _, i, s, node=node, slot=slot: (i, s) == (node, slot))
        if world.client_bytes_per_s < float("inf"):
            limit = world.client_bytes_per_s * (stop_s - start_s)
            at_most(limit, lambda _c, _i, s, slot=slot: s == slot)
    whole = [[1.0 if c == chunk else 0.0 for c, _, _ in variables] for chunk in range(len(due))]
    answer = linprog(
        np.zeros(len(variables)),
        A_ub=np.array(rows) / size,
        b_ub=np.array(limits) / size,
        A_eq=np.array(whole),
        b_eq=np.full(len(due), size),
    )
    return answer.status == 0


def lp_optimum_s(world: World) -> float:
    low_s, high_s = 0.0, 60.0
    assert lp_feasible(world, high_s)
    while high_s - low_s > 1e-4:
        middle_s = (low_s + high_s) / 2
        low_s, high_s = (low_s, middle_s) if lp_feasible(world, middle_s) else (middle_s, high_s)
    return high_s


@st.composite
def tiny_worlds(draw):
    count = draw(st.integers(2, 3))
    n = draw(st.integers(2, count))
    k = draw(st.integers(1, n))
    nodes = []
    for _ in range(count):
        rates = draw(st.lists(st.sampled_from([0, 3e3, 1e4, 4e4]), min_size=1, max_size=5))
        faults = ()
        if draw(st.booleans()):
            kind = draw(st.sampled_from([FaultKind.FREEZE, FaultKind.REFUSE, FaultKind.SLOW]))
            start_s = draw(st.integers(0, 12)) / 4
            faults = (Fault(kind, start_s, start_s + draw(st.integers(1, 12)) / 4),)
        rtt_s = draw(st.sampled_from([0.01, 0.125, 0.3]))
        nodes.append(NodeModel((*rates, 1.5e4), rtt_s, faults=faults))
    holders = [draw(st.permutations(range(count)))[:n] for _ in range(draw(st.integers(1, 4)))]
    client = draw(st.sampled_from([float("inf"), 2e4, 4e4]))
    start_s = draw(st.sampled_from([0.5, 1.0, 2.0]))
    return tiny_world(nodes, holders, k=k, n=n, client=client, start_s=start_s)


@settings(max_examples=60, deadline=None)
@given(tiny_worlds())
def test_an_independent_linear_program_finds_the_same_optimum(world: World) -> None:
    expected_s = lp_optimum_s(world)
    found_s = optimal_waiting_s(world, unit_s=1.0)
    tolerance_s = max(TOLERANCE_S, TOLERANCE_SHARE * expected_s) + 2e-3
    # The client's link is averaged over slots: the bound may be a little lower there, never higher.
    assert found_s <= expected_s + 1e-3
    if world.client_bytes_per_s == float("inf"):
        assert found_s >= expected_s - tolerance_s


def test_the_optimum_of_a_world_one_can_compute_by_hand() -> None:
    """Two nodes of 16 KiB/s, one of them slow to reach; three seconds of 16 KiB each."""
    near = NodeModel((float(BLOCK),), rtt_s=0.1)
    far = NodeModel((float(BLOCK),), rtt_s=0.5)
    world = tiny_world([near, far], [(0, 1)] * 3)
    # Both together: (W - 0.1) + (W - 0.5) = 1 unit.
    assert optimal_waiting_s(world) == pytest.approx(0.8, abs=1e-3)
    single = tiny_world([near], [(0,)] * 3, n=1)
    assert optimal_waiting_s(single) == pytest.approx(1.1, abs=1e-3)
    # Each of a chunk's nodes brings half of it.
    coded = tiny_world([near, far], [(0, 1)] * 3, k=2)
    assert optimal_waiting_s(coded) == pytest.approx(1.5, abs=1e-3)


def test_an_outage_in_the_middle_stalls_what_the_buffer_does_not_hold() -> None:
    """Twice the rate, away from 2 s to 12 s. A deep buffer holds more of it than a shallow one."""
    node = NodeModel((2.0 * BLOCK,), rtt_s=0.1, faults=(Fault(FaultKind.REFUSE, 2.0, 12.0),))
    deep = tiny_world([node], [(0,)] * 20, n=1, window_s=100.0)
    shallow = tiny_world([node], [(0,)] * 20, n=1, window_s=1.5)
    # By 2 s 3.8 units have come: the fourth is there at 12.1 s and was due at W + 3.
    assert optimal_waiting_s(deep) == pytest.approx(12.1 - 3, abs=2e-3)
    # Room for the fourth is made when the playhead is at 1.5 s: that is at 2.1 s, too late.
    assert optimal_waiting_s(shallow) == pytest.approx(12.5 - 3, abs=2e-3)


def test_a_video_that_can_never_be_read_waits_for_ever() -> None:
    gone = NodeModel((1e6,), rtt_s=0.1, faults=(Fault(FaultKind.REFUSE, 0.0),))
    assert optimal_waiting_s(tiny_world([gone, gone], [(0, 1)] * 2)) == float("inf")


def test_jumps_and_several_viewers_have_no_optimum() -> None:
    for name in ("seeks", "several-viewers"):
        with pytest.raises(InvalidRequest, match="one viewer"):
            optimal_waiting_s(make_world(load_scenario(name), 1, LIBRARY))


# -- properties --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["typical", "harsh-B120/rep3", "clientlink-2s", "slowdowns"])
def test_units_are_the_whole_video_and_are_never_due_before_they_play(name: str) -> None:
    world = make_world(load_scenario(name), 1, LIBRARY)
    for unit_s in (0.1, 2.0, 100.0):
        units = units_of(world, unit_s=unit_s)
        assert units.sizes.sum() == sum(chunk.size for chunk in world.chunks)
        assert (np.diff(units.offsets_s) >= 0).all()
        assert (units.limits.sum(1) >= units.sizes).all()
        assert units.offsets_s[0] == 0


@pytest.mark.parametrize("seed", range(4))
def test_smaller_units_and_whole_units_can_only_raise_the_bound(seed: int) -> None:
    world = make_world(load_scenario("harsh"), seed, LIBRARY)
    coarse_s, fine_s = optimal_waiting_s(world, unit_s=10.0), optimal_waiting_s(world, unit_s=1.0)
    whole_s = optimal_waiting_s(world, unit_s=10.0, whole_units=True)
    slack_s = max(TOLERANCE_S, TOLERANCE_SHARE * whole_s)
    assert coarse_s <= fine_s + slack_s
    assert fine_s <= whole_s + slack_s


@pytest.mark.parametrize("seed", range(6))
def test_more_capacity_depth_or_nodes_never_make_the_optimum_wait_longer(seed: int) -> None:
    world = make_world(load_scenario("harsh"), seed, LIBRARY)
    base_s = optimal_waiting_s(world)
    richer = [
        dataclasses.replace(node, bytes_per_s=tuple(1.5 * rate for rate in node.bytes_per_s))
        for node in world.nodes
    ]
    sound = [dataclasses.replace(node, faults=()) for node in world.nodes]
    deeper = dataclasses.replace(world.config, window_s=120.0)
    slack_s = max(TOLERANCE_S, TOLERANCE_SHARE * base_s)
    assert optimal_waiting_s(dataclasses.replace(world, nodes=tuple(richer))) <= base_s + slack_s
    assert optimal_waiting_s(dataclasses.replace(world, nodes=tuple(sound))) <= base_s + slack_s
    assert optimal_waiting_s(dataclasses.replace(world, config=deeper)) <= base_s + slack_s


@given(st.integers(0, 10**6), st.lists(st.floats(0, 400), min_size=2, max_size=6, unique=True))
@settings(max_examples=40, deadline=None)
def test_the_supply_is_the_integral_of_the_nodes_capacities(seed: int, instants_s) -> None:
    name = ("harsh", "slowdowns", "dripping-node", "evening")[seed % 4]
    world = make_world(load_scenario(name), seed, LIBRARY)
    supply = supply_of(world.nodes, world.client_bytes_per_s)
    edges_s = np.array(sorted(instants_s))
    sums = supply.between(edges_s)
    for index, node in enumerate(world.nodes):
        expected = [carried(node, a, b) for a, b in pairwise(edges_s)]
        assert sums[:, index] == pytest.approx(np.array(expected), abs=1.0)
        by = supply.by(float(edges_s[-1])) - supply.by(float(edges_s[0]))
        assert by[index] == pytest.approx(sum(expected), abs=1.0)


def short(name: str) -> Scenario:
    """Return a scenario cut to half a minute, its spells twelve times as frequent and short."""
    scenario = load_scenario(name)

    def hurried(plan):
        return msgspec.structs.replace(
            plan, every_s=plan.every_s / 12, lasting_s=plan.lasting_s / 12
        )

    return msgspec.structs.replace(
        scenario,
        video=msgspec.structs.replace(scenario.video, duration_s=30.0),
        outages=hurried(scenario.outages),
        common_outages=hurried(scenario.common_outages),
        slowdowns=hurried(scenario.slowdowns),
    )


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("mode", [IDEAL, REALISTIC], ids=["ideal", "realistic"])
def test_no_session_ever_waits_less_than_the_optimum(scheduler: str, mode) -> None:
    names = ("harsh", "typ-2s-B120", "clientlink-2s", "slowdowns", "raw-8M-2s", "common-outages")
    for seed in range(12):
        scenario = short(names[seed % len(names)]).with_layout(("rep3", "3of5", "4of6")[seed % 3])
        world = make_world(scenario, seed, LIBRARY)
        outcome = simulate(world, scheduler, mode)
        assert outcome.waiting_s >= optimal_waiting_s(world) - 1e-5, f"{scenario.name}, seed {seed}"
