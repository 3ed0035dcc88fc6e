import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.errors import UsageError
from redundancy.exposure import Exposure, Pieces
from redundancy.placement import Demand, RendezvousPlacement
from redundancy.scheme import Layout
from support.placements import cluster

NODES = [f"node-{number}" for number in range(6)]


@st.composite
def pieces(draw):
    """A chunk on distinct nodes, one of which may not be registered any more."""
    order = draw(st.permutations([*NODES, "removed"]))
    n = draw(st.integers(1, 5))
    copies = draw(st.integers(0, 7 - n))
    return Pieces(draw(st.integers(1, n)), tuple(order[:n]), tuple(order[n : n + copies]))


libraries = st.dictionaries(
    st.sampled_from("abcde"), st.lists(pieces(), max_size=4), min_size=1, max_size=5
)
subsets = st.sets(st.sampled_from(NODES), max_size=3)


def naive(video, present) -> bool:
    """Whether some chunk has neither a copy nor k coded pieces on the nodes that are there."""
    return any(
        not set(chunk.copies) & present and sum(node in present for node in chunk.coded) < chunk.k
        for chunk in video
    )


@settings(max_examples=40)
@given(libraries, subsets, subsets)
def test_every_set_of_up_to_three_nodes_is_judged_as_chunk_by_chunk(library, away, gone):
    exposure = Exposure(library, NODES, away=away, gone=gone)
    kept = set(NODES) - gone
    up = kept - away
    stopped_now = {name for name in library if naive(library[name], up)}
    lost_now = {name for name in library if naive(library[name], kept)}
    assert set(exposure.now().stopped) == stopped_now
    assert set(exposure.now().lost) == lost_now
    for count in (1, 2, 3):
        judged = 0
        for harm in exposure.harms(count):
            judged += 1
            missing = set(harm.nodes)
            stopped = {name for name in library if naive(library[name], up - missing)}
            lost = {name for name in library if naive(library[name], kept - missing)}
            assert set(harm.stopped) == stopped - stopped_now
            assert set(harm.lost) == lost - lost_now
            assert harm.is_safe == (stopped == stopped_now and lost == lost_now)
        assert judged == math.comb(len(NODES), count)


@given(libraries, st.sets(st.sampled_from(NODES)))
def test_any_set_of_named_nodes_is_judged(library, missing):
    harm = Exposure(library, NODES).harm(sorted(missing))
    without = {name for name in library if naive(library[name], set(NODES))}
    stopped = {name for name in library if naive(library[name], set(NODES) - missing)}
    assert set(harm.stopped) == set(harm.lost) == stopped - without


@settings(max_examples=20)
@given(libraries, st.lists(st.floats(0.0, 1.0), min_size=6, max_size=6))
def test_the_expected_number_weighs_every_state_of_the_nodes(library, shares):
    uptime = dict(zip(NODES, shares, strict=True))
    total, each = Exposure(library, NODES).expected(uptime)
    chances = dict.fromkeys(library, 0.0)
    for state in itertools.product((False, True), repeat=len(NODES)):
        weight = math.prod(
            share if up else 1 - share for share, up in zip(shares, state, strict=True)
        )
        present = {node for node, up in zip(NODES, state, strict=True) if up}
        for name in library:
            chances[name] += weight * naive(library[name], present)
    assert {name: chance.low for name, chance in each.items()} == pytest.approx(chances)
    assert total.low == total.high == pytest.approx(sum(chances.values()))


def test_with_many_nodes_the_expected_number_lies_between_its_bounds():
    """Chunks on nodes of their own, so that the truth is known."""
    nodes = [f"node-{number}" for number in range(20)]
    library = {
        str(number): [Pieces(1, tuple(nodes[2 * number : 2 * number + 2]))] for number in range(10)
    }
    total, each = Exposure(library, nodes).expected(dict.fromkeys(nodes, 0.97))
    assert total.low < 10 * 0.03**2 < total.high
    assert all(chance.low < 0.03**2 < chance.high for chance in each.values())


def test_a_video_without_chunks_is_never_lost():
    exposure = Exposure({"empty": [], "one": [Pieces(1, ("node-0",))]}, NODES)
    assert exposure.harm(NODES).lost == ("one",)


def test_a_node_that_is_not_there_is_told():
    with pytest.raises(UsageError, match="no node 'attic'"):
        Exposure({}, NODES).harm(["attic"])
    with pytest.raises(UsageError, match="between 0 and 1"):
        Exposure({}, NODES).expected({"node-0": 1.5})


def test_a_hundred_films_on_twelve_nodes_survive_any_two_by_placement():
    """Two hours each; every one of 298 combinations is judged, in far less than a second."""
    nodes, code = cluster(12, zones=4), Layout.parse("rs:3+2")
    library = {}
    for film in range(100):
        placed = RendezvousPlacement().choose(f"film-{film}", nodes, Demand(code, 64))
        library[f"film-{film}"] = [Pieces(3, tuple(sorted(chunk.nodes))) for chunk in placed]
    exposure = Exposure(library, [node.id for node in nodes])
    assert all(harm.is_safe for count in (1, 2) for harm in exposure.harms(count))
    threes = list(exposure.harms(3))
    assert len(threes) == 220
    assert any(harm.lost for harm in threes)
