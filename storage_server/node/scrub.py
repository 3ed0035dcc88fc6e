"""Reading everything again, slowly and for ever, so that rot is found while it can be repaired.

Records are read in the order they were written; where the pass has come to is kept in
``scrub.json``, so a node that is started every day still gets through.
"""

import json
from dataclasses import dataclass

from storage_server.node.disk import Disk
from storage_server.node.index import Location
from storage_server.node.small_files import DAMAGED, read_json
from storage_server.node.superblock_store import SuperblockStore

CHECKPOINT_NAME = "scrub.json"
CHECKPOINT_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far the scrub has come."""

    superblock: int = 0  # all older ones are done in this pass
    offset: int = 0  # as are the records before this in that superblock
    passes: int = 0  # over everything, since the node exists

    def __post_init__(self) -> None:
        if min(self.superblock, self.offset, self.passes) < 0:
            raise ValueError("a checkpoint has no negative numbers")


@dataclass(frozen=True, slots=True)
class Target:
    """One record to be read."""

    key: bytes
    location: Location


class ScrubOrder:
    """Responsible for which record comes next, and for not losing the place."""

    def __init__(self, store: SuperblockStore, disk: Disk) -> None:
        self._store = store
        self._disk = disk
        self.checkpoint = read_checkpoint(disk)
        self._kept = self.checkpoint
        self._queue: list[Target] = []  # of one superblock, the last comes first

    def next_target(self) -> Target | None:
        """Return the next record; None if there is nothing to read. May take long."""
        while True:
            while self._queue:
                target = self._queue.pop()
                if self._store.location_of(target.key) == target.location:
                    return target
            if self._fill_queue():
                continue
            if not self.checkpoint.superblock:
                return None
            self.checkpoint = Checkpoint(passes=self.checkpoint.passes + 1)

    def mark_done(self, target: Target) -> None:
        """Go on behind this record next time."""
        self.checkpoint = Checkpoint(
            target.location.number,
            target.location.offset + target.location.space_bytes,
            self.checkpoint.passes,
        )

    def save(self) -> None:
        """Keep the place. Raises: OSError: the next start goes on from the one kept before."""
        place = self.checkpoint
        if place == self._kept:
            return
        content = {
            "format": CHECKPOINT_FORMAT,
            "superblock": place.superblock,
            "offset": place.offset,
            "passes": place.passes,
        }
        self._disk.replace(CHECKPOINT_NAME, json.dumps(content).encode() + b"\n")
        self._kept = place

    def _fill_queue(self) -> bool:
        """Take the rest of the next superblock that has any; return whether there was one."""
        place = self.checkpoint
        for superblock in self._store.superblocks():
            if superblock.number < place.superblock:
                continue
            start = place.offset if superblock.number == place.superblock else 0
            self._queue = [
                Target(key, location)
                for key, location in reversed(self._store.fragments_in(superblock))
                if location.offset >= start
            ]
            if self._queue:
                return True
        return False


def read_checkpoint(disk: Disk) -> Checkpoint:
    """Return where the last run came to; the beginning, if that is not known."""
    if CHECKPOINT_NAME not in disk.names():
        return Checkpoint()
    try:
        content = read_json(disk, CHECKPOINT_NAME)
        if content["format"] != CHECKPOINT_FORMAT:
            return Checkpoint()
        return Checkpoint(
            int(content["superblock"]), int(content["offset"]), int(content["passes"])
        )
    except DAMAGED:
        return Checkpoint()
