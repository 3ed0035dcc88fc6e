"""What the store does when the disk fails a write, a sync, or has no room."""

import errno

import pytest

from storage_server.node.errors import StoreFull, StoreReadOnly
from storage_server.node.group_commit import GroupCommit
from storage_server.node.store import Delete
from support.fragments import (
    SIZE,
    filled_disk,
    fragment,
    fragments,
    lost_keys,
    open_store,
)
from support.node_in_thread import NodeInThread
from support.simulated_disk import SimulatedDisk


def test_a_failed_sync_makes_the_store_read_only_until_the_next_start():
    disk, puts = filled_disk(2)
    store = open_store(disk)
    disk.fail_next("sync", errno.EIO)
    (outcome,) = store.commit([fragment(8)])
    assert isinstance(outcome, StoreReadOnly)
    assert "may or may not be stored" in outcome.hint
    syncs = disk.syncs
    for write in (fragment(9), Delete(puts[0].key)):  # it is never tried again
        (outcome,) = store.commit([write])
        assert isinstance(outcome, StoreReadOnly)
        assert "nothing was stored" in outcome.hint
    assert disk.syncs == syncs
    assert store.facts().status == "read-only"
    assert lost_keys(store, puts) == []
    assert open_store(disk).put(fragment(9)) is True


@pytest.mark.parametrize("operation", ["sync", "sync_folder"])
def test_a_file_that_may_exist_in_memory_only_is_not_built_on(operation):
    for seed in range(20):
        disk = SimulatedDisk(seed=seed)
        store = open_store(disk)
        disk.fail_next(operation, errno.EIO)
        (outcome,) = store.commit([fragment(1)])
        assert isinstance(outcome, StoreReadOnly)
        store = open_store(disk)  # another process on the same machine
        assert store.put(fragment(1)) is True
        disk.cut_power()
        store = open_store(disk)
        assert lost_keys(store, [fragment(1)]) == []
        assert store.damage == ()


def test_what_a_start_finds_stays_even_if_the_last_process_could_not_sync_its_cut():
    """No space in the middle of a write, then the cut fails: the disk may keep what was cut."""
    for seed in range(100):
        disk = SimulatedDisk(seed=seed)
        store = open_store(disk)
        store.put(fragment(1))
        disk.fail_next("write", errno.ENOSPC)
        disk.fail_next("sync", errno.EIO)
        store.commit([fragment(0), Delete(fragment(1).key)])
        found = open_store(disk).page(b"", 10)
        disk.cut_power()
        assert open_store(disk).page(b"", 10) == found, seed


def test_a_disk_that_fails_its_sync_at_start_is_served_read_only():
    disk, puts = filled_disk(2)
    disk.fail_next("sync", errno.EIO)
    store = open_store(disk)
    assert lost_keys(store, puts) == []
    assert store.facts().status == "read-only"
    with pytest.raises(StoreReadOnly):
        store.put(fragment(9))


def test_a_disk_without_space_refuses_and_loses_nothing():
    disk = SimulatedDisk(total_bytes=200_000)
    store = open_store(disk, superblock_bytes=1 << 30)
    outcomes = store.commit(fragments(60, SIZE))
    stored = outcomes.count(True)
    assert stored > 15
    assert all(isinstance(outcome, StoreFull) for outcome in outcomes if outcome is not True)
    again = open_store(disk)
    assert again.damage == ()
    assert len(lost_keys(again, fragments(60, SIZE))) == 60 - stored
    assert again.delete(fragment(0, SIZE).key) is True


def test_a_capacity_larger_than_the_disk_is_the_disk():
    store = open_store(SimulatedDisk(total_bytes=1 << 20), capacity_bytes=1 << 40)
    assert store.facts().capacity_bytes == 1 << 20
    assert store.facts().status == "ok"
    assert store.put(fragment(1)) is True


def test_space_reserved_in_vain_is_given_back():
    disk = SimulatedDisk(total_bytes=60_000_000)  # less than one step of reservation
    store = open_store(disk, capacity_bytes=60_000_000, superblock_bytes=1 << 30)
    assert store.put(fragment(1)) is True
    assert disk.free_bytes() > 59_900_000


@pytest.mark.real
def test_a_node_whose_disk_failed_says_so_and_goes_on_reading(tmp_path):
    disk, puts = filled_disk(2)
    store = open_store(disk)
    with NodeInThread(tmp_path) as node:

        async def use_the_failing_disk():
            node.running.node.store = store
            node.running.node.writer = GroupCommit(store)

        spare = node.running.node.writer
        node.call(use_the_failing_disk())
        disk.fail_next("sync", errno.EIO)
        for code in ("READ_ONLY", "READ_ONLY"):  # the one that failed, and all after it
            answer = node.put(fragment(9))
            assert (answer.status, answer.code) == (503, code)
        path = f"/v1/chunks/{puts[0].key.hex()}"
        assert node.ask("DELETE", path).status == 503
        assert node.get(puts[0]).body == puts[0].data
        health = node.ask("GET", "/healthz").json
        assert health["status"] == "read-only"
        assert "Input/output error" in health["read_only_reason"]
        assert b"evenflow_node_read_only 1" in node.ask("GET", "/metrics").body
        assert node.ask("GET", "/readyz").status == 200
        node.call(node.running.node.writer.close())
        node.running.node.writer = spare
