import pytest

from smart_client.core.commands import Notice
from smart_client.core.playback_buffer import PlaybackBuffer, Reader
from smart_client.core.state import SessionConfig, SessionState
from support.session_worlds import MEBI, chunk_records


def make(start_s: float = 2.0) -> tuple[SessionState, PlaybackBuffer, Reader]:
    config = SessionConfig(start_buffer_s=start_s, resume_buffer_s=start_s)
    state = SessionState(chunk_records(4), [f"node-{i}" for i in range(5)], config)
    return state, state.buffer, state.buffer.open(0, 0, paced=True, now_s=100.0)


def get_ready(state: SessionState, reader: Reader, chunk: int, rows: int | None = None) -> None:
    progress = state.chunks[chunk]
    progress.decoded = progress.all_rows if rows is None else (1 << rows) - 1
    state.buffer.extend(reader, state.chunks)


def test_playback_starts_when_enough_is_buffered_and_not_before() -> None:
    state, buffer, reader = make()
    get_ready(state, reader, 0, rows=8)  # 8 of 43 rows: 1.875 s
    assert buffer.advance(101.0) == []
    get_ready(state, reader, 0, rows=9)
    assert buffer.advance(101.5) == [Notice("playing", reader=0, seconds=1.5)]
    assert reader.startup_s == 1.5


def test_a_stall_begins_when_the_buffer_is_empty_not_when_somebody_looks() -> None:
    state, buffer, reader = make()
    get_ready(state, reader, 0)
    buffer.advance(100.0)
    assert buffer.next_wakeup_s() == pytest.approx(110.0)
    (stalled,) = buffer.advance(113.0)
    assert stalled.kind == "stalled"
    assert reader.stall_started_s == pytest.approx(110.0)
    get_ready(state, reader, 1)
    (resumed,) = buffer.advance(115.0)
    assert resumed == Notice("resumed", reader=0, seconds=resumed.seconds)
    assert resumed.seconds == pytest.approx(5.0)
    assert reader.stalled_s == pytest.approx(5.0)


def test_a_short_rest_of_the_video_is_enough_to_start() -> None:
    state, buffer, reader = make(start_s=60.0)
    for chunk in range(4):
        get_ready(state, reader, chunk)
    assert [n.kind for n in buffer.advance(103.0)] == ["playing"]
    assert [n.kind for n in buffer.advance(143.0 + 1)] == ["ended"]
    assert reader.playhead_s(200.0) == 40.0


def test_a_hole_stops_the_frontier_even_if_later_rows_are_ready() -> None:
    state, _, reader = make()
    get_ready(state, reader, 1)
    assert reader.frontier == 0
    state.chunks[0].decoded = state.chunks[0].all_rows & ~(1 << 5)
    state.buffer.extend(reader, state.chunks)
    assert reader.frontier == 5 * 3 * 16384


def test_a_pause_stops_the_clock() -> None:
    state, buffer, reader = make()
    get_ready(state, reader, 0)
    buffer.advance(100.0)
    buffer.pause(reader, True, 104.0)
    assert buffer.advance(200.0) == []
    assert reader.playhead_s(200.0) == pytest.approx(4.0)
    buffer.pause(reader, False, 200.0)
    assert reader.playhead_s(203.0) == pytest.approx(7.0)


def test_bytes_found_wrong_after_all_move_the_frontier_back_but_not_behind_the_reader() -> None:
    state, buffer, reader = make()
    get_ready(state, reader, 0)
    get_ready(state, reader, 1)
    assert reader.frontier == 4 * MEBI
    buffer.cut(2 * MEBI)
    assert reader.frontier == 2 * MEBI
    assert reader.frontier_s == pytest.approx(10.0)
