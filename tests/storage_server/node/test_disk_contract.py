"""One contract for what the store stands on: the operating system's disk and the simulated one."""

import errno
import os

import pytest

from storage_server.node.disk import RealDisk
from support.simulated_disk import SimulatedDisk


@pytest.fixture(params=["real", "simulated"])
def disk(request, tmp_path):
    return RealDisk(tmp_path) if request.param == "real" else SimulatedDisk()


@pytest.fixture
def file(disk):
    file = disk.create("f")
    yield file
    file.close()


def test_buffers_are_written_one_behind_the_other(file):
    file.write([b"abc", b"", b"defg", b"h"], 5)
    assert file.read(5, 8) == b"abcdefgh"
    assert file.size_bytes() == 13


def test_what_was_skipped_reads_as_zeros(file):
    file.write([b"x"], 3)
    assert file.read(0, 4) == b"\0\0\0x"


def test_more_buffers_than_the_kernel_takes_at_once_are_all_written(file):
    buffers = [bytes([number % 251]) * 3 for number in range(2500)]
    file.write(buffers, 1)
    assert file.read(1, 7500) == b"".join(buffers)


def test_reading_past_the_end_gives_what_there_is(file):
    file.write([b"abc"], 0)
    assert file.read(1, 100) == b"bc"
    assert file.read(3, 100) == b""


def test_reserved_space_reads_as_zeros_and_keeps_what_was_there(file):
    file.write([b"abc"], 0)
    file.allocate(10_000)
    assert file.size_bytes() == 10_000
    assert file.read(0, 5) == b"abc\0\0"
    file.allocate(5_000)
    assert file.size_bytes() == 10_000


def test_a_cut_file_is_shorter_and_grows_with_zeros(file):
    file.write([b"abcdef"], 0)
    file.truncate(2)
    file.allocate(4)
    assert file.read(0, 10) == b"ab\0\0"


def test_synced_bytes_are_read_from_the_disk_itself(file):
    data = bytes(range(256)) * 64
    file.write([data], 0)
    file.sync()
    assert file.read_uncached(4096, 8192) == data[4096:12288]
    assert file.read_uncached(12288, 8192) == data[12288:]


def test_a_file_is_made_once(disk, file):
    with pytest.raises(FileExistsError):
        disk.create("f")
    assert disk.names() == ["f"]


def test_a_missing_file_cannot_be_opened_or_removed(disk):
    with pytest.raises(FileNotFoundError):
        disk.open("g")
    with pytest.raises(FileNotFoundError):
        disk.remove("g")


def test_a_removed_file_is_gone_from_the_names(disk, file):
    disk.remove("f")
    disk.sync_folder()
    assert disk.names() == []


def test_a_replaced_file_holds_the_new_bytes(disk):
    disk.replace("g", b"one")
    disk.replace("g", b"second")
    file = disk.open("g")
    assert file.read(0, 100) == b"second"
    file.close()
    assert disk.names() == ["g"]


def test_a_draft_left_by_a_crash_does_not_stop_a_replacement(disk):
    disk.create("g.new").close()
    disk.replace("g", b"one")
    assert "g" in disk.names()


def test_a_disk_knows_its_size_and_what_is_free(disk):
    assert 0 < disk.free_bytes() <= disk.total_bytes()


def test_blocks_set_aside_for_others_are_not_part_of_the_disk(tmp_path, monkeypatch):
    # As seen on a lent disk: 252 GB, 8 % used, and only 32 % left to write.
    facts = list(os.statvfs(tmp_path))
    facts[1:5] = [4096, 1000, 920, 320]  # block size, all, free, available
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(facts))
    disk = RealDisk(tmp_path)
    assert disk.total_bytes() == (80 + 320) * 4096
    assert disk.free_bytes() == 320 * 4096


def test_a_simulated_power_cut_keeps_exactly_what_was_synced():
    for seed in range(50):
        disk = SimulatedDisk(seed=seed)
        file = disk.create("f")
        file.write([b"a" * 2000], 0)
        file.sync()
        disk.sync_folder()
        file.write([b"b" * 2000], 2000)
        lost = disk.create("lost")
        lost.write([b"c"], 0)
        lost.sync()
        disk.cut_power()
        assert disk.open("f").read(0, 2000) == b"a" * 2000
        assert set(disk.open("f").read(2000, 2000)) <= set(b"b\0")


def test_after_a_failed_sync_the_simulated_cache_shows_more_than_the_disk_has():
    seen = set()
    for seed in range(50):
        disk = SimulatedDisk(seed=seed)
        file = disk.create("f")
        disk.sync_folder()
        file.write([b"a" * 4096], 0)
        disk.fail_next("sync", errno.EIO)
        with pytest.raises(OSError, match="Input/output"):
            file.sync()
        file.sync()  # a second try "works"
        assert file.read(0, 4096) == b"a" * 4096
        seen.add(file.read_uncached(0, 4096) == b"a" * 4096)
    assert False in seen
