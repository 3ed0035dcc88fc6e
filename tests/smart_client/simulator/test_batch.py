"""A batch: the same bytes however it is run, and nothing played twice."""

import math
import signal
import subprocess
import sys
import time

import msgspec
import pytest

from smart_client.errors import Conflict, InvalidRequest
from smart_client.simulator.batch import (
    Grid,
    SessionRecord,
    read_records,
    records_of_grid,
    run_batch,
)
from smart_client.simulator.report import cells_of, ratio_text, remarks_on
from smart_client.simulator.scenario import Scenario
from smart_client.simulator.scenarios import load_scenario
from smart_client.simulator.simulate import simulate
from smart_client.simulator.synthetic import synthetic_library
from smart_client.simulator.world import make_world
from support.outcomes import outcome

LIBRARY = synthetic_library()


def short(name: str) -> Scenario:
    scenario = load_scenario(name)
    video = msgspec.structs.replace(scenario.video, duration_s=20.0)
    return msgspec.structs.replace(scenario, video=video)


def grid(seeds: int = 2) -> Grid:
    return Grid(
        scenarios=(short("typical/rep3"), short("typical/3of5"), short("seeks")),
        seeds=tuple(range(seeds)),
        schedulers=("smart", "round-robin"),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("batch") / "whole.jsonl"
    report = run_batch(grid(), LIBRARY, path, processes=1)
    assert (report.played, report.skipped) == (12, 0)
    assert report.sessions_per_min > 0
    return path.read_bytes()


@pytest.mark.real
def test_the_number_of_processes_changes_no_byte(tmp_path, whole: bytes) -> None:
    run_batch(grid(), LIBRARY, tmp_path / "two.jsonl", processes=2)
    assert (tmp_path / "two.jsonl").read_bytes() == whole


@pytest.mark.parametrize("kept", [0, 1, 500, 0.4, 0.5, 0.99])
def test_an_interrupted_batch_goes_on_and_ends_with_the_same_bytes(
    tmp_path, whole: bytes, kept
) -> None:
    """Cut anywhere, in the middle of a line too."""
    path = tmp_path / "cut.jsonl"
    path.write_bytes(whole[: int(kept * len(whole)) if kept < 1 else kept])
    before = path.read_bytes().count(b"\n")
    report = run_batch(grid(), LIBRARY, path, processes=1)
    assert report.skipped == before
    assert path.read_bytes() == whole


def test_a_larger_grid_plays_only_what_is_new(tmp_path, whole: bytes) -> None:
    path = tmp_path / "more.jsonl"
    path.write_bytes(whole)
    report = run_batch(grid(seeds=3), LIBRARY, path, processes=1)
    assert (report.played, report.skipped) == (6, 12)
    assert path.read_bytes().startswith(whole)
    assert len({record.key for record in read_records(path)}) == 18


def test_a_file_that_is_something_else_is_refused_and_left_alone(tmp_path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("to buy: milk\n", encoding="utf-8")
    with pytest.raises(InvalidRequest, match=r"notes.txt:1"):
        run_batch(grid(), LIBRARY, path, processes=1)
    assert path.read_text(encoding="utf-8") == "to buy: milk\n"


def test_records_hold_the_figures_and_the_optimum_where_there_is_one(tmp_path, whole) -> None:
    path = tmp_path / "whole.jsonl"
    path.write_bytes(whole)
    for record in read_records(path):
        outcome = record.outcome
        assert outcome.ended
        assert outcome.waiting_s == pytest.approx(outcome.startup_s + outcome.stalled_s)
        assert (record.optimum_s is None) == (record.scenario == "seeks")
        if record.optimum_s is not None:
            assert outcome.waiting_s >= record.optimum_s
            assert outcome.delivered_bytes == 4_000_000
        extra = sum(outcome.node_bytes) / outcome.delivered_bytes - 1
        assert outcome.extra_share == pytest.approx(extra, abs=1e-6)
        assert 0 < outcome.footer_share <= outcome.extra_share + 0.001


def test_a_grid_cannot_be_built_wrong() -> None:
    with pytest.raises(InvalidRequest, match="mode"):
        Grid((), (1,), ("smart",), mode="dream")
    with pytest.raises(InvalidRequest, match="seed"):
        Grid((), (-1,), ("smart",))
    with pytest.raises(InvalidRequest, match="scheduler"):
        simulate(make_world(short("typical"), 0, LIBRARY), "smrt")


def test_a_cell_has_the_ratio_to_the_optimum_and_its_interval(tmp_path, whole: bytes) -> None:
    path = tmp_path / "whole.jsonl"
    path.write_bytes(whole)
    cells = cells_of(read_records(path))
    assert [(c.scenario, c.layout, c.scheduler) for c in cells[:2]] == [
        ("typical", "rep3", "smart"),
        ("typical", "rep3", "round-robin"),
    ]
    assert len(cells) == 6
    for cell in cells[:4]:
        assert cell.sessions == 2
        assert math.isnan(cell.ratio_low)  # two worlds tell nothing about how worlds differ
        assert ratio_text(cell) == f"{cell.ratio:.2f}"
        assert cell.ratio == pytest.approx(cell.waiting_s / cell.optimum_s)


def record(seed: int, waiting_s: float, *, scheduler: str = "smart", ended: bool = True, **more):
    return SessionRecord(
        scenario="made",
        scenario_digest="d",
        layout="3of5",
        seed=seed,
        scheduler=scheduler,
        mode="ideal",
        traces="t",
        played_s=30.0,
        optimum_s=more.get("optimum_s", 2.0),
        outcome=outcome(waiting_s, ended=ended, extra_share=0.0),
    )


def test_sessions_that_were_cut_off_are_counted_as_at_least_the_optimum_and_said_so() -> None:
    """A world that nobody can play in time: what was waited by its end is less than the optimum."""
    records = [record(seed, 180.0, ended=False, optimum_s=400.0) for seed in range(10)]
    (cell,) = cells_of(records)
    assert (cell.ratio, cell.unfinished) == (1.0, 10)
    assert ratio_text(cell).startswith("≥ 1.00")
    assert any("10 of 10 sessions did not end" in remark for remark in remarks_on([cell]))


def test_few_worlds_have_no_interval_and_some_a_warning() -> None:
    for worlds, says in ((1, "no intervals"), (7, "no intervals"), (40, "too narrow")):
        (cell,) = cells_of(record(seed, 3.0 + seed) for seed in range(worlds))
        assert math.isnan(cell.ratio_low) == (worlds < 8)
        assert any(says in remark for remark in remarks_on([cell]))
    (cell,) = cells_of(record(seed, 3.0 + seed) for seed in range(100))
    assert remarks_on([cell]) == []


def test_two_scenarios_of_one_name_are_refused() -> None:
    other = msgspec.structs.replace(short("typical"), nodes=short("harsh").nodes)
    with pytest.raises(InvalidRequest, match="two scenarios are called 'typical'"):
        Grid((short("typical"), other), (0,), ("smart",))


def test_a_file_that_has_lines_twice_and_in_another_order_gives_the_same_records(
    tmp_path, whole: bytes
) -> None:
    path = tmp_path / "twice.jsonl"
    path.write_bytes(whole)
    once = records_of_grid(grid(), LIBRARY.name, path)
    assert len(once) == 12
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join([*reversed(lines), *lines]))
    assert records_of_grid(grid(), LIBRARY.name, path) == once


def test_two_batches_do_not_write_to_one_file(tmp_path) -> None:
    path = tmp_path / "runs.jsonl"

    def play_another(job, library):
        with pytest.raises(Conflict, match="another comparison"):
            run_batch(grid(), library, path, processes=1)
        return []

    run_batch(grid(), LIBRARY, path, processes=1, play=play_another)


LONG_BATCH = """
import sys
from pathlib import Path
from smart_client.simulator.batch import Grid, run_batch
from smart_client.simulator.scenarios import load_scenario
from smart_client.simulator.synthetic import synthetic_library
if __name__ == "__main__":
    grid = Grid((load_scenario("typical"),), tuple(range(1000)), ("smart",))
    run_batch(grid, synthetic_library(), Path(sys.argv[1]), processes=2)
"""


@pytest.mark.real
def test_workers_end_when_the_process_that_made_them_is_killed(tmp_path) -> None:
    program = tmp_path / "long_batch.py"
    program.write_text(LONG_BATCH)
    runs = tmp_path / "runs.jsonl"
    process = subprocess.Popen([sys.executable, str(program), str(runs)])
    until_s = time.monotonic() + 60
    while not (runs.exists() and runs.stat().st_size):
        assert time.monotonic() < until_s
        time.sleep(0.05)
    workers = children_of(process.pid)
    assert len(workers) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    while any(map(is_there, workers)):
        assert time.monotonic() < until_s
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return [int(word) for word in file.read().split()]


def is_there(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
