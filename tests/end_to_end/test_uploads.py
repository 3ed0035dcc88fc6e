"""Uploads that are cut short, and uploads to nodes that freeze or die under them."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from support.real_cluster import RealCluster

pytestmark = pytest.mark.real

MEBI = 1024 * 1024
# Groups of 64 chunks of 2 MiB: an upload that is cut short after the first has two more to send.
FILM_BYTES = 264 * MEBI
CHUNKS = 132
DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.bin"
    draw = random.Random(7)
    path.write_bytes(b"".join(draw.randbytes(MEBI) for _ in range(FILM_BYTES // MEBI)))
    return path


def chunks_recorded(cluster: RealCluster, name: str, coordinator: str = "") -> int:
    """Return how many chunks of ``name`` the catalogue names."""
    where = coordinator or cluster.coordinator
    answer = httpx.get(f"{where}/v1/videos/{name}/groups", timeout=5)
    groups = answer.json() if answer.status_code == 200 else []
    return sum(len(group["group"]["chunks"]) for group in groups)


def wait_until_announced(cluster: RealCluster, name: str) -> None:
    """Return when the coordinator has heard of the upload: its fragments are about to be sent."""
    until_s = time.monotonic() + DEADLINE_S
    while httpx.get(f"{cluster.coordinator}/v1/videos/{name}", timeout=5).status_code != 200:
        assert time.monotonic() < until_s, "the upload never began"
        time.sleep(0.02)


def wait_until_one_is_not_up(cluster: RealCluster) -> None:
    until_s = time.monotonic() + DEADLINE_S
    while True:
        nodes = httpx.get(f"{cluster.coordinator}/v1/status", timeout=5).json()["nodes"]
        if any(each["state"] != "up" for each in nodes):
            return
        assert time.monotonic() < until_s, "nobody misses it"
        time.sleep(0.1)


@contextlib.contextmanager
def putting(cluster: RealCluster, path: Path, name: str, *options: str):
    words = ["put", str(path), "--name", name, "--redundancy", "rs:3+2", "--json", *options]
    process = subprocess.Popen(
        [sys.executable, "-m", "smart_client", *words, "--coordinator", cluster.coordinator],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_an_upload_cut_short_goes_on_where_its_last_group_ended(
    cluster: RealCluster, film: Path, tmp_path: Path, number: int
) -> None:
    name = f"cut-{int(number)}"
    with putting(cluster, film, name) as process:
        until_s = time.monotonic() + DEADLINE_S
        while not chunks_recorded(cluster, name) and time.monotonic() < until_s:
            assert process.poll() is None, "it ended before its first group was recorded"
            time.sleep(0.02)
        process.send_signal(number)
        process.wait(20)
    listed = cluster.client("ls", "--json").json["videos"]
    assert [v["state"] for v in listed if v["name"] == name] in (["uploading"], [])
    recorded = chunks_recorded(cluster, name)
    # On a machine that was away for a moment the second group is there as well, never the third.
    assert 64 <= recorded < CHUNKS
    done = cluster.client("put", str(film), "--name", name, "--redundancy", "rs:3+2", "--json")
    assert done.code == 0, done
    assert done.json["videos"][0]["resumed_chunks"] == recorded
    back = tmp_path / "back"
    assert cluster.client("get", name, "-o", str(back)).code == 0
    assert back.read_bytes() == film.read_bytes()
    assert cluster.client("rm", name, "--yes").code == 0


def test_an_upload_goes_on_with_a_node_less(
    cluster: RealCluster, film: Path, tmp_path: Path
) -> None:
    with putting(cluster, film, "less") as process:
        until_s = time.monotonic() + DEADLINE_S
        while not chunks_recorded(cluster, "less") and time.monotonic() < until_s:
            time.sleep(0.02)
        process.kill()
    cluster.signal(3, signal.SIGSTOP)
    wait_until_one_is_not_up(cluster)
    done = cluster.client("put", str(film), "--name", "less", "--redundancy", "rs:3+2", "--json")
    assert done.code == 3, done
    assert done.json["videos"][0]["resumed_chunks"] >= 64
    assert done.json["videos"][0]["missing_fragments"] > 0
    back = tmp_path / "back"
    assert cluster.client("get", "less", "-o", str(back)).code == 0
    assert back.read_bytes() == film.read_bytes()
    cluster.mend()
    assert cluster.client("rm", "less", "--yes").code == 0


def test_a_node_that_freezes_under_an_upload_delays_it_by_seconds_at_most(
    cluster: RealCluster, film: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part.bin"
    part.write_bytes(film.read_bytes()[: 40 * MEBI])
    with putting(cluster, part, "frozen-put") as process:
        wait_until_announced(cluster, "frozen-put")
        cluster.signal(3, signal.SIGSTOP)
        assert process.wait(DEADLINE_S) in (0, 3)
    back = tmp_path / "back"
    assert cluster.client("get", "frozen-put", "-o", str(back)).code == 0
    assert back.read_bytes() == part.read_bytes()
    cluster.mend()
    assert cluster.client("rm", "frozen-put", "--yes").code == 0


@pytest.mark.parametrize("several", [True, False], ids=["two-coordinators", "one-coordinator"])
def test_a_coordinator_that_dies_under_an_upload(film: Path, tmp_path: Path, several: bool) -> None:
    """With a second one nobody notices; without, the same command goes on once it is back."""
    made = RealCluster(tmp_path / "cluster")
    try:
        made.up(5, *(("--catalogue", "chunkpaxos", "--coordinators", "2") if several else ()))
        with putting(made, film, "film") as process:
            until_s = time.monotonic() + DEADLINE_S
            first, _, _ = made.coordinator.partition(",")
            while not chunks_recorded(made, "film", first):
                assert time.monotonic() < until_s
                time.sleep(0.02)
            os.kill(made.coordinators[0]["pid"], signal.SIGKILL)
            code = process.wait(DEADLINE_S)
        if not several:
            assert code == 5
            assert made.storage_server("start", "coordinator").code == 0
            made.refresh()
            words = ("put", str(film), "--name", "film", "--redundancy", "rs:3+2", "--json")
            done = made.client(*words)
            assert done.json["videos"][0]["resumed_chunks"] >= 64
            code = done.code
        assert code == 0
        back = tmp_path / "back"
        assert made.client("get", "film", "-o", str(back)).code == 0
        assert back.read_bytes() == film.read_bytes()
    finally:
        made.down()
