"""The command line itself: help, errors, JSON; and a node and a coordinator run by it."""

import json
import signal
import subprocess
import sys
import time
from argparse import Namespace

import httpx
import pytest

from redundancy.errors import ExitCode
from storage_server.cli import main
from storage_server.config import AdminConfig

_COMMANDS = [
    ["node"],
    ["coordinator"],
    ["cluster"],
    ["cluster", "up"],
    ["cluster", "down"],
    ["cluster", "status"],
    ["cluster", "kill"],
    ["cluster", "freeze"],
    ["cluster", "thaw"],
    ["cluster", "start"],
    ["cluster", "slow"],
    ["admin"],
    ["admin", "node"],
    ["admin", "node", "list"],
    ["admin", "node", "add"],
]


@pytest.mark.parametrize("words", [[], *_COMMANDS], ids=" ".join)
def test_every_command_explains_itself(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert "--json" in text
    if len(words) <= 1:
        assert "examples:\n  storage-server" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cluster"], "needs a command: up, down"),
        (["admin"], "needs a command"),
        (["admin", "node"], "needs a command: list, add"),
        (["cluster", "up", "-n", "0"], "at least 1 node"),
        (["cluster", "up", "--capacity", "big"], "not a size"),
        (["cluster", "slow", "node-1"], "say how slow"),
        (["cluster", "slow", "node-1", "--rate", "fast"], "not a rate"),
        (["cluster", "kill"], "NODE"),
        (["coordinator"], "--data"),
        (["node", "--data", "x", "--listen", "here"], "not an address"),
        (["coordinator", "--data", "x", "--listen", "here"], "not an address"),
        (["admin", "node", "add", "a/b", "http://x"], "not a valid NodeRecord"),
        (["admin", "node", "add", "a", "x"], "http://host:port"),
        (["cluster", "up", "--nods", "3"], "unknown argument"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else "",
)
@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_wrong_command_line_says_what_is_wrong_and_exits_2(words, message, as_json, capsys):
    assert main([*words, *(["--json"] if as_json else [])]) == ExitCode.USAGE
    printed = capsys.readouterr()
    if as_json:
        error = json.loads(printed.out)["error"]
        assert message in error["message"]
        assert error["exit"] == ExitCode.USAGE
    else:
        assert message in printed.err
        assert printed.out == ""


@pytest.mark.parametrize("words", [["node", "list"], ["node", "add", "n", "http://127.0.0.1:2"]])
def test_a_coordinator_that_does_not_answer_is_temporary(words, capsys):
    code = main(["admin", *words, "--coordinator", "http://127.0.0.1:1", "--json"])
    assert code == ExitCode.TEMPORARY
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "COORDINATOR_UNREACHABLE"


def test_the_coordinator_can_be_named_in_the_environment(capsys, monkeypatch):
    monkeypatch.setenv("STORAGE_SERVER_COORDINATOR", "http://127.0.0.1:1")
    assert main(["admin", "node", "list"]) == ExitCode.TEMPORARY
    assert "http://127.0.0.1:1" in capsys.readouterr().err


def test_the_client_s_coordinator_serves_where_no_other_is_named(capsys, monkeypatch):
    monkeypatch.delenv("STORAGE_SERVER_COORDINATOR", raising=False)
    monkeypatch.setenv("SMART_CLIENT_COORDINATOR", "http://127.0.0.1:1")
    assert main(["admin", "node", "list"]) == ExitCode.TEMPORARY
    assert "http://127.0.0.1:1" in capsys.readouterr().err


def test_what_init_wrote_for_the_client_serves_too(capsys, monkeypatch, tmp_path):
    for name in ("STORAGE_SERVER_COORDINATOR", "SMART_CLIENT_COORDINATOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "smart-client").mkdir()
    (tmp_path / "smart-client" / "config.toml").write_text('coordinator = "http://127.0.0.1:1"')
    assert main(["admin", "node", "list"]) == ExitCode.TEMPORARY
    assert "http://127.0.0.1:1" in capsys.readouterr().err


def test_the_client_s_secret_serves_for_a_coordinator_that_is_named(monkeypatch, tmp_path):
    """So does it after one of several coordinators was chosen: the one that keeps."""
    monkeypatch.delenv("STORAGE_SERVER_TOKEN_FILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    secret = tmp_path / "token"
    secret.write_text("open sesame")
    secret.chmod(0o600)
    (tmp_path / "smart-client").mkdir()
    (tmp_path / "smart-client" / "config.toml").write_text(f'token_file = "{secret}"')
    words = Namespace(coordinator=["http://127.0.0.1:1"], token_file=None)
    found = AdminConfig.from_args(words)
    assert (found.coordinators, found.token) == (("http://127.0.0.1:1",), "open sesame")


@pytest.mark.parametrize("words", [["coordinator"], ["node"]], ids=["coordinator", "node"])
def test_an_open_address_without_a_secret_is_a_configuration_error(words, tmp_path, capsys):
    code = main([*words, "--data", str(tmp_path), "--listen", "0.0.0.0:0"])
    assert code == ExitCode.CONFIG
    assert "--insecure" in capsys.readouterr().err


class Running:
    """A server run by the command line; ends with the test."""

    def __init__(self, *words: str, secret_file=None) -> None:
        command = [sys.executable, "-m", "storage_server", *words, "--json"]
        if secret_file:
            command += ["--token-file", str(secret_file)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.ready = json.loads(self.process.stdout.readline())

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            assert self.process.wait(20) == 0
        finally:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()


@pytest.mark.real
def test_a_node_joins_by_the_command_that_the_coordinator_prints(tmp_path, capsys):
    secret = tmp_path / "secret"
    secret.write_text("correct horse battery staple")
    secret.chmod(0o600)
    listen = ["--listen", "127.0.0.1:0"]
    data = [str(tmp_path / "coordinator"), str(tmp_path / "node")]
    with Running("coordinator", "--data", data[0], *listen, secret_file=secret) as coordinator:
        url = coordinator.ready["url"]
        assert coordinator.ready["event"] == "ready"
        assert coordinator.ready["join"].startswith("storage-server node --data DIR --coordinator")
        assert coordinator.ready["join"].endswith("--token-file FILE")
        join = ["node", "--id", "attic-pi", "--data", data[1], *listen, "--coordinator", url]
        with Running(*join, secret_file=secret) as node:
            assert node.ready["node"] == "attic-pi"
            deadline_s = time.monotonic() + 20
            while main(["admin", "node", "list", "--coordinator", url, "--json"]) or not (
                listed := json.loads(capsys.readouterr().out)["nodes"]
            ):
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
            assert [(each["record"]["id"], each["state"]) for each in listed] == [
                ("attic-pi", "up")
            ]
            assert main(["admin", "node", "list", "--coordinator", url]) == 0
            assert "attic-pi  up" in capsys.readouterr().out
            add = ["admin", "node", "add", "garage", "http://127.0.0.1:1", "--coordinator", url]
            assert main([*add, "--json"]) == ExitCode.CONFIG
            capsys.readouterr()
            assert main([*add, "--token-file", str(secret)]) == ExitCode.OK
            assert "garage added" in capsys.readouterr().out
            assert main(["admin", "node", "list", "--coordinator", url]) == ExitCode.PARTIAL
        assert httpx.get(f"{url}/readyz", trust_env=False).json() == {"ready": True}
