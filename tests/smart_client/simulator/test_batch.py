"""A batch: the same bytes however it is run, and nothing played twice."""

import msgspec
import pytest

from smart_client.errors import InvalidRequest
from smart_client.simulator.batch import Grid, read_records, run_batch
from smart_client.simulator.report import cells_of
from smart_client.simulator.scenario import Scenario
from smart_client.simulator.scenarios import load_scenario
from smart_client.simulator.simulate import simulate
from smart_client.simulator.synthetic import synthetic_library
from smart_client.simulator.world import make_world

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
        assert 1 <= cell.ratio_low <= cell.ratio <= cell.ratio_high
        assert cell.ratio == pytest.approx(cell.waiting_s / cell.optimum_s)
