"""The etcd catalogue against a real cluster of three: contract, failover, lost answers."""

import asyncio
import contextlib
import inspect
from importlib import util
from pathlib import Path

import httpx
import pytest

from storage_server.catalogue.contract import ABSENT, Conflict, Unknown, Version, Write
from storage_server.catalogue.errors import CatalogueDamaged, CatalogueUnavailable
from storage_server.catalogue.etcd import EtcdCatalogue
from support.catalogue_kinds import CatalogueKind
from support.etcd_cluster import ETCD, running_etcd

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(ETCD is None, reason="etcd is not installed (Debian: etcd-server)"),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with running_etcd(tmp_path_factory.mktemp("etcd")) as cluster:
        yield cluster


@contextlib.asynccontextmanager
async def opened(endpoints, **settings):
    catalogue = EtcdCatalogue(endpoints, **settings)
    try:
        yield catalogue
    finally:
        await catalogue.close()


def test_many_writes_go_in_one_request_and_each_is_answered_on_its_own(cluster):
    cluster.empty()

    async def scenario():
        async with opened(cluster.endpoints) as catalogue:
            taken = await catalogue.compare_and_set("k/7", ABSENT, b"taken")
            writes = [Write(f"k/{i}", ABSENT, b"%d" % i) for i in range(128)]
            outcomes = await catalogue.batch(writes)
            assert isinstance(outcomes[7], Conflict)
            assert outcomes[7].entry.version == taken.number
            assert all(isinstance(each, Version) for i, each in enumerate(outcomes) if i != 7)
            assert len({each.number for each in outcomes if isinstance(each, Version)}) == 2
            assert len(await catalogue.scan("k/")) == 128

    asyncio.run(scenario())


def test_a_write_whose_answer_was_lost_is_recognised(cluster, monkeypatch):
    cluster.empty()
    post = httpx.AsyncClient.post

    async def scenario():
        async with opened(cluster.endpoints) as catalogue:

            async def loses_answer(self, url, **words):
                response = await post(self, url, **words)
                if url.endswith("txn"):
                    raise httpx.ReadTimeout("lost")
                return response

            monkeypatch.setattr(httpx.AsyncClient, "post", loses_answer)
            outcome = await catalogue.compare_and_set("a", ABSENT, b"1")
            entry = await catalogue.get("a")
            assert outcome == Version(entry.version)

            async def loses_request(self, url, **words):
                if url.endswith("txn"):
                    raise httpx.ReadTimeout("lost")
                return await post(self, url, **words)

            monkeypatch.setattr(httpx.AsyncClient, "post", loses_request)
            outcome = await catalogue.compare_and_set("a", entry.version, b"2")
            assert isinstance(outcome, Unknown)

    asyncio.run(scenario())


def test_what_another_program_wrote_is_not_taken_for_a_register(cluster):
    async def scenario():
        async with opened(cluster.endpoints) as catalogue, httpx.AsyncClient() as client:
            body = {"key": "ZXZlbmZsb3cvcmVnaXN0ZXIvYg==", "value": "eA=="}
            await client.post(cluster.endpoints[0] + "/v3/kv/put", json=body)
            with pytest.raises(CatalogueDamaged):
                await catalogue.get("b")

    asyncio.run(scenario())


def test_nobody_there_is_an_error_and_nothing_happened():
    async def scenario():
        async with opened(["http://127.0.0.1:1", "http://127.0.0.1:2"]) as catalogue:
            with pytest.raises(CatalogueUnavailable):
                await catalogue.get("a")
            with pytest.raises(CatalogueUnavailable):
                await catalogue.compare_and_set("a", ABSENT, b"1")

    asyncio.run(scenario())


# Two hundred increments, each synced by three members, take longer than all else together; that
# one of two who create a register wins is among the others.
TOO_LONG = "test_of_concurrent_writers_of_one_register_each_increment_counts_once"


def contract_tests():
    """The contract's own tests of one kind, but for those that need a directory."""
    path = Path(__file__).with_name("test_contract.py")
    spec = util.spec_from_file_location("catalogue_contract_for_etcd", path)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {
        name: test
        for name, test in vars(module).items()
        if name.startswith("test_")
        and name != TOO_LONG
        and list(inspect.signature(test).parameters) == ["kind"]
    }


CONTRACT = contract_tests()


@pytest.mark.parametrize("name", CONTRACT)
def test_it_keeps_the_contract(cluster, name):
    def make(_):
        cluster.empty()
        return EtcdCatalogue(cluster.endpoints)

    CONTRACT[name](CatalogueKind("etcd", make, is_durable=False))


async def read(catalogue):
    for _ in range(20):
        with contextlib.suppress(CatalogueUnavailable):
            return await catalogue.get("n")
    raise AssertionError("no member answers")


async def write_surely(catalogue, version, value) -> int:
    """Write a register nobody else writes; what is ``Unknown`` is looked up first."""
    while True:
        outcome = await catalogue.compare_and_set("n", version, value)
        if isinstance(outcome, Version):
            return outcome.number
        entry = await read(catalogue)
        version = entry.version if entry else ABSENT
        if entry is not None and entry.value == value:
            return version


def test_when_members_freeze_and_die_the_others_go_on(tmp_path):
    async def scenario(cluster):
        faults = {
            5: lambda: cluster.freeze(0),
            15: lambda: cluster.thaw(0),
            20: lambda: cluster.kill(1),
        }
        async with opened(cluster.endpoints, timeout_s=1.0) as catalogue:
            version = ABSENT
            for i in range(30):
                faults.get(i, lambda: None)()
                version = await write_surely(catalogue, version, b"%d" % i)
            assert (await read(catalogue)).value == b"29"

    with running_etcd(tmp_path) as cluster:
        asyncio.run(scenario(cluster))
