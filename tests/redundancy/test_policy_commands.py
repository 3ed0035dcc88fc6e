"""``redundancy plan | recommend | simulate | durability`` as a user runs them."""

import json
import subprocess
import sys

import pytest

from redundancy.cli import main
from redundancy.errors import ExitCode

TWELVE = ("--nodes", "12", "--zones", "4")

VIEWS = """\
name,size,views,views_per_week,layout,changed_days_ago,wish
kino,1GB,5000,120,rs:6+3,30,
old,2GB,5000,1,rs:6+3+1copy,30,
fresh,1GB,3,1,rs:6+3+1copy,2,
risky,1GB,3,1,rep:1,30,
asked,1GB,3,1,rs:6+3,30,rep:4
calm,1GB,3,1,rs:6+3,,
"""


@pytest.fixture
def views(tmp_path):
    path = tmp_path / "views.csv"
    path.write_text(VIEWS)
    return str(path)


def run_json(capsys, *words):
    code = main([*words, "--json"])
    printed = capsys.readouterr()
    assert not printed.err
    return code, json.loads(printed.out)


def run_text(capsys, *words):
    code = main([*words])
    return code, capsys.readouterr().out


def error_of(capsys, *words):
    code = main([*words])
    return code, capsys.readouterr().err


# --- durability


def test_durability_names_its_model_and_reproduces_the_published_figure(capsys):
    words = ("durability", "rs:17+3", "--afr", "0.405%", "--mttr", "156h", "--model", "binomial")
    code, made = run_json(capsys, *words)
    assert code == 0
    assert made["model"] == "binomial"
    assert made["layouts"][0]["annual_loss"] == pytest.approx(7.354e-12, rel=1e-4)
    _, text = run_text(capsys, *words)
    assert text.startswith("loss by the binomial model: 0.00405 failures a node and year")
    assert "7.354e-12" in text


def test_durability_shows_what_is_usual_when_nothing_is_named(capsys):
    _, text = run_text(capsys, "durability")
    assert [line.split()[0] for line in text.splitlines()[2:5]] == ["rep:3", "rs:3+2", "rs:4+2"]
    assert "7.65" in text


def test_durability_by_chance_has_an_interval_and_a_seed(capsys):
    words = ("durability", "rs:3+2", "--afr", "200%", "--mttr", "7d", "--model", "monte-carlo")
    _, made = run_json(capsys, *words, "--trials", "2000", "--seed", "5")
    _, again = run_json(capsys, *words, "--trials", "2000", "--seed", "5")
    assert made == again
    found = made["layouts"][0]
    assert found["annual_loss_low"] < 0.0648 < found["annual_loss_high"]


# --- plan


def test_plan_recommends_a_code_and_says_why(capsys):
    code, made = run_json(capsys, "plan", *TWELVE)
    assert (code, made["recommended"], made["hot"]) == (0, "rs:6+3", "rs:6+3+1copy")
    assert made["meets_all"]
    assert [each["layout"] for each in made["plans"] if each["recommended"]] == ["rs:6+3"]
    assert {"rs:3+2", "rep:3"} <= {each["layout"] for each in made["plans"]}
    _, text = run_text(capsys, "plan", *TWELVE)
    assert "<- recommended" in text
    assert "12 nodes in 4 zones, each up 97.0% of the time: rs:6+3" in text


def test_plan_tells_when_the_nodes_cannot_do_what_is_asked(capsys):
    code, made = run_json(capsys, "plan", "--nodes", "2")
    assert code == ExitCode.PARTIAL
    assert not made["meets_all"]
    assert any("no code on these nodes does all that is asked" in each for each in made["reasons"])


def test_plan_goes_by_each_nodes_availability(capsys):
    _, good = run_json(capsys, "plan", "--nodes", "7", "--availability", "99.9%")
    _, mixed = run_json(
        capsys, "plan", "--nodes", "7", "--availability", "99.9%,.9,.9,.9,.9,.9,99.9%"
    )
    overheads = [
        next(each["overhead"] for each in made["plans"] if each["recommended"])
        for made in (good, mixed)
    ]
    assert overheads[0] < overheads[1]


def test_plan_of_videos_says_what_moves_now_what_waits_and_why(views, capsys):
    code, made = run_json(capsys, "plan", *TWELVE, "--views", views, "--budget", "2GB")
    assert code == 0
    now = {each["video"]: each for each in made["now"]}
    later = {each["video"]: each for each in made["later"]}
    assert set(now) == {"risky", "old"}
    assert list(now) == ["risky", "old"]  # what is unsafe first
    assert set(later) == {"kino", "asked"}
    assert now["old"]["moved_bytes"] == 0
    assert made["unchanged"] == 2
    assert made["moved_bytes"] <= 2e9
    assert "raise the budget" in later["asked"]["waits"]
    _, text = run_text(capsys, "plan", *TWELVE, "--views", views)
    assert "its owner wants rep:4" in text
    assert "as rep:1 it survives no loss, and must survive 2" in text


def test_plan_of_videos_by_the_threshold_rule(views, capsys):
    _, made = run_json(capsys, "plan", *TWELVE, "--views", views, "--policy", "threshold")
    assert {each["video"]: each["to"] for each in made["now"]}["kino"] == "rep:3"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name,size\n", "no column 'views'"),
        ("", "no column 'name'"),
        ("name,size,views,views_per_week,layout\na,1GB,x,1,rep:3\n", "line 2"),
        ("name,size,views,views_per_week,layout\na,1GB,1,1,rep:x\n", "not a layout"),
        ("name,size,views,views_per_week,layout\na,1GB,1\n", "nothing under 'views_per_week'"),
        ("name,size,views,views_per_week,layout\na,1GB,1,-1,rep:3\n", "not negative"),
        ("name,size,views,views_per_week,layout\na,1GB,1,nan,rep:3\n", "not negative"),
    ],
)
def test_a_list_of_views_that_is_wrong_is_told_with_its_line(text, told, tmp_path, capsys):
    path = tmp_path / "views.csv"
    path.write_text(text)
    code, printed = error_of(capsys, "plan", "--nodes", "5", "--views", str(path))
    assert code == ExitCode.USAGE
    assert told in printed
    assert "views.csv" in printed


def test_a_list_of_views_that_is_not_there_is_not_found(capsys):
    code, printed = error_of(capsys, "plan", "--nodes", "5", "--views", "/nowhere/views.csv")
    assert code == ExitCode.NOT_FOUND
    assert "/nowhere/views.csv" in printed


# --- recommend


def test_recommend_gives_both_policies_reasons(capsys):
    words = ("recommend", *TWELVE, "--views", "5000", "--views-per-week", "3", "--layout", "rep:3")
    code, made = run_json(capsys, *words)
    assert code == 0
    hybrid, threshold = made["recommendations"]
    assert (hybrid["layout"], threshold["layout"]) == ("rs:6+3", "rep:3")
    assert hybrid["changes"]
    assert not threshold["changes"]
    _, text = run_text(capsys, *words)
    assert "watched 3 times a week lately, not more than 20: rs:6+3" in text
    assert "5000 views so far, more than 1000: rep:3" in text


def test_recommend_lets_a_changed_video_rest(capsys):
    words = ("recommend", *TWELVE, "--layout", "rs:6+3+1copy", "--changed", "1d")
    _, text = run_text(capsys, *words)
    assert "it was changed lately and stays rs:6+3+1copy for 144 h more" in text


# --- simulate


def test_simulate_compares_the_policies_with_intervals(capsys):
    words = ("simulate", "--videos", "500", "--weeks", "60", "--runs", "2")
    code, made = run_json(capsys, *words)
    assert code == 0
    names = [each["policy"] for each in made["policies"]]
    assert names == ["rep:3", "rs:3+2", "threshold", "hybrid"]
    assert all(len(each["by_run"]) == 2 for each in made["policies"])
    assert made["policies"][3]["figures"]["overhead"]["half"] > 0
    _, text = run_text(capsys, *words)
    assert "hybrid - threshold, same runs: space -" in text
    assert "Markov model" in text


def test_simulate_on_one_node_is_possible_and_hopeless(capsys):
    words = ("simulate", "--nodes", "1", "--zones", "1", "--videos", "100", "--weeks", "53")
    _, made = run_json(capsys, *words, "--runs", "1")
    assert all(each["figures"]["overhead"]["mean"] == 1.0 for each in made["policies"])


# --- bad input


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("durability", "rs:9"), "not a layout"),
        (("durability", "--afr", "often"), "write it like 97% or 0.97"),
        (("durability", "--afr", "0"), "must be more than 0"),
        (("durability", "--mttr", "soon"), "write it like 24h or 3d"),
        (("durability", "--zones", "0"), "at least 1 zone"),
        (("durability", "--availability", "200%"), "between 0 and 1"),
        (("durability", "--trials", "1"), "--trials is from 100"),
        (("plan",), "--nodes"),
        (("plan", "--nodes", "0"), "--nodes is from 1 to 200"),
        (("plan", "--nodes", "5", "--zones", "6"), "--zones is from 1 to 5"),
        (("plan", "--nodes", "5", "--availability", "1,1"), "2 values for 5 nodes"),
        (("plan", "--nodes", "5", "--hot", "3", "--cold", "4"), "or it flaps"),
        (("plan", "--nodes", "5", "--losses", "-1"), "not negative"),
        (("recommend", "--nodes", "5", "--size", "big"), "not a size"),
        (("recommend", "--nodes", "5", "--views", "-3"), "not negative"),
        (("simulate", "--runs", "0"), "--runs is from 1"),
        (("simulate", "--weeks", "52"), "--weeks is from 53"),
        (("simulate", "--nodes", "2"), "1 <= zones <= nodes"),
        (("simulate", "--budget", "x"), "write it like 97% or 0.97"),
    ],
)
def test_bad_input_is_told_clearly(words, told, capsys):
    code, printed = error_of(capsys, *words)
    assert code == ExitCode.USAGE, printed
    assert told in printed


@pytest.mark.parametrize("command", ["plan", "recommend", "simulate", "durability"])
def test_help_teaches_by_examples_and_waits_for_nothing(command):
    code = (
        "import sys; from redundancy.cli import main\n"
        f"try: main([{command!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'numpy' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "examples:" in done.stdout
    assert f"redundancy {command}" in done.stdout
