"""Giving back the space of deleted fragments, one superblock at a time.

    newest, dead enough -> sealed; another is begun
    sealed, dead enough -> each live record: read, verified, written again at the end
                        -> each tombstone that an older superblock still needs: written again
                        -> the file is removed

A crash at any point leaves records twice, never lost: of two records of a key the later counts.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from storage_server.node.flight import Copy
from storage_server.node.group_commit import GroupCommit
from storage_server.node.index import Location
from storage_server.node.record_log import TOMBSTONE_BIT
from storage_server.node.superblock import Superblock
from storage_server.node.superblock_format import FILE_HEADER_BYTES, record_space_bytes
from storage_server.node.superblock_scan import DamageKind
from storage_server.node.superblock_store import SuperblockStore
from storage_server.node.verification import read_verified

log = logging.getLogger(__name__)

# Below this the copying costs more than the space is worth: 2.3 bytes written for each one won.
DEAD_SHARE_MIN = 0.3

# The newest superblock is sealed early for this part of a full one: 64 MiB of 1 GiB. Tombstones are
# dead too: for less, each few deletes would begin a file.
NEWEST_DEAD_PART = 16

# What is written at once. A put that comes meanwhile waits for it: 40 ms on a disk of 100 MB/s.
STEP_BYTES = 4 * 1024 * 1024


def choose_superblock(
    superblocks: Sequence[Superblock],
    *,
    free_bytes: int,
    blocked: Callable[[Superblock], bool],
    dead_share_min: float = DEAD_SHARE_MIN,
) -> Superblock | None:
    """Return the superblock whose compaction wins most for what it costs; None: none is worth it.

    Args:
        superblocks: all, oldest first; the newest is never chosen: its number says what is next.
        free_bytes: the live records must fit in there before the file can go.
        blocked: whether a superblock must stay whatever it would win.
    """
    candidates = [
        each
        for each in superblocks[:-1]
        if each.is_sealed
        and each.tag
        and dead_share(each) >= dead_share_min
        and each.live_space_bytes + FILE_HEADER_BYTES <= free_bytes
        and not blocked(each)
    ]
    return max(candidates, key=dead_share, default=None)


def dead_share(superblock: Superblock) -> float:
    """Return what part of a superblock's records is dead, 0 to 1; an empty one is all dead."""
    whole = superblock.stop - FILE_HEADER_BYTES
    return superblock.dead_bytes / whole if whole else 1.0


@dataclass(frozen=True, slots=True)
class CompactionPlan:
    """A superblock that is to go, and the deleted keys in it that must stay known."""

    superblock: Superblock
    tombstones: tuple[bytes, ...]

    @property
    def won_bytes(self) -> int:
        """What the disk has more in the end."""
        return self.superblock.dead_bytes - len(self.tombstones) * record_space_bytes(0)


@dataclass(slots=True)
class _Batch:
    """Records to be written again at once."""

    copies: list[Copy] = field(default_factory=list)
    space_bytes: int = 0

    def add(self, copy: Copy) -> None:
        self.copies.append(copy)
        self.space_bytes += copy.location.space_bytes


class Compactor:
    """Responsible for emptying one superblock without losing or reviving a fragment."""

    def __init__(
        self,
        store: SuperblockStore,
        writer: GroupCommit,
        pay: Callable[[int], Awaitable[None]],
    ) -> None:
        """Args: pay: called before so many bytes are written; returns when they may be."""
        self._store = store
        self._writer = writer
        self._pay = pay
        self._hopeless: dict[int, tuple[int, int]] = {}  # number -> the state it was in

    def choose(self, dead_share_min: float = DEAD_SHARE_MIN) -> CompactionPlan | None:
        """Return what to compact next; None if nothing is worth it. May take long."""
        lost_in = {
            damage.tag
            for damage in self._store.damage
            if damage.kind is DamageKind.ROT
            and any(self._store.location_of(key) is None for key in damage.keys)
        }

        def blocked(each: Superblock) -> bool:
            # A file that holds the only trace of a lost fragment, or wins nothing as things are.
            return each.tag in lost_in or self._hopeless.get(each.number) == self._state(each)

        while True:
            superblock = choose_superblock(
                self._store.superblocks(),
                free_bytes=self._store.facts().free_bytes,
                blocked=blocked,
                dead_share_min=dead_share_min,
            )
            if superblock is None:
                return None
            state = self._state(superblock)
            plan = CompactionPlan(superblock, tuple(self._needed_tombstones(superblock)))
            if plan.won_bytes >= dead_share_min * (superblock.stop - FILE_HEADER_BYTES):
                return plan
            # Else tombstones that are still needed would be copied round and round.
            self._hopeless[superblock.number] = state

    async def release_newest(self, dead_share_min: float = DEAD_SHARE_MIN) -> bool:
        """Seal the newest superblock if it is worth compacting; return whether it was.

        Raises: StoreFull, NodeBusy, StoreReadOnly.
        """
        newest = next(reversed(self._store.superblocks()), None)
        if (
            newest is None
            or newest.is_sealed
            or newest.dead_bytes < self._store.superblock_bytes // NEWEST_DEAD_PART
            or dead_share(newest) < dead_share_min
            or newest.live_space_bytes + 2 * FILE_HEADER_BYTES > self._store.facts().free_bytes
        ):
            return False
        await self._writer.run(self._store.seal_active)
        return True

    async def compact(self, plan: CompactionPlan) -> bool:
        """Empty a sealed superblock and remove it; return whether it went.

        It stays if a fragment in it is found to be bad: it is the only trace of it.
        Raises: StoreFull, StoreReadOnly: not done; what was copied does no harm.
        """
        superblock = plan.superblock
        batch = _Batch()
        is_sound = True
        for key, location in await asyncio.to_thread(self._store.fragments_in, superblock):
            data = await asyncio.to_thread(
                read_verified, superblock.file, superblock.tag, key, location
            )
            if data is None:
                is_sound &= not await self._writer.run(partial(self._store.condemn, key, location))
                continue
            batch = await self._add(batch, Copy(key, data, location))
        for key in plan.tombstones:
            tombstone = Copy(key, b"", Location(superblock.number, 0, 0))
            batch = await self._add(batch, tombstone)
        await self._write(batch)
        if is_sound:
            await self._writer.run(partial(self._store.retire, superblock))
            self._hopeless.pop(superblock.number, None)
            log.info("superblock %d is compacted", superblock.number)
        return is_sound

    def _state(self, superblock: Superblock) -> tuple[int, int]:
        """Return what decides whether compaction of it is worth it."""
        older = sum(each.number < superblock.number for each in self._store.superblocks())
        return superblock.dead_bytes, older

    async def _add(self, batch: _Batch, copy: Copy) -> _Batch:
        """Return what still has to be written, with one more record."""
        batch.add(copy)
        if batch.space_bytes < STEP_BYTES:
            return batch
        await self._write(batch)
        return _Batch()

    async def _write(self, batch: _Batch) -> None:
        if batch.copies:
            await self._pay(batch.space_bytes)
            await self._writer.run(partial(self._store.relocate, batch.copies))

    def _needed_tombstones(self, superblock: Superblock) -> list[bytes]:
        """Return the deleted keys that a start would find again in an older superblock."""
        deleted = {
            key
            for key, _, length, _ in self._store.records_of(superblock).rows()
            if length == TOMBSTONE_BIT and self._store.location_of(key) is None
        }
        needed: set[bytes] = set()
        damaged_tags = {damage.tag for damage in self._store.damage}
        for older in self._store.superblocks():
            if older.number >= superblock.number or not deleted:
                break
            if older.tag in damaged_tags:
                return sorted(deleted)  # who knows what is in the part that cannot be read
            needed |= {
                key
                for key, _, length, _ in self._store.records_of(older).rows()
                if key in deleted and length != TOMBSTONE_BIT
            }
        return sorted(needed)
