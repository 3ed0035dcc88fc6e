"""Exactly how many one-way messages an operation takes, all members contacted, nothing lost."""

import pytest

from storage_server.consensus.events import Settings
from storage_server.consensus.messages import Key
from storage_server.consensus.values import CompareAndSet, Found, ReadKey, Written
from support.consensus_machine import NO_BUGS
from support.consensus_world import Weather, World

# operation -> messages with 3 and 5 members; an unacknowledged learn adds one for each member.
CHUNK_PAXOS = {"create": (6, 10), "again": (6, 10), "takeover": (12, 20), "read": (6, 10)}
STANDARD = {"create": (12, 20), "again": (12, 20), "takeover": (12, 20), "read": (6, 10)}


def count_messages(machines: int, settings: Settings) -> dict[str, int]:
    world = World(1, machines=machines, bugs=NO_BUGS, weather=Weather(), settings=settings)
    first, second = world.hosts
    key = first.proposer.mint()
    counts = {}

    def measure(name, host, operation, expected):
        before = world.messages
        call = host.do(operation)
        world.run_until(world.now_s + 1.0)
        counts[name] = world.messages - before
        assert isinstance(call.outcome, expected)

    measure("create", first, CompareAndSet(key, 0, b"1"), Written)
    measure("again", first, CompareAndSet(key, 1, b"2"), Written)
    measure("read", second, ReadKey(key), Found)
    measure("takeover", second, CompareAndSet(key, 2, b"3"), Written)
    return counts


@pytest.mark.parametrize("sends_learn", [False, True], ids=["learn off", "learn on"])
@pytest.mark.parametrize("chunk_paxos", [True, False], ids=["ChunkPaxos", "standard Paxos"])
@pytest.mark.parametrize("machines", [3, 5])
def test_an_operation_takes_exactly_so_many_messages(machines, chunk_paxos, sends_learn):
    expected = CHUNK_PAXOS if chunk_paxos else STANDARD
    learns = machines if sends_learn else 0
    settings = Settings(chunk_paxos=chunk_paxos, sends_learn=sends_learn)
    assert count_messages(machines, settings) == {
        name: counts[machines // 5] + (0 if name == "read" else learns)
        for name, counts in expected.items()
    }


def test_a_cold_takeover_costs_one_refused_prepare_more():
    world = World(1, machines=3, weather=Weather(), settings=Settings())
    # The lower process id: its first ballot is below the one the creator has ready.
    second, first = world.hosts
    key = first.proposer.mint()
    first.do(CompareAndSet(key, 0, b"1"))
    world.run_until(1.0)
    before = world.messages
    call = second.do(CompareAndSet(key, 1, b"2"))
    world.run_until(2.0)
    assert isinstance(call.outcome, Written)
    assert world.messages - before == 18


@pytest.mark.parametrize("chunk_paxos", [True, False], ids=["ChunkPaxos", "standard Paxos"])
def test_ten_writes_of_one_process_to_a_shared_key(chunk_paxos):
    world = World(1, machines=3, weather=Weather(), settings=Settings(chunk_paxos=chunk_paxos))
    host = world.hosts[0]
    for version in range(10):
        call = host.do(CompareAndSet(Key(b"", "shared"), version, b"%d" % version))
        world.run_until(world.now_s + 1.0)
        assert call.outcome == Written(version + 1)
    assert world.messages == (12 + 9 * 6 if chunk_paxos else 120)
