"""The newest superblock gives its space back too, once much of it is dead."""

import asyncio

import pytest

from storage_server.node.compaction import Compactor
from storage_server.node.config import UpkeepLimits
from support.fragments import SIZE, fragment, fragments, lost_keys, open_store
from support.inline_upkeep import CountedPay, InlineWriter, compact_all
from support.node_in_thread import NodeInThread, wait_until
from support.simulated_disk import SimulatedDisk

BUSY_UPKEEP = UpkeepLimits(compact_bytes_per_s=1e9, poll_s=0.02)


def release_newest(store) -> bool:
    return asyncio.run(Compactor(store, InlineWriter(), CountedPay()).release_newest())


def test_it_is_sealed_when_it_is_dead_enough_and_then_compacted():
    disk = SimulatedDisk()
    store = open_store(disk, superblock_bytes=256 * 1024)
    puts = fragments(10, SIZE)
    store.commit(puts)
    gone = puts[:4]
    for put in gone[:2]:
        store.delete(put.key)
    assert not release_newest(store)
    for put in gone[2:]:
        store.delete(put.key)
    assert release_newest(store)
    assert not release_newest(store), "the new one is empty"
    used_bytes = store.facts().used_bytes
    assert compact_all(store) == [1]
    assert store.facts().used_bytes < used_bytes
    for each in (store, open_store(disk, superblock_bytes=256 * 1024)):
        assert lost_keys(each, puts) == [put.key for put in gone]


def test_a_few_deletes_begin_no_new_file():
    store = open_store(SimulatedDisk(), superblock_bytes=1 << 23)
    put = fragment(1, SIZE)
    store.put(put)
    store.delete(put.key)  # all of it is dead, and that is next to nothing
    assert not release_newest(store)


@pytest.mark.real
def test_a_running_node_gives_the_space_of_deleted_fragments_back(tmp_path):
    puts = fragments(10, SIZE)
    with NodeInThread(tmp_path, upkeep=BUSY_UPKEEP, superblock_bytes=256 * 1024) as node:
        for put in puts:
            node.put(put)
        before = node.ask("GET", "/healthz").json["used_bytes"]
        for put in puts[:8]:
            node.ask("DELETE", f"/v1/chunks/{put.key.hex()}")
        wait_until(lambda: not (tmp_path / "sb-00000001.dat").exists())
        wait_until(lambda: node.ask("GET", "/healthz").json["used_bytes"] < before / 2)
        for put in puts[8:]:
            assert node.get(put).body == put.data
