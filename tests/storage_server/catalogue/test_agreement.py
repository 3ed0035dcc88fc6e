"""What a coordinator tells of its decisions: facts, and the messages while somebody looks."""

import asyncio
import contextlib

import msgspec
import pytest

from smart_client.agreement import TRACE_EVENTS_MAX, TraceEvent
from smart_client.transport.coordinator import CoordinatorClient
from storage_server.agreement_trace import LISTENING_S, Trace
from storage_server.coordinator.config import CoordinatorConfig
from storage_server.coordinator.process import running_coordinator
from support.etcd_cluster import ETCD, running_etcd
from support.paxos_nodes import running_nodes, told


@contextlib.asynccontextmanager
async def coordinator_of(catalogue, directory):
    """A coordinator over a catalogue, and a client of it."""
    config = CoordinatorConfig(directory / "coordinator", catalogue=catalogue)
    async with (
        running_coordinator(config) as running,
        CoordinatorClient([running.url]) as client,
    ):
        yield running.coordinator, client


def url_of(node):
    return node.running.url


def states(found):
    return sorted(each.state for each in found.members)


async def write_twice(coordinator):
    """One decision, and one write that finds another version."""
    catalogue = coordinator.registers.catalogue
    await catalogue.compare_and_set("k", 0, b"first")
    await catalogue.compare_and_set("k", 0, b"second")


@pytest.mark.real
def test_with_sqlite_it_says_that_one_decides_alone(tmp_path):
    async def scenario():
        async with coordinator_of("sqlite", tmp_path) as (coordinator, client):
            before = await client.agreement()
            await write_twice(coordinator)
            after = await client.agreement()
            assert "alone" in after.summary
            assert [each.role for each in after.members] == ["alone"]
            assert (after.quorum, after.failures_survived) == (1, 0)
            assert after.decisions - before.decisions >= 1
            assert after.conflicts - before.conflicts == 1
            assert after.writing.count >= 2
            assert 0 < after.writing.p50 <= after.writing.max
            assert after.requests is None
            assert after.coordinator == coordinator.url

    asyncio.run(scenario())


@pytest.mark.real
def test_with_nodes_it_shows_members_rounds_and_every_message(tmp_path):
    async def scenario(nodes):
        urls = ",".join(map(url_of, nodes))
        async with coordinator_of(f"nodes:{urls}", tmp_path) as (coordinator, client):
            start = await client.agreement_trace()
            await write_twice(coordinator)
            trace = await client.agreement_trace(start.next)
            of_key = [each for each in trace.events if each.key == "k"]
            kinds = [(each.kind, each.what) for each in of_key]
            # The first write of a shared key prepares: three prepares, three accepts.
            accepts = kinds.count(("request", "accept"))
            assert accepts >= 3
            assert accepts % 3 == 0  # more on a machine so busy that an attempt is made again
            assert kinds.count(("outcome", "decided")) == 1
            assert kinds.count(("outcome", "conflict")) == 1
            assert ("reply", "promise") in kinds
            assert [each.seq for each in trace.events] == list(range(start.next, trace.next))
            assert {each.member for each in of_key if each.kind == "request"} == {
                url_of(node) for node in nodes
            }
            found = await client.agreement()
            assert (found.quorum, found.failures_survived, found.epoch) == (2, 1, 1)
            assert found.fast_rounds + found.slow_rounds == found.decisions
            assert found.requests_per_decision >= 3.0
            assert found.attempts_failed or found.requests_per_decision <= 6.0
            nodes[0].stop()
            await told(client.agreement, lambda found: states(found) == ["silent", "up", "up"])

    with running_nodes(tmp_path) as nodes:
        asyncio.run(scenario(nodes))


@pytest.mark.real
@pytest.mark.skipif(ETCD is None, reason="etcd is not installed (Debian: etcd-server)")
def test_with_etcd_it_names_the_leader_and_its_term(tmp_path):
    async def scenario(cluster):
        endpoints = ",".join(cluster.endpoints)
        async with coordinator_of(f"etcd:{endpoints}", tmp_path) as (_, client):
            found = await client.agreement()
            assert sorted(each.role for each in found.members) == ["follower", "follower", "leader"]
            assert found.epoch == found.members[0].facts["term"]
            assert found.failures_survived == 1
            cluster.freeze(1)
            found = await told(client.agreement, lambda found: found.failures_survived == 0)
            assert found.members[1].state == "silent"
            cluster.thaw(1)

    with running_etcd(tmp_path) as cluster:
        asyncio.run(scenario(cluster))


class Clock:
    now_s = 0.0

    def __call__(self):
        return self.now_s


def read(trace, after=None, **settings):
    return asyncio.run(trace.read(after, **settings))


def test_nothing_is_noted_until_somebody_reads_and_nothing_after_he_left():
    clock = Clock()
    trace = Trace(clock=clock)
    assert not trace.is_wanted
    assert read(trace).next == 1
    assert trace.is_wanted
    trace.note("outcome", "decided", key="k")
    assert [each.what for each in read(trace, 1).events] == ["decided"]
    clock.now_s = LISTENING_S + 1
    assert not trace.is_wanted
    assert read(trace, 1).events == ()


def test_a_slow_reader_learns_how_much_it_missed():
    trace = Trace(kept=4)
    read(trace)
    for i in range(10):
        trace.note("outcome", "decided", key=str(i))
    found = read(trace, 1)
    assert [each.key for each in found.events] == ["6", "7", "8", "9"]
    assert (found.missed, found.next) == (6, 11)


def test_a_reader_of_a_coordinator_before_this_one_begins_anew():
    trace = Trace()
    assert (read(trace, 1000).events, read(trace, 1000).next) == ((), 1)


def test_an_answer_has_so_many_events_at_most():
    trace = Trace()
    read(trace)
    for _ in range(TRACE_EVENTS_MAX + 5):
        trace.note("outcome", "decided")
    first = read(trace, 1, limit=10_000_000)
    assert len(first.events) == TRACE_EVENTS_MAX
    assert len(read(trace, first.next).events) == 5


def test_a_reader_waits_for_news_and_gets_it_at_once():
    async def scenario():
        trace = Trace()
        start = await trace.read(None)
        waiting = asyncio.create_task(trace.read(start.next, wait_s=30.0))
        await asyncio.sleep(0)
        trace.note("outcome", "decided")
        async with asyncio.timeout(5.0):
            assert len((await waiting).events) == 1

    asyncio.run(scenario())


@pytest.mark.real
@pytest.mark.parametrize("query", ["after=x", "after=-1", "wait=1e3", "limit=-5"])
def test_a_question_that_makes_no_sense_is_refused(tmp_path, query):
    async def scenario():
        async with coordinator_of("sqlite", tmp_path) as (_, client):
            answer = await client._http.get(f"{client._urls[0]}/v1/consensus/trace?{query}")
            assert answer.status_code == 400

    asyncio.run(scenario())


def test_events_travel_without_what_they_do_not_say():
    event = TraceEvent(seq=1, at_s=2.0, kind="reply", what="nack")
    assert msgspec.json.decode(msgspec.json.encode(event)) == {
        "seq": 1,
        "at_s": 2.0,
        "kind": "reply",
        "what": "nack",
    }
