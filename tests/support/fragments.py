"""Small made-up fragments and the stores to put them in."""

import hashlib
import itertools
import random

from storage_server.node.errors import FragmentMissing
from storage_server.node.store import Put
from storage_server.node.superblock import StoreIdentity
from storage_server.node.superblock_format import record_space_bytes
from storage_server.node.superblock_store import SuperblockStore
from support.simulated_disk import SimulatedDisk

IDENTITY = StoreIdentity("node-1", b"s" * 16)
SIZE = 5000  # two 4 KiB units with header and footer
SPACE = record_space_bytes(SIZE)


def fragment(number: int, size: int = 100) -> Put:
    """Return a fragment that is the same for the same number and size."""
    data = random.Random(f"{number}/{size}").randbytes(size)
    return Put.verified(hashlib.sha256(data).digest(), data)


def fragments(count: int, size: int = 100) -> list[Put]:
    return [fragment(number, size) for number in range(count)]


def open_store(disk, **settings) -> SuperblockStore:
    """Open a store whose files get predictable UUIDs, never the same twice on one disk."""
    taken = itertools.count(len(disk.names()))
    seed = getattr(disk, "syncs", 0)

    def new_uuid() -> bytes:
        return f"{seed:05d}{next(taken):03d}".encode() * 2  # the first half is the tag

    settings.setdefault("new_uuid", new_uuid)
    settings.setdefault("superblock_bytes", 1 << 18)
    return SuperblockStore(disk, IDENTITY, **settings)


def stored_bytes(store, key: bytes) -> bytes:
    found = store.find(key)
    return found.read(0, found.length_bytes)


def filled_disk(count=6, *, at_once=False):
    """Return a disk with ``count`` records behind the file header, each synced by itself."""
    disk = SimulatedDisk(seed=count)
    store = open_store(disk)
    puts = fragments(count, SIZE)
    for batch in [puts] if at_once else [[put] for put in puts]:
        assert store.commit(batch) == [True] * len(batch)
    return disk, puts


def lost_keys(store, puts):
    """Return the fragments that cannot be found; every other one must be right."""
    lost = []
    for put in puts:
        try:
            assert stored_bytes(store, put.key) == put.data
        except FragmentMissing:
            lost.append(put.key)
    return lost
