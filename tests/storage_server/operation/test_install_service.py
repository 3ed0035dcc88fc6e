"""The systemd service: what is written, that systemd understands it, and that nothing is lost."""

import json
import shutil
import subprocess
import tomllib

import pytest

from smart_client.config import ClientConfig
from storage_server.cli import main
from storage_server.service_unit import Service, quoted


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def install(capsys, *words):
    code = main(["install-service", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_dry_run_shows_everything_and_writes_nothing(home, capsys):
    code, told = install(capsys, "node", "--user", "--dry-run", "--data", str(home / "d"))
    assert code == 0
    assert [name.rsplit("/", 1)[1] for name in told["files"]] == [
        "node.toml",
        "evenflow-node.service",
    ]
    assert any("enable --now evenflow-node" in step for step in told["next"])
    assert list(home.iterdir()) == []


def test_a_service_runs_with_exactly_what_was_said(home, capsys, monkeypatch):
    monkeypatch.chdir(home)
    words = ("--data", "my data", "--zone", "attic", "--scrub-days", "7")
    assert install(capsys, "node", "--user", *words)[0] == 0
    written = home / "config" / "evenflow" / "node.toml"
    told = tomllib.loads(written.read_text(encoding="utf-8"))
    assert told == {"data": str(home / "my data"), "zone": "attic", "scrub-days": 7.0}
    assert main(["node", "--config", str(written), "--print-config"]) == 0
    unit = (home / "config" / "systemd" / "user" / "evenflow-node.service").read_text()
    assert f"-m storage_server node --config {written}\n" in unit


def test_a_gateway_is_the_client_with_what_was_said(home, capsys, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(home / "ca.pem"))
    token = home / "token"
    token.write_text("correct-horse-battery-staple")
    token.chmod(0o600)
    words = ("--data", str(home / "cache"), "--strm", str(home / "strm"), "--cache", "20GiB")
    words += ("--coordinator", "https://a:1,https://b:2", "--token-file", str(token))
    code, told = install(capsys, "gateway", "--user", *words)
    assert code == 0, told
    written = home / "config" / "evenflow" / "gateway.toml"
    config = ClientConfig.load({}, str(written))
    assert config.coordinator == ("https://a:1", "https://b:2")
    assert (config.cache_dir, config.cache_bytes) == (str(home / "cache"), 20 << 30)
    assert (config.strm, config.token_file) == (str(home / "strm"), str(token))
    unit = (home / "config" / "systemd" / "user" / "evenflow-gateway.service").read_text()
    assert f"-m smart_client serve --config {written}\n" in unit
    assert f"Environment=SSL_CERT_FILE={home / 'ca.pem'}\n" in unit


def test_a_gateway_is_not_opened_to_others_by_mistake(home, capsys):
    words = ("gateway", "--user", "--data", str(home / "c"), "--listen", "0.0.0.0:8480")
    code, told = install(capsys, *words)
    assert (code, told["error"]["code"]) == (9, "CONFIG")
    assert list(home.iterdir()) == []
    assert install(capsys, *words, "--insecure")[0] == 0
    unit = (home / "config" / "systemd" / "user" / "evenflow-gateway.service").read_text()
    assert "gateway.toml --insecure\n" in unit


def test_another_service_of_the_name_is_not_replaced_unless_told_to(home, capsys):
    words = ("coordinator", "--user", "--data", str(home / "a"))
    assert install(capsys, *words)[0] == 0
    assert install(capsys, *words)[0] == 0  # the same again changes nothing
    other = ("coordinator", "--user", "--data", str(home / "b"))
    code, told = install(capsys, *other)
    assert (code, told["error"]["code"]) == (8, "EXISTS")
    assert install(capsys, *other, "--service-name", "second")[0] == 0
    assert install(capsys, *other, "--force")[0] == 0


def test_a_configuration_that_would_not_start_is_not_installed(home, capsys):
    code, told = install(capsys, "node", "--user", "--data", "d", "--listen", "0.0.0.0:1")
    assert code == 9
    assert "refusing to listen" in told["error"]["message"]
    assert list(home.iterdir()) == []


def test_a_system_service_has_a_user_and_sees_its_own_directory_only(home, capsys):
    token = home / "token"
    token.write_text("correct-horse-battery-staple")
    token.chmod(0o600)
    words = ("--data", "/srv/node", "--token-file", str(token))
    code, told = install(capsys, "node", "--dry-run", "--run-as", "films", *words)
    assert code == 0
    (unit,) = (text for name, text in told["files"].items() if name.endswith(".service"))
    for line in (
        "User=films",
        "ProtectSystem=strict",
        "ReadWritePaths=/srv/node",
        "CapabilityBoundingSet=",
    ):
        assert f"\n{line}\n" in unit
    assert f"chown films {token} && chmod 600 {token}" in told["next"]


@pytest.mark.parametrize("words", [("--run-as", "root; rm"), ("--service-name", "../x")])
def test_a_name_that_is_none_is_refused(home, capsys, words):
    assert install(capsys, "node", "--dry-run", "--data", "d", *words)[0] == 9


@pytest.mark.parametrize(
    ("word", "written"),
    [
        ("/srv/node", "/srv/node"),
        ("/srv/my node", '"/srv/my node"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("100%", "100%%"),
        ("$HOME", '"$HOME"'),
    ],
)
def test_words_are_quoted_as_systemd_reads_them(word, written):
    assert quoted(word) == written


@pytest.mark.real
@pytest.mark.parametrize("run_as", ["root", None])
@pytest.mark.parametrize("kind", ["node", "coordinator", "gateway"])
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path, kind, run_as):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("needs systemd-analyze")
    data = tmp_path / "my 100% data"
    data.mkdir()
    service = Service(
        *(kind, f"evenflow-{kind}", data, tmp_path / "a.toml", run_as),
        writes=(tmp_path / "more",),
        environment=("SSL_CERT_FILE=/my 100% ca.pem",),
    )
    path = tmp_path / f"evenflow-{kind}.service"
    path.write_text(service.unit(), encoding="utf-8")
    checked = subprocess.run(
        [analyze, "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    about_it = [line for line in checked.stderr.splitlines() if f"evenflow-{kind}" in line]
    assert (about_it, checked.returncode) == ([], 0), checked.stderr
