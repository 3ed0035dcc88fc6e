"""What is particular to the catalogue that the nodes keep themselves, over real HTTP."""

import asyncio
import contextlib

import pytest

from storage_server.catalogue.contract import ABSENT, Entry, Unknown, Version
from storage_server.catalogue.errors import CatalogueUnavailable
from storage_server.catalogue.paxos import PaxosCatalogue
from storage_server.consensus.acceptor_log import AcceptorLog
from storage_server.consensus.events import Settings
from storage_server.consensus.messages import Config, Install, Member
from storage_server.node.disk import RealDisk
from support.paxos_nodes import DirectExchange, OwnPaxosCatalogue, running_nodes

QUICK = Settings(attempt_s=0.3, give_up_s=1.5)


@contextlib.asynccontextmanager
async def opened(urls, **settings):
    catalogue = PaxosCatalogue(urls, **settings)
    try:
        yield catalogue
    finally:
        await catalogue.close()
        # The nodes see the connections end before they are told to stop.
        await asyncio.sleep(0.02)


def urls_of(nodes) -> list[str]:
    return [node.running.url for node in nodes]


async def add_words(catalogue: PaxosCatalogue, name: str, times: int) -> None:
    """Append words to one register; what is ``Unknown`` is looked up before it is done again."""
    for i in range(times):
        word = b"%s%d " % (name.encode(), i)
        while True:
            entry = await catalogue.get("words")
            before, expected = (entry.value, entry.version) if entry else (b"", ABSENT)
            if word in before:
                break
            if isinstance(
                await catalogue.compare_and_set("words", expected, before + word), Version
            ):
                break


async def words(catalogue: PaxosCatalogue) -> list[bytes]:
    entry = await catalogue.get("words")
    return sorted(entry.value.split())


@pytest.mark.real
def test_two_processes_add_to_one_register_on_three_nodes_and_one_dies(tmp_path):
    async def scenario(nodes):
        urls = urls_of(nodes)
        async with opened(urls) as one, opened(urls) as two:
            await one.get("words")
            await asyncio.gather(add_words(one, "a", 15), add_words(two, "b", 15))
            assert len(await words(two)) == 30
            await asyncio.to_thread(nodes[0].stop)
            await asyncio.gather(add_words(one, "c", 10), add_words(two, "d", 10))
            found = await words(one)
            assert len(found) == len(set(found)) == 50, "a word is lost, or there twice"
            assert [entry.key for entry in await two.scan("w")] == ["words"]

    with running_nodes(tmp_path) as nodes:
        asyncio.run(scenario(nodes))


@pytest.mark.real
def test_nodes_that_come_back_elsewhere_still_hold_the_registers(tmp_path):
    async def write(urls):
        async with opened(urls) as catalogue:
            return await catalogue.compare_and_set("a", ABSENT, b"1")

    async def read(urls):
        async with opened(urls) as catalogue:
            return await catalogue.get("a")

    with running_nodes(tmp_path) as nodes:
        version = asyncio.run(write(urls_of(nodes)))
    with running_nodes(tmp_path) as nodes:
        assert asyncio.run(read(urls_of(nodes))) == Entry("a", b"1", version.number)


@pytest.mark.real
def test_other_nodes_take_over_and_the_old_ones_may_go(tmp_path):
    async def scenario(old, new):
        async with opened(urls_of(old)) as catalogue, opened(urls_of(old)) as bystander:
            version = await catalogue.compare_and_set("a", ABSENT, b"1")
            assert (await bystander.get("a")).value == b"1"
            config = await catalogue.change_members(urls_of(new))
            assert config.epoch == 2
            again = await catalogue.compare_and_set("a", version.number, b"2")
            assert (await bystander.get("a")) == Entry("a", b"2", again.number)
            for node in old:
                await asyncio.to_thread(node.stop)
            assert (await bystander.compare_and_set("a", again.number, b"3")).number == 3
        async with opened(urls_of(new)) as later:
            assert (await later.get("a")).value == b"3"

    with running_nodes(tmp_path / "old") as old, running_nodes(tmp_path / "new") as new:
        asyncio.run(scenario(old, new))


@pytest.mark.real
def test_a_node_answers_frames_only_and_only_of_a_sane_size(tmp_path):
    with running_nodes(tmp_path, 1) as (node,):
        assert node.ask("POST", "/v1/paxos", b"no frame").code == "BAD_REQUEST"
        assert node.ask("GET", "/v1/paxos").status == 405
        assert node.ask("POST", "/v1/paxos", b"x", Origin="http://page").status == 403


def run_direct(directory, use, **settings):
    """Acceptors without a network, which a test takes away and gives back."""

    async def scenario():
        own = OwnPaxosCatalogue(directory)
        exchange = DirectExchange(own.logs)
        catalogue = PaxosCatalogue(list(own.logs), make_exchange=lambda: exchange, **settings)
        try:
            await use(catalogue, exchange)
        finally:
            await catalogue.close()
            await own.close()

    asyncio.run(scenario())


def test_a_write_by_the_same_process_is_three_requests_and_three_replies(tmp_path):
    async def use(catalogue, exchange):
        first = await catalogue.compare_and_set("a", ABSENT, b"1")
        exchange.frames.clear()
        await catalogue.compare_and_set("a", first.number, b"2")
        assert [len(frame.requests) for frame in exchange.frames] == [1, 1, 1]

    run_direct(tmp_path, use)


def test_many_registers_travel_in_few_frames(tmp_path):
    async def use(catalogue, exchange):
        await catalogue.get("warm")
        exchange.frames.clear()
        writes = [(f"key/{i}", ABSENT, b"1") for i in range(200)]
        outcomes = await asyncio.gather(*(catalogue.compare_and_set(*each) for each in writes))
        assert all(isinstance(outcome, Version) for outcome in outcomes)
        assert len(exchange.frames) <= 3 * 6

    run_direct(tmp_path, use)


def test_without_a_majority_nothing_happens_and_it_says_so(tmp_path):
    async def use(catalogue, exchange):
        await catalogue.compare_and_set("a", ABSENT, b"1")
        gone = {url: exchange.logs[url] for url in ("acceptor:0", "acceptor:1")}
        exchange.logs = {"acceptor:2": exchange.logs["acceptor:2"]}
        with pytest.raises(CatalogueUnavailable):
            await catalogue.get("a")
        with pytest.raises(CatalogueUnavailable):
            await catalogue.compare_and_set("b", ABSENT, b"1")
        assert isinstance(await catalogue.compare_and_set("a", 1, b"2"), Unknown)
        exchange.logs.update(gone)
        assert (await catalogue.get("a")).value in (b"1", b"2")
        assert await catalogue.get("b") is None

    run_direct(tmp_path, use, settings=Settings(attempt_s=0.2, give_up_s=0.6))


def test_a_new_catalogue_is_not_begun_while_a_node_is_missing(tmp_path):
    async def use(catalogue, exchange):
        missing = exchange.logs
        exchange.logs = dict(list(missing.items())[:2])
        with pytest.raises(CatalogueUnavailable, match="2 of 3"):
            await catalogue.get("a")
        exchange.logs = missing
        assert await catalogue.get("a") is None

    run_direct(tmp_path, use)


def test_a_beginning_that_reached_one_node_only_is_finished(tmp_path):
    async def use(catalogue, exchange):
        members = tuple(Member(log.member_id, url) for url, log in exchange.logs.items())
        first = next(iter(exchange.logs.values()))
        first.commit([[Install(1, Config(1, members), ())]])
        assert isinstance(await catalogue.compare_and_set("a", ABSENT, b"1"), Version)

    run_direct(tmp_path, use, settings=QUICK)


def test_a_node_that_lost_its_disk_is_no_member_and_cannot_be_taken_for_one(tmp_path):
    async def use(catalogue, exchange):
        version = await catalogue.compare_and_set("a", ABSENT, b"1")
        (tmp_path / "wiped").mkdir()
        wiped = AcceptorLog(RealDisk(tmp_path / "wiped"))
        lost, exchange.logs["acceptor:0"] = exchange.logs["acceptor:0"], wiped
        again = await catalogue.compare_and_set("a", version.number, b"2")
        assert isinstance(again, Version)
        assert wiped.acceptor.config is None
        config = await catalogue.change_members(list(exchange.logs))
        assert wiped.member_id in config.ids
        assert lost.member_id not in config.ids
        assert wiped.acceptor.config == config
        assert (await catalogue.get("a")).value == b"2"
        wiped.close()

    run_direct(tmp_path, use, settings=QUICK)


def test_a_half_done_change_of_members_is_finished_by_whoever_needs_it(tmp_path):
    async def use(catalogue, exchange):
        version = await catalogue.compare_and_set("a", ABSENT, b"1")
        stranger = OwnPaxosCatalogue(tmp_path / "more")
        renamed = {url.replace(":", ":new"): log for url, log in stranger.logs.items()}
        old = dict(exchange.logs)
        exchange.logs = {**old, **renamed}

        class Dies(DirectExchange):
            async def ask(self, url, frame):
                installs = [each for each in frame.requests if isinstance(each, Install)]
                if any(each.config.epoch > 1 for each in installs):
                    raise asyncio.CancelledError
                return await super().ask(url, frame)

        dying = PaxosCatalogue(list(old), make_exchange=lambda: Dies(exchange.logs))
        with pytest.raises(asyncio.CancelledError):
            await dying.change_members(list(renamed))
        await dying.close()
        # The first try meets the epoch that ended; nobody knows, so it is read and done again.
        assert isinstance(await catalogue.compare_and_set("a", version.number, b"2"), Unknown)
        entry = await catalogue.get("a")
        assert isinstance(await catalogue.compare_and_set("a", entry.version, b"3"), Version)
        assert catalogue._driver.proposer.config.epoch == 2
        await stranger.close()

    (tmp_path / "more").mkdir()
    run_direct(tmp_path, use, settings=QUICK)
