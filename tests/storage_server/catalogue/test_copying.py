"""A catalogue copied into another: the same afterwards, resumable, never over something else."""

import asyncio
import contextlib
import itertools
import json
from pathlib import Path

import pytest

from redundancy.errors import AlreadyExists, ExitCode
from storage_server.catalogue.contract import ABSENT, Version
from storage_server.catalogue.copying import (
    LEASE_KEY,
    LEASE_WATCHED_S,
    CatalogueInUse,
    copy_catalogue,
)
from storage_server.catalogue.errors import CatalogueUnavailable
from storage_server.catalogue.memory import MemoryCatalogue
from storage_server.catalogue.sqlite import SqliteCatalogue
from storage_server.cli import main
from storage_server.coordinator.errors import CatalogueMoved
from storage_server.coordinator.service import Coordinator
from support.catalogue_kinds import KINDS

KIND = {kind.name: kind for kind in KINDS}
PAIRS = list(itertools.permutations(("memory", "sqlite", "chunkpaxos"), 2))
REGISTERS = {f"group/{i:04d}": bytes([i % 256]) * (i % 700) for i in range(150)} | {
    "video/Käse": b"\0\xff" * 40,
    "node/a": b"",
}


async def fill(catalogue, registers):
    for key, value in registers.items():
        assert isinstance(await catalogue.compare_and_set(key, ABSENT, value), Version)


async def content(catalogue):
    return {each.key: each.value for each in await catalogue.scan("")}


def with_two(use, directory: Path, first="memory", second="memory"):
    async def scenario():
        (directory / "a").mkdir(exist_ok=True)
        (directory / "b").mkdir(exist_ok=True)
        async with contextlib.AsyncExitStack() as stack:
            made = [KIND[first].make(directory / "a"), KIND[second].make(directory / "b")]
            for each in made:
                stack.push_async_callback(each.close)
            await use(*made)

    asyncio.run(scenario())


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_copy_is_the_same_whatever_keeps_it(tmp_path, first, second):
    async def use(source, target):
        await fill(source, REGISTERS)
        # Deleted registers are gone: they are not copied.
        gone = await source.compare_and_set("gone", ABSENT, b"x")
        await source.compare_and_set("gone", gone.number, None)
        copied = await copy_catalogue(source, target)
        assert (copied.registers, copied.written) == (len(REGISTERS), len(REGISTERS))
        assert await content(target) == REGISTERS == await content(source)
        again = await copy_catalogue(source, target)
        assert (again.written, again.sha256) == (0, copied.sha256)

    with_two(use, tmp_path, first, second)


class FailsAfter(MemoryCatalogue):
    """Takes so many batches, then none."""

    batches_left = 1

    async def batch(self, writes):
        if not self.batches_left:
            raise CatalogueUnavailable("gone")
        self.batches_left -= 1
        return await super().batch(writes)


def test_a_copy_that_was_cut_short_goes_on(tmp_path):
    async def scenario():
        source, target = MemoryCatalogue(), FailsAfter()
        await fill(source, REGISTERS)
        with pytest.raises(CatalogueUnavailable):
            await copy_catalogue(source, target)
        done = len(await content(target))
        assert 0 < done < len(REGISTERS)
        target.batches_left = 1000
        copied = await copy_catalogue(source, target)
        assert copied.written == len(REGISTERS) - done
        assert await content(target) == REGISTERS

    asyncio.run(scenario())


@pytest.mark.parametrize("strange", [{"video/other": b"1"}, {"video/Käse": b"other"}])
def test_a_target_with_something_else_is_refused_and_left_as_it_is(tmp_path, strange):
    async def use(source, target):
        await fill(source, REGISTERS)
        await fill(target, strange)
        with pytest.raises(AlreadyExists, match=next(iter(strange))):
            await copy_catalogue(source, target)
        assert await content(target) == strange

    with_two(use, tmp_path)


@pytest.mark.parametrize("lives", [True, False])
def test_a_source_that_somebody_keeps_is_refused(tmp_path, lives):
    slept = []

    async def use(source, target):
        await fill(source, {LEASE_KEY: b"1", "video/a": b"v"})

        async def sleep(duration_s):
            slept.append(duration_s)
            if lives:
                entry = await source.get(LEASE_KEY)
                await source.compare_and_set(LEASE_KEY, entry.version, b"2")

        if lives:
            with pytest.raises(CatalogueInUse):
                await copy_catalogue(source, target, sleep=sleep)
            assert await content(target) == {}
        else:
            await copy_catalogue(source, target, sleep=sleep)
            assert await content(target) == {"video/a": b"v"}

    with_two(use, tmp_path)
    assert slept == [LEASE_WATCHED_S]


def test_writes_during_the_copy_are_noticed(tmp_path):
    class Busy(MemoryCatalogue):
        async def batch(self, writes):
            await source.compare_and_set("video/new", ABSENT, b"n")
            return await super().batch(writes)

    source = MemoryCatalogue()

    async def scenario():
        await fill(source, REGISTERS)
        with pytest.raises(CatalogueInUse):
            await copy_catalogue(source, Busy())

    asyncio.run(scenario())


def run(capsys, *words: str) -> tuple[int, dict]:
    code = main(["admin", "catalogue", "copy", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_the_command_copies_says_what_next_and_refuses_what_runs(tmp_path, capsys):
    async def prepare():
        catalogue = SqliteCatalogue(tmp_path / "old")
        await fill(catalogue, REGISTERS)
        await catalogue.close()

    asyncio.run(prepare())
    old, new = f"sqlite:{tmp_path / 'old'}", f"sqlite:{tmp_path / 'new'}"
    code, said = run(capsys, old, new)
    assert code == ExitCode.OK
    assert said["copied"]["registers"] == len(REGISTERS)
    assert said["start_with"] == f"--catalogue sqlite --data {tmp_path / 'new'}"
    assert run(capsys, old, old)[0] == ExitCode.USAGE
    assert run(capsys, f"sqlite:{tmp_path / 'none'}", new)[0] == ExitCode.NOT_FOUND
    assert run(capsys, "sqlite:", new)[0] == ExitCode.NOT_FOUND
    assert run(capsys, old, "elsewhere")[0] == ExitCode.CONFIG

    async def while_it_runs():
        holder = SqliteCatalogue(tmp_path / "old")
        try:
            return await asyncio.to_thread(run, capsys, old, new)
        finally:
            await holder.close()

    assert asyncio.run(while_it_runs())[0] != ExitCode.OK


def test_a_coordinator_starts_on_what_was_copied_and_not_on_the_old_one(tmp_path):
    """It would keep, and collect, by a catalogue that grows old."""

    async def use(source, target):
        await fill(source, {"node/a": b'{"v":1,"id":"a","urls":["http://127.0.0.1:1"]}'})
        await copy_catalogue(source, target, moved_to="nodes:http://n")
        with pytest.raises(CatalogueMoved, match="was moved to nodes:http://n") as caught:
            await Coordinator(source).load()
        assert caught.value.exit_code is ExitCode.CONFIG
        await Coordinator(target).load()
        # The other way round, as long as nothing has changed.
        await copy_catalogue(target, source, moved_to="sqlite:old")
        await Coordinator(source).load()
        with pytest.raises(CatalogueMoved) as caught:
            await Coordinator(target).load()
        assert caught.value.hint == "start with --catalogue sqlite --data old"

    with_two(use, tmp_path)
