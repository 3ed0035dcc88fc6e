"""The container and compose files: what a linter says, and that their commands are ours."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from storage_server.cli import main

DEPLOY = Path(__file__).parents[3] / "storage_server" / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))


def test_a_linter_finds_nothing_wrong_with_the_containerfile(tmp_path):
    beside = Path(sys.executable).parent
    linter = shutil.which("hadolint", path=f"{beside}:{Path('/usr/bin')}:/usr/local/bin")
    if linter is None:
        pytest.skip("needs hadolint")
    words = [linter, "--no-color", str(DEPLOY / "Containerfile")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.returncode) == ("", 0)


def test_the_container_runs_without_rights_and_is_watched():
    user = [line for line in CONTAINERFILE.splitlines() if line.startswith("USER")]
    assert user == ["USER 10001:10001"]
    assert "HEALTHCHECK" in CONTAINERFILE
    assert "ADD " not in CONTAINERFILE
    assert ":latest" not in CONTAINERFILE


def test_what_is_copied_into_the_image_exists():
    root = DEPLOY.parents[1]
    for line in CONTAINERFILE.splitlines():
        if line.startswith("COPY") and "--from" not in line:
            for name in line.split()[1:-1]:
                assert (root / name).exists(), name


def test_every_service_gives_up_what_it_does_not_need_and_keeps_its_own_data():
    volumes = []
    for name, service in COMPOSE["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["secrets"] == ["token"], name
        volumes += [volume.split(":")[0] for volume in service["volumes"]]
    assert sorted(volumes) == sorted(set(COMPOSE["volumes"]))
    published = [port for each in COMPOSE["services"].values() for port in each.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in published)


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_every_command_is_one_that_we_understand(name, tmp_path, capsys):
    token = tmp_path / "token"
    token.write_text("correct-horse-battery-staple")
    token.chmod(0o600)
    words = [
        word.replace("/run/secrets/token", str(token))
        for word in COMPOSE["services"][name]["command"]
    ]
    assert main([*words, "--print-config"]) == 0
    assert 'data = "/data"' in capsys.readouterr().out
