"""Recordings: what was played is replayed to the bit; what is damaged is refused by line."""

import json
import random
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from redundancy.errors import AlreadyExists, EvenflowError, FileMissing, FileProblem, NoSpace
from smart_client import recording as recording_module
from smart_client.core import events
from smart_client.core.explanation import Explainer
from smart_client.core.replay import new_session, replay
from smart_client.core.schedulers import SCHEDULERS
from smart_client.core.state import SessionConfig
from smart_client.errors import InvalidRecording
from smart_client.recording import Recorder, Recording, recording_head
from smart_client.simulator.network import Fault, FaultKind
from support.recorded_worlds import record_play
from support.session_worlds import MEBI, chunk_records, engine_for, steady

FAULTS = {
    1: (Fault(FaultKind.FREEZE, 2.0, 6.0),),
    2: (Fault(FaultKind.REFUSE, 3.0),),
    3: (Fault(FaultKind.GARBAGE, 5.0),),
}


def record(path: Path, scheduler: str = "smart", *, size: int = MEBI // 2, count: int = 3) -> list:
    chunks = chunk_records(count, size=size, seconds=4.0)
    nodes = [steady(mbit_per_s=1.5, faults=FAULTS.get(i, ())) for i in range(5)]
    config = SessionConfig(window_s=6.5, start_buffer_s=0.1 + 0.2)
    engine = engine_for(chunks, nodes, scheduler=scheduler, config=config)
    return record_play(engine, chunks, path)


def replayed(path: Path) -> list:
    recording = Recording(path)
    try:
        return list(replay(new_session(recording.head), recording.steps()))
    finally:
        recording.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("recording") / "run.jsonl"
    record(path)
    return path.read_bytes()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_replayed_session_commands_exactly_what_was_recorded(tmp_path, scheduler) -> None:
    log = record(tmp_path / "run.jsonl", scheduler)
    assert len(log) > 100
    assert replayed(tmp_path / "run.jsonl") == log


def test_the_head_carries_everything_a_session_is_made_of(tmp_path: Path) -> None:
    record(tmp_path / "run.jsonl")
    recording = Recording(tmp_path / "run.jsonl")
    assert recording.head.config == SessionConfig(window_s=6.5, start_buffer_s=0.1 + 0.2)
    assert recording.head.scheduler == "smart"
    list(recording.steps())
    assert recording.how_it_ended == "closed"
    recording.close()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_recording_cut_anywhere_is_replayed_up_to_there(tmp_path, whole, data) -> None:
    head_bytes = whole.index(b"\n") + 1
    cut = data.draw(st.integers(head_bytes, len(whole) - 1))
    path = tmp_path / "cut.jsonl"
    path.write_bytes(whole[:cut])
    recording = Recording(path)
    steps = list(replay(new_session(recording.head), recording.steps()))
    recording.close()
    lines = whole[:cut].count(b"\n") - 1
    assert len(steps) in (lines, lines + 1, lines - 1)
    if not whole[:cut].endswith(b'{"end":"closed"}'):
        assert recording.how_it_ended == ""


def test_a_head_cut_off_is_refused(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "cut.jsonl"
    for cut in (1, 10, 60, whole.index(b"\n") - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(InvalidRecording):
            Recording(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**9))
def test_a_damaged_recording_is_refused_or_replayed_but_never_breaks_us(
    tmp_path, whole, seed
) -> None:
    rng = random.Random(seed)
    damaged = bytearray(whole)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(damaged))
        damaged[at : at + rng.randint(0, 3)] = rng.choice([b"", b"9", b'"', b"-", b"1e308", b"\n"])
    path = tmp_path / "damaged.jsonl"
    path.write_bytes(damaged)
    try:
        recording = Recording(path)
    except EvenflowError:
        return
    try:
        session = new_session(recording.head)
        explainer = Explainer(session)
        for now_s, event, issued in replay(session, recording.steps()):
            explainer.observe(now_s, event, issued)
    except EvenflowError:
        pass
    finally:
        recording.close()


HOSTILE = [
    events.BytesArrived(0, 2**61),
    events.BytesArrived(0, -1),
    events.RowsDecoded(10**6, -1, 10**9),
    events.RowsDecoded(0, -5, -7),
    events.Connected(99, 0, 1e308),
    events.ReaderOpened(0, -1, True),
    events.ReaderOpened(7, 2**62, True),
    events.BlocksRejected(0, 77),
    events.ChunkRejected(-4),
    events.ChunkVerified(10**9),
    events.ProbeAnswered(-1, float(-1)),
    events.FooterKnown(0, -(10**18)),
]


@pytest.mark.parametrize("event", HOSTILE, ids=lambda e: type(e).__name__)
def test_an_event_that_cannot_be_is_refused_by_its_line(tmp_path, whole, event) -> None:
    lines = whole.splitlines(keepends=True)
    line = msgspec.json.encode({"t": msgspec.json.decode(lines[20])["t"], "e": event, "c": []})
    lines.insert(20, line + b"\n")
    path = tmp_path / "hostile.jsonl"
    path.write_bytes(b"".join(lines))
    with pytest.raises(InvalidRecording, match="line 21: what happened there cannot"):
        replayed(path)


def test_commands_that_differ_are_told_with_the_line_and_the_difference(tmp_path, whole) -> None:
    head, rest = whole.split(b"\n", 1)
    path = tmp_path / "other.jsonl"
    path.write_bytes(head.replace(b'"scheduler":"smart"', b'"scheduler":"all-n"') + b"\n" + rest)
    with pytest.raises(InvalidRecording, match="decides otherwise") as caught:
        replayed(path)
    assert "Fetch" in str(caught.value.detail["first_difference"])


def test_time_that_runs_backwards_is_refused(tmp_path: Path, whole: bytes) -> None:
    lines = whole.splitlines(keepends=True)
    lines[10], lines[40] = lines[40], lines[10]
    path = tmp_path / "swapped.jsonl"
    path.write_bytes(b"".join(lines))
    with pytest.raises(InvalidRecording, match="line"):
        replayed(path)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\x00\x00\x00 ftypisom" * 100,
        b"{}",
        b"[1, 2]",
        b'{"v":1,"kind":"har"}\n',
        b"{" * 100_000,
        "{\u00e9".encode("latin-1"),
    ],
    ids=["empty", "mp4", "no kind", "a list", "another kind", "deep", "latin-1"],
)
def test_what_is_no_recording_is_refused_with_how_to_make_one(tmp_path: Path, text) -> None:
    path = tmp_path / "foreign"
    path.write_bytes(text)
    with pytest.raises(InvalidRecording, match="not a recorded session") as caught:
        Recording(path)
    assert "--record" in caught.value.hint


def changed(whole: bytes, **fields: object) -> bytes:
    head, rest = whole.split(b"\n", 1)
    return json.dumps({**json.loads(head), **fields}).encode() + b"\n" + rest


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"v": 2}, "version 2"),
        ({"nodes": ["a", "a"]}, "first line is damaged"),
        ({"nodes": ["../etc"]}, "first line is damaged"),
        ({"chunks": [{"number": 5}]}, "first line is damaged"),
        ({"config": {"window_s": -1}}, "first line is damaged"),
        ({"config": {"pace": "fast"}}, "first line is damaged"),
    ],
)
def test_a_head_that_breaks_its_rules_is_refused(tmp_path, whole, fields, says) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(changed(whole, **fields))
    with pytest.raises(InvalidRecording, match=says):
        Recording(path)


def test_chunks_that_do_not_follow_each_other_are_refused(tmp_path: Path, whole: bytes) -> None:
    chunks = json.loads(whole.split(b"\n", 1)[0])["chunks"]
    path = tmp_path / "run.jsonl"
    for bad in (chunks[::-1], chunks[1:], [{**chunks[0], "start_s": 1e300}]):
        path.write_bytes(changed(whole, chunks=bad))
        with pytest.raises(InvalidRecording, match="damaged"):
            Recording(path)


def test_an_unknown_scheduler_is_named(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(changed(whole, scheduler="clever"))
    with pytest.raises(EvenflowError, match="no scheduler 'clever'"):
        replayed(path)


def test_files_that_cannot_be_read_are_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(FileMissing):
        Recording(tmp_path / "nowhere")
    with pytest.raises(FileProblem):
        Recording(tmp_path)


# -- writing ---------------------------------------------------------------------------------------


def head():
    chunks = chunk_records(1)
    session = engine_for(chunks, [steady() for _ in range(5)]).session
    return recording_head(session, "film", chunks)


def test_a_recording_replaces_an_older_one_but_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    for _ in range(2):
        Recorder(path, head()).close()
    assert len(path.read_bytes().splitlines()) == 2
    film = tmp_path / "film.mp4"
    film.write_bytes(b"precious")
    with pytest.raises(AlreadyExists, match="not a recording"):
        Recorder(film, head())
    assert film.read_bytes() == b"precious"
    with pytest.raises(FileMissing):
        Recorder(tmp_path / "no" / "run.jsonl", head())
    with pytest.raises(FileProblem):
        Recorder(tmp_path, head())


def test_a_step_is_on_disk_soon_after_it_was_taken(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    recorder = Recorder(path, head())
    try:
        recorder.observe(0.5, events.Tick(), [])
        deadline_s = time.monotonic() + 5.0
        while len(path.read_bytes().splitlines()) < 2:
            assert time.monotonic() < deadline_s, "still in our own memory"
            time.sleep(0.01)
    finally:
        recorder.close()


def test_a_full_disk_stops_the_recording_and_nothing_else() -> None:
    recorder = Recorder(Path("/dev/full"), head())
    for step in range(3):
        recorder.observe(float(step), events.Tick(), [])
    recorder.close()
    assert isinstance(recorder.problem, NoSpace)


def test_a_disk_that_takes_nothing_ends_the_recording_instead_of_filling_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording_module, "STEPS_WAITING_MAX", 0)
    path = tmp_path / "run.jsonl"
    recorder = Recorder(path, head())
    recorder.observe(0.0, events.Tick(), [])
    recorder.close()
    assert recorder.problem is not None
    recording = Recording(path)
    assert list(recording.steps()) == []
    assert recording.how_it_ended == "overrun"
    recording.close()
