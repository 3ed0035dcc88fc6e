"""Options from the command line and from a file: which one counts, and what is said of it."""

import json
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_server.cli import main
from storage_server.settings import toml_value


@pytest.fixture
def shown(tmp_path, capsys):
    """Return what a server would run with: (exit code, name -> (value, source))."""

    def show(kind, *words, config=None):
        if config is not None:
            path = tmp_path / "config.toml"
            path.write_text(config, encoding="utf-8")
            words = (*words, "--config", str(path))
        code = main([kind, *words, "--print-config", "--json"])
        said = json.loads(capsys.readouterr().out)
        if code:
            return code, said["error"]
        source_of = {str(tmp_path / "config.toml"): "file"}
        return code, {
            name: (each["value"], source_of.get(each["source"], each["source"]))
            for name, each in said["config"].items()
        }

    return show


def test_the_command_line_goes_before_the_file_and_that_before_the_default(shown):
    config = 'data = "/srv/a"\nzone = "cellar"\nscrub-days = 7\ncapacity = 5000000\n'
    code, told = shown("node", "--zone", "attic", config=config)
    assert code == 0
    assert told["data"] == ("/srv/a", "file")
    assert told["zone"] == ("attic", "command line")
    assert told["scrub-days"] == (7.0, "file")
    assert told["capacity"] == ("5000000", "file")
    assert told["keepalive"] == (15.0, "default")
    assert told["id"] == (None, "default")


def test_a_list_may_be_one_text(shown):
    one = 'data = "d"\ncoordinator = "http://a:1"\n'
    two = 'data = "d"\ncoordinator = ["http://a:1", "http://b:1"]\n'
    assert shown("node", config=one)[1]["coordinator"] == (["http://a:1"], "file")
    assert shown("node", config=two)[1]["coordinator"][0] == ["http://a:1", "http://b:1"]
    said = shown("node", "--coordinator", "http://c:1", config=two)[1]["coordinator"]
    assert said == (["http://c:1"], "command line")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("data = 'd'\nlissten = 'x:1'\n", "unknown setting lissten"),
        ("data = 'd'\ntoken = 'secret'\n", "unknown setting token"),
        ("data = 'd'\ninsecure = 'yes'\n", "insecure is true or false"),
        ("data = 'd'\nscrub-days = 'soon'\n", "scrub-days is a number"),
        ("data = 'd'\nzone = true\n", "zone is a text"),
        ("data = 'd'\ncoordinator = [1]\n", "coordinator is a text, or a list"),
        ("data = 'd'\nlog-format = 'xml'\n", "log-format is one of"),
        ("data = \n", "is no TOML"),
        ("data = 'd'\nlisten = '0.0.0.0:1'\n", "refusing to listen"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_exit_code_9(shown, config, says):
    code, error = shown("node", config=config)
    assert code == 9
    assert says in error["message"]


def test_a_near_miss_is_told_the_right_name(shown):
    assert (
        shown("node", config="data = 'd'\nlissten = 'x:1'\n")[1]["hint"] == "did you mean listen?"
    )


@pytest.mark.parametrize("kind", ["node", "coordinator"])
def test_what_is_required_may_stand_in_either_place_but_must_stand_in_one(shown, kind):
    code, error = shown(kind, config="insecure = true\n")
    assert code == 2
    assert "--data" in error["message"]
    assert shown(kind, "--data", "d")[0] == 0
    assert shown(kind, config="data = 'd'\n")[0] == 0


def test_a_file_that_is_not_there_is_exit_code_4(shown):
    assert shown("node", "--config", "/nowhere/node.toml")[0] == 4


def test_a_secret_is_shown_as_its_file_only(tmp_path, capsys):
    secret = "correct-horse-battery-staple"
    token = tmp_path / "token"
    token.write_text(secret)
    token.chmod(0o600)
    for kind in ("node", "coordinator"):
        words = [kind, "--data", str(tmp_path / "d"), "--token-file", str(token), "--print-config"]
        assert main(words) == 0
        printed = capsys.readouterr()
        assert str(token) in printed.out
        assert secret not in printed.out + printed.err
    assert not (tmp_path / "d").exists()  # nothing was started


def test_what_is_printed_can_be_used_as_a_file(tmp_path, capsys):
    words = ["node", "--data", 'a "dir"\\é', "--coordinator", "http://a:1", "--scrub-days", "3.5"]
    assert main([*words, "--print-config"]) == 0
    first = capsys.readouterr().out
    again = tmp_path / "again.toml"
    again.write_text(first, encoding="utf-8")
    assert main(["node", "--config", str(again), "--print-config"]) == 0
    second = capsys.readouterr().out
    assert tomllib.loads(second) == tomllib.loads(first)
    assert "# command line" in first
    assert f"# {again}" in second


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.booleans() | st.integers(0, 2**40))
def test_every_value_reads_back_from_toml(value):
    assert tomllib.loads(f"a = {toml_value(value)}")["a"] == value
