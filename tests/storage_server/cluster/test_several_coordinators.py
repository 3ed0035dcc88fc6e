"""Two coordinators of one catalogue, real processes: one is killed, frozen, thawed; all goes on."""

import json
import os
import signal
import time

import pytest

from support.real_cluster import RealCluster, run

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

# A hanging coordinator costs one second (``FIRST_TRY_S``) a connection; the rest is a slow machine.
BOUND_S = 20.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = RealCluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.up(4, "--catalogue", "chunkpaxos", "--coordinators", "2")
        yield made
    finally:
        made.down()


def admin(cluster: RealCluster, *words: str) -> dict:
    done = run("storage_server", "admin", *words, "--coordinator", cluster.coordinator, "--json")
    assert done.code == 0, done
    return json.loads(done.out.splitlines()[-1])


def keepers(cluster: RealCluster) -> list[bool]:
    """Whether each coordinator says that it keeps."""
    found = []
    for url in cluster.coordinator.split(","):
        status = run("storage_server", "admin", "keeper", "status", "--coordinator", url, "--json")
        found.append(status.code == 0 and "true" in status.out.partition("is_keeper")[2][:8])
    return found


def stored(cluster: RealCluster, tmp_path, name: str) -> bytes:
    content = os.urandom(300_000)
    path = tmp_path / name
    path.write_bytes(content)
    done = cluster.client("put", str(path), "--name", name, "--json")
    assert done.code == 0, done
    return content


def test_uploads_reads_and_deletions_outlive_either_coordinator(cluster, tmp_path):
    first, second = (each["pid"] for each in cluster.coordinators)
    content = stored(cluster, tmp_path, "one")
    os.kill(first, signal.SIGSTOP)
    try:
        began_s = time.monotonic()
        other = stored(cluster, tmp_path, "two")
        for name, wanted in (("one", content), ("two", other)):
            target = tmp_path / f"{name}.back"
            assert cluster.client("get", name, "-o", str(target)).code == 0
            assert target.read_bytes() == wanted
        assert {each["state"] for each in admin(cluster, "node", "list")["nodes"]} == {"up"}
        assert time.monotonic() - began_s < 4 * BOUND_S
    finally:
        os.kill(first, signal.SIGCONT)
    os.kill(second, signal.SIGKILL)
    assert cluster.client("rm", "two", "--yes").code == 0
    listed = cluster.client("ls", "--json")
    assert "one" in listed.out
    assert '"two"' not in listed.out
    assert cluster.storage_server("start", "coordinator-2").code == 0
    listed = cluster.client("ls", "--json", where=cluster.coordinator.split(",")[1])
    assert "one" in listed.out
    assert '"two"' not in listed.out


def test_a_frozen_keeper_is_followed_by_the_other_and_never_keeps_again_by_itself(cluster):
    deadline_s = time.monotonic() + 60
    while sum(keepers(cluster)) != 1:
        assert time.monotonic() < deadline_s
    holder = keepers(cluster).index(True)
    cluster.refresh()
    pid = cluster.coordinators[holder]["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        url = cluster.coordinator.split(",")[1 - holder]
        while True:
            said = run(
                "storage_server", "admin", "keeper", "status", "--coordinator", url, "--json"
            )
            if "true" in said.out.partition("is_keeper")[2][:8]:
                break
            assert time.monotonic() < deadline_s + 60
    finally:
        os.kill(pid, signal.SIGCONT)
    assert keepers(cluster).count(True) == 1
    assert keepers(cluster)[holder] is False


def test_sqlite_is_for_one_coordinator_and_says_what_is_for_several(tmp_path):
    made = RealCluster(tmp_path / "cluster")
    done = made.storage_server("up", "--coordinators", "2")
    assert done.code == 2
    assert "chunkpaxos" in done.out + done.err
