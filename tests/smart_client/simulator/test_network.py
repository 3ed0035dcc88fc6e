"""The network model: against a twin that walks in milliseconds, and rule by rule."""

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smart_client.simulator.flows import IDEAL, REALISTIC, NetworkModel
from smart_client.simulator.network import (
    INITIAL_WINDOW_BYTES,
    RTO_MIN_S,
    Fault,
    FaultKind,
    Happening,
    Network,
    NodeModel,
)

NODE = NodeModel(bytes_per_s=(1e6,), rtt_s=0.05, think_s=0.01)
FIRST_S = 2 * 0.05 + 0.01  # connect, request, think


def run(network: Network, until_s: float = 1e3, script=()) -> list[tuple[float, Happening, int]]:
    """Let everything happen; ``script`` holds (instant, function) to be called on the way."""
    seen, script = [], sorted(script, key=lambda entry: entry[0])
    while network.now_s < until_s:
        next_s = min(network.next_event_s(), until_s, *(at_s for at_s, _ in script))
        happened = network.advance(max(next_s, network.now_s))
        seen += [(network.now_s, what, flow.number) for what, flow in happened]
        while script and script[0][0] <= network.now_s:
            script.pop(0)[1]()
        if not network.flows and not script and network.next_event_s() == float("inf"):
            break
    return seen


def at(seen, what: Happening, number: int = 0) -> float:
    return next(t for t, happening, n in seen if happening is what and n == number)


# -- a twin ------------------------------------------------------------------------------------


def twin_ends_s(nodes, requests, client_bytes_per_s: float, step_s: float = 0.001):
    """Walk in small steps: equal shares a node, progressive filling of the client's link."""
    ends, left = {}, {n: float(size) for n, (_, _, size) in enumerate(requests)}
    tick = 0
    while left and tick * step_s < 60:
        now_s = tick * step_s
        sending = [
            n
            for n in left
            if now_s >= requests[n][0] + 2 * nodes[requests[n][1]].rtt_s + NODE.think_s
        ]
        rates = {}
        for node, model in enumerate(nodes):
            own = [n for n in sending if requests[n][1] == node]
            rates |= {n: model.capacity_at(now_s) / len(own) for n in own}
        room, order = client_bytes_per_s, sorted(rates, key=rates.get)
        for position, n in enumerate(order):
            rates[n] = min(rates[n], room / (len(order) - position))
            room -= rates[n]
        for n, rate in rates.items():
            left[n] -= rate * step_s
            if left[n] <= 0:
                ends[n] = now_s + step_s
                del left[n]
        tick += 1
    return ends


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_flows_end_when_a_twin_in_milliseconds_says_so(data) -> None:
    rates = st.floats(5e4, 5e5)
    nodes = [
        NodeModel(
            bytes_per_s=tuple(data.draw(st.lists(rates, min_size=1, max_size=4))),
            rtt_s=data.draw(st.sampled_from([0.01, 0.05, 0.1])),
            think_s=NODE.think_s,
        )
        for _ in range(data.draw(st.integers(1, 3)))
    ]
    requests = [
        (
            data.draw(st.integers(0, 1500)) / 1000,
            data.draw(st.integers(0, len(nodes) - 1)),
            data.draw(st.integers(20_000, 300_000)),
        )
        for _ in range(data.draw(st.integers(1, 6)))
    ]
    client = data.draw(st.one_of(st.just(float("inf")), st.floats(1e5, 6e5)))
    network = Network(nodes, client, IDEAL)
    # Connections are never reused here: the twin knows none.
    script = [
        (at_s, lambda n=n, node=node, size=size: fresh(network, n, node, size))
        for n, (at_s, node, size) in enumerate(requests)
    ]
    ends = {n: t for t, what, n in run(network, script=script) if what is Happening.DONE}
    expected = twin_ends_s(nodes, requests, client)
    assert ends.keys() == expected.keys()
    for n, end_s in ends.items():
        assert end_s == pytest.approx(expected[n], abs=0.03)
    assert network.moved_bytes == pytest.approx(sum(size for _, _, size in requests), abs=1)


def fresh(network: Network, number: int, node: int, size: int) -> None:
    network._pipes[node].idle.clear()
    network.request(number, node, size)


# -- connections -------------------------------------------------------------------------------


def test_a_request_costs_a_connect_a_round_trip_and_a_think_time() -> None:
    network = Network([NODE], model=IDEAL)
    network.request(0, 0, 100_000)
    seen = run(network)
    assert at(seen, Happening.CONNECTED) == pytest.approx(0.05)
    assert at(seen, Happening.FIRST_BYTE) == pytest.approx(FIRST_S)
    assert at(seen, Happening.DONE) == pytest.approx(FIRST_S + 0.1)
    network.request(1, 0, 100_000)
    began_s = network.now_s
    seen = run(network)
    assert at(seen, Happening.DONE, 1) - began_s == pytest.approx(0.05 + 0.01 + 0.1)


def test_slow_start_doubles_ten_segments_every_round_trip_until_the_share_is_reached() -> None:
    network = Network([NODE], model=dataclasses.replace(REALISTIC, report_s=100.0))
    network.request(0, 0, 100_000)
    # 14.6 and 29.2 kB take a round trip each; then 1 MB/s is less than 58.4 kB a round trip.
    rest = REALISTIC.head_bytes + 100_000 - 3 * INITIAL_WINDOW_BYTES
    assert at(run(network), Happening.DONE) == pytest.approx(FIRST_S + 2 * 0.05 + rest / 1e6)


def test_a_connection_keeps_its_window_unless_it_was_idle_for_long() -> None:
    durations = []
    for pause_s in (0.0, 0.05 + RTO_MIN_S - 0.01, 0.05 + RTO_MIN_S + 0.01):
        network = Network([NODE], model=REALISTIC)
        network.request(0, 0, 100_000)
        done_s = at(run(network), Happening.DONE)
        network.advance(done_s + pause_s)
        began_s = network.now_s
        network.request(1, 0, 100_000)
        durations.append(at(run(network), Happening.DONE, 1) - began_s)
    head_s = REALISTIC.head_bytes / 1e6
    assert durations[0] == pytest.approx(0.06 + head_s + 0.1)
    assert durations[1] == pytest.approx(durations[0])
    assert durations[2] == pytest.approx(0.06 + head_s + 0.1 + 0.0562)


@pytest.mark.parametrize("reconnect", [False, True])
def test_a_cancelled_answer_costs_its_connection_only_if_that_is_modelled(reconnect) -> None:
    network = Network([NODE], model=NetworkModel(reconnect=reconnect))
    network.request(0, 0, 500_000)
    run(network, script=[(0.2, lambda: network.cancel(0))])
    began_s = network.now_s
    network.request(1, 0, 1000)
    duration_s = at(run(network), Happening.FIRST_BYTE, 1) - began_s
    assert duration_s == pytest.approx(FIRST_S if reconnect else FIRST_S - 0.05)


@pytest.mark.parametrize("how", ["cancel", "shorten"])
def test_what_is_under_way_crosses_the_wire_all_the_same(how: str) -> None:
    wasted = {}
    for name, model in [("ideal", IDEAL), ("realistic", REALISTIC)]:
        network = Network([NODE], model=model)
        network.request(0, 0, 900_000)
        received = []

        def stop(network=network, received=received) -> None:
            network.moved_bytes_by_node()
            received.append(network.flows[0].received)
            if how == "cancel":
                network.cancel(0)
            else:
                network.shorten(0, 200_000)

        run(network, script=[(0.3, stop)])
        kept = received[0] if how == "cancel" else 200_000
        wasted[name] = network.moved_bytes - kept
    assert wasted["ideal"] == pytest.approx(0, abs=1)
    assert wasted["realistic"] == pytest.approx(1e6 * 0.05, abs=1)


def test_waste_is_bounded_by_the_socket_buffer_and_by_what_was_asked_for() -> None:
    fast = NodeModel(bytes_per_s=(1e8,), rtt_s=0.1)
    for size, bound in [(50_000_000, 256 * 1024), (20_100_000, 100_000)]:
        network = Network([fast], model=dataclasses.replace(REALISTIC, slow_start=False))
        network.request(0, 0, size)
        run(network, script=[(0.1, lambda network=network: network.shorten(0, 20_000_000))])
        assert network.moved_bytes == pytest.approx(20_000_000 + bound, abs=10)


def test_a_request_cancelled_before_its_answer_may_still_send_a_first_window() -> None:
    for cancelled_s, bytes_moved in [(0.055, 0), (0.10, INITIAL_WINDOW_BYTES)]:
        network = Network([NODE], model=REALISTIC)
        network.request(0, 0, 500_000)
        run(network, script=[(cancelled_s, lambda network=network: network.cancel(0))])
        assert network.moved_bytes == pytest.approx(bytes_moved, abs=1)


# -- faults ------------------------------------------------------------------------------------


def faulty(kind: FaultKind, start_s: float, stop_s: float) -> NodeModel:
    return dataclasses.replace(NODE, faults=(Fault(kind, start_s, stop_s),))


def test_a_frozen_node_connects_and_stays_silent_until_a_round_trip_after() -> None:
    network = Network([faulty(FaultKind.FREEZE, 0.0, 3.0)], model=IDEAL)
    network.request(0, 0, 10_000)
    seen = run(network)
    assert at(seen, Happening.CONNECTED) == pytest.approx(0.05)
    assert at(seen, Happening.FIRST_BYTE) == pytest.approx(3.05)


def test_a_freeze_in_the_middle_of_an_answer_costs_its_length_and_a_round_trip() -> None:
    network = Network([faulty(FaultKind.FREEZE, 0.2, 3.0)], model=IDEAL)
    network.request(0, 0, 500_000)
    assert at(run(network), Happening.DONE) == pytest.approx(FIRST_S + 0.5 + 2.8 + 0.05)


def test_a_refusing_node_resets_what_runs_and_refuses_what_comes() -> None:
    network = Network([faulty(FaultKind.REFUSE, 0.2, 3.0)], model=IDEAL)
    network.request(0, 0, 500_000)
    seen = run(network, script=[(1.0, lambda: network.request(1, 0, 10_000))])
    assert at(seen, Happening.RESET) == pytest.approx(0.2)
    assert at(seen, Happening.REFUSED, 1) == pytest.approx(1.05)


def test_a_process_that_went_away_took_its_idle_connections_along() -> None:
    network = Network([faulty(FaultKind.REFUSE, 1.0, 2.0)], model=IDEAL)
    network.request(0, 0, 10_000)
    run(network)
    network.advance(2.5)
    network.request(1, 0, 10_000)
    assert at(run(network), Happening.CONNECTED, 1) == pytest.approx(2.55)


@pytest.mark.parametrize(("kind", "share"), [(FaultKind.DRIP, 0.002), (FaultKind.SLOW, 0.1)])
def test_a_drip_and_a_slowdown_leave_a_part_of_the_capacity(kind, share: float) -> None:
    network = Network([faulty(kind, 0.0, 1e3)], model=IDEAL)
    network.request(0, 0, 10_000)
    assert at(run(network), Happening.DONE) == pytest.approx(FIRST_S + 10_000 / (share * 1e6))


# -- invariants --------------------------------------------------------------------------------


def random_node(rng: random.Random) -> NodeModel:
    kind = rng.choice([k for k in FaultKind if k is not FaultKind.GARBAGE])
    start_s = rng.uniform(0, 3)
    return NodeModel(
        bytes_per_s=(*(rng.choice([0, 1e4, 1e6]) for _ in range(rng.randint(1, 4))), 1e5),
        rtt_s=rng.uniform(0.01, 0.2),
        faults=(Fault(kind, start_s, start_s + rng.uniform(0.1, 3)),),
    )


def act_at_random(network: Network, rng: random.Random, number: int) -> None:
    """Do something a client might do, or nothing."""
    action = rng.choice(["request", "cancel", "shorten", "wait", "wait"])
    if action == "request" and len(network.flows) < 6:
        network.request(number, rng.randrange(3), rng.randint(1, 400_000))
    elif network.flows and action in ("cancel", "shorten"):
        chosen = rng.choice(sorted(network.flows))
        if action == "cancel":
            network.cancel(chosen)
        else:
            network.shorten(chosen, rng.randint(0, 400_000))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from([IDEAL, REALISTIC]), st.booleans())
def test_whatever_the_client_does_no_node_sends_more_than_it_can(seed, model, is_limited) -> None:
    rng = random.Random(seed)
    nodes = [random_node(rng) for _ in range(3)]
    client = rng.uniform(1e4, 1e6) if is_limited else float("inf")
    network = Network(nodes, client, model)
    limits, before = [0.0] * 3, 0.0
    for number in range(200):
        act_at_random(network, rng, number)
        began_s = network.now_s
        # Between two changes a capacity is constant, so its value in the middle bounds the bytes.
        changes_s = [node.next_change_s(began_s) for node in nodes]
        next_s = min(network.next_event_s(), began_s + rng.uniform(0.001, 0.2), *changes_s)
        network.advance(next_s)
        moved = network.moved_bytes_by_node()
        for index, node in enumerate(nodes):
            limits[index] += node.capacity_at((began_s + next_s) / 2) * (next_s - began_s)
            assert moved[index] <= limits[index] + 1
        if is_limited:
            assert sum(moved) - before <= client * (next_s - began_s) + 1
        before = sum(moved)
        for flow in network.flows.values():
            assert -model.head_bytes <= flow.received <= flow.size <= flow.asked_bytes


def test_progress_that_was_not_told_yet_can_be_asked_for_once() -> None:
    network = Network([NODE], model=dataclasses.replace(IDEAL, report_s=100.0))
    network.request(0, 0, 500_000)
    seen = run(network, until_s=FIRST_S + 0.2)
    assert not any(what is Happening.BYTES for _, what, _ in seen)
    (told,) = network.overdue_reports()
    assert told[0] is Happening.BYTES
    assert told[1].reported == pytest.approx(200_000, abs=2)
    assert network.overdue_reports() == []


def test_the_first_byte_is_that_of_the_head_and_waits_for_the_link_to_carry_it() -> None:
    slow = dataclasses.replace(NODE, bytes_per_s=(100.0,))
    model = dataclasses.replace(IDEAL, head_bytes=50, report_s=100.0)
    network = Network([slow], model=model)
    network.request(0, 0, 200)
    heard = run(network)
    assert at(heard, Happening.FIRST_BYTE) == pytest.approx(FIRST_S + 0.5)
    assert at(heard, Happening.DONE) == pytest.approx(FIRST_S + 2.5)
    assert network.moved_bytes == pytest.approx(200), "heads are not counted"
