"""The upload plan against nodes that are slow, frozen, full or gone, in virtual time."""

import heapq
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smart_client.ingest.upload_plan import (
    BACKOFF_MAX_S,
    SILENCE_ALONE_S,
    SILENCE_MIN_S,
    Abort,
    ChunkUpload,
    Durable,
    Put,
    Settled,
    UploadPlan,
)

FRAGMENT_BYTES = 700_000
BLOCK_BYTES = 64 * 1024


@dataclass
class FakeNode:
    bytes_per_s: float = 50e6
    frozen_from_s: float = float("inf")
    refuses: bool = False
    full: bool = False


class World:
    """Nodes that take blocks at a rate; drives the plan as the runner does."""

    def __init__(self, nodes: dict[str, FakeNode]) -> None:
        self.nodes = nodes
        self.plan = UploadPlan()
        self.now_s = 0.0
        self.heap: list = []
        self.alive: set[int] = set()
        self.settled: dict[int, ChunkUpload] = {}
        self.durable_at_s: dict[int, float] = {}
        self._count = 0

    def offer(self, number: int, targets: list[str], spares: list[str], needed: int = 4) -> None:
        upload = ChunkUpload(number, needed, spares, dict(enumerate(targets)))
        self.apply(self.plan.offer(upload, [FRAGMENT_BYTES] * len(targets), self.now_s))

    def apply(self, issued) -> None:
        for command in issued:
            match command:
                case Put():
                    self.alive.add(command.put)
                    node = self.nodes[command.node]
                    if node.refuses or node.full:
                        self.at(self.now_s + 0.01, command.put, "full" if node.full else "fail")
                        continue
                    self.send(command.put, command.node, 0)
                case Abort():
                    self.alive.discard(command.put)
                case Durable():
                    self.durable_at_s[command.chunk] = self.now_s
                case Settled():
                    self.settled[command.chunk] = self.plan.forget(command.chunk)

    def send(self, put: int, name: str, sent: int) -> None:
        node = self.nodes[name]
        at_s = self.now_s + BLOCK_BYTES / node.bytes_per_s
        if at_s < node.frozen_from_s:
            self.at(at_s, put, "block", name, min(FRAGMENT_BYTES, sent + BLOCK_BYTES))

    def at(self, at_s: float, put: int, *what) -> None:
        self._count += 1
        heapq.heappush(self.heap, (at_s, self._count, put, what))

    def run(self, until_s: float = 300.0) -> None:
        while self.plan.chunks and self.now_s < until_s:
            wake_s = self.plan.next_wakeup_s()
            if self.heap and self.heap[0][0] <= wake_s:
                self.now_s, _, put, what = heapq.heappop(self.heap)
                if put in self.alive:
                    self.happen(put, *what)
            elif wake_s < float("inf"):
                self.now_s = max(self.now_s, wake_s)
                self.apply(self.plan.tick(self.now_s))
            else:
                raise AssertionError("nothing will ever happen")

    def happen(self, put: int, what: str, name: str = "", sent: int = 0) -> None:
        if what == "block":
            self.apply(self.plan.progress(put, sent, self.now_s))
            if sent < FRAGMENT_BYTES:
                self.send(put, name, sent)
            else:
                self.at(self.now_s + 0.01, put, "done")
            return
        self.alive.discard(put)
        step = {"done": self.plan.done, "fail": self.plan.failed, "full": self.plan.full}[what]
        self.apply(step(put, self.now_s))


NAMES = [f"node-{index}" for index in range(5)]


def make_world(**special: FakeNode) -> World:
    nodes = {name: FakeNode() for name in [*NAMES, "spare-0"]}
    nodes |= {name.replace("_", "-"): node for name, node in special.items()}
    return World(nodes)


def test_every_fragment_goes_where_it_was_placed() -> None:
    world = make_world()
    world.offer(0, NAMES, ["spare-0"])
    world.run()
    assert world.settled[0].stored == dict(enumerate(NAMES))
    assert world.settled[0].is_durable


@pytest.mark.parametrize(
    "broken",
    [FakeNode(refuses=True), FakeNode(full=True), FakeNode(frozen_from_s=0.0)],
    ids=["refuses", "full", "frozen"],
)
def test_a_spare_takes_the_fragments_of_a_node_that_does_not(broken: FakeNode) -> None:
    world = make_world(node_2=broken)
    for number in range(6):
        world.offer(number, NAMES, ["spare-0"])
    world.run()
    for number in range(6):
        assert len(world.settled[number].stored) == 5
        assert world.settled[number].stored[2] == "spare-0"
    assert world.now_s < SILENCE_MIN_S + 3.0


def test_without_a_spare_a_frozen_node_costs_about_a_second_once() -> None:
    world = make_world(node_2=FakeNode(frozen_from_s=0.0))
    for number in range(20):
        world.offer(number, NAMES, [])
    world.run()
    assert all(upload.is_durable for upload in world.settled.values())
    assert all(upload.missing == {2} for upload in world.settled.values())
    assert world.now_s < SILENCE_MIN_S + 2.0


def test_a_node_that_takes_all_bytes_and_never_answers_is_left() -> None:
    world = make_world()
    upload = ChunkUpload(0, 2, [], {0: "node-0", 1: "node-1"})
    world.apply(world.plan.offer(upload, [FRAGMENT_BYTES] * 2, 0.0))
    put = next(iter(world.plan.puts))
    world.heap = [entry for entry in world.heap if entry[2] != put]
    world.plan.progress(put, FRAGMENT_BYTES, 0.1)
    world.run()
    assert world.settled[0].missing == {0}
    assert world.now_s < SILENCE_ALONE_S + 1.0


def test_a_node_that_rests_is_asked_again_when_nobody_waits() -> None:
    world = make_world(node_2=FakeNode(refuses=True))
    for number in range(6):
        world.offer(number, NAMES, [])
    world.run()
    world.nodes["node-2"].refuses = False
    assert world.plan.nodes["node-2"].rests(world.now_s)
    world.plan.ask_all_again(world.now_s)
    world.offer(6, NAMES, [])
    world.run()
    assert world.settled[6].stored == dict(enumerate(NAMES))


def test_a_full_node_is_not_asked_again() -> None:
    world = make_world(node_2=FakeNode(full=True))
    world.offer(0, NAMES, [])
    world.run()
    world.plan.ask_all_again(world.now_s)
    world.offer(1, NAMES, [])
    world.run()
    assert world.settled[1].missing == {2}


def test_when_nobody_has_to_wait_a_silent_node_is_left_as_soon_as_was_set() -> None:
    world = make_world()
    world.plan.silence_alone_s = 3.0
    world.nodes["node-0"].frozen_from_s = 0.0
    world.offer(0, ["node-0"], [], needed=0)
    world.run()
    assert world.now_s == 3.0


@pytest.mark.parametrize("bytes_per_s", [16_000, 60_000, 1_000_000])
def test_a_slow_uplink_shared_by_all_nodes_is_not_taken_for_silence(bytes_per_s: int) -> None:
    """At 16 kB/s a block takes four seconds, much longer than the silence limit."""
    world = make_world()
    for index, name in enumerate(NAMES):
        world.nodes[name].bytes_per_s = bytes_per_s * (1 - index / 50)
    world.offer(0, NAMES, [])
    world.run()
    assert len(world.settled[0].stored) == 5


def test_a_node_a_tenth_as_fast_as_the_others_keeps_its_fragments() -> None:
    world = make_world(node_3=FakeNode(bytes_per_s=5e6))
    for number in range(6):
        world.offer(number, NAMES, [])
    world.run()
    assert all(len(upload.stored) == 5 for upload in world.settled.values())


def test_a_waiting_commit_leaves_a_frozen_node_after_a_second() -> None:
    world = make_world(node_0=FakeNode(frozen_from_s=0.0))
    world.offer(0, NAMES, [])
    while not world.plan.chunks[0].is_durable:
        world.now_s, _, put, what = heapq.heappop(world.heap)
        world.happen(put, *what)
    world.apply(world.plan.hurry(0, 0.5))
    assert 0 in world.plan.chunks, "half a second is no silence"
    world.apply(world.plan.hurry(0, SILENCE_MIN_S + 0.01))
    assert world.settled[0].missing == {0}


def test_a_slow_node_does_not_hold_the_window_when_others_need_it() -> None:
    world = make_world(node_4=FakeNode(bytes_per_s=100_000))
    for number in range(8):
        world.offer(number, NAMES, [])
    while not all(c.is_durable for c in world.plan.chunks.values()):
        world.now_s, _, put, what = heapq.heappop(world.heap)
        if put in world.alive:
            world.happen(put, *what)
    assert world.now_s < 1.0
    for number in list(world.plan.chunks):
        world.apply(world.plan.hurry(number, world.now_s))
    assert len(world.plan.chunks) <= 2, "only what is in flight to the slow node holds on"
    assert all(upload.missing == {4} for upload in world.settled.values())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_nodes_do_every_chunk_settles_and_no_node_holds_two_fragments(data) -> None:
    nodes = {}
    for name in [*NAMES, "spare-0", "spare-1"]:
        nodes[name] = FakeNode(
            bytes_per_s=data.draw(st.floats(3e5, 1e8)),
            frozen_from_s=data.draw(st.one_of(st.just(float("inf")), st.floats(0, 5))),
            refuses=data.draw(st.booleans()),
            full=data.draw(st.booleans()),
        )
    world = World(nodes)
    count = data.draw(st.integers(1, 10))
    for number in range(count):
        world.offer(number, NAMES, ["spare-0", "spare-1"])
    world.run(until_s=600.0)
    assert set(world.settled) == set(range(count))
    for upload in world.settled.values():
        assert not upload.waiting
        assert set(upload.stored) | upload.missing == set(range(5))
        assert len(set(upload.stored.values())) == len(upload.stored)
        assert upload.is_durable == (len(upload.stored) >= upload.needed)
    assert max(node.backoff_s for node in world.plan.nodes.values()) <= BACKOFF_MAX_S
