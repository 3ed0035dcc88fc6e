"""Readers that want bytes up to a point, and sessions that begin with what another one knows."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from smart_client.core import commands, events
from smart_client.simulator.engine import Engine
from support.session_worlds import MEBI, chunk_records, engine_for, steady

ROW_BYTES = 3 * 16 * 1024
SIZE = 4 * 2 * MEBI


def read(engine: Engine, reader: int, start: int, stop: int, until: int | None = None) -> None:
    """Open a bounded reader and take what it wants until ``until`` is ready."""
    engine.post(events.ReaderOpened(reader, start, False, until if until else stop))
    known = engine.session.state.buffer.readers[reader]
    while known.frontier < stop:
        engine.step(engine.network.now_s + 100.0)
        assert engine.network.now_s < 1000.0, "stuck"
        if known.frontier > known.offset:
            engine.post(events.ReaderMoved(reader, min(stop, known.frontier)))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, SIZE - 1), st.integers(1, 3 * MEBI))
def test_nothing_beyond_the_stop_is_fetched_but_the_rest_of_a_row(start: int, length: int) -> None:
    stop = min(SIZE, start + length)
    engine = engine_for(chunk_records(4), [steady() for _ in range(5)])
    read(engine, 0, start, stop)
    for _ in range(20):
        engine.step(engine.network.now_s + 0.5)
    rows = stop // ROW_BYTES - start // ROW_BYTES + 1
    delivered = engine.session.state.counters.delivered_bytes
    # A chunk's last row is shorter; every chunk that is touched may begin and end with part of one.
    assert delivered <= (rows + 8) * ROW_BYTES
    assert delivered >= stop - start
    engine.session.check_invariants()


def test_what_one_reader_does_not_want_another_may() -> None:
    engine = engine_for(chunk_records(4), [steady() for _ in range(5)])
    engine.post(events.ReaderOpened(0, 0, False, 100_000))
    read(engine, 1, 3 * MEBI, 4 * MEBI)
    chunks = engine.session.state.chunks
    assert chunks[0].decoded.bit_count() * ROW_BYTES < 300_000
    assert chunks[1].is_decoded
    assert not chunks[3].decoded


def test_an_empty_wish_asks_for_nothing() -> None:
    engine = engine_for(chunk_records(2), [steady() for _ in range(5)])
    for at in (0, 2 * MEBI, 5000):
        issued = engine.session.handle(events.ReaderOpened(at, at, False, at), 0.0)
        assert not [each for each in issued if isinstance(each, commands.Fetch)]


def test_a_session_begins_with_what_another_one_knows() -> None:
    """A fast, a slow and a silent node are taken for that from the start."""
    nodes = [steady(mbit_per_s=40), steady(mbit_per_s=1), *[steady() for _ in range(3)]]
    first = engine_for(chunk_records(4), nodes)
    read(first, 0, 0, 2 * MEBI)
    known = tuple(node.facts() for node in first.session.state.nodes.nodes)
    facts = (*known[:2], structs.replace(known[2], is_suspect=True), *known[3:])
    second = engine_for(chunk_records(4), nodes)
    second.post(events.NodesRemembered((*facts, events.NodeFacts("stranger", 1, 1, 1, 1, False))))
    table = second.session.state.nodes
    assert table[0].bytes_per_s() > 5 * table[1].bytes_per_s()
    assert table[2].is_suspect
    assert table[0].rtt.smoothed_s == known[0].rtt_s
    issued = second.session.handle(events.ReaderOpened(0, 0, False), second.network.now_s)
    asked = [each.node for each in issued if isinstance(each, commands.Fetch)]
    assert asked.count(2) <= 1, "a suspect is on trial"


def test_what_is_under_way_is_not_overwritten() -> None:
    engine = engine_for(chunk_records(2), [steady() for _ in range(5)])
    engine.post(events.ReaderOpened(0, 0, False))
    busy = engine.session.state.nodes[0]
    assert busy.pieces
    engine.post(events.NodesRemembered((events.NodeFacts(busy.id, 9.0, 9.0, 1.0, 0.1, True),)))
    assert not busy.is_suspect
    assert busy.rtt.smoothed_s < 9.0
