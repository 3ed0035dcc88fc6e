"""One catalogue copied into another: verified, resumable, never over something else.

    read FROM -> nobody keeps it? -> compare with TO: empty, or part of it -> write what is missing
         -> read both again: the same -> mark FROM as moved, and TO as not

A copy that was cut short is a part of FROM; doing it again goes on. Versions are TO's own.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from redundancy.errors import AlreadyExists, EvenflowError, ExitCode
from storage_server.catalogue.contract import ABSENT, Catalogue, Conflict, Unknown, Write

# Of the coordinator that keeps: renewed every few seconds, gone when it stops. Not copied.
LEASE_KEY = "keeper/lease"

# Where a catalogue went. Who starts on it afterwards would keep, and collect, by an old one.
MOVED_KEY = "catalogue/moved"

# A lease is renewed twice in this time.
LEASE_WATCHED_S = 12.0

_BATCH = 64
_UNKNOWN_MAX = 10
_NAMED_MAX = 5


class CatalogueInUse(EvenflowError):
    """Somebody writes to a catalogue that should be at rest."""

    code = "CATALOGUE_IN_USE"
    exit_code = ExitCode.CONFLICT


class CopyIncomplete(EvenflowError):
    """Not all was written; doing it again goes on."""

    code = "COPY_INCOMPLETE"
    exit_code = ExitCode.TEMPORARY
    retryable = True


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did."""

    registers: int
    written: int  # by this run; the others were there
    value_bytes: int
    sha256: str  # of all keys and values, the same on both sides


Sleep = Callable[[float], Awaitable[None]]


async def copy_catalogue(
    source: Catalogue,
    target: Catalogue,
    *,
    moved_to: str = "",
    say: Callable[[str], None] = lambda _: None,
    sleep: Sleep = asyncio.sleep,
) -> Copied:
    """Copy all registers of ``source`` into ``target``, and make sure.

    Args: moved_to: what the source is to say of where it went; empty: it stays in use.
    Raises: CatalogueInUse: a coordinator runs on the source; AlreadyExists: the target has other
        registers; CopyIncomplete; CatalogueError.
    """
    await _require_rest(source, say, sleep)
    registers = await _read(source)
    there = await _read(target)
    _require_part(there, registers)
    missing = [key for key in registers if key not in there]
    say(f"{len(registers)} registers, {len(missing)} to be written")
    for start in range(0, len(missing), _BATCH):
        keys = missing[start : start + _BATCH]
        await _write(target, {key: registers[key] for key in keys})
        if start and start % (16 * _BATCH) == 0:
            say(f"{start} of {len(missing)} written")
    if await _read(source) != registers:
        raise CatalogueInUse(
            "registers changed while they were copied",
            hint="stop all coordinators of the old catalogue, then copy again",
        )
    written = await _read(target)
    if written != registers:
        _require_part(written, registers)
        raise CopyIncomplete("not everything arrived", hint="run the same command again")
    if moved_to:
        await _mark(target, None)
        await _mark(source, moved_to.encode())
    size = sum(map(len, registers.values()))
    return Copied(len(registers), len(missing), size, _digest(written))


async def _mark(catalogue: Catalogue, value: bytes | None) -> None:
    """Say where a catalogue went; None: it is the one in use."""
    for _ in range(_UNKNOWN_MAX):
        found = await catalogue.get(MOVED_KEY)
        if (found.value if found is not None else None) == value:
            return
        await catalogue.compare_and_set(MOVED_KEY, found.version if found else ABSENT, value)
    raise CopyIncomplete("a mark is in doubt", hint="run the same command again")


async def where_moved(catalogue: Catalogue) -> str:
    """Return where a catalogue was moved; empty: nowhere. Raises: CatalogueError."""
    found = await catalogue.get(MOVED_KEY)
    return found.value.decode("utf-8", "replace") if found is not None else ""


async def _require_rest(source: Catalogue, say: Callable[[str], None], sleep: Sleep) -> None:
    """See whether a coordinator keeps: its lease changes all the time."""
    before = await source.get(LEASE_KEY)
    if before is None:
        return
    say(f"a coordinator kept this catalogue; watching for {LEASE_WATCHED_S:g} s whether it lives")
    await sleep(LEASE_WATCHED_S)
    after = await source.get(LEASE_KEY)
    if after is not None and after.version != before.version:
        raise CatalogueInUse(
            "a coordinator runs on the catalogue that is to be copied; nothing was written",
            hint="stop all its coordinators first: what is playing plays on",
        )


async def _read(catalogue: Catalogue) -> dict[str, bytes]:
    own = (LEASE_KEY, MOVED_KEY)
    return {each.key: each.value for each in await catalogue.scan("") if each.key not in own}


def _require_part(there: Mapping[str, bytes], registers: Mapping[str, bytes]) -> None:
    strange = [key for key, value in there.items() if registers.get(key) != value]
    if strange:
        named = ", ".join(strange[:_NAMED_MAX])
        raise AlreadyExists(
            f"the target has {len(strange)} registers that the source has not, or has otherwise: "
            f"{named}{' ...' if len(strange) > _NAMED_MAX else ''}; nothing was written over",
            hint="name an empty target, or swap the two if you mean the other way round",
        )


async def _write(target: Catalogue, registers: Mapping[str, bytes]) -> None:
    """Write registers that are not there; one without an answer is looked at, then tried again."""
    left = dict(registers)
    for _ in range(_UNKNOWN_MAX):
        writes = [Write(key, ABSENT, value) for key, value in left.items()]
        outcomes = await target.batch(writes)
        for write, outcome in zip(writes, outcomes, strict=True):
            if isinstance(outcome, Unknown):
                continue
            is_other = isinstance(outcome, Conflict) and (
                outcome.entry is None or outcome.entry.value != write.value
            )
            if is_other:
                raise AlreadyExists(
                    f"somebody else writes to the target: {write.key}",
                    hint="stop whoever uses it; a target belongs to nobody until it is copied",
                )
            del left[write.key]
        if not left:
            return
    raise CopyIncomplete(
        f"the target does not answer: {len(left)} registers are in doubt",
        hint="run the same command again, it goes on",
    )


def _digest(registers: Mapping[str, bytes]) -> str:
    found = hashlib.sha256()
    for key, value in sorted(registers.items()):
        for part in (key.encode(), value):
            found.update(len(part).to_bytes(8, "big") + part)
    return found.hexdigest()
