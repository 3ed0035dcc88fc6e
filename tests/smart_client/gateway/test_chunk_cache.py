"""Chunks outlive their session: bounded, checked, and one writer at a time."""

import hashlib
import os

import pytest

from smart_client import chunk_cache
from smart_client.chunk_cache import ChunkCache


def chunk(number: int, size: int = 1000) -> tuple[str, bytes]:
    data = bytes([number]) * size
    return hashlib.sha256(data).hexdigest(), data


@pytest.fixture
def cache(tmp_path):
    made = ChunkCache(tmp_path, 3500)
    yield made
    made.close()


def test_a_chunk_is_there_for_the_next_process(tmp_path, cache):
    name, data = chunk(1)
    assert cache.keep(name, data)
    cache.close()
    later = ChunkCache(tmp_path, 3500)
    assert later.has([name, "0" * 64]) == {name}
    assert later.load(name, len(data)) == data
    later.close()


def test_what_was_used_longest_ago_goes_first(cache):
    names = [chunk(n)[0] for n in range(4)]
    for n in range(3):
        cache.keep(*chunk(n))
    cache.load(names[0], 1000)
    cache.keep(*chunk(3))
    assert cache.has(names) == {names[0], names[2], names[3]}
    assert cache.total_bytes == 3000
    assert cache.load(names[1], 1000) is None


@pytest.mark.parametrize("damage", ["flip", "short", "long", "gone"])
def test_a_damaged_chunk_is_never_handed_out_and_leaves(tmp_path, cache, damage):
    name, data = chunk(7)
    cache.keep(name, data)
    path = tmp_path / name[:2] / name
    if damage == "gone":
        path.unlink()
    else:
        bad = {"flip": b"x" + data[1:], "short": data[:-1], "long": data + b"x"}[damage]
        path.write_bytes(bad)
    assert cache.load(name, len(data)) is None
    assert cache.has([name]) == set()
    assert not path.exists()
    assert cache.total_bytes == 0


def test_a_second_process_reads_and_does_not_write(tmp_path, cache):
    name, data = chunk(1)
    cache.keep(name, data)
    reader = ChunkCache(tmp_path, 3500)
    assert not reader.writes
    assert reader.load(name, len(data)) == data
    assert not reader.keep(*chunk(2))
    reader.close()


def test_unfinished_files_are_removed_and_foreign_ones_left_alone(tmp_path):
    place = tmp_path / "ab"
    place.mkdir(parents=True)
    (place / "x.1.part").write_bytes(b"half")
    (place / "notes.txt").write_bytes(b"mine")
    made = ChunkCache(tmp_path, 1000)
    assert [path.name for path in place.iterdir()] == ["notes.txt"]
    assert made.total_bytes == 0
    made.close()


def test_a_smaller_limit_is_kept_at_the_next_start(tmp_path, cache):
    for n in range(3):
        cache.keep(*chunk(n))
        os.utime(tmp_path / chunk(n)[0][:2] / chunk(n)[0], (n, n))
    cache.close()
    later = ChunkCache(tmp_path, 1500)
    assert later.has(chunk(n)[0] for n in range(3)) == {chunk(2)[0]}
    later.close()


def test_a_full_disk_is_no_trouble(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(chunk_cache, "SPARE_BYTES", 2**62)
    assert not cache.keep(*chunk(1))
    assert cache.total_bytes == 0
