"""What a start finds in superblocks that were cut, flipped, swapped, filled with garbage."""

import errno
import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_server.node.errors import (
    FragmentTooLarge,
    StoreReadOnly,
    UnknownFormat,
    WrongNode,
)
from storage_server.node.store import Delete, Put
from storage_server.node.superblock import StoreIdentity
from storage_server.node.superblock_format import (
    FileHeader,
    RecordHeader,
    crc32c,
)
from storage_server.node.superblock_scan import DamageKind
from storage_server.node.superblock_store import SuperblockStore
from support.fragments import SIZE, SPACE, filled_disk, fragment, fragments, lost_keys, open_store
from support.simulated_disk import SimulatedDisk

FIRST = "sb-00000001.dat"
SECOND = "sb-00000002.dat"
HINT = "sb-00000001.hint"


def kinds(store):
    return [damage.kind for damage in store.damage]


def test_a_file_cut_anywhere_in_its_last_record_loses_that_record_only():
    for cut in range(1, SPACE, 61):
        disk, puts = filled_disk()
        del disk.content(FIRST)[4096 + 6 * SPACE - cut :]
        store = open_store(disk)
        padding = SPACE - 64 - SIZE - 16
        expected = [] if cut <= padding else [puts[-1].key]
        assert lost_keys(store, puts) == expected
        assert set(kinds(store)) <= {DamageKind.TORN}
        assert store.put(puts[-1]) is bool(expected)
        assert lost_keys(open_store(disk), puts) == []


@given(st.binary(min_size=1, max_size=20_000).filter(any))
@settings(max_examples=60, deadline=None)
def test_garbage_behind_the_last_record_is_cut_off(garbage):
    disk, puts = filled_disk(3)
    content = disk.content(FIRST)
    content[4096 + 3 * SPACE :] = garbage
    store = open_store(disk)
    assert lost_keys(store, puts) == []
    assert kinds(store) == [DamageKind.TORN]
    assert len(disk.content(FIRST)) == 4096 + 3 * SPACE
    assert open_store(disk).damage == ()


def test_reserved_zeros_behind_the_last_record_are_no_damage():
    disk, puts = filled_disk(3)
    assert len(disk.content(FIRST)) > 4096 + 3 * SPACE
    store = open_store(disk)
    assert store.damage == ()
    assert lost_keys(store, puts) == []


@given(st.integers(0, (4096 + 6 * SPACE) * 8 - 1))
@settings(max_examples=300, deadline=None)
def test_one_flipped_bit_costs_one_fragment_at_most_and_is_never_served(bit):
    disk, puts = filled_disk()
    disk.flip_bit(FIRST, bit)
    store = open_store(disk)
    lost = lost_keys(store, puts)
    place, offset = divmod(bit // 8 - 4096, SPACE)
    if bit // 8 < 4096:
        assert lost == []
        assert DamageKind.FILE_HEADER in kinds(store)
        assert store.put(fragment(99)) is True  # in a new superblock
        assert disk.names()[-1] == SECOND
    elif offset < 64 + SIZE + 16:
        assert lost == [puts[place].key]
        assert kinds(store) == [DamageKind.TORN if place == 5 else DamageKind.ROT]
        if offset >= 64:
            assert store.damage[0].keys == (puts[place].key,)
    else:
        assert lost == []
        assert store.damage == ()


def test_rot_is_reported_left_alone_and_the_fragment_can_be_stored_again():
    disk, puts = filled_disk()
    disk.flip_bit(FIRST, (4096 + 2 * SPACE + 3) * 8)
    before = bytes(disk.content(FIRST)[: 4096 + 6 * SPACE])
    store = open_store(disk)
    assert lost_keys(store, puts) == [puts[2].key]
    assert store.facts().status == "warn"
    assert store.put(puts[2]) is True
    again = open_store(disk)
    assert lost_keys(again, puts) == []
    assert kinds(again) == [DamageKind.ROT]
    assert bytes(disk.content(FIRST)[: 4096 + 6 * SPACE]) == before


def test_a_hole_in_a_synced_fragment_is_rot():
    disk, puts = filled_disk()
    start = 4096 + 3 * SPACE + 4096
    disk.content(FIRST)[start : start + 512] = bytes(512)
    store = open_store(disk)
    assert lost_keys(store, puts) == [puts[3].key]
    assert kinds(store) == [DamageKind.ROT]


def test_a_whole_record_of_zeros_in_the_middle_is_rot():
    disk, puts = filled_disk()
    start = 4096 + 3 * SPACE
    disk.content(FIRST)[start : start + SPACE] = bytes(SPACE)
    store = open_store(disk)
    assert lost_keys(store, puts) == [puts[3].key]
    assert kinds(store) == [DamageKind.ROT]


def test_a_gap_in_the_last_batch_may_be_unfinished_and_stays_so():
    disk, puts = filled_disk(4, at_once=True)
    start = 4096 + SPACE
    disk.content(FIRST)[start : start + 64] = bytes(64)
    store = open_store(disk)
    assert lost_keys(store, puts) == [puts[1].key]
    assert kinds(store) == [DamageKind.UNFINISHED]
    assert store.facts().status == "ok"
    store.commit(fragments(10, 10)[4:])  # later batches stand behind the gap now
    assert kinds(open_store(disk)) == [DamageKind.UNFINISHED]


def test_what_was_found_bad_stays_out_when_its_file_is_no_longer_the_newest():
    disk, puts = filled_disk(4)
    disk.flip_bit(FIRST, (4096 + SPACE + 100) * 8)  # in the data: later starts do not read it
    store = open_store(disk, superblock_bytes=64 * 1024)
    assert lost_keys(store, puts) == [puts[1].key]
    store.commit(fragments(40, SIZE)[4:])
    assert len(disk.names()) > 3
    again = open_store(disk, superblock_bytes=64 * 1024)
    assert lost_keys(again, puts) == [puts[1].key]
    assert again.damage[0].keys == (puts[1].key,)
    assert kinds(again) == [DamageKind.ROT]


def test_damage_that_cannot_be_noted_makes_the_store_read_only():
    disk, puts = filled_disk(4)
    disk.flip_bit(FIRST, (4096 + SPACE + 100) * 8)
    disk.fail_next("replace", errno.ENOSPC)
    store = open_store(disk)
    assert lost_keys(store, puts) == [puts[1].key]
    with pytest.raises(StoreReadOnly):
        store.put(fragment(9))
    assert open_store(disk).put(fragment(9)) is True


def test_a_lost_or_damaged_quarantine_list_does_not_stop_a_start():
    disk, _ = filled_disk(4)
    disk.content(FIRST)[4096:4160] = bytes(64)
    open_store(disk)
    for rubbish in (b"", b"\xff{", b"[]", b'{"damage": [{"file": 1}]}', b'{"damage": 3}'):
        disk.replace("quarantine.json", rubbish)
        assert kinds(open_store(disk)) == [DamageKind.ROT]


def test_a_stale_record_of_another_file_is_no_record():
    disk, puts = filled_disk(3)
    stale = fragment(77, 10)
    header = RecordHeader(stale.key, 10, 1000)
    content = disk.content(FIRST)
    start = 4096 + 3 * SPACE
    packed = header.pack(b"other fi") + stale.data + header.pack_footer(stale.data)
    content[start : start + len(packed)] = packed
    store = open_store(disk)
    assert not store.has(stale.key)
    assert lost_keys(store, puts) == []


def test_a_record_left_by_an_earlier_write_of_the_same_file_is_no_record():
    disk, puts = filled_disk(3)
    content = disk.content(FIRST)
    stale = bytes(content[4096 : 4096 + SPACE])
    start = 4096 + 3 * SPACE
    content[start : start + SPACE] = stale
    store = open_store(disk)
    assert kinds(store) == [DamageKind.TORN]
    assert lost_keys(store, puts) == []


def test_swapped_records_lose_what_is_out_of_order_and_serve_nothing_wrong():
    disk, puts = filled_disk()
    content = disk.content(FIRST)
    one, two = (slice(4096 + place * SPACE, 4096 + (place + 1) * SPACE) for place in (1, 4))
    content[one], content[two] = content[two], content[one]
    store = open_store(disk)
    assert lost_keys(store, puts) == [puts[place].key for place in (1, 2, 3)]
    assert store.damage


def test_a_fragment_that_looks_like_records_is_a_fragment():
    image = RecordHeader(fragment(5).key, 0, 500, is_tombstone=True)
    packed = image.pack(b"not this") + image.pack_footer(b"")
    data = bytes(4096 - 64) + packed * 8
    disk, _ = filled_disk(2)
    store = open_store(disk)
    inner = fragment(5)
    store.put(inner)
    outer = Put.verified(hashlib.sha256(data).digest(), data)
    store.put(outer)
    store.put(fragment(6))
    content = disk.content(FIRST)
    at = content.find(data) - 64
    content[at] ^= 1  # now a scan must look for the next record within the fragment
    store = open_store(disk)
    assert not store.has(outer.key)
    assert store.has(inner.key)
    assert store.has(fragment(6).key)


def test_superblocks_are_rotated_and_all_are_read_at_start():
    disk = SimulatedDisk()
    store = open_store(disk, superblock_bytes=64 * 1024)
    puts = fragments(50, SIZE)
    assert store.commit(puts) == [True] * 50
    store.delete(puts[0].key)
    superblocks = [name for name in disk.names() if name.endswith(".dat")]
    assert len(superblocks) == store.facts().superblocks == 8
    assert max(len(disk.content(name)) for name in superblocks) <= 64 * 1024
    before = store.facts()
    again = open_store(disk, superblock_bytes=64 * 1024)
    assert again.damage == ()
    assert lost_keys(again, puts) == [puts[0].key]
    assert again.facts() == before


def test_the_last_record_of_a_sealed_superblock_is_missed_when_it_is_gone():
    disk = SimulatedDisk()
    store = open_store(disk, superblock_bytes=64 * 1024)
    puts = fragments(8, SIZE)
    store.commit(puts)
    assert disk.names() == [FIRST, HINT, SECOND]
    disk.flip_bit(FIRST, (4096 + 6 * SPACE + 8) * 8)
    disk.remove(HINT)  # with the hint it would still be found, and be right
    again = open_store(disk, superblock_bytes=64 * 1024)
    assert lost_keys(again, puts) == [puts[6].key]
    assert kinds(again) == [DamageKind.ROT]


def test_a_fragment_larger_than_a_superblock_is_refused_and_others_are_stored():
    store = open_store(SimulatedDisk(), superblock_bytes=8192 + 4096)
    outcomes = store.commit([fragment(1), fragment(2, 20_000), fragment(3)])
    assert outcomes[0] is outcomes[2] is True
    assert isinstance(outcomes[1], FragmentTooLarge)


def test_an_empty_file_left_by_a_crash_is_removed():
    disk, puts = filled_disk(2)
    disk.create(SECOND)
    store = open_store(disk)
    assert disk.names() == [FIRST]
    assert lost_keys(store, puts) == []
    assert store.put(fragment(9)) is True


def test_a_superblock_of_another_node_stops_the_start():
    disk, _ = filled_disk(1)
    for other in (StoreIdentity("node-2", b"s" * 16), StoreIdentity("node-1", b"t" * 16)):
        with pytest.raises(WrongNode, match="belongs to node node-1"):
            SuperblockStore(disk, other)


def test_a_renamed_superblock_stops_the_start():
    disk, _ = filled_disk(1)
    content = bytes(disk.content(FIRST))
    disk.remove(FIRST)
    disk.replace("sb-00000007.dat", content)
    with pytest.raises(WrongNode, match="was once sb-00000001"):
        open_store(disk)


def test_a_superblock_of_a_later_version_stops_the_start_and_is_not_touched():
    disk, _ = filled_disk(1)
    content = disk.content(FIRST)
    header = bytearray(FileHeader(b"f" * 16, b"s" * 16, 1, "node-1").pack())
    header[8] = 2
    header[4092:] = crc32c(bytes(header[:4092])).to_bytes(4, "little")
    content[:4096] = header
    before = bytes(content)
    with pytest.raises(UnknownFormat):
        open_store(disk)
    assert bytes(disk.content(FIRST)) == before


def test_other_files_in_the_folder_are_left_alone():
    disk, puts = filled_disk(1)
    for name in ("sb-1.dat", "sb-00000000.dat", "sb-0000000x.dat", "notes.txt", "sb-²0000000.dat"):
        disk.replace(name, b"mine")
    assert lost_keys(open_store(disk), puts) == []


def test_many_deletes_and_puts_leave_the_same_store_after_a_start():
    rng = random.Random(7)
    disk = SimulatedDisk()
    store = open_store(disk, superblock_bytes=1 << 18)
    puts = fragments(40, 3000)
    for _ in range(60):
        batch = [put if rng.random() < 0.6 else Delete(put.key) for put in rng.sample(puts, 5)]
        store.commit(batch)
    before = store.facts()
    again = open_store(disk, superblock_bytes=1 << 18)
    assert again.page(b"", 100) == store.page(b"", 100)
    assert again.facts() == before
