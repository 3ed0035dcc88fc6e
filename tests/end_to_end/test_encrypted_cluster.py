"""Coordinator and nodes behind certificates, with a token and read keys: everything works as ever.

This is how a cluster over the Internet runs; every byte between processes here is encrypted.
"""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from support.certificates import make_certificate
from support.real_cluster import Done, clean_environment, run

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

NODES = 5
DEADLINE_S = 60.0


@dataclass
class EncryptedCluster:
    """Responsible for the processes of a cluster whose every listener has a certificate."""

    folder: Path
    url: str = ""
    processes: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def begin(self) -> None:
        self.certificate, key = make_certificate(self.folder)
        self.token, keys = self.folder / "token", self.folder / "keys"
        for path, text in ((self.token, "s3cret" * 8), (keys, f"k1 {'ab' * 32}\n")):
            path.write_text(text)
            path.chmod(0o600)
        self._shared = (
            *("--token-file", str(self.token), "--read-keys", str(keys)),
            *("--tls-cert", str(self.certificate), "--tls-key", str(key)),
        )
        words = ("--policy", "off", "--repair-after", "6s", "--data", str(self.folder / "c"))
        self.url = self.start("coordinator", "coordinator", *words)["url"]
        assert self.url.startswith("https://")
        for index in range(NODES):
            self.start_node(index)
        until_s = time.monotonic() + DEADLINE_S
        while len(self.nodes_up()) < NODES:
            assert time.monotonic() < until_s, self.client("status")
            time.sleep(0.2)

    def start_node(self, index: int) -> None:
        name = f"node-{index}"
        words = ("--data", str(self.folder / name), "--id", name, "--coordinator", self.url)
        ready = self.start(name, "node", *words, "--capacity", "2GiB")
        assert ready["url"].startswith("https://")

    def start(self, name: str, kind: str, *words: str, trusts: bool = True) -> dict[str, Any]:
        with (self.folder / f"{name}.log").open("a") as log:
            process = self.processes[name] = subprocess.Popen(
                [
                    *(sys.executable, "-m", "storage_server", kind, "--json"),
                    *("--listen", "127.0.0.1:0", *self._shared, *words),
                ],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self.environment(trusts=trusts),
            )
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert ready.get("event") == "ready", ready
        return ready

    def environment(self, *, trusts: bool = True) -> dict[str, str]:
        clean = clean_environment(self.folder)
        clean.pop("SSL_CERT_FILE", None)
        return clean | ({"SSL_CERT_FILE": str(self.certificate)} if trusts else {})

    def run(self, module: str, *words: str, trusts: bool = True) -> Done:
        return run(module, *words, env=self.environment(trusts=trusts))

    def client(self, *words: str, trusts: bool = True) -> Done:
        where = ("--coordinator", self.url, "--token-file", str(self.token))
        return self.run("smart_client", *words, *where, trusts=trusts)

    def admin(self, *words: str) -> Done:
        where = ("--coordinator", self.url, "--token-file", str(self.token), "--json")
        return self.run("storage_server", "admin", *words, *where)

    def nodes_up(self) -> list[dict[str, Any]]:
        nodes = self.client("status", "--json").json["cluster"]["nodes"]
        return [node for node in nodes if node["state"] == "up"]

    def stop(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait(10)
        assert process.stdout is not None
        process.stdout.close()

    def end(self) -> None:
        for name in list(self.processes):
            self.stop(name)

    def logs(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob("*.log"))


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EncryptedCluster]:
    cluster = EncryptedCluster(tmp_path_factory.mktemp("encrypted"))
    try:
        cluster.begin()
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(random.Random(5).randbytes(9_000_000))
    return path


def assert_comes_back(cluster: EncryptedCluster, name: str, file: Path, tmp_path: Path) -> None:
    back = tmp_path / "back.bin"
    got = cluster.client("get", name, "-o", str(back))
    assert got.code == 0, got
    assert back.read_bytes() == file.read_bytes()
    back.unlink()


def test_a_video_goes_in_and_out_and_plays(
    encrypted: EncryptedCluster, clip: Path, file: Path, tmp_path: Path
) -> None:
    stored = encrypted.client("put", str(file), "--name", "plain", "--redundancy", "rs:3+2")
    assert stored.code == 0, stored
    assert_comes_back(encrypted, "plain", file, tmp_path)
    assert encrypted.client("put", str(clip), "--name", "clip").code == 0
    played = encrypted.client("play", "clip", "--player", "none", "--json")
    assert played.code == 0, played
    assert encrypted.client("doctor").code == 0
    # In the next test four nodes are left, too few for these.
    assert encrypted.client("rm", "plain", "clip", "--yes").code == 0


def test_a_video_is_migrated_and_repaired_from_node_to_node(
    encrypted: EncryptedCluster, file: Path, tmp_path: Path
) -> None:
    stored = encrypted.client("put", str(file), "--name", "moves", "--redundancy", "rs:3+2")
    assert stored.code == 0, stored
    assert encrypted.admin("video", "layout", "moves", "rep:2").code == 0
    wait_until_kept(encrypted)
    assert_comes_back(encrypted, "moves", file, tmp_path)
    encrypted.stop("node-1")
    until_s = time.monotonic() + DEADLINE_S
    while any(node["record"]["id"] == "node-1" for node in encrypted.nodes_up()):
        assert time.monotonic() < until_s
        time.sleep(0.2)
    wait_until_kept(encrypted)
    assert_comes_back(encrypted, "moves", file, tmp_path)
    encrypted.start_node(1)


def wait_until_kept(cluster: EncryptedCluster) -> None:
    """Return when the keeper has looked at every node and has nothing to do."""
    asked = cluster.admin("keeper", "run")
    assert asked.code in (0, 3), asked  # 3: something is left to be done
    idle = 0
    until_s = time.monotonic() + DEADLINE_S
    while idle < 3:
        assert time.monotonic() < until_s, cluster.admin("keeper", "status")
        keeper = cluster.admin("keeper", "status").json["keeper"]
        busy = keeper["groups_left"] or keeper["fragments_missing"] or keeper["stuck"]
        idle = 0 if busy else idle + 1
        time.sleep(0.3)


def test_who_does_not_know_the_authority_is_told_so(
    encrypted: EncryptedCluster, file: Path
) -> None:
    for words in (("ls",), ("put", str(file), "--name", "never"), ("doctor",)):
        told = encrypted.client(*words, trusts=False)
        assert told.code == 5, told
        said = told.out + told.err
        assert "its certificate is not trusted: self-signed certificate" in said
        assert "SSL_CERT_FILE=" in said


def test_a_node_that_does_not_know_the_authority_says_so_in_a_line(
    encrypted: EncryptedCluster,
) -> None:
    log = encrypted.folder / "stranger.log"
    words = ("--data", str(encrypted.folder / "stranger"), "--coordinator", encrypted.url)
    encrypted.start("stranger", "node", *words, trusts=False)
    until_s = time.monotonic() + DEADLINE_S
    while "its certificate is not trusted: self-signed certificate" not in log.read_text():
        assert time.monotonic() < until_s, log.read_text()
        time.sleep(0.1)
    encrypted.stop("stranger")
    assert "SSL_CERT_FILE" in log.read_text()


def test_doctor_says_whether_the_token_is_taken(encrypted: EncryptedCluster) -> None:
    assert "token        may store and remove" in encrypted.client("doctor").out
    other = encrypted.folder / "other-token"
    other.write_text("another-token-of-24-chars")
    other.chmod(0o600)
    where = ("--coordinator", encrypted.url)
    told = encrypted.run("smart_client", "doctor", *where, "--token-file", str(other))
    assert told.code == 5
    assert "BAD  token        this changes something" in told.out
    assert f"BAD  {'node-0':<12}" in told.out
    assert "refuses this token" in told.out


def test_nothing_secret_is_in_the_logs(encrypted: EncryptedCluster) -> None:
    assert "s3cret" not in encrypted.logs()
    assert "ab" * 32 not in encrypted.logs()
    assert "Traceback" not in encrypted.logs()
