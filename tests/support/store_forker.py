"""A program that forks a child for each line it reads; the child writes to a store until killed.

Imports are done once, so a child is at work within milliseconds. Lines out: ``pid N`` for a new
child, ``? WRITES`` before a commit, ``! `` after it, ``gone`` when a child is dead.
"""

import json
import os
import random
import sys
from pathlib import Path

from storage_server.node.disk import RealDisk, RealFile
from storage_server.node.store import Delete
from storage_server.node.superblock_store import SuperblockStore
from support.fragments import IDENTITY, fragment
from support.inline_upkeep import compact_all

SUPERBLOCK_BYTES = 256 * 1024
LIVE_MAX = 60


def made(number):
    return fragment(number, 1 + number % 20_000)


def open_real_store(folder):
    return SuperblockStore(
        RealDisk(Path(folder)),
        IDENTITY,
        superblock_bytes=SUPERBLOCK_BYTES,
        capacity_bytes=1 << 28,
    )


def say(text):
    os.write(1, f"{text}\n".encode())


def next_batch(rng, live):
    """Return some writes that all change something: number -> is it a put."""
    batch = {}
    for _ in range(rng.randint(1, 6)):
        if live and (len(live) > LIVE_MAX or rng.random() < 0.4):
            batch[rng.choice(sorted(live))] = False
        else:
            batch[rng.getrandbits(40)] = True
    return batch


def write_for_ever(folder, seed, live):
    rng = random.Random(seed)
    store = open_real_store(folder)
    live = set(live)
    while True:
        if rng.random() < 0.15:
            compact_all(store)
            continue
        batch = next_batch(rng, live)
        say("? " + json.dumps(list(batch.items())))
        outcomes = store.commit(
            [made(number) if put else Delete(made(number).key) for number, put in batch.items()]
        )
        assert outcomes == [True] * len(batch), outcomes
        say("!")
        for number, put in batch.items():
            (live.add if put else live.discard)(number)


def main():
    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                say(f"pid {os.getpid()}")
                if not order.get("syncs", True):
                    RealFile.sync = lambda _: None
                write_for_ever(order["folder"], order["seed"], order["live"])
            except BaseException as error:  # noqa: BLE001 - the test must hear of it
                say(f"failed {error!r}")
            os._exit(1)
        os.waitpid(child, 0)
        say("gone")
