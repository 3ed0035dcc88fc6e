"""Compaction: space comes back, nothing else does, and nothing goes."""

import asyncio
import errno
import gc
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_server.node.compaction import STEP_BYTES, choose_superblock
from storage_server.node.disk import RealDisk
from storage_server.node.errors import StoreFull, StoreReadOnly
from storage_server.node.flight import Copy
from storage_server.node.group_commit import GroupCommit
from storage_server.node.superblock_scan import DamageKind
from support.fragments import SIZE, fragment, fragments, lost_keys, open_store, stored_bytes
from support.inline_upkeep import CountedPay, compact_all
from support.simulated_disk import PowerCut, SimulatedDisk

PER_SUPERBLOCK = 7  # records of SIZE in superblocks of 64 KiB


def opened(disk):
    return open_store(disk, superblock_bytes=64 * 1024)


def full_store(count=30):
    """Return a store with four sealed superblocks and a fifth one begun."""
    disk = SimulatedDisk(seed=count)
    store = opened(disk)
    puts = fragments(count, SIZE)
    assert store.commit(puts) == [True] * count
    return disk, store, puts


def numbers(store):
    return [superblock.number for superblock in store.superblocks()]


def test_deleted_space_comes_back_and_the_rest_stays():
    disk, store, puts = full_store()
    gone = puts[:3] + puts[7:11]
    for put in gone:
        store.delete(put.key)
    before = store.facts()
    assert compact_all(store)[0] == 2  # the deadest first
    assert not {1, 2} & set(numbers(store))
    after = store.facts()
    assert after.used_bytes < before.used_bytes
    assert after.live_bytes == before.live_bytes
    assert not {"sb-00000001.dat", "sb-00000001.hint", "sb-00000002.dat"} & set(disk.names())
    again = opened(disk)
    assert again.facts() == after
    for each in (store, again):
        assert lost_keys(each, puts) == [put.key for put in gone]
        assert each.damage == ()


def test_what_is_not_dead_enough_is_left_alone():
    _, store, puts = full_store()
    for put in puts[:2]:  # 2 of 7 are 29 %
        store.delete(put.key)
    assert compact_all(store) == []
    store.delete(puts[2].key)
    assert compact_all(store) == [1]


def test_the_newest_superblock_is_never_compacted():
    _, store, puts = full_store()
    for put in puts:
        store.delete(put.key)
    newest = numbers(store)[-1]
    compact_all(store)
    assert numbers(store)[-1] == newest


def test_a_tombstone_stays_as_long_as_an_older_superblock_holds_the_fragment():
    disk, store, puts = full_store()
    store.delete(puts[0].key)  # its record stays: superblock 1 is not dead enough
    tombstone_in = numbers(store)[-1]
    filler = [fragment(number, SIZE) for number in range(100, 120)]
    store.commit(filler)
    for put in filler:
        store.delete(put.key)
    for put in puts[28:]:  # what else is in the superblock of the tombstone
        store.delete(put.key)
    assert tombstone_in in compact_all(store)
    assert 1 in numbers(store)
    again = opened(disk)
    assert not again.has(puts[0].key)
    assert lost_keys(again, puts) == [puts[0].key, puts[28].key, puts[29].key]


def test_a_tombstone_written_where_a_torn_tail_was_cut_off_is_kept_as_any_other():
    disk, store, puts = full_store()
    newest = disk.content(disk.names()[-1])
    stop = store.superblocks()[-1].stop
    newest[stop : stop + 6000] = b"x" * 6000  # a write that a crash cut short
    store = opened(disk)
    assert [damage.kind for damage in store.damage] == [DamageKind.TORN]
    store.delete(puts[0].key)  # lands where the torn tail was; its record is in superblock 1
    tombstone_in = numbers(store)[-1]
    filler = [fragment(number, SIZE) for number in range(100, 120)]
    store.commit(filler)
    for put in filler + puts[28:]:
        store.delete(put.key)
    assert tombstone_in in compact_all(store)
    assert 1 in numbers(store)
    assert not opened(disk).has(puts[0].key)


def test_tombstones_that_are_needed_are_not_copied_round_and_round():
    """Many superblocks of 29 % dead each: their tombstones fill others that are all dead."""
    _, store, puts = full_store(PER_SUPERBLOCK * 20)
    for number in range(20):
        for put in puts[number * PER_SUPERBLOCK :][:2]:
            store.delete(put.key)
    pay = CountedPay()
    compact_all(store, pay=pay)
    assert sum(pay.paid_bytes) < 60 * 4096
    assert lost_keys(store, puts) == [
        put.key for place, put in enumerate(puts) if place % PER_SUPERBLOCK < 2
    ]


def test_tombstones_go_when_nothing_needs_them():
    disk, store, puts = full_store(60)
    for put in puts:
        store.delete(put.key)
    store.commit(fragments(8, 50_000))  # so that the last tombstones are in a sealed superblock
    for put in fragments(8, 50_000):
        store.delete(put.key)
    store.commit([fragment(500, 50_000)])
    compact_all(store, dead_share_min=0.01)
    again = opened(disk)
    assert again.facts().fragments == 1
    assert again.facts().dead_bytes <= 10 * 4096
    assert len(numbers(again)) <= 2


def test_a_tombstone_never_comes_behind_a_fragment_that_was_stored_again():
    disk, store, puts = full_store()
    store.delete(puts[0].key)
    filler = fragments(40, SIZE)[30:]
    store.commit(filler)
    store.put(puts[0])  # again, in a later superblock than the tombstone
    for put in [*filler, *puts[28:]]:
        store.delete(put.key)
    compact_all(store)
    for each in (store, opened(disk)):
        assert stored_bytes(each, puts[0].key) == puts[0].data


def test_a_bad_fragment_is_not_copied_and_keeps_its_superblock_until_it_is_back():
    disk, store, puts = full_store()
    for put in puts[:3]:
        store.delete(put.key)
    disk.flip_bit("sb-00000001.dat", (4096 + 5 * 8192 + 200) * 8)
    assert compact_all(store) == []
    assert [bad.key for bad in store.bad()] == [puts[5].key]
    assert not store.has(puts[5].key)
    again = opened(disk)
    assert [bad.key for bad in again.bad()] == [puts[5].key]
    assert [damage.kind for damage in again.damage] == [DamageKind.ROT]
    assert lost_keys(again, puts[6:]) == []
    assert again.put(puts[5]) is True
    assert compact_all(again) == [1]
    assert again.damage == opened(disk).damage == ()


def test_a_full_disk_stops_compaction_and_loses_nothing():
    disk, store, puts = full_store()
    for put in puts[:4]:
        store.delete(put.key)
    disk.fail_next("allocate", errno.ENOSPC)
    disk.fail_next("write", errno.ENOSPC)
    with pytest.raises(StoreFull):
        compact_all(store)
    assert lost_keys(store, puts[4:]) == []
    assert compact_all(store) == [1]
    assert lost_keys(opened(disk), puts[4:]) == []


@pytest.mark.parametrize("operation", ["sync", "remove", "sync_folder"])
def test_a_failing_disk_stops_compaction_for_good(operation):
    disk, store, puts = full_store()
    for put in puts[:4]:
        store.delete(put.key)
    disk.fail_next(operation, errno.EIO)
    with pytest.raises(StoreReadOnly):
        compact_all(store)
    assert lost_keys(store, puts[4:]) == []
    assert store.facts().status == "read-only"
    disk.fail_nothing()
    again = opened(disk)
    assert lost_keys(again, puts) == [put.key for put in puts[:4]]


@given(st.integers(1, 60), st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_a_power_cut_at_any_step_of_a_compaction_loses_and_revives_nothing(steps, seed):
    disk, store, puts = full_store()
    disk._rng.seed(seed)
    gone = puts[:5] + puts[8:12] + puts[14:17]
    for put in gone:
        store.delete(put.key)
    disk.steps_until_stop = steps
    try:
        compact_all(store)
    except PowerCut:
        disk.cut_power()
    disk.fail_nothing()
    again = opened(disk)
    assert lost_keys(again, puts) == [put.key for put in gone]
    compact_all(again)
    assert lost_keys(opened(disk), puts) == [put.key for put in gone]


def test_what_is_written_is_paid_for_in_small_parts():
    disk = SimulatedDisk()
    store = open_store(disk, superblock_bytes=1 << 25)
    puts = fragments(40, 1_000_000)
    store.commit(puts)
    for put in puts[:12]:
        store.delete(put.key)
    pay = CountedPay()
    assert compact_all(store, pay=pay) == [1]
    assert sum(pay.paid_bytes) >= 20 * 1_000_000
    assert max(pay.paid_bytes) < STEP_BYTES + 1_100_000


def test_there_must_be_room_for_what_is_copied():
    _, store, puts = full_store()
    for put in puts[:3]:
        store.delete(put.key)
    superblocks = store.superblocks()
    live = superblocks[0].live_space_bytes

    def choose(free_bytes, is_blocked=False):
        return choose_superblock(
            superblocks, free_bytes=free_bytes, blocked=lambda each: is_blocked
        )

    assert choose(live) is None
    assert choose(live + 4096) is superblocks[0]
    assert choose(1 << 30, is_blocked=True) is None


def open_descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_who_reads_during_a_compaction_reads_on_and_lets_the_file_go(tmp_path):
    disk = RealDisk(tmp_path)
    store = open_store(disk, superblock_bytes=64 * 1024)
    puts = fragments(20, SIZE)
    store.commit(puts)
    found = store.find(puts[6].key)
    descriptor = found.descriptor
    for put in puts[:6]:
        store.delete(put.key)
    before = open_descriptors()
    assert compact_all(store) == [1]
    gc.collect()
    assert found.read(0, SIZE) == puts[6].data
    assert os.fstat(descriptor).st_nlink == 0
    del found
    assert open_descriptors() < before
    assert stored_bytes(store, puts[6].key) == puts[6].data
    store.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_what_changed_since_it_was_read_is_not_copied():
    disk, store, puts = full_store()
    place = store.location_of(puts[0].key)
    store.delete(puts[0].key)
    stale = Copy(puts[0].key, puts[0].data, place)
    mistaken = Copy(puts[1].key, b"", store.location_of(puts[1].key))
    used = store.facts().used_bytes
    store.relocate([stale, mistaken])
    assert store.facts().used_bytes == used
    for each in (store, opened(disk)):
        assert lost_keys(each, puts) == [puts[0].key]


def test_a_reader_that_looks_while_a_superblock_goes_finds_the_copy():
    _, store, puts = full_store()
    for put in puts[:4]:
        store.delete(put.key)

    class Meanwhile(dict):
        """The superblocks, of which one is compacted between a reader's two looks."""

        def get(self, number):
            holdings.superblocks = dict(self)
            compact_all(store)
            return holdings.superblocks.get(number)

    holdings = store._holdings
    holdings.superblocks = Meanwhile(holdings.superblocks)
    assert stored_bytes(store, puts[6].key) == puts[6].data
    assert 1 not in numbers(store)


def test_a_job_runs_alone_between_the_writes_around_it():
    async def scenario():
        _, store, _ = full_store()
        writer = GroupCommit(store)
        seen = []
        before = asyncio.create_task(writer.put(fragment(100)))
        await asyncio.sleep(0)

        def look():
            seen.append((store.has(fragment(100).key), store.has(fragment(101).key)))
            return "looked"

        job = asyncio.create_task(writer.run(look))
        await asyncio.sleep(0)
        after = asyncio.create_task(writer.put(fragment(101)))
        assert await asyncio.gather(before, job, after) == [True, "looked", True]
        assert seen == [(True, False)]
        with pytest.raises(StoreFull):
            await writer.run(lambda: (_ for _ in ()).throw(StoreFull("no room")))
        assert await writer.put(fragment(102)) is True
        await writer.close()

    asyncio.run(scenario())
