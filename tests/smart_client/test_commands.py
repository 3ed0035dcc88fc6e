"""What every command offers: examples in its help, completion, a configuration file."""

import argparse
import shutil
import subprocess
import tomllib

import pytest

from redundancy.errors import ConfigError, UsageError
from redundancy.terminal import CommandParser
from smart_client.cli import main, make_parser
from smart_client.command_line import init
from smart_client.command_line.serve import require_safe_address
from smart_client.config import ClientConfig


def commands() -> dict[str, CommandParser]:
    for action in make_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return action.choices
    raise AssertionError


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_shows_examples_that_it_understands(name):
    epilog = commands()[name].epilog or ""
    assert "examples:" in epilog
    lines = [line.strip() for line in epilog.splitlines()]
    examples = [line for line in lines if line.startswith(f"smart-client {name} ")]
    assert examples or f"smart-client {name}" in epilog
    for line in examples:
        words = line.split("  ")[0].split(" | ")[0].split(" > ")[0].replace("'", "").split()
        if '"' not in line and ")" not in line:
            assert make_parser().parse_all(words[1:])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completions_are_scripts_that_their_shell_accepts(shell, capsys):
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "read-ahead" in script
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=script, text=True, timeout=20, check=False)
        assert done.returncode == 0


def test_bash_completes_commands_and_options(capsys):
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    ask = "COMP_WORDS=(smart-client serve --st); COMP_CWORD=2; _shtab_smart_client; echo $COMPREPLY"
    done = subprocess.run(
        ["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout.strip() == "--strm"


def test_init_writes_a_file_that_changes_nothing_and_names_every_setting(tmp_path, capsys):
    path = tmp_path / "here" / "config.toml"
    assert main(["init", "--file", str(path)]) == 0
    text = path.read_text()
    assert tomllib.loads(text) == {}
    named = {line.split(" = ")[0].lstrip("# ") for line in text.splitlines() if " = " in line}
    known = {field for field in ClientConfig.__dataclass_fields__ if field != "origins"}
    assert named == known == set(init._MEANINGS)
    assert main(["init", "--file", str(path)]) == 8, "what is there is not replaced unasked"
    words = ["init", "--file", str(path), "--force", "--coordinator", "http://a:1,http://b:2"]
    assert main([*words, "--token-file", str(tmp_path / "token")]) == 0
    said = ClientConfig.load({}, str(path))
    assert said.coordinator == ("http://a:1", "http://b:2")
    assert said.token_file == str(tmp_path / "token")


def test_every_setting_of_that_file_can_be_taken_as_it_stands(tmp_path):
    path = tmp_path / "all.toml"
    lines = init.config_text(ClientConfig()).splitlines()
    path.write_text("\n".join(line.removeprefix("# ") for line in lines if " = " in line))
    loaded, plain = ClientConfig.load({}, str(path)), ClientConfig()
    assert loaded == plain


@pytest.mark.parametrize("listen", ["0.0.0.0:8480", "[::]:0", "10.0.0.7:80", "example.invalid:80"])
def test_an_address_that_others_reach_needs_a_word(listen):
    with pytest.raises(ConfigError, match="watch, store and delete"):
        require_safe_address(listen, insecure=False)
    require_safe_address(listen, insecure=True)


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:8480", "[::1]:80", ":8480"])
def test_loopback_needs_none(listen):
    require_safe_address(listen, insecure=False)


@pytest.mark.parametrize("listen", ["127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999"])
def test_nonsense_is_a_usage_error(listen):
    with pytest.raises(UsageError):
        require_safe_address(listen, insecure=False)
