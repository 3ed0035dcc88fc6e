"""Hint files: a start that reads them finds what a start that reads everything finds."""

import errno
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_server.node.record_log import TOMBSTONE_BIT, InvalidHint, RecordLog
from storage_server.node.store import Delete
from storage_server.node.superblock_format import RecordHeader, crc32c
from support.fragments import SIZE, fragment, fragments, lost_keys, open_store
from support.simulated_disk import PowerCut, SimulatedDisk

FIRST, HINT = "sb-00000001.dat", "sb-00000001.hint"
TAG = b"tag-tag-"


def opened(disk):
    return open_store(disk, superblock_bytes=64 * 1024)


def busy_disk(seed=7):
    """Return a disk with some superblocks, full of puts, deletes and puts again."""
    rng = random.Random(seed)
    disk = SimulatedDisk(seed=seed)
    store = opened(disk)
    puts = fragments(30, 3000)
    for _ in range(40):
        store.commit(
            [put if rng.random() < 0.6 else Delete(put.key) for put in rng.sample(puts, 5)]
        )
    return disk, store


def hints(disk):
    return [name for name in disk.names() if name.endswith(".hint")]


class CountingDisk(SimulatedDisk):
    """Counts how often its files are read."""

    def __init__(self):
        super().__init__()
        self.reads = 0

    def _step(self, operation):
        self.reads += operation == "read"
        super()._step(operation)


def test_a_start_by_hints_does_not_look_at_the_records():
    disk = CountingDisk()
    opened(disk).commit(fragments(100, 3000))  # 15 in a superblock
    assert len(hints(disk)) == 6
    opened(disk)  # from now on all starts find the same
    reads = []
    for _ in range(2):
        before = disk.reads
        opened(disk)
        reads.append(disk.reads - before)
        for name in hints(disk):
            disk.remove(name)
    assert reads[1] - reads[0] >= 6 * 15 * 2 - 6


def test_with_hints_or_without_a_start_finds_the_same():
    for seed in range(5):
        disk, store = busy_disk(seed)
        assert len(hints(disk)) >= 3
        facts = store.facts()
        with_hints = opened(disk)
        assert with_hints.facts() == facts
        for name in hints(disk):
            disk.remove(name)
        without = opened(disk)
        assert with_hints.page(b"", 100) == without.page(b"", 100) == store.page(b"", 100)
        assert without.facts() == facts
        assert len(hints(disk)) >= 3  # they were made again


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_damaged_hint_is_thrown_away(data):
    disk, store = busy_disk()
    for name in hints(disk):
        content = disk.content(name)
        how = data.draw(st.sampled_from(["flip", "cut", "grow", "rubbish", "empty"]))
        if how == "flip":
            disk.flip_bit(name, data.draw(st.integers(0, len(content) * 8 - 1)))
        elif how == "cut":
            del content[data.draw(st.integers(0, len(content) - 1)) :]
        elif how == "grow":
            content += bytes(48)
        else:
            content[:] = b"rubbish" * 100 if how == "rubbish" else b""
    again = opened(disk)
    assert again.page(b"", 100) == store.page(b"", 100)
    assert again.damage == ()


def test_a_hint_of_another_superblock_is_thrown_away():
    disk = SimulatedDisk()
    store = opened(disk)
    store.commit(fragments(40, SIZE))  # all superblocks have the same size
    one, two, *_ = hints(disk)
    content, other = disk.content(one), disk.content(two)
    content[:], other[:] = bytes(other), bytes(content)
    assert lost_keys(opened(disk), fragments(40, SIZE)) == []


def test_a_hint_without_its_superblock_is_removed():
    disk, _ = busy_disk()
    disk.replace("sb-00000099.hint", b"left over")
    disk.replace("sb-00000001.hint.new", b"never finished")
    opened(disk)
    assert not {"sb-00000099.hint", "sb-00000001.hint.new"} & set(disk.names())


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_a_hint_that_cannot_be_written_stops_nothing(error):
    disk = SimulatedDisk()
    store = opened(disk)
    puts = fragments(13, SIZE)
    store.commit(puts[:6])
    disk.fail_next("replace", error)
    assert store.commit(puts[6:]) == [True] * 7
    assert hints(disk) == []
    assert lost_keys(opened(disk), puts) == []
    assert hints(disk) == [HINT]


def test_a_hint_from_before_its_superblock_was_written_again_is_thrown_away():
    """The second file is lost in a crash, so the first takes more; its next hint fails too."""
    disk = SimulatedDisk()
    store = opened(disk)
    puts = [*fragments(3, SIZE), fragment(9, 50_000), *fragments(8, SIZE)[4:]]
    store.commit(puts[:3])
    for steps in range(1, 30):  # stop right after the hint, when the next file is made
        disk.steps_until_stop = steps
        try:
            store.commit([puts[3]])
        except PowerCut:
            disk.steps_until_stop = None
        if HINT in disk.names():
            break
        store = opened(disk)
    assert "sb-00000002.dat" not in disk.names()
    disk.fail_nothing()
    store = opened(disk)
    assert store.commit(puts[4:6]) == [True] * 2
    disk.fail_next("replace", errno.ENOSPC)
    assert store.commit(puts[3:]) == [True, False, False, True, True]
    again = opened(disk)
    assert lost_keys(again, puts) == []


def test_what_is_quarantined_stays_out_of_a_start_by_hints():
    disk = SimulatedDisk()
    puts = fragments(40, 3000)
    store = opened(disk)
    store.commit(puts)
    key, location = puts[2].key, store.location_of(puts[2].key)
    assert location.number == 1
    assert store.condemn(key, location)
    assert not store.condemn(key, location)
    again = opened(disk)
    assert lost_keys(again, puts) == [key]
    assert [bad.key for bad in again.bad()] == [key]
    assert again.put(puts[2]) is True  # it may be stored again, and is missed no more
    assert again.bad() == opened(disk).bad() == []


def test_what_is_bad_may_be_deleted_and_is_missed_no_more():
    disk = SimulatedDisk()
    store = opened(disk)
    store.commit(fragments(40, 3000))
    key = fragment(2, 3000).key
    store.condemn(key, store.location_of(key))
    assert store.delete(key) is True
    assert store.delete(key) is False
    for each in (store, opened(disk)):
        assert each.bad() == []
        assert not each.has(key)


def test_a_damaged_list_of_bad_places_makes_the_start_look_at_everything():
    disk, _ = busy_disk()
    disk.replace("quarantine.json", b"\xff")
    start = 4096 + 20
    disk.flip_bit(FIRST, start * 8)  # a header that the hint still knows
    assert len(opened(disk).damage) == 1


@given(st.binary(max_size=200), st.integers(0, 2**40))
def test_no_bytes_whatever_are_taken_for_a_hint(rubbish, size):
    with pytest.raises(InvalidHint):
        RecordLog.unpack(rubbish, TAG, size)


records = st.lists(
    st.tuples(st.binary(min_size=32, max_size=32), st.integers(0, 4 << 20), st.booleans()),
    max_size=20,
)


@given(records, st.integers(0, 2**40))
def test_a_hint_gives_back_what_was_logged(entries, size):
    log = RecordLog()
    expected = []
    for place, (key, length, is_tombstone) in enumerate(entries):
        length_bytes = 0 if is_tombstone else length
        log.append(4096 * (place + 1), RecordHeader(key, length_bytes, place + 1, 0, is_tombstone))
        expected.append((key, place + 1, TOMBSTONE_BIT if is_tombstone else length, place + 1))
    again = RecordLog.unpack(log.pack(TAG, size), TAG, size)
    assert list(again.rows()) == expected
    assert again.last_sequence == len(expected)


def test_the_bytes_of_a_hint_are_what_they_were():
    log = RecordLog()
    log.append(4096, RecordHeader(b"k" * 32, 5000, 7))
    log.append(12288, RecordHeader(b"t" * 32, 0, 8, 0, is_tombstone=True))
    packed = log.pack(TAG, 16384)
    assert packed[:40].hex() == (
        "89455648540d0a1a"
        + "01000000"
        + "30000000"
        + TAG.hex()
        + "0040000000000000"
        + "0200000000000000"
    )
    assert packed[40:88] == b"k" * 32 + bytes.fromhex("01000000 88130000 0700000000000000")
    assert packed[88:136] == b"t" * 32 + bytes.fromhex("03000000 00000080 0800000000000000")
    assert packed[136:] == crc32c(packed[:136]).to_bytes(4, "little")
