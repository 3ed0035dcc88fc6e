"""Schedulers from a user's file: loaded, played beside ours, and blamed for their own failures."""

import json

import pytest

from redundancy.errors import FileMissing
from smart_client.cli import main
from smart_client.core.schedulers import SCHEDULERS
from smart_client.errors import InvalidRequest
from smart_client.simulator import own_schedulers
from smart_client.simulator.own_schedulers import load_schedulers
from smart_client.simulator.sources import sources_digest

GREEDY = '''
from math import inf

class Greedy:
    """Every idle node is asked for the first open row it holds."""

    name = "greedy"

    def decide(self, state):
        for node in state.nodes.nodes:
            if node.pieces or not node.may_ask(state.now_s):
                continue
            for index in state.order:
                chunk = state.chunks[index]
                open_rows = [
                    (fragment, chunk.open_rows(fragment))
                    for fragment, holder in chunk.node_of.items()
                    if holder == node.index and chunk.needs_asking
                ]
                wanted = [(fragment, rows) for fragment, rows in open_rows if rows]
                if wanted:
                    fragment, rows = wanted[0]
                    first = (rows & -rows).bit_length() - 1
                    state.ask(node, chunk, fragment, first, 1)
                    break

    def next_wakeup_s(self, state):
        return inf
'''

FAILING = """
class Failing:
    name = "failing"

    def decide(self, state):
        return {}[99]

    def next_wakeup_s(self, state):
        return state.now_s + 1
"""


@pytest.fixture(autouse=True)
def only_ours():
    before = dict(SCHEDULERS)
    yield
    SCHEDULERS.clear()
    SCHEDULERS.update(before)
    own_schedulers._own.clear()


def write(tmp_path, text: str, name: str = "mine.py"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_one_is_played_beside_ours(tmp_path, capsys) -> None:
    pytest.importorskip("scipy", reason="the optimum needs scipy (the extra 'sim')")
    path = write(tmp_path, GREEDY)
    words = ("--own", str(path), "--schedulers", "smart,greedy", "--runs", "2", "--seconds", "30")
    code = main(["compare", "--json", "--processes", "1", "--out", str(tmp_path / "o"), *words])
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert code == 0, told
    smart, greedy = told["cells"]
    assert (smart["scheduler"], greedy["scheduler"]) == ("smart", "greedy")
    assert greedy["unfinished"] == 0
    assert greedy["ratio"] >= 1.0


def test_a_failure_names_its_file_and_line_and_the_world(tmp_path, capsys) -> None:
    path = write(tmp_path, FAILING)
    words = ("--own", str(path), "--schedulers", "failing", "--runs", "1")
    code = main(["compare", "--json", "--processes", "1", "--out", str(tmp_path / "o"), *words])
    error = json.loads(capsys.readouterr().out.splitlines()[-1])["error"]
    assert code == 2
    assert error["message"] == "scheduler 'failing' failed in world 0 of 'typical': KeyError: 99"
    assert error["detail"]["line"].endswith("mine.py:6: return {}[99]")


def test_an_edited_file_is_other_code(tmp_path) -> None:
    path = write(tmp_path, GREEDY)
    before = sources_digest([path])
    assert before == sources_digest([path]) != sources_digest()
    write(tmp_path, GREEDY + "\n# more\n")
    assert sources_digest([path]) != before


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", "defines no scheduler"),
        ("def f(:\n", "SyntaxError"),
        ("1 / 0\n", "ZeroDivisionError"),
        (GREEDY.replace('"greedy"', '"smart"'), "cannot be called 'smart'"),
        (GREEDY.replace('"greedy"', '"a,b"'), "cannot be called 'a,b'"),
        (GREEDY.replace('"greedy"', '"informed"'), "cannot be called 'informed'"),
    ],
)
def test_what_is_no_file_of_schedulers_is_told(tmp_path, text, says) -> None:
    with pytest.raises(InvalidRequest, match=says):
        load_schedulers(write(tmp_path, text))


def test_a_file_that_is_not_there_is_told(tmp_path) -> None:
    with pytest.raises(FileMissing):
        load_schedulers(tmp_path / "none.py")
