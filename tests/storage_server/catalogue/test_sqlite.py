"""What is particular to the SQLite file: whose it is, and what happens when the disk fails."""

import asyncio
import contextlib
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from redundancy.errors import ExitCode
from storage_server.catalogue import sqlite_file
from storage_server.catalogue.contract import ABSENT, Conflict, Unknown, Version, Write
from storage_server.catalogue.errors import (
    CatalogueDamaged,
    CatalogueFull,
    CatalogueReadOnly,
    CatalogueUnavailable,
    UnknownCatalogueFormat,
)
from storage_server.catalogue.sqlite import FILE_NAME, SqliteCatalogue
from storage_server.directory_lock import DirectoryLocked

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a file system")


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A real file system of 512 KiB."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "none", str(mount)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("cannot mount here")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


async def write(catalogue: SqliteCatalogue, key: str, value: bytes | None = b"1") -> int:
    outcome = await catalogue.compare_and_set(key, ABSENT, value)
    assert isinstance(outcome, Version)
    return outcome.number


@contextlib.contextmanager
def held_by_another_program(directory: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(directory / FILE_NAME)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def files_cannot_grow_beyond(size_bytes: int) -> Iterator[None]:
    """Writes past this size fail with EFBIG, an error SQLite does not take for a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def make_catalogue(directory: Path, key: str = "a") -> None:
    async def scenario() -> None:
        catalogue = SqliteCatalogue(directory)
        await write(catalogue, key)
        await catalogue.close()

    asyncio.run(scenario())


def test_a_second_coordinator_on_the_directory_is_told_the_process_of_the_first(tmp_path):
    async def scenario():
        first = SqliteCatalogue(tmp_path)
        with pytest.raises(DirectoryLocked) as caught:
            SqliteCatalogue(tmp_path)
        await first.close()
        assert f"process {os.getpid()}" in caught.value.message
        assert caught.value.exit_code == ExitCode.CONFIG
        await SqliteCatalogue(tmp_path).close()

    asyncio.run(scenario())


def test_a_file_of_a_later_format_is_refused_and_left_alone(tmp_path):
    make_catalogue(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("PRAGMA user_version = 99")
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(UnknownCatalogueFormat, match="format 99"):
        SqliteCatalogue(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        connection.execute("CREATE TABLE bookmarks (url TEXT)")
        connection.commit()
    before = (tmp_path / FILE_NAME).read_bytes()
    with pytest.raises(UnknownCatalogueFormat, match="another program"):
        SqliteCatalogue(tmp_path)
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [FILE_NAME, "lock"]


@pytest.mark.parametrize("damage", ["garbage", "a torn page"])
def test_a_damaged_file_is_named_at_the_start(tmp_path, damage):
    make_catalogue(tmp_path)
    path = tmp_path / FILE_NAME
    content = bytearray(path.read_bytes())
    start = 0 if damage == "garbage" else 3 * 4096
    content[start : start + 2000] = b"\x5a" * 2000
    path.write_bytes(content)
    with pytest.raises(CatalogueDamaged) as caught:
        SqliteCatalogue(tmp_path)
    assert str(path) in caught.value.message
    assert caught.value.exit_code == ExitCode.INTEGRITY
    assert caught.value.hint


def test_a_failed_start_lets_the_directory_go(tmp_path):
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 100)
    with pytest.raises(CatalogueDamaged):
        SqliteCatalogue(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    make_catalogue(tmp_path)


@is_root
def test_a_full_disk_refuses_writes_keeps_reads_and_recovers(small_disk):
    async def scenario():
        catalogue = SqliteCatalogue(small_disk)
        kept = {}

        async def fill():
            for number in range(100):
                kept[f"key/{number}"] = await write(catalogue, f"key/{number}", bytes(20_000))

        with pytest.raises(CatalogueFull) as caught:
            await fill()
        assert caught.value.exit_code == ExitCode.TEMPORARY
        assert "nothing was written" in caught.value.message
        entries = await catalogue.scan("key/")
        assert {entry.key: entry.version for entry in entries} == kept
        subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
        await write(catalogue, "key/after", bytes(20_000))
        await catalogue.close()
        again = SqliteCatalogue(small_disk)
        assert len(await again.scan("key/")) == len(kept) + 1
        await again.close()

    asyncio.run(scenario())


@is_root
def test_a_disk_mounted_read_only_is_a_clear_error(small_disk):
    make_catalogue(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises((CatalogueReadOnly, OSError)) as caught:
        SqliteCatalogue(small_disk)
    assert "read-only" in str(caught.value).lower()


def test_a_write_that_hangs_is_unknown_and_is_not_begun_later(tmp_path):
    """Another program holds the file: the caller is told in time that nobody knows."""

    async def scenario():
        catalogue = SqliteCatalogue(tmp_path, write_timeout_s=0.3)
        with held_by_another_program(tmp_path):
            first = await catalogue.compare_and_set("begun", ABSENT, b"1")
            second = await catalogue.compare_and_set("waiting", ABSENT, b"1")
        assert isinstance(first, Unknown)
        assert isinstance(second, Unknown)
        await catalogue.close()
        again = SqliteCatalogue(tmp_path)
        assert [entry.key for entry in await again.scan("")] == ["begun"]
        await again.close()

    asyncio.run(scenario())


def test_after_an_input_output_error_the_outcome_is_unknown_and_nothing_more_is_written(tmp_path):
    """A failed write must not be retried: the page cache may show what the disk does not have."""

    async def scenario():
        catalogue = SqliteCatalogue(tmp_path)
        await write(catalogue, "before")
        with files_cannot_grow_beyond((tmp_path / f"{FILE_NAME}-wal").stat().st_size):
            outcome = await catalogue.compare_and_set("a", ABSENT, b"1")
        assert isinstance(outcome, Unknown)
        with pytest.raises(CatalogueReadOnly, match="I/O error"):
            await catalogue.compare_and_set("b", ABSENT, b"1")
        assert [entry.key for entry in await catalogue.scan("")] == ["before"]
        await catalogue.close()

    asyncio.run(scenario())


def test_a_database_locked_by_another_program_is_a_temporary_error(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_S", 0.05)

    async def scenario():
        catalogue = SqliteCatalogue(tmp_path)
        with held_by_another_program(tmp_path), pytest.raises(CatalogueUnavailable) as caught:
            await catalogue.compare_and_set("a", ABSENT, b"1")
        assert caught.value.exit_code == ExitCode.TEMPORARY
        await write(catalogue, "a")
        await catalogue.close()

    asyncio.run(scenario())


def test_many_writers_at_once_share_commits(tmp_path):
    async def scenario():
        catalogue = SqliteCatalogue(tmp_path)
        outcomes = await asyncio.gather(
            *(catalogue.compare_and_set(f"key/{i}", ABSENT, b"1") for i in range(400))
        )
        assert len({outcome.number for outcome in outcomes}) == 400
        assert catalogue.commits < 100
        await catalogue.close()

    asyncio.run(scenario())


def test_one_writer_s_conflict_does_not_touch_those_who_share_its_commit(tmp_path):
    async def scenario():
        catalogue = SqliteCatalogue(tmp_path)
        await write(catalogue, "taken")
        outcomes = await catalogue.batch(
            [Write("new/1", ABSENT, b"1"), Write("taken", ABSENT, b"2"), Write("new/2", 9, b"3")]
        )
        assert [type(outcome) for outcome in outcomes] == [Version, Conflict, Conflict]
        assert await catalogue.get("new/1") is not None
        await catalogue.close()

    asyncio.run(scenario())


_WRITER = """
import asyncio, json, sys
from pathlib import Path
from storage_server.catalogue.contract import ABSENT, Version
from storage_server.catalogue.sqlite import SqliteCatalogue

async def count(catalogue, name):
    version = ABSENT
    entry = await catalogue.get(name)
    number, version = (int(entry.value), entry.version) if entry else (0, ABSENT)
    while True:
        outcome = await catalogue.compare_and_set(name, version, b"%d" % (number + 1))
        assert isinstance(outcome, Version), outcome
        number, version = number + 1, outcome.number
        print(json.dumps([name, number, version]), flush=True)

async def main():
    catalogue = SqliteCatalogue(Path(sys.argv[1]))
    await asyncio.gather(*(count(catalogue, f"counter/{i}") for i in range(4)))

asyncio.run(main())
"""


@pytest.mark.real
def test_every_answered_write_survives_kill_9(tmp_path):
    """A real process, killed in the middle of its commits, again and again on the same file."""
    rounds = int(os.environ.get("EVENFLOW_KILL_ROUNDS", "3"))
    answered: dict[str, list[int]] = {}
    for round_number in range(rounds):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as process:
            for seen, line in enumerate(process.stdout):
                name, number, version = json.loads(line)
                answered[name] = [number, version]
                if seen >= 50 + 37 * round_number:
                    os.kill(process.pid, signal.SIGKILL)
                    break
            for line in process.stdout:  # what it still said before it died
                if line.endswith("\n"):
                    name, number, version = json.loads(line)
                    answered[name] = [number, version]
        assert process.returncode == -signal.SIGKILL
        found = asyncio.run(_read_counters(tmp_path))
        for name, (number, version) in answered.items():
            assert found[name][0] >= number, "an answered write is gone"
            assert found[name][0] <= number + 1, "a write nobody asked for"
            assert found[name][1] >= version


async def _read_counters(directory: Path) -> dict[str, tuple[int, int]]:
    copy = directory.with_name("copy")  # so that reading repairs nothing for the next round
    shutil.copytree(directory, copy, dirs_exist_ok=True)
    catalogue = SqliteCatalogue(copy)
    entries = await catalogue.scan("counter/")
    await catalogue.close()
    shutil.rmtree(copy)
    return {entry.key: (int(entry.value), entry.version) for entry in entries}
