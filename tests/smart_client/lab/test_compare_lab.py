"""`smart-client compare --network lab`: what plays is another, the files are the same."""

import json

import pytest

from redundancy.errors import ExitCode
from smart_client.cli import main
from smart_client.errors import InvalidRequest
from smart_client.simulator.batch import LAB_MODE, Grid, Job, read_records, records_of, run_batch
from smart_client.simulator.scenario import Scenario
from smart_client.simulator.simulate import simulate
from smart_client.simulator.synthetic import synthetic_library
from smart_client.simulator.world import make_world

pytest.importorskip("scipy", reason="the optimum needs scipy (the extra 'sim')")

SHORT = Scenario.parse('name = "short"\n[video]\nduration_s = 20.0\n')


def test_without_root_compare_says_what_the_lab_needs(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    out = str(tmp_path / "out")
    assert main(["compare", "--network", "lab", "--out", out, "--json"]) == ExitCode.CONFIG
    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert error["code"] == "LAB_UNAVAILABLE"
    assert "root" in error["message"]
    assert not (tmp_path / "out" / "runs.jsonl").exists()


def test_a_batch_may_be_played_elsewhere_and_goes_on_where_it_was_stopped(tmp_path) -> None:
    library = synthetic_library()
    played: list[Job] = []

    def play(job: Job, traces):
        played.append(job)
        world = make_world(job.scenario, job.seed, traces)
        return records_of(job, traces, world, lambda name: simulate(world, name))

    runs = tmp_path / "runs.jsonl"
    for seeds in ((0,), (0, 1)):
        grid = Grid((SHORT,), seeds, ("smart", "round-robin"), LAB_MODE)
        report = run_batch(grid, library, runs, play=play)
        assert report.played == 2
    assert [(job.seed, job.mode) for job in played] == [(0, LAB_MODE), (1, LAB_MODE)]
    records = read_records(runs)
    assert [record.mode for record in records] == [LAB_MODE] * 4
    assert all(record.optimum_s is not None for record in records)


def test_only_shortened_videos_are_other_worlds(tmp_path, capsys) -> None:
    words = ("compare", "--runs", "1", "--processes", "1", "--schedulers", "smart", "--json")
    for seconds in (("--seconds", "20"), ("--seconds", "1000"), ()):
        assert main([*words, *seconds, "--out", str(tmp_path / "out")]) == 0
    capsys.readouterr()
    lines = (tmp_path / "out" / "runs.jsonl").read_text().splitlines()
    assert [json.loads(line)["played_s"] for line in lines] == [20.0, 300.0]


def test_a_mode_nobody_knows_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="lab"):
        Grid((SHORT,), (0,), ("smart",), "laboratory")
