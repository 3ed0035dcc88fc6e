"""What every catalogue promises."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage_server.catalogue.contract import (
    ABSENT,
    VALUE_BYTES_MAX,
    Catalogue,
    Conflict,
    Entry,
    Version,
    Write,
)
from storage_server.catalogue.errors import CatalogueUnavailable, InvalidRegister
from support.catalogue_kinds import KINDS, CatalogueKind

every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
every_durable_kind = pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if kind.is_durable], ids=lambda kind: kind.name
)


@asynccontextmanager
async def opened(kind: CatalogueKind, directory: Path) -> AsyncIterator[Catalogue]:
    catalogue = kind.make(directory)
    try:
        yield catalogue
    finally:
        await catalogue.close()


def run(kind: CatalogueKind, use: Callable[[Catalogue], Awaitable[None]]) -> None:
    async def scenario() -> None:
        with tempfile.TemporaryDirectory() as directory:
            async with opened(kind, Path(directory)) as catalogue:
                await use(catalogue)

    asyncio.run(scenario())


async def written(catalogue: Catalogue, key: str, expected: int, value: bytes | None) -> int:
    outcome = await catalogue.compare_and_set(key, expected, value)
    assert isinstance(outcome, Version), outcome
    return outcome.number


@every_kind
def test_it_tells_who_decides(kind):
    async def use(catalogue):
        found = await catalogue.agreement()
        assert found.catalogue == catalogue.kind
        assert found.summary
        assert sum(each.state == "up" for each in found.members) == len(found.members)
        assert found.failures_survived == max(0, len(found.members) - found.quorum)

    run(kind, use)


@every_kind
def test_a_written_register_reads_back_with_its_version(kind):
    async def use(catalogue):
        version = await written(catalogue, "video/kino", ABSENT, b"\0\xff")
        assert await catalogue.get("video/kino") == Entry("video/kino", b"\0\xff", version)
        assert version > ABSENT

    run(kind, use)


@every_kind
def test_a_register_that_never_was_is_none(kind):
    async def use(catalogue):
        assert await catalogue.get("video/kino") is None
        assert await catalogue.scan("") == []

    run(kind, use)


@every_kind
def test_a_stale_version_changes_nothing_and_is_told_what_is_there(kind):
    async def use(catalogue):
        first = await written(catalogue, "a", ABSENT, b"1")
        second = await written(catalogue, "a", first, b"2")
        for stale in (ABSENT, first, second + 1):
            outcome = await catalogue.compare_and_set("a", stale, b"3")
            assert outcome == Conflict(Entry("a", b"2", second))
        assert await catalogue.compare_and_set("b", 1, b"3") == Conflict(None)
        assert await catalogue.get("b") is None

    run(kind, use)


@every_kind
def test_versions_grow_also_when_a_register_is_deleted_and_made_again(kind):
    async def use(catalogue):
        first = await written(catalogue, "a", ABSENT, b"1")
        gone = await written(catalogue, "a", first, None)
        assert await catalogue.get("a") is None
        again = await written(catalogue, "a", ABSENT, b"1")
        assert first < gone < again
        assert isinstance(await catalogue.compare_and_set("a", first, b"2"), Conflict)

    run(kind, use)


@every_kind
def test_deleting_what_is_not_there_changes_nothing(kind):
    async def use(catalogue):
        await written(catalogue, "a", ABSENT, None)
        assert await catalogue.get("a") is None
        assert await catalogue.scan("") == []

    run(kind, use)


@every_kind
def test_a_scan_finds_a_prefix_and_no_more_in_order(kind):
    keys = ["video/b", "video/a", "video", "videos/x", "video/ä", "video/\U0010ffff", "video/z/1"]

    async def use(catalogue):
        for key in keys:
            await written(catalogue, key, ABSENT, key.encode())
        for prefix in ("video/", "video", "", "video/ä", "video/\U0010ffff", "nothing"):
            found = [entry.key for entry in await catalogue.scan(prefix)]
            assert found == sorted(
                (key for key in keys if key.startswith(prefix)), key=lambda key: key.encode()
            )

    run(kind, use)


@every_kind
def test_a_batch_answers_every_write_on_its_own_and_in_order(kind):
    async def use(catalogue):
        outcomes = await catalogue.batch(
            [
                Write("a", ABSENT, b"1"),
                Write("a", ABSENT, b"2"),
                Write("b", 7, b"3"),
                Write("c", ABSENT, b"4"),
            ]
        )
        first, refused, missing, other = outcomes
        assert isinstance(first, Version)
        assert isinstance(other, Version)
        assert refused == Conflict(Entry("a", b"1", first.number))
        assert missing == Conflict(None)
        assert [entry.key for entry in await catalogue.scan("")] == ["a", "c"]
        assert await catalogue.batch([]) == []

    run(kind, use)


@every_kind
def test_a_value_may_be_empty_and_as_long_as_a_value_may_be(kind):
    async def use(catalogue):
        await written(catalogue, "empty", ABSENT, b"")
        await written(catalogue, "long", ABSENT, bytes(VALUE_BYTES_MAX))
        empty, long = await catalogue.get("empty"), await catalogue.get("long")
        assert (empty.value, long.value) == (b"", bytes(VALUE_BYTES_MAX))

    run(kind, use)


@every_kind
@pytest.mark.parametrize("key", ["", "a\0b", "x" * 1025, "\ud800"])
def test_a_key_that_cannot_be_is_refused(kind, key):
    async def use(catalogue):
        with pytest.raises(InvalidRegister):
            await catalogue.compare_and_set(key, ABSENT, b"1")
        with pytest.raises(InvalidRegister):
            await catalogue.get(key)

    run(kind, use)


@every_kind
def test_a_value_that_is_too_long_is_refused(kind):
    async def use(catalogue):
        with pytest.raises(InvalidRegister):
            await catalogue.compare_and_set("a", ABSENT, bytes(VALUE_BYTES_MAX + 1))
        with pytest.raises(InvalidRegister):
            await catalogue.compare_and_set("a", -1, b"")

    run(kind, use)


@every_kind
def test_a_closed_catalogue_says_so(kind):
    async def use(catalogue):
        await catalogue.close()
        await catalogue.close()
        with pytest.raises(CatalogueUnavailable):
            await catalogue.get("a")
        with pytest.raises(CatalogueUnavailable):
            await catalogue.scan("")
        with pytest.raises(CatalogueUnavailable):
            await catalogue.compare_and_set("a", ABSENT, b"1")

    run(kind, use)


@every_kind
def test_of_concurrent_writers_of_one_register_each_increment_counts_once(kind):
    """Linearizable: 8 tasks increment one counter 25 times each by read and compare-and-set."""
    tasks, rounds = 8, 25

    async def increment(catalogue: Catalogue) -> int:
        conflicts = 0
        for _ in range(rounds):
            while True:
                entry = await catalogue.get("counter")
                count = int(entry.value) if entry else 0
                outcome = await catalogue.compare_and_set(
                    "counter", entry.version if entry else ABSENT, b"%d" % (count + 1)
                )
                if isinstance(outcome, Version):
                    seen = await catalogue.get("counter")
                    assert seen.version >= outcome.number  # a read sees what was answered before
                    break
                conflicts += 1
        return conflicts

    async def use(catalogue):
        await asyncio.gather(*(increment(catalogue) for _ in range(tasks)))
        entry = await catalogue.get("counter")
        assert int(entry.value) == tasks * rounds

    run(kind, use)


@every_kind
def test_of_writers_that_create_the_same_register_at_once_one_wins(kind):
    async def use(catalogue):
        outcomes = await asyncio.gather(
            *(catalogue.compare_and_set("a", ABSENT, b"%d" % i) for i in range(20))
        )
        winners = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Version)]
        assert len(winners) == 1
        entry = await catalogue.get("a")
        assert entry.value == b"%d" % winners[0]
        assert all(o == Conflict(entry) for o in outcomes if not isinstance(o, Version))

    run(kind, use)


@every_kind
def test_a_writer_that_goes_away_disturbs_nobody(kind):
    async def use(catalogue):
        impatient = asyncio.create_task(catalogue.compare_and_set("a", ABSENT, b"1"))
        await asyncio.sleep(0)
        impatient.cancel()
        await asyncio.gather(impatient, return_exceptions=True)
        await written(catalogue, "b", ABSENT, b"2")
        entry = await catalogue.get("a")
        assert entry is None or entry.value == b"1"

    run(kind, use)


# A short alphabet, so that keys and prefixes meet.
_keys = st.text(alphabet="ab/é\U0010ffff", min_size=1, max_size=4)
_values = st.one_of(st.none(), st.binary(max_size=8))
_steps = st.lists(
    st.tuples(_keys, st.sampled_from(["right", "stale", "absent"]), _values), max_size=40
)


@every_kind
@settings(max_examples=40, deadline=None)
@given(batches=st.lists(_steps, max_size=6), prefix=st.text(alphabet="ab/é\U0010ffff", max_size=2))
def test_a_catalogue_does_what_a_dict_does(kind, batches, prefix):
    async def use(catalogue):
        model: dict[str, tuple[bytes, int]] = {}
        highest: dict[str, int] = {}
        for steps in batches:
            writes = [
                Write(key, _expected(how, model.get(key), highest.get(key, 0)), value)
                for key, how, value in steps
            ]
            for write, outcome in zip(writes, await catalogue.batch(writes), strict=True):
                _check_step(model, highest, write, outcome)
            for key in {write.key for write in writes}:
                entry = await catalogue.get(key)
                assert (entry and (entry.value, entry.version)) == model.get(key)
        found = {entry.key: (entry.value, entry.version) for entry in await catalogue.scan(prefix)}
        assert found == {key: state for key, state in model.items() if key.startswith(prefix)}

    run(kind, use)


def _expected(how: str, state: tuple[bytes, int] | None, highest: int) -> int:
    if how == "absent":
        return ABSENT
    return (state[1] if state else ABSENT) if how == "right" else highest


def _check_step(model, highest, write, outcome) -> None:
    state = model.get(write.key)
    if (state[1] if state else ABSENT) != write.expected_version:
        assert outcome == Conflict(Entry(write.key, *state) if state else None)
        return
    assert isinstance(outcome, Version)
    assert outcome.number > highest.get(write.key, 0)
    highest[write.key] = outcome.number
    if write.value is None:
        model.pop(write.key, None)
    else:
        model[write.key] = (write.value, outcome.number)


@every_durable_kind
def test_registers_and_versions_survive_a_restart(kind, tmp_path):
    async def scenario():
        async with opened(kind, tmp_path) as catalogue:
            kept = await written(catalogue, "kept", ABSENT, b"1")
            deleted = await written(catalogue, "deleted", ABSENT, b"2")
            gone = await written(catalogue, "deleted", deleted, None)
        async with opened(kind, tmp_path) as catalogue:
            assert await catalogue.scan("") == [Entry("kept", b"1", kept)]
            assert await written(catalogue, "deleted", ABSENT, b"3") > gone

    asyncio.run(scenario())
