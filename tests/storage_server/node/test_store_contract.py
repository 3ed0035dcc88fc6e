"""One contract for every store of fragments."""

import hashlib

import pytest

from storage_server.node.disk import RealDisk
from storage_server.node.errors import FragmentMissing, FragmentTooLarge, HashMismatch, StoreFull
from storage_server.node.memory_store import MemoryChunkStore
from storage_server.node.store import Delete, Put
from storage_server.node.superblock_format import FRAGMENT_BYTES_MAX
from storage_server.node.superblock_store import SuperblockStore
from support.fragments import IDENTITY, fragment, fragments, stored_bytes
from support.simulated_disk import SimulatedDisk


@pytest.fixture(params=["memory", "superblock", "superblock on a simulated disk"])
def make_store(request, tmp_path):
    stores = []

    def make(capacity_bytes=1 << 26):
        if request.param == "memory":
            stores.append(MemoryChunkStore(capacity_bytes))
        else:
            disk = RealDisk(tmp_path) if request.param == "superblock" else SimulatedDisk()
            stores.append(
                SuperblockStore(
                    disk, IDENTITY, capacity_bytes=capacity_bytes, superblock_bytes=1 << 23
                )
            )
        return stores[-1]

    yield make
    for store in stores:
        store.close()


@pytest.fixture
def store(make_store):
    return make_store()


def test_a_stored_fragment_reads_back_unchanged(store):
    for size in (1, 4016, 4017, 100_000, FRAGMENT_BYTES_MAX):
        put = fragment(1, size)
        assert store.put(put) is True
        assert stored_bytes(store, put.key) == put.data


def test_any_part_of_a_fragment_can_be_read(store):
    put = fragment(1, 10_000)
    store.put(put)
    found = store.find(put.key)
    for start, stop in ((0, 1), (9_999, 10_000), (5, 5), (4_095, 4_097), (0, 10_000)):
        assert found.read(start, stop) == put.data[start:stop]
    assert found.length_bytes == 10_000


def test_reading_past_the_end_gives_no_byte_of_a_neighbour(store):
    put, neighbour = fragments(2)
    store.commit([put, neighbour])
    assert store.find(put.key).read(90, 5_000) == put.data[90:]


def test_a_second_put_of_the_same_fragment_changes_nothing(store):
    put = fragment(1)
    assert store.put(put) is True
    used = store.facts().used_bytes
    assert store.put(put) is False
    assert store.facts().used_bytes == used


def test_the_same_fragment_a_hundred_times_at_once_is_stored_once(store):
    put = fragment(1)
    assert store.commit([put] * 100) == [True] + [False] * 99
    assert store.facts().fragments == 1


def test_a_deleted_fragment_is_gone_and_may_come_back(store):
    put = fragment(1)
    store.put(put)
    assert store.delete(put.key) is True
    assert not store.has(put.key)
    with pytest.raises(FragmentMissing):
        store.find(put.key)
    assert store.put(put) is True
    assert stored_bytes(store, put.key) == put.data


def test_deleting_what_is_not_there_changes_nothing(store):
    assert store.delete(fragment(1).key) is False


def test_writes_of_one_commit_happen_in_order(store):
    one, two = fragments(2)
    outcomes = store.commit([one, Delete(one.key), one, Delete(two.key), two, Delete(two.key)])
    assert outcomes == [True, True, True, False, True, True]
    assert store.has(one.key)
    assert not store.has(two.key)


def test_an_empty_commit_is_nothing(store):
    assert store.commit([]) == []


def test_keys_are_listed_in_order_page_by_page(store):
    puts = fragments(600, 10)
    store.commit(puts)
    store.delete(puts[17].key)
    expected = sorted((put.key, 10) for put in puts if put is not puts[17])
    listed, after = [], b""
    while page := store.page(after, 50):
        assert len(page) <= 50
        listed += page
        after = page[-1][0]
    assert listed == expected


def test_listing_goes_on_behind_a_key_that_is_not_stored(store):
    puts = sorted(fragments(20), key=lambda put: put.key)
    store.commit(puts[:10] + puts[11:])
    assert [key for key, _ in store.page(puts[10].key, 100)] == [put.key for put in puts[11:]]
    assert store.page(b"\xff" * 32, 10) == []


def test_a_full_store_refuses_fragments_but_reads_and_deletes(make_store):
    store = make_store(capacity_bytes=1 << 20)
    outcomes = store.commit(fragments(40, 50_000))
    stored = [outcome for outcome in outcomes if outcome is True]
    assert 10 <= len(stored) <= 20
    assert all(isinstance(outcome, StoreFull) for outcome in outcomes[len(stored) :])
    with pytest.raises(StoreFull):
        store.put(fragment(99, 50_000))
    assert store.facts().fullness > 0.9
    first = fragment(0, 50_000)
    assert stored_bytes(store, first.key) == first.data
    assert store.put(first) is False
    assert store.delete(first.key) is True


def test_facts_count_what_is_stored(store):
    puts = fragments(5, 1000)
    store.commit(puts)
    store.delete(puts[0].key)
    facts = store.facts()
    assert facts.fragments == 4
    assert facts.live_bytes == 4000
    assert facts.status == "ok"
    assert facts.used_bytes + facts.free_bytes <= facts.capacity_bytes


def test_bytes_under_another_key_are_refused():
    with pytest.raises(HashMismatch):
        Put.verified(hashlib.sha256(b"a").digest(), b"b")


@pytest.mark.parametrize("size", [0, FRAGMENT_BYTES_MAX + 1])
def test_what_cannot_be_a_fragment_is_refused(size):
    data = bytes(size)
    with pytest.raises(FragmentTooLarge):
        Put.verified(hashlib.sha256(data).digest(), data)
