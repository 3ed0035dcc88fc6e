"""Fragments made anew on a node, over real sockets: bit for bit, or not at all."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smart_client import wire
from storage_server.orders import Rebuilt, Source
from support.coded_chunks import coded_chunk, order_for, put_of
from support.node_in_thread import NodeInThread

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def nodes(tmp_path_factory):
    with (
        NodeInThread(tmp_path_factory.mktemp("a")) as here,
        NodeInThread(tmp_path_factory.mktemp("b")) as there,
    ):
        yield here, there


def give(node: NodeInThread, *fragments) -> None:
    for fragment in fragments:
        assert node.put(put_of(fragment)).status in (200, 201)


def ask(node: NodeInThread, order) -> Rebuilt:
    answer = node.ask("POST", "/v1/rebuild", wire.encode(order))
    assert answer.status in (200, 201), answer.body
    return wire.decode(answer.body, Rebuilt)


def holds(node: NodeInThread, fragment) -> bool:
    answer = node.get(put_of(fragment))
    return answer.status == 200 and answer.body == put_of(fragment).data


def urls(node: NodeInThread) -> list[str]:
    return [node.running.url]


@pytest.mark.parametrize("lost", range(6))
def test_any_fragment_comes_back_bit_for_bit_from_k_others(nodes, lost):
    here, there = nodes
    chunk = coded_chunk("rs:3+2+1copy", 200_000 + lost, number=lost)
    sources = [f for f in chunk[:5] if f.index != lost][:3]
    give(there, *sources)
    order = order_for(chunk, {lost: chunk[lost].key}, {each.index: urls(there) for each in sources})
    done = ask(here, order)
    assert holds(here, chunk[lost])
    assert [(each.index, each.key) for each in done.fragments] == [(lost, chunk[lost].key)]
    assert done.received_bytes == sum(each.size_bytes for each in sources)
    assert ask(here, order).received_bytes == 0, "a repeated order does nothing"


def test_what_the_node_holds_itself_costs_nothing_on_the_wire(nodes):
    here, there = nodes
    chunk = coded_chunk("rs:3+2+1copy", 150_000, number=20)
    give(here, chunk[5])
    done = ask(here, order_for(chunk, {i: chunk[i].key for i in range(5)}, {5: urls(there)}))
    assert done.received_bytes == 0
    assert all(holds(here, fragment) for fragment in chunk)


def test_a_source_that_is_away_or_rotten_is_replaced_by_another(nodes):
    here, there = nodes
    chunk = coded_chunk("rs:3+2", 90_000, number=30)
    give(there, chunk[2], chunk[3], chunk[4])
    sources = {0: ["http://127.0.0.1:1"], 2: urls(there), 3: urls(there), 4: urls(there)}
    ask(here, order_for(chunk, {1: chunk[1].key}, sources))
    assert holds(here, chunk[1])


def test_too_few_sources_are_told_and_nothing_is_stored(nodes):
    here, there = nodes
    chunk = coded_chunk("rs:3+2", 90_000, number=31)
    give(there, chunk[2], chunk[3])
    order = order_for(chunk, {1: chunk[1].key}, {2: urls(there), 3: urls(there)})
    answer = here.ask("POST", "/v1/rebuild", wire.encode(order))
    assert (answer.status, answer.code) == (502, "NO_SOURCE")
    assert here.get(put_of(chunk[1])).status == 404


def test_a_chunk_gets_another_layout_and_the_next_generation(nodes):
    here, there = nodes
    copies = coded_chunk("rep:3", 170_000, number=40)
    coded = coded_chunk("rs:3+2", 170_000, number=40, generation=1)
    give(here, copies[1])
    done = ask(here, order_for(copies, {1: None, 3: None}, {1: urls(there)}, into="rs:3+2"))
    assert done.received_bytes == 0
    assert [each.key for each in done.fragments] == [fragment.key for fragment in coded]
    assert [each.index for each in done.fragments if each.is_stored] == [1, 3]
    assert holds(here, coded[1])
    assert holds(here, coded[3])
    assert not holds(here, coded[0])


def test_a_wider_code_takes_payloads_over_without_moving_them(nodes):
    here, there = nodes
    before = coded_chunk("rs:3+2", 400_000, number=41)
    after = coded_chunk("rs:3+4+1copy", 400_000, number=41, generation=1)
    give(here, before[4])
    give(there, after[0], before[0], before[1], before[2])
    pattern = Source(index=0, key=after[0].key, urls=tuple(urls(there)))
    order = order_for(
        before,
        {4: after[4].key},
        {4: [], 0: urls(there), 1: urls(there), 2: urls(there)},
        into="rs:3+4+1copy",
        pattern=pattern,
    )
    assert ask(here, order).received_bytes == 0
    assert holds(here, after[4])


def test_a_wrong_expected_key_a_lying_source_and_a_foreign_chunk_are_refused(nodes):
    here, there = nodes
    chunk, other = coded_chunk("rs:3+2", 80_000, number=50), coded_chunk("rs:3+2", 80_000, 51)
    give(there, *chunk, *other)
    at = {i: urls(there) for i in (0, 2, 3)}
    wrong = order_for(chunk, {1: "0" * 64}, at)
    assert here.ask("POST", "/v1/rebuild", wire.encode(wrong)).status == 422
    mixed = json.loads(wire.encode(order_for(chunk, {1: chunk[1].key}, at)))
    mixed["sources"][1]["key"] = other[2].key
    assert here.ask("POST", "/v1/rebuild", json.dumps(mixed)).status == 422
    swapped = json.loads(wire.encode(order_for(chunk, {1: chunk[1].key}, at)))
    swapped["sources"][1]["key"] = chunk[4].key
    assert here.ask("POST", "/v1/rebuild", json.dumps(swapped)).status == 422
    assert here.get(put_of(chunk[1])).status == 404


@pytest.mark.parametrize(
    "change",
    [
        {"size": 0},
        {"size": 5 << 20},
        {"sources": []},
        {"wanted": []},
        {"wanted": [{"index": 5}]},
        {"wanted": [{"index": 1}, {"index": 1}]},
        {"layout": {"k": 3, "n": 2}},
        {"layout": {"k": 1, "n": 200}},
        {"into": {"k": 2, "n": 64}},
        {"sources": [{"index": 9, "key": "0" * 64}]},
        {"sources": [{"index": 0, "key": "0" * 64, "urls": ["file:///etc/passwd"]}]},
        {"sources": [{"index": 0, "key": "../x"}]},
        {"pattern": {"index": 0, "key": "0" * 64}},
        {"video_id": "x"},
    ],
)
def test_a_hostile_order_is_refused_before_anything_is_done(nodes, change):
    here, there = nodes
    chunk = coded_chunk("rs:3+2", 1000)
    order = json.loads(wire.encode(order_for(chunk, {1: chunk[1].key}, {0: urls(there)})))
    answer = here.ask("POST", "/v1/rebuild", json.dumps(order | change))
    assert answer.status == 400


def test_a_stranger_orders_nothing(tmp_path):
    chunk = coded_chunk("rs:3+2", 1000)
    order = wire.encode(order_for(chunk, {1: chunk[1].key}, {0: []}))
    with NodeInThread(tmp_path, token="secret-of-16-characters") as node:
        assert node.ask("POST", "/v1/rebuild", order).status == 401


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_between_any_two_layouts_every_fragment_is_what_ingest_would_have_stored(nodes, data):
    here, there = nodes
    names = ["rep:1", "rep:3", "rs:2+1", "rs:3+2", "rs:3+4", "rs:3+2+1copy", "rs:5+2"]
    old, new = data.draw(st.sampled_from(names)), data.draw(st.sampled_from(names))
    size = data.draw(st.integers(1, 120_000))
    before = coded_chunk(old, size, number=60)
    after = coded_chunk(new, size, number=60, generation=1)
    kept = data.draw(st.permutations(range(len(before))))[: before[0].footer.layout.scheme.k]
    if any(before[i].footer.is_copy for i in kept):
        kept = kept[:1] if before[kept[0]].footer.is_copy else kept
    for index in kept:
        give(data.draw(st.sampled_from((here, there))), before[index])
    wanted = data.draw(st.sets(st.integers(0, len(after) - 1), min_size=1))
    sources = {index: urls(there) for index in kept}
    if (
        not any(before[i].footer.is_copy for i in kept)
        and len(kept) < before[0].footer.layout.scheme.k
    ):
        return
    done = ask(here, order_for(before, dict.fromkeys(sorted(wanted)), sources, into=new))
    assert [each.key for each in done.fragments] == [fragment.key for fragment in after]
    assert all(holds(here, after[index]) for index in wanted)
    assert hashlib.sha256(put_of(after[0]).data).hexdigest() == after[0].key
