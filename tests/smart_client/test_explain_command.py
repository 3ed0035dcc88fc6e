"""explain and dashboard --replay as a user types them, on recordings of simulated sessions."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_client.cli import main
from smart_client.command_line.explain import folded
from smart_client.core.state import SessionConfig
from smart_client.simulator.network import Fault, FaultKind
from support.recorded_worlds import record_play
from support.session_worlds import MEBI, chunk_records, engine_for, steady


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Node 2 freezes at 6 s; at 14 s three nodes are gone for 20 s, so playback stalls."""
    path = tmp_path_factory.mktemp("recording") / "run.jsonl"
    away = Fault(FaultKind.REFUSE, 14.0, 34.0)
    faults = {1: (away,), 2: (Fault(FaultKind.FREEZE, 6.0, 9.0), away), 3: (away,)}
    chunks = chunk_records(6, size=MEBI, seconds=5.0)
    nodes = [steady(mbit_per_s=0.9, faults=faults.get(i, ())) for i in range(5)]
    config = SessionConfig(window_s=12.0)
    record_play(engine_for(chunks, nodes, config=config), chunks, path)
    return path


def test_explain_tells_what_happened_and_why(run: Path, capsys) -> None:
    assert main(["explain", str(run)]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].startswith("'film', rs:3+2, smart scheduler, 5 nodes, 0:")
    silent = next(line for line in lines if "node-2 sent nothing for 0.2" in line)
    assert "silent, left alone for 500 ms" in silent
    assert "moved to node-" in silent
    assert silent.endswith("no stall")
    stall = next(line for line in lines if "STALL for" in line)
    assert "too few holders answered (node-1, node-2, node-3)" in stall
    assert "of 3 fragments here" in out
    assert "node-1 suspect" in out
    assert lines[-1].startswith("1 stall, ")


def test_explain_in_json_carries_the_same(run: Path, capsys) -> None:
    assert main(["explain", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["recording"]["complete"]
    assert told["recording"]["scheduler"] == "smart"
    assert told["stalls_known"]
    stall = next(finding for finding in told["findings"] if finding["kind"] == "stall")
    assert stall["cause"] == "too few holders answered"
    assert {lane["state"] for lane in stall["missing"]["lanes"]} <= {"here", "suspect", "coming"}
    assert len(stall["believed"]) == 5
    assert told["verdict"].startswith("1 stall")


def test_explain_at_a_moment_tells_what_was_believed_then(run: Path, capsys) -> None:
    assert main(["explain", str(run), "--at", "0:07"]) == 0
    out = capsys.readouterr().out
    assert "at 0:07.00: playing at 0:0" in out
    assert "node-2       suspect" in out
    assert "node-0       up " in out
    assert "asked for chunk" in out
    assert "most urgent: chunk" in out
    assert "STALL" not in out, "not about that moment"
    assert main(["explain", str(run), "--at", "7s", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["believed"]["snapshot"]["t_s"] == 7.0
    assert all(abs(finding["at_s"] - 7.0) <= 5 for finding in told["findings"])


def test_explain_at_a_moment_inside_a_stall_tells_of_it(run: Path, capsys) -> None:
    assert main(["explain", str(run), "--at", "32s"]) == 0
    assert "STALL" in capsys.readouterr().out


@given(st.text("abc ,", max_size=300), st.integers(0, 12), st.integers(40, 160))
def test_a_long_line_is_folded_below_itself_and_keeps_its_words(text, indent, columns) -> None:
    line = " " * indent + "0:07.20  " + text
    parts = folded(line, columns)
    assert " ".join(parts).split() == line.split() or max(map(len, line.split())) > columns // 2
    assert all(len(part) <= columns for part in parts)


def test_a_recording_cut_off_is_explained_as_far_as_it_goes(run: Path, tmp_path, capsys) -> None:
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(run.read_bytes()[: run.stat().st_size // 2])
    assert main(["explain", str(cut)]) == 0
    assert "the recording is cut off" in capsys.readouterr().out
    assert main(["explain", str(cut), "--json"]) == 0
    assert not json.loads(capsys.readouterr().out)["recording"]["complete"]


def test_replaying_into_a_pipe_prints_every_event_with_its_time(run: Path, capsys) -> None:
    assert main(["dashboard", "--replay", str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    # At the start all is due at once, so nodes hand rows to each other before anything plays.
    first = next(line for line in lines if " over from " not in line)
    assert "▶ playing after" in first
    assert any("STALLED" in line for line in lines)
    assert lines[-2].endswith("played to the end")
    assert lines[-1].startswith("1 stall")


def test_replaying_at_a_speed_takes_that_time(run: Path, capsys) -> None:
    assert main(["dashboard", "--replay", str(run), "--speed", "1000"]) == 0
    assert "played to the end" in capsys.readouterr().out


def test_replaying_in_json_gives_the_last_figures(run: Path, capsys) -> None:
    assert main(["dashboard", "--replay", str(run), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["session"]["state"] == "ended"
    assert told["session"]["stalls"] == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["explain", "{missing}"], (4, "FILE_NOT_FOUND", "missing")),
        (["explain", "{foreign}"], (7, "INVALID_RECORDING", "not a recorded session")),
        (["explain", "{broken}"], (7, "INVALID_RECORDING", "line 30")),
        (["explain", "{directory}"], (9, "FILE", "directory")),
        (["explain", "{run}", "--at", "9:00"], (2, "USAGE", "ends at 0:4")),
        (["explain", "{run}", "--at", "soon"], (2, "USAGE", "soon")),
        (
            ["dashboard", "--replay", "{foreign}"],
            (7, "INVALID_RECORDING", "not a recorded session"),
        ),
        (["dashboard", "--replay", "{broken}"], (7, "INVALID_RECORDING", "line 30")),
        (["dashboard", "--replay", "{run}", "--speed", "0"], (2, "USAGE", "no speed")),
        (["dashboard"], (2, "USAGE", "--replay")),
    ],
)
def test_what_cannot_be_explained_says_why(run: Path, tmp_path, capsys, words, expected) -> None:
    code, name, says = expected
    foreign, broken = tmp_path / "film.mp4", tmp_path / "broken.jsonl"
    foreign.write_bytes(b"\x00\x00\x00 ftyp")
    lines = run.read_bytes().splitlines(keepends=True)
    broken.write_bytes(b"".join([*lines[:29], b'{"t": "now"}\n', *lines[30:]]))
    places = {
        "missing": tmp_path / "missing",
        "foreign": foreign,
        "broken": broken,
        "directory": tmp_path,
        "run": run,
    }
    typed = [word.format(**places) for word in words]
    assert main(typed) == code
    human = capsys.readouterr()
    assert human.err.startswith("error: ")
    assert says in human.err
    assert main([*typed, "--json"]) == code
    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert (error["code"], error["exit"]) == (name, code)
