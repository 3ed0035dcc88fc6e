"""Two coordinators of one catalogue, real processes: one is killed, frozen, thawed; all goes on."""

import asyncio
import os
import signal
import time

import pytest

from redundancy.errors import EvenflowError
from smart_client.errors import Conflict
from smart_client.transport.coordinator import FIRST_TRY_S, CoordinatorClient
from storage_server.catalogue.watched import AGREEMENT_AGE_MAX_S
from support.real_cluster import RealCluster, run

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

# What a very busy machine may add to an answer.
SLACK_S = 8.0
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    made = RealCluster(tmp_path_factory.mktemp("cluster"))
    try:
        made.up(3, "--catalogue", "chunkpaxos", "--coordinators", "2")
        yield made
    finally:
        made.down()


def stored(cluster: RealCluster, tmp_path, name: str) -> bytes:
    content = os.urandom(300_000)
    path = tmp_path / name
    path.write_bytes(content)
    done = cluster.client("put", str(path), "--name", name, "--json")
    assert done.code == 0, done
    return content


def test_uploads_reads_and_deletions_outlive_either_coordinator(cluster, tmp_path):
    urls = cluster.coordinator.split(",")
    first, second = (each["pid"] for each in cluster.coordinators)
    content = stored(cluster, tmp_path, "one")

    async def names(*of: str) -> set[str]:
        async with CoordinatorClient(of) as client:
            return {video.name for video in await client.list_videos()}

    async def times_to_answer() -> list[float]:
        async with CoordinatorClient(urls) as client:
            found = []
            for _ in range(3):
                began_s = time.monotonic()
                await client.nodes()
                found.append(time.monotonic() - began_s)
            return found

    os.kill(first, signal.SIGSTOP)
    try:
        # The one that hangs costs a second, once.
        took_s, *later_s = asyncio.run(times_to_answer())
        assert FIRST_TRY_S <= took_s < FIRST_TRY_S + SLACK_S
        assert min(later_s) < FIRST_TRY_S
        other = stored(cluster, tmp_path, "two")
        for name, wanted in (("one", content), ("two", other)):
            target = tmp_path / f"{name}.back"
            assert cluster.client("get", name, "-o", str(target)).code == 0
            assert target.read_bytes() == wanted
    finally:
        os.kill(first, signal.SIGCONT)
    os.kill(second, signal.SIGKILL)
    assert cluster.client("rm", "two", "--yes").code == 0
    assert asyncio.run(names(*urls)) == {"one"}
    assert cluster.storage_server("start", "coordinator-2").code == 0
    cluster.refresh()
    assert asyncio.run(names(urls[1])) == {"one"}


async def keeping(urls: list[str]) -> list[bool]:
    """Whether each coordinator says that it keeps; one that does not answer keeps nothing."""

    async def ask(url: str) -> bool:
        async with CoordinatorClient([url], timeout_s=2.0) as client:
            try:
                return (await client.keeper()).is_keeper
            except EvenflowError:
                return False

    return list(await asyncio.gather(*map(ask, urls)))


def test_a_frozen_keeper_is_followed_by_the_other_and_there_are_never_two(cluster):
    urls = cluster.coordinator.split(",")
    pids = [each["pid"] for each in cluster.coordinators]

    def wait_until(wanted: list[bool] | int) -> list[bool]:
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            found = asyncio.run(keeping(urls))
            assert sum(found) <= 1, "two keepers"
            if wanted in (found, sum(found)):
                return found
            assert time.monotonic() < deadline_s, found
            time.sleep(0.3)

    holder = wait_until(1).index(True)
    os.kill(pids[holder], signal.SIGSTOP)
    try:
        wait_until([i != holder for i in range(2)])
    finally:
        os.kill(pids[holder], signal.SIGCONT)
    # It thaws and believes nothing any more: its lease ran out by its own clock.
    assert asyncio.run(keeping(urls))[holder] is False
    assert sum(asyncio.run(keeping(urls))) <= 1


def test_sqlite_is_for_one_coordinator_and_says_what_is_for_several(tmp_path):
    made = RealCluster(tmp_path / "cluster")
    done = made.storage_server("up", "--coordinators", "2")
    assert done.code == 2
    assert "chunkpaxos" in done.out + done.err


def administer(cluster: RealCluster, *words: str, where: str = ""):
    option = ("--coordinator", where or cluster.coordinator)
    return run("storage_server", *words, *option, "--json", home=cluster.directory)


def test_who_keeps_the_catalogue_is_part_of_every_answer(cluster):
    """All three nodes keep it: with two away nothing can be decided."""
    nodes = [node["id"] for node in cluster.nodes]
    alone = administer(cluster, "exposure", nodes[0])
    assert alone.json["catalogue"] == {"stops": False, "lost": False}
    both = administer(cluster, "exposure", *nodes[:2])
    assert both.code == 3
    assert both.json["catalogue"] == {"stops": True, "lost": True}

    async def remove() -> None:
        async with CoordinatorClient(cluster.coordinator.split(",")) as client:
            await client.remove_node(nodes[0])

    with pytest.raises(Conflict, match="one of 3 that keep the catalogue; nothing was changed"):
        asyncio.run(remove())
    cluster.signal(0, signal.SIGSTOP)
    try:
        time.sleep(AGREEMENT_AGE_MAX_S + 0.5)
        told = cluster.client("status", "--json")
        assert told.code == 3
        assert f"{nodes[0]} takes no part in keeping the catalogue" in told.json["verdict"]
        cluster.signal(1, signal.SIGSTOP)
        time.sleep(AGREEMENT_AGE_MAX_S + 0.5)
        told = cluster.client("status", "--json")
        assert told.code == 5
        assert "the catalogue has no majority" in told.json["verdict"]
        refused = cluster.client("ls")
        assert refused.code == 5
        assert "too few of the nodes that keep the catalogue answer" in refused.err
    finally:
        cluster.mend()


def test_repairs_are_asked_of_the_coordinator_that_keeps(cluster):
    urls = cluster.coordinator.split(",")
    for order in (urls, urls[::-1]):
        asked = administer(cluster, "admin", "keeper", "run", where=",".join(order))
        assert asked.code == 0, asked
        assert asked.json["keeper"]["is_keeper"]
