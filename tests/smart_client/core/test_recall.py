"""What was fetched once is not fetched again: forgotten chunks, chunks in the local cache."""

from smart_client.core import commands, events
from smart_client.core.state import SessionConfig
from support.session_worlds import MEBI, chunk_records, engine_for, steady

CHUNKS = 12


def played_with(config: SessionConfig) -> int:
    engine = engine_for(chunk_records(CHUNKS), [steady() for _ in range(5)], config=config)
    engine.play(limit_s=900.0)
    return engine.session.state.counters.received_bytes


def test_a_small_cache_does_not_fetch_again_what_was_read():
    size = CHUNKS * 2 * MEBI
    config = SessionConfig(window_s=20.0, cache_bytes_max=0)
    assert size < played_with(config) < 1.05 * size


def session():
    engine = engine_for(chunk_records(CHUNKS), [steady() for _ in range(5)])
    return engine.session


def kinds(issued, kind):
    return [command.chunk for command in issued if isinstance(command, kind)]


def test_kept_chunks_are_recalled_and_others_fetched():
    one = session()
    one.handle(events.ChunksKept((0, 1, 5)), 0.0)
    issued = one.handle(events.ReaderOpened(0, 0, False), 0.0)
    assert kinds(issued, commands.Recall) == [0, 1, 5]
    assert set(kinds(issued, commands.Fetch)).isdisjoint({0, 1, 5})
    for chunk in (0, 1, 5):
        issued = one.handle(events.ChunkRecalled(chunk), 0.1)
        assert not kinds(issued, commands.Recall)
    reader = one.state.buffer.readers[0]
    assert reader.frontier == 2 * 2 * MEBI
    assert one.state.counters.recalled_bytes == 3 * 2 * MEBI
    assert one.state.counters.delivered_bytes == 0
    one.check_invariants()


def test_a_chunk_that_the_cache_has_lost_is_fetched_like_any_other():
    one = session()
    one.handle(events.ChunksKept((0,)), 0.0)
    one.handle(events.ReaderOpened(0, 0, False), 0.0)
    asked = set()
    asked |= set(kinds(one.handle(events.RecallFailed(0), 0.1), commands.Fetch))
    asked |= {piece.chunk for piece in one.state.pieces.values()}
    assert one.state.order[0] == 0
    assert 0 not in one.state.recalling | one.state.kept
    late = one.handle(events.ChunkRecalled(0), 0.2)
    assert not one.state.chunks[0].decoded, "an answer nobody waits for any more"
    assert not kinds(late, commands.Recall)
    one.check_invariants()


def test_what_is_dropped_from_the_spool_is_recalled_for_a_seek_back():
    config = SessionConfig(window_s=20.0, cache_bytes_max=0)
    one = engine_for(chunk_records(CHUNKS), [steady() for _ in range(5)], config=config).session
    one.handle(events.ChunksKept(tuple(range(CHUNKS))), 0.0)
    one.handle(events.ReaderOpened(0, 0, False), 0.0)
    for chunk in range(3):
        one.handle(events.ChunkRecalled(chunk), 0.1)
    one.handle(events.ReaderMoved(0, 3 * 2 * MEBI), 0.2)
    dropped = []
    for chunk in range(3, 6):
        dropped += kinds(one.handle(events.ChunkRecalled(chunk), 0.3), commands.Discard)
    assert {0, 1, 2} <= set(dropped)
    issued = one.handle(events.ReaderMoved(0, 0), 0.4)
    assert {0, 1, 2} <= set(kinds(issued, commands.Recall))
    assert not kinds(issued, commands.Fetch)


def test_a_players_own_position_sets_deadlines_until_it_is_silent():
    one = session()
    one.handle(events.ReaderOpened(0, 0, False), 0.0)
    reader = one.state.buffer.readers[0]
    for chunk in range(4):
        one.state.chunks[chunk].decoded = one.state.chunks[chunk].all_rows
    one.handle(events.ReaderMoved(0, 0), 0.1)
    one.handle(events.ReaderMoved(0, 4 * 2 * MEBI), 1.0)
    assert reader.playhead_s(1.0) == 40.0
    one.handle(events.PlayerTold(1, 2.0, 1.0), 1.0)
    assert reader.playhead_s(3.0) == 4.0
    assert one.state.deadline_s(4, 0) == 1.0 + 38.0
    one.handle(events.PlayerTold(2, 60.0, 1.0), 3.0)
    assert reader.playhead_s(3.0) == 4.0, "another viewer is ahead of what this reader took"
    assert reader.playhead_s(30.0) == 40.0, "players that are silent are not believed"
