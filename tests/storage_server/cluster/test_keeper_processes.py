"""Nodes that die for good, as real processes: what they held is made again, and plays on."""

import hashlib
import json
import random
import signal
import time

import pytest

from support.real_cluster import RealCluster, run

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]

FILM = random.Random("film").randbytes(9_000_000)


@pytest.fixture
def cluster(tmp_path):
    made = RealCluster(tmp_path / "cluster")
    made.up(6)
    yield made
    made.down()


def admin(cluster: RealCluster, *words: str):
    return run("storage_server", "admin", *words, "--coordinator", cluster.coordinator, "--json")


def wait_until_kept(cluster: RealCluster, repaired: int) -> dict:
    deadline_s = time.monotonic() + 60
    while True:
        status = json.loads(admin(cluster, "keeper", "status").out)["keeper"]
        if status["done"].get("repair", 0) >= repaired and not status["groups_left"]:
            return status
        assert time.monotonic() < deadline_s, status
        time.sleep(0.2)


def get(cluster: RealCluster, path) -> str:
    done = cluster.client("get", "film", "-o", str(path), "--force")
    assert done.code == 0, done
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_killed_node_is_made_good_and_the_film_survives_two_more_deaths(cluster, tmp_path):
    source = tmp_path / "film.bin"
    source.write_bytes(FILM)
    put = cluster.client("put", str(source), "--name", "film", "--redundancy", "rs:3+2")
    assert put.code == 0, put
    first = 0
    cluster.signal(first, signal.SIGKILL)
    lost = admin(cluster, "node", "lost", cluster.nodes[first]["id"])
    assert lost.code == 0, lost
    wait_until_kept(cluster, 1)
    removed = admin(cluster, "node", "remove", cluster.nodes[first]["id"])
    assert (removed.code, removed.json["moved"]) == (0, 0), removed
    # The last two: the first three may keep the catalogue, and two of those have to live.
    for victim in (4, 5):
        cluster.signal(victim, signal.SIGKILL)
    assert get(cluster, tmp_path / "again.bin") == hashlib.sha256(FILM).hexdigest()
    cluster.is_whole = True
