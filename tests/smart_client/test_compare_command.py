"""`smart-client compare`: the command, its files and its page, over short worlds."""

import json
import re
from xml.etree import ElementTree

import pytest

from smart_client.cli import main
from smart_client.simulator.page import comparison_html, comparison_svg
from smart_client.simulator.report import cells_of

pytest.importorskip("scipy", reason="the optimum needs scipy (the extra 'sim')")

SCENARIO = """
name = "short"
[video]
duration_s = 30.0
[outages]
every_s = 60.0
lasting_s = 8.0
"""


@pytest.fixture
def scenario(tmp_path) -> str:
    path = tmp_path / "short.toml"
    path.write_text(SCENARIO)
    return str(path)


def compare(tmp_path, scenario: str, *words: str) -> int:
    return main(
        [
            *("compare", "--scenario", scenario, "--out", str(tmp_path / "out")),
            *("--processes", "1", "--json", *words),
        ]
    )


def test_it_writes_sessions_summary_picture_and_page(tmp_path, scenario, capsys) -> None:
    assert compare(tmp_path, scenario, "--runs", "3") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [cell["scheduler"] for cell in told["cells"]] == ["smart", "vstack-score", "round-robin"]
    smart, _, naive = told["cells"]
    assert smart["ratio"] >= 1.0
    assert smart["waiting_s"] < naive["waiting_s"]
    assert smart["saved"] == pytest.approx(1 - smart["waiting_s"] / naive["waiting_s"])
    out = tmp_path / "out"
    assert len((out / "runs.jsonl").read_text().splitlines()) == 9
    assert json.loads((out / "summary.json").read_text()) == told["cells"]
    ElementTree.fromstring((out / "waiting.svg").read_text())
    page = (out / "report.html").read_text()
    assert "vstack-score" in page
    assert not re.search(r'(src|href)="', page)  # it loads nothing


def test_more_runs_are_added_to_what_is_there_and_change_none_of_it(tmp_path, scenario) -> None:
    runs = tmp_path / "out" / "runs.jsonl"
    assert compare(tmp_path, scenario, "--runs", "2") == 0
    before = runs.read_bytes()
    assert compare(tmp_path, scenario, "--runs", "3") == 0
    after = runs.read_bytes()
    assert after.startswith(before)
    assert len(after.splitlines()) == 9
    assert compare(tmp_path, scenario, "--runs", "3") == 0
    assert runs.read_bytes() == after


def test_an_edited_scenario_is_played_anew_and_not_mixed_with_the_old(
    tmp_path, scenario, capsys
) -> None:
    assert compare(tmp_path, scenario, "--runs", "2") == 0
    before = json.loads(capsys.readouterr().out.splitlines()[-1])["cells"]
    with open(scenario, "a", encoding="utf-8") as file:
        file.write("[nodes]\nload = 0.6\n")
    assert compare(tmp_path, scenario, "--runs", "2") == 0
    after = json.loads(capsys.readouterr().out.splitlines()[-1])["cells"]
    assert [cell["sessions"] for cell in after] == [2, 2, 2]
    assert all(
        now["optimum_s"] > then["optimum_s"] for now, then in zip(after, before, strict=True)
    )


def test_it_can_be_a_gate(tmp_path, scenario, capsys) -> None:
    words = ("--runs", "2", "--assert", "--schedulers", "smart,round-robin")
    assert compare(tmp_path, scenario, *words) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--schedulers", "smart,smrt"), 2, "no scheduler 'smrt'"),
        (("--schedulers", ","), 2, "--schedulers names none"),
        (("--runs", "0"), 2, "--runs"),
        (("--reference", "tahoe"), 2, "--reference tahoe"),
        (("--scenario", "nowhere"), 2, "no scenario 'nowhere'"),
        (("--layout", "9of5"), 2, "9of5"),
        (("--scenario", "/nowhere.toml"), 4, "no such file: /nowhere.toml"),
        (("--seconds", "nan"), 2, "--seconds"),
        (("--seconds", "0"), 2, "--seconds"),
        (("--processes", "0"), 2, "--processes"),
        (("--own", "/nowhere.py"), 4, "no such file: /nowhere.py"),
        (("--traces", "/nowhere/at/all"), None, "/nowhere/at/all"),
    ],
)
def test_bad_words_are_told_before_anything_is_played(
    tmp_path, scenario, capsys, words, code, says
) -> None:
    ended = compare(tmp_path, scenario, *words)
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert says in json.dumps(told["error"])
    assert ended == code if code is not None else ended != 0
    assert not (tmp_path / "out" / "runs.jsonl").exists()


def test_a_scenario_is_played_in_its_own_layout_unless_another_is_asked_for(
    tmp_path, capsys
) -> None:
    path = tmp_path / "one.toml"
    path.write_text('name = "one"\n[video]\nlayout = "rep:1"\n[nodes]\ncount = 1\n')
    words = ("--seconds", "20", "--runs", "1", "--schedulers", "smart")
    assert compare(tmp_path, str(path), *words) == 0
    (cell,) = json.loads(capsys.readouterr().out.splitlines()[-1])["cells"]
    assert cell["layout"] == "rep:1"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "--seconds 20" in page
    scenarios = json.loads((tmp_path / "out" / "scenarios.json").read_text())
    assert [each["name"] for each in scenarios.values()] == ["one"]
    assert next(iter(scenarios)) in page


def test_a_page_without_any_cell_is_a_page() -> None:
    assert "</html>" in comparison_html(cells_of([]), how=[], reference="")
    ElementTree.fromstring(comparison_svg([]))
