"""The same life of a film, whoever keeps the catalogue; real processes.

``scripts/end_to_end CATALOGUE`` runs everything else of this directory on one of them.
"""

import hashlib
import json
import random
import signal
import time

import pytest

from support.etcd_cluster import ETCD
from support.real_cluster import RealCluster, run

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

FILM = random.Random("film").randbytes(3_000_000)
SHA = hashlib.sha256(FILM).hexdigest()
NODES = 4

CATALOGUES = [
    "sqlite",
    "chunkpaxos",
    pytest.param(
        "etcd", marks=pytest.mark.skipif(ETCD is None, reason="etcd is not installed (Debian)")
    ),
]


def admin(cluster: RealCluster, *words: str) -> dict:
    done = run("storage_server", "admin", *words, "--coordinator", cluster.coordinator, "--json")
    assert done.code in (0, 3), done  # 3: another coordinator keeps, or none yet
    return json.loads(done.out.splitlines()[-1])


@pytest.mark.parametrize("catalogue", CATALOGUES)
def test_a_film_is_put_played_repaired_and_removed(catalogue, tmp_path):
    cluster = RealCluster(tmp_path / "cluster")
    source, target = tmp_path / "film.bin", tmp_path / "back.bin"
    source.write_bytes(FILM)

    def get() -> str:
        done = cluster.client("get", "film", "-o", str(target), "--force")
        assert done.code == 0, done
        return hashlib.sha256(target.read_bytes()).hexdigest()

    try:
        several = () if catalogue == "sqlite" else ("--coordinators", "2")
        cluster.up(NODES, "--catalogue", catalogue, *several)
        put = ("put", str(source), "--redundancy", "rs:2+1", "--name")
        assert cluster.client(*put, "film").code == 0
        cluster.signal(0, signal.SIGSTOP)  # of ChunkPaxos one acceptor of three
        assert get() == SHA
        assert cluster.client(*put, "more").code == 0
        cluster.signal(0, signal.SIGCONT)
        assert cluster.storage_server("kill", "coordinator").code == 0
        if not several:  # else the other one goes on alone
            assert cluster.storage_server("start", "coordinator").code == 0
            cluster.refresh()
        cluster.signal(1, signal.SIGKILL)
        admin(cluster, "node", "lost", cluster.nodes[1]["id"])
        deadline_s = time.monotonic() + 120
        while True:
            keeper = admin(cluster, "keeper", "status")["keeper"]
            if keeper["done"].get("repair") and not keeper["groups_left"]:
                break
            assert time.monotonic() < deadline_s, keeper
            time.sleep(0.2)
        assert get() == SHA  # ChunkPaxos decides with two of three
        assert cluster.client("rm", "film", "--yes").code == 0
        listed = cluster.client("ls", "--names")
        assert listed.out.split() == ["more"]
    finally:
        cluster.down()
