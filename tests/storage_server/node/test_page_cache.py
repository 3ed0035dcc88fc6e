"""What is in memory is found there, what is not is never waited for."""

import os

import pytest

from storage_server.node import page_cache
from storage_server.node.disk import RealDisk
from storage_server.node.page_cache import is_cached, read_now

pytestmark = pytest.mark.real

SIZE = 1 << 20
DATA = bytes(range(256)) * (SIZE // 256)


@pytest.fixture(params=["with cachestat", "without cachestat"], autouse=True)
def kernel(request, monkeypatch):
    if request.param == "without cachestat":
        monkeypatch.setattr(page_cache, "_CACHESTAT", 100_000)


@pytest.fixture
def file(tmp_path):
    file = RealDisk(tmp_path).create("f")
    file.write([DATA], 0)
    file.sync()
    if read(file, 0, 4096) is None:
        pytest.skip("this file system cannot tell what is in memory")
    yield file
    file.close()


def scratch(length):
    return memoryview(bytearray(length))


def read(file, offset, length):
    """Return the bytes if they can be had without waiting."""
    buffer = scratch(length)
    return bytes(buffer) if read_now(file.descriptor, offset, buffer) else None


def forgets(file, is_forgotten):
    """Whether asking the kernel to drop the file leads to ``is_forgotten``; it may need asking."""
    for _ in range(100):
        os.posix_fadvise(file.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        if is_forgotten():
            return True
    return False


def test_what_was_just_written_is_in_memory(file):
    assert is_cached(file.descriptor, 0, scratch(SIZE))
    assert is_cached(file.descriptor, 4095, scratch(2))
    assert read(file, 300, 5000) == DATA[300:5300]


def test_what_was_dropped_is_not_in_memory_until_it_is_read(file):
    assert forgets(file, lambda: not is_cached(file.descriptor, 0, scratch(SIZE)))
    assert forgets(file, lambda: read(file, 0, SIZE) is None)
    file.read(0, SIZE)
    assert is_cached(file.descriptor, 0, scratch(SIZE))
    assert read(file, 0, SIZE) == DATA


def test_pages_missing_in_the_middle_are_noticed(file):
    os.posix_fadvise(file.descriptor, 0, 0, os.POSIX_FADV_RANDOM)  # read ahead nothing
    start, stop = 4096 * 101, 4096 * 103

    def a_gap_is_noticed():
        file.read(0, start)
        file.read(stop, SIZE - stop)
        return not is_cached(file.descriptor, 0, scratch(SIZE))

    def one_page_behind_is_noticed():
        file.read(0, start)
        return not is_cached(file.descriptor, 0, scratch(start + 4096))

    assert forgets(file, one_page_behind_is_noticed)
    assert forgets(file, a_gap_is_noticed)
    assert is_cached(file.descriptor, 0, scratch(start))
    assert is_cached(file.descriptor, stop, scratch(SIZE - stop))


def test_bytes_behind_the_end_are_not_there(file):
    assert not is_cached(file.descriptor, SIZE - 10, scratch(4096))
    assert read(file, SIZE - 10, 4096) is None
