"""A world is made by its scenario and seed alone; nothing in it depends on who plays."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.backends import best_codec
from redundancy.fragment_format import ChunkLabel, footer_offset
from redundancy.fragments import build_fragments
from redundancy.scheme import Layout
from smart_client.errors import InvalidRequest
from smart_client.simulator.node_model import FaultKind, ThinkTimes, uniform_of
from smart_client.simulator.scenario import LAYOUT_NAMES
from smart_client.simulator.scenarios import load_scenario, scenario_names
from smart_client.simulator.synthetic import synthetic_library
from smart_client.simulator.trace_library import Trace, TraceLibrary
from smart_client.simulator.world import make_world

LIBRARY = synthetic_library()


@pytest.mark.parametrize("name", scenario_names())
def test_the_same_seed_gives_the_same_world_and_another_seed_another(name: str) -> None:
    scenario = load_scenario(name)
    world = make_world(scenario, 5, LIBRARY)
    assert world == make_world(scenario, 5, LIBRARY)
    other = make_world(scenario, 6, LIBRARY)
    assert world.nodes != other.nodes
    assert world.chunks != other.chunks


@pytest.mark.parametrize("name", scenario_names())
def test_another_layout_keeps_links_and_faults(name: str) -> None:
    """So what is compared between copies and codes is only that."""
    worlds = [make_world(load_scenario(f"{name}/{layout}"), 3, LIBRARY) for layout in LAYOUT_NAMES]
    assert worlds[0].nodes == worlds[1].nodes == worlds[2].nodes
    assert worlds[0].client_bytes_per_s == worlds[1].client_bytes_per_s


@given(st.integers(0, 10**9), st.sampled_from(["typical", "harsh", "calm"]))
@settings(max_examples=30, deadline=None)
def test_the_video_needs_its_load_of_all_capacity(seed: int, name: str) -> None:
    scenario = load_scenario(name)
    world = make_world(scenario, seed, LIBRARY)
    total = sum(np.mean(node.bytes_per_s[:300]) for node in world.nodes)
    assert scenario.video.bytes_per_s / total == pytest.approx(scenario.nodes.load)
    assert all(0.010 <= node.rtt_s <= 0.120 for node in world.nodes)


@given(st.integers(0, 10**9), st.sampled_from([*LAYOUT_NAMES, "rs:2+2+1copy"]))
@settings(max_examples=30, deadline=None)
def test_a_chunk_lies_on_distinct_nodes_chosen_anew(seed: int, layout: str) -> None:
    world = make_world(load_scenario(f"typical/{layout}"), seed, LIBRARY)
    for chunk in world.chunks:
        holders = [fragment.node for fragment in chunk.fragments]
        assert len(set(holders)) == len(holders) == world.layout.fragments_total
        assert set(holders) <= set(world.node_ids)
    assert len({tuple(f.node for f in chunk.fragments) for chunk in world.chunks}) > 5
    assert [chunk.offset for chunk in world.chunks] == [n * 2_000_000 for n in range(30)]


def test_half_of_the_outages_are_refusals_and_a_tenth_of_the_time_is_lost() -> None:
    scenario, faults = load_scenario("typical"), []
    for seed in range(60):
        for node in make_world(scenario, seed, LIBRARY).nodes:
            faults += node.faults
            ends = [fault.stop_s for fault in node.faults]
            starts = [fault.start_s for fault in node.faults]
            assert all(start > end for end, start in zip(ends, starts[1:], strict=False))
    refused = sum(fault.kind is FaultKind.REFUSE for fault in faults)
    assert refused / len(faults) == pytest.approx(0.5, abs=0.05)
    away_s = sum(min(1800, fault.stop_s) - fault.start_s for fault in faults)
    assert away_s / (60 * 6 * 1800) == pytest.approx(1 / 11, rel=0.15)


def test_a_common_outage_hits_half_of_the_nodes_at_the_same_instant() -> None:
    world = make_world(load_scenario("common-outages"), 1, LIBRARY)
    starts = [fault.start_s for node in world.nodes for fault in node.faults]
    assert starts
    assert all(starts.count(start) == 3 for start in starts)


def test_think_times_depend_on_seed_node_and_ordinal_only_and_are_heavy_tailed() -> None:
    times = ThinkTimes(seed=3, node=1)
    assert times.of(17) == ThinkTimes(seed=3, node=1).of(17)
    assert times.of(17) != ThinkTimes(seed=3, node=2).of(17)
    assert times.of(17) != ThinkTimes(seed=4, node=1).of(17)
    drawn = np.array([times.of(ordinal) for ordinal in range(20_000)])
    assert drawn.min() >= 0.003
    assert drawn.max() == pytest.approx(2.0)
    assert np.median(drawn) == pytest.approx(0.003 + 0.004 * np.log(2), rel=0.05)
    assert (drawn > 0.05).mean() == pytest.approx(0.01, abs=0.003)


def test_hashed_numbers_are_even() -> None:
    drawn = np.array([uniform_of(1, 2, ordinal) for ordinal in range(20_000)])
    counts, _ = np.histogram(drawn, bins=20, range=(0, 1))
    assert (np.abs(counts - 1000) < 150).all()
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.03


@pytest.mark.parametrize("layout", ["rep:3", "rs:3+2", "rs:4+2", "rs:2+2+1copy"])
def test_footers_have_the_size_they_have_in_a_real_fragment(layout: str) -> None:
    world = make_world(load_scenario(f"typical/{layout}"), 1, LIBRARY)
    size = world.chunks[0].size
    real = Layout.parse(layout)
    label = ChunkLabel(b"v" * 16, "original", 0, descriptor=b'{"a":"' + b"x" * 292 + b'"}')
    for fragment in build_fragments(bytes(size), real, best_codec(real.scheme), label):
        length = sum(len(part) for part in fragment.parts)
        start = footer_offset(size, real.scheme.k, real.is_copy(fragment.index))
        assert world.footer_bytes(0, fragment.index) == length - start


def test_unscaled_links_are_drawn_until_they_carry_the_video() -> None:
    scenario = load_scenario("raw-8M-2s")
    for seed in range(20):
        world = make_world(scenario, seed, LIBRARY)
        total = sum(np.mean(node.bytes_per_s[:300]) for node in world.nodes)
        assert total >= scenario.video.bytes_per_s / 0.8
    slow = TraceLibrary("slow", (Trace("modem", "a", np.full(10, 7000.0)),))
    with pytest.raises(InvalidRequest, match="too slow"):
        make_world(scenario, 1, slow)


def test_an_evening_takes_capacity_from_all_nodes_alike() -> None:
    scenario = load_scenario("evening")
    plain = msgspec.structs.replace(scenario, degradation=load_scenario("typical").degradation)
    evening, before = make_world(scenario, 2, LIBRARY), make_world(plain, 2, LIBRARY)
    shares = [
        np.array(node.bytes_per_s[:300]) / np.maximum(1e-9, other.bytes_per_s[:300])
        for node, other in zip(evening.nodes, before.nodes, strict=True)
    ]
    carried = np.array(before.nodes[0].bytes_per_s[:300]) > 1
    assert shares[0][carried].std() > 0.05
    for share, other in zip(shares[1:], before.nodes[1:], strict=True):
        both = carried & (np.array(other.bytes_per_s[:300]) > 1)
        assert share[both] == pytest.approx(shares[0][both])
