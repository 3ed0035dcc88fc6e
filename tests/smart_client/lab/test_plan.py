"""What the lab tells ``ip`` and ``tc``, and what it does to nodes when: the pure part."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_client.errors import InvalidRequest
from smart_client.lab import plan
from smart_client.lab.plan import NetworkPlan
from smart_client.lab.script import Holds, Spell, node_scripts
from smart_client.simulator.node_model import DRIP_BYTES_PER_S, Fault, FaultKind, NodeModel
from support.lab_worlds import lab_node

instants = st.floats(0.0, 40.0)
rates = st.lists(st.floats(0.0, 5e6), min_size=1, max_size=30)


@st.composite
def faults(draw) -> Fault:
    start_s = draw(instants)
    stop_s = start_s + draw(st.one_of(st.floats(0.001, 30.0), st.just(float("inf"))))
    return Fault(draw(st.sampled_from(list(FaultKind))), start_s, stop_s)


@st.composite
def nodes(draw) -> NodeModel:
    return lab_node(
        bytes_per_s=tuple(draw(rates)),
        rtt_s=draw(st.floats(0.001, 0.3)),
        faults=tuple(draw(st.lists(faults(), max_size=3))),
    )


# -- commands ------------------------------------------------------------------------------------


@given(st.integers(1, plan.NODES_MAX))
def test_every_name_and_address_of_a_lab_is_its_own(count: int) -> None:
    network = NetworkPlan("lab1x2", count)
    names = network.namespaces
    addresses = [plan.CLIENT_ADDRESS, *(plan.node_address(i) for i in range(count))]
    hardware = [plan.CLIENT_HARDWARE, *(plan.node_hardware(i) for i in range(count))]
    devices = [plan.HUB_CLIENT_DEVICE, *(plan.hub_device(i) for i in range(count))]
    for words in (names, addresses, hardware, devices):
        assert len(set(words)) == len(words)
    assert all(name.startswith("lab1x2-") for name in names)
    assert all(len(device) <= 15 for device in devices)  # the kernel's limit


def test_nothing_is_made_outside_the_labs_own_namespaces() -> None:
    network = NetworkPlan("lab1x2", 3)
    outside, *inside = network.make_commands()
    assert outside[0] == ""
    assert outside[1] == [f"netns add {name}" for name in network.namespaces]
    assert sorted(name for name, _ in inside) == sorted(network.namespaces)


@pytest.mark.parametrize("count", [0, plan.NODES_MAX + 1])
def test_a_lab_of_no_or_too_many_nodes_is_refused(count: int) -> None:
    with pytest.raises(InvalidRequest):
        NetworkPlan("lab1x2", count)


@given(st.floats(0.0, 1e9))
def test_a_shape_lets_every_frame_through_and_counts_headers(bytes_per_s: float) -> None:
    line = plan.shape_line("eth0", bytes_per_s)
    bits = int(re.search(r"rate (\d+)bit", line)[1])
    burst = int(re.search(r"burst (\d+)", line)[1])
    limit = int(re.search(r"limit (\d+)", line)[1])
    assert plan.FRAME_BYTES <= burst <= limit
    wanted = max(plan.RATE_BYTES_PER_S_MIN, bytes_per_s) * plan.FRAME_FACTOR * 8
    assert bits == pytest.approx(wanted, abs=1)


def test_a_client_without_a_limit_has_no_shape() -> None:
    assert "tbf" not in plan.client_shape_line(float("inf"))
    assert "tbf" in plan.client_shape_line(200_000.0)


# -- scripts -------------------------------------------------------------------------------------


@given(nodes(), st.floats(0.5, 40.0), st.floats(0.0, 1.0))
def test_at_every_instant_the_client_meets_the_rate_of_the_world(
    node: NodeModel, until_s: float, share: float
) -> None:
    script = node_scripts([node], until_s)[0]
    at_s = share * until_s * 0.999
    seen = [s for s in script.rates if s.at_s + script.one_way_s <= at_s + 1e-9][-1]
    away = (FaultKind.FREEZE, FaultKind.REFUSE)
    link = NodeModel(
        bytes_per_s=node.bytes_per_s,
        rtt_s=node.rtt_s,
        faults=tuple(fault for fault in node.faults if fault.kind not in away),
    )
    edges = [fault.start_s for fault in node.faults] + [fault.stop_s for fault in node.faults]
    if min(abs(at_s - edge_s) for edge_s in [*edges, round(at_s)]) > 1e-6:
        assert seen.bytes_per_s == link.capacity_at(at_s)


@given(nodes(), st.floats(0.5, 40.0))
def test_a_script_is_finite_ordered_and_begins_with_a_rate(node: NodeModel, until_s: float) -> None:
    script = node_scripts([node], until_s)[0]
    assert script.one_way_s == node.rtt_s / 2
    assert script.rates[0].at_s <= 0
    times = [step.at_s for step in script.rates]
    assert times == sorted(times)
    for spell in (*script.frozen, *script.refusing, *script.garbling, *script.holds):
        assert spell.start_s < spell.stop_s < float("inf")
        assert spell.start_s >= 0


@given(nodes(), st.floats(1.0, 40.0), instants)
def test_no_payload_reaches_the_client_of_a_frozen_node_and_none_is_held_otherwise(
    node: NodeModel, until_s: float, sent_s: float
) -> None:
    script = node_scripts([node], until_s)[0]
    due_s = Holds(script.one_way_s, script.holds).due_s(sent_s, True)
    freezes = [f for f in node.faults if f.kind is FaultKind.FREEZE and f.start_s < until_s]
    arrives_s = sent_s + script.one_way_s
    if due_s < until_s:
        assert not any(f.start_s <= due_s < node.recovers_s(f) for f in freezes)
    if not any(f.start_s <= arrives_s < node.recovers_s(f) for f in freezes):
        assert due_s == arrives_s
    assert Holds(script.one_way_s, script.holds).due_s(sent_s, False) == arrives_s


@given(st.lists(st.tuples(instants, st.floats(0.01, 9.0)), max_size=4), st.lists(instants))
def test_held_frames_keep_their_order(spells, sent) -> None:
    holds = Holds(0.01, [Spell(start_s, start_s + lasting_s) for start_s, lasting_s in spells])
    due = [holds.due_s(sent_s, True) for sent_s in sorted(sent)]
    assert due == sorted(due)


def test_what_happens_at_a_node_happens_half_a_round_trip_before_it_is_seen() -> None:
    kinds = (FaultKind.FREEZE, FaultKind.REFUSE, FaultKind.GARBAGE, FaultKind.DRIP)
    faulty = [Fault(kind, 10.0 * n + 5, 10.0 * n + 8) for n, kind in enumerate(kinds)]
    node = lab_node(rtt_s=0.2, faults=tuple(faulty))
    script = node_scripts([node], 60.0)[0]
    (frozen,), (refusing,), (garbling,) = script.frozen, script.refusing, script.garbling
    assert (frozen.start_s, frozen.stop_s) == pytest.approx((4.9, 8.1))  # and a round trip to thaw
    assert (script.holds[0].start_s, script.holds[0].stop_s) == pytest.approx((5.0, 8.2))
    assert (refusing.start_s, refusing.stop_s) == pytest.approx((14.9, 17.9))
    assert (garbling.start_s, garbling.stop_s) == pytest.approx((24.9, 27.9))
    assert [step.at_s for step in script.rates] == pytest.approx([-0.1, 34.9, 37.9])
    rates = [step.bytes_per_s for step in script.rates]
    assert rates == [400_000.0, DRIP_BYTES_PER_S, 400_000.0]
