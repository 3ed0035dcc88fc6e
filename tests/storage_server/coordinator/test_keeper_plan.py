"""Planning alone: every job done step by step in a world of sets, looked at after every step."""

import hashlib
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.placement import Demand, PlacementNode, RendezvousPlacement
from redundancy.rows import RowGeometry
from redundancy.scheme import Layout
from smart_client import wire
from storage_server.coordinator.keeper.balance import (
    by_catalogue,
    held_bytes,
    is_even,
    moved_bytes,
    plan_moves,
)
from storage_server.coordinator.keeper.jobs import Job, NodeView, View, dropped, finished, replaced
from storage_server.coordinator.keeper.plan import Stuck, danger_of, is_readable
from storage_server.coordinator.keeper.wants import plan

GROUP = f"group/{'a' * 32}/original/000000"
SIZE = 90_000
PLACEMENT = RendezvousPlacement()
LAYOUTS = ["rep:1", "rep:2", "rep:3", "rs:2+1", "rs:2+2", "rs:3+2", "rs:3+3", "rs:3+2+1copy"]
NAMES = [f"n{i}" for i in range(10)]


def key_of(generation: int, layout: wire.LayoutRecord, index: int) -> str:
    text = f"{generation}/{layout.to_layout()}/{index}"
    return hashlib.sha256(text.encode()).hexdigest()


def chunk_on(layout: str, nodes: dict[int, str], number: int = 0) -> wire.ChunkRecord:
    record = wire.LayoutRecord.of(Layout.parse(layout))
    return wire.ChunkRecord(
        number=number,
        offset=0,
        size=SIZE,
        sha256="0" * 64,
        start_s=0,
        duration_s=1,
        layout=record,
        fragments=tuple(
            wire.FragmentRecord(index=i, node=node, key=key_of(0, record, i))
            for i, node in sorted(nodes.items())
        ),
    )


class World:
    """Nodes with what they hold; does what a job says and checks every step of it."""

    def __init__(self, chunk: wire.ChunkRecord, up: set[str], gone: set[str], leaving: set[str]):
        self.chunk = chunk
        self.up, self.gone, self.leaving = up, gone, leaving
        self.held: dict[str, set[str]] = {name: set() for name in NAMES}
        for each in chunk.fragments:
            self.held[each.node].add(each.key)
        self.moved_bytes = 0

    def view(self) -> View:
        nodes = {
            name: NodeView(name in self.up, name in self.gone, name in self.leaving)
            for name in NAMES
        }
        places = tuple(
            PlacementNode(name, 10**12, 10**11, excluded=name not in self.up)
            for name in NAMES
            if name not in self.leaving
        )
        missing = {
            (each.node, each.key)
            for each in self.chunk.fragments
            if each.key not in self.held[each.node]
        }
        return View(nodes, places, missing)

    def plan(self, target: str):
        layout = wire.LayoutRecord.of(Layout.parse(target))
        return plan(GROUP, self.chunk, layout, self.view(), placement=PLACEMENT)

    def do(self, job: Job, target: str) -> None:
        before = danger_of(self.chunk, self.view())
        floor = min(before, Layout.parse(target).tolerates)
        coded = job.chunk.layout.to_layout()
        keys = dict(job.known_keys)
        temporary = set()
        for number, make in enumerate(job.makes):
            assert make.node in self.up
            readable = [f for f in job.sources if f.key in self.held[f.node] and f.node in self.up]
            assert is_readable(job.chunk, readable), "made out of too little"
            self.moved_bytes += self._gathering_bytes(job, make, coded)
            if number == 0:
                keys |= {
                    i: key_of(job.generation, job.layout, i)
                    for i in range(job.layout.n + job.layout.copies)
                }
            for index in make.indices:
                self.held[make.node].add(keys[index])
                temporary.add((make.node, keys[index]))
            self.check(before)
        for copy in job.copies:
            assert keys[copy.index] in self.held[copy.source]
            assert {copy.source, copy.target} <= self.up
            self.held[copy.target].add(keys[copy.index])
            temporary.add((copy.target, keys[copy.index]))
            layout = job.layout.to_layout()
            k = 1 if layout.is_copy(copy.index) else layout.scheme.k
            self.moved_bytes += RowGeometry(SIZE, k).payload_bytes
            self.check(before)
        after = finished(job, keys)
        group = replaced(wire.GroupRecord(chunks=(self.chunk,)), job.chunk, after)
        assert group.chunks == (after,)
        self.chunk = after
        named = [(each.node, each.key) for each in after.fragments]
        assert len({node for node, _ in named}) == len(named)
        self.check(floor)
        for node, key in dropped(job, after, temporary):
            self.held[node].discard(key)
            self.check(floor)

    def _gathering_bytes(self, job: Job, make, coded: Layout) -> int:
        if make.pattern is not None:
            return 0
        here = [f.index for f in job.sources if f.node == make.node]
        if any(map(coded.is_copy, here)):
            return 0
        return SIZE - len(here) * (SIZE // coded.scheme.k)

    def check(self, danger: int) -> None:
        now = danger_of(self.chunk, self.view())
        assert now >= danger, f"survives {now} losses, it was {danger}"


@st.composite
def worlds(draw):
    layout = draw(st.sampled_from(LAYOUTS))
    total = Layout.parse(layout).fragments_total
    order = draw(st.permutations(NAMES))
    absent = draw(st.sets(st.integers(0, total - 1), max_size=1))
    nodes = {i: order[i] for i in range(total) if i not in absent}
    gone = draw(st.sets(st.sampled_from(NAMES), max_size=3))
    away = draw(st.sets(st.sampled_from(NAMES), max_size=1)) - gone
    leaving = draw(st.sets(st.sampled_from(NAMES), max_size=1)) - gone - away
    world = World(chunk_on(layout, nodes), set(NAMES) - gone - away, gone, leaving)
    for each in world.chunk.fragments:
        if draw(st.integers(0, 9)) == 0:
            world.held[each.node].discard(each.key)  # rotten
    return world


@settings(max_examples=300, deadline=None)
@given(worlds(), st.sampled_from(LAYOUTS))
def test_every_chunk_comes_to_its_layout_and_is_never_in_more_danger_on_the_way(world, target):
    was_readable = danger_of(world.chunk, world.view()) >= 0
    for _ in range(4):
        job = world.plan(target)
        if not isinstance(job, Job):
            break
        assert was_readable or not job.makes
        world.do(job, target)
    assert not isinstance(job, Job), "it never ends"
    if isinstance(job, Stuck):
        assert not was_readable or len(world.up - world.leaving) < 8
        return
    layout = Layout.parse(target)
    if any(each.node not in world.up for each in world.chunk.fragments):
        return  # a node is away for a while: nothing is taken away until it is back
    indices = [each.index for each in world.chunk.fragments]
    assert len(indices) == layout.fragments_total
    assert world.chunk.layout.k == layout.scheme.k
    assert all(world.view().is_staying(each.node) for each in world.chunk.fragments)
    named = {(each.node, each.key) for each in world.chunk.fragments}
    held = {(node, key) for node in world.up for key in world.held[node]}
    assert {pair for pair in named if pair[0] in world.up} <= held


@given(st.sampled_from([*LAYOUTS, "rs:6+3", "rs:5+2"]), st.sampled_from(LAYOUTS))
def test_no_layout_change_moves_more_than_coding_anew_would(before, target):
    """Coding anew elsewhere: read the chunk, send every fragment but the first."""
    coded, wanted = Layout.parse(before), Layout.parse(target)
    nodes = dict(enumerate(NAMES[: coded.fragments_total]))
    world = World(chunk_on(before, nodes), set(NAMES), set(), set())
    job = world.plan(target)
    if job is not None:
        world.do(job, target)
        assert job.wire_bytes <= world.moved_bytes + 3 * 64 * 20
    assert world.moved_bytes <= SIZE * (1 + wanted.overhead) - SIZE / wanted.scheme.k + 64 * 20
    if before == "rep:3" and target == "rs:3+2":
        assert world.moved_bytes <= 0.67 * SIZE
    if before == "rs:3+2+1copy" and target == "rs:3+2":
        assert world.moved_bytes == 0


@settings(max_examples=50)
@given(st.lists(st.sets(st.integers(0, 4), max_size=3), min_size=1, max_size=6))
def test_danger_counts_the_losses_that_are_left(lost):
    for gone in lost:
        chunk = chunk_on("rs:3+2", dict(enumerate(NAMES[:5])))
        world = World(chunk, set(NAMES) - {NAMES[i] for i in gone}, set(), set())
        assert danger_of(chunk, world.view()) == max(-1, 2 - len(gone))


def groups_on(nodes: list[str], count: int, chunks: int = 8) -> dict[str, wire.GroupRecord]:
    """Groups placed as new ones are, on nodes as full as the catalogue says."""
    held: Counter[str] = Counter()
    groups = {}
    for number in range(count):
        key = f"group/{number:032x}/original/000000"
        places = by_catalogue([PlacementNode(name, 2 * 10**9, 0) for name in nodes], held)
        demand = Demand(Layout.parse("rs:3+2"), chunks, SIZE)
        placed = PLACEMENT.choose(key, places, demand)
        groups[key] = wire.GroupRecord(
            chunks=tuple(
                chunk_on("rs:3+2", dict(enumerate(each.nodes)), i) for i, each in enumerate(placed)
            )
        )
        held += held_bytes(groups[key])
    return groups


def even_out(groups: dict[str, wire.GroupRecord], nodes: list[str]) -> tuple[int, Counter[str]]:
    """Do all moves; return how many bytes they took and what each node holds then."""
    held: Counter[str] = Counter()
    for group in groups.values():
        held += held_bytes(group)
    total = sum(held.values())
    places = tuple(PlacementNode(name, max(1, total // 2), 10**9) for name in nodes)
    view = View({name: NodeView(True) for name in nodes}, places)
    moved = 0
    for key, group in groups.items():
        if is_even(by_catalogue(places, held)):
            break
        for job in plan_moves(key, group, view, held, placement=PLACEMENT):
            assert all(copy.source in nodes for copy in job.copies)
            held = moved_bytes(held, job)
            moved += job.wire_bytes
    return moved, held


def test_a_new_node_gets_its_share_with_hardly_a_move_too_many():
    nodes = NAMES[:9]
    groups = groups_on(nodes, 150)
    moved, held = even_out(groups, NAMES)
    share = sum(held.values()) / len(NAMES)
    assert moved <= 1.02 * share, moved / share
    assert held["n9"] >= 0.9 * share, held["n9"] / share
    again, _ = even_out(groups_on(NAMES, 150), NAMES)
    assert again <= 0.02 * share, again / share
