"""kill -9 of a process that puts, deletes, rotates and compacts, at random instants.

A child of a small program is killed and a new one goes on with the same files. What the page cache
holds survives such a death: power cuts are the business of the simulated disk.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from storage_server.node.superblock_scan import DamageKind
from support.fragments import stored_bytes
from support.store_forker import made, open_real_store

pytestmark = pytest.mark.real

# EVENFLOW_STORE_KILLS=1000 asks for a long run, with a new seed.
KILLS = int(os.environ.get("EVENFLOW_STORE_KILLS", "0"))
TESTS = Path(__file__).parents[2]
PROGRAM = (
    f"import sys; sys.path[:0] = [{str(TESTS.parent)!r}, {str(TESTS)!r}]\n"
    "from support.store_forker import main; main()"
)


@contextlib.contextmanager
def forker():
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait(timeout=20)
        process.stdout.close()


def run_and_kill(process, order, rng, stored):
    """Let one child write for a while, kill it; return how many writes it acknowledged."""
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    child = int(process.stdout.readline().split()[1])
    left, acknowledged, pending = rng.randint(1, 12), 0, []
    while (line := process.stdout.readline().strip()) != "gone":
        kind, _, rest = line.partition(" ")
        assert kind in ("?", "!"), line
        if kind == "?":
            pending = json.loads(rest)
            stored.update({number: None for number, _ in pending})
            continue
        stored.update(dict(pending))
        acknowledged += len(pending)
        left -= 1
        if left == 0:
            time.sleep(rng.uniform(0, 0.006))  # the instant is what is being tried out
            os.kill(child, signal.SIGKILL)
    return acknowledged


def check(folder, stored, where):
    """Open the store and compare; from then on what was in doubt is as it was found."""
    with contextlib.closing(open_real_store(folder)) as store:
        for number, state in list(stored.items()):
            put = made(number)
            is_there = store.has(put.key)
            if is_there:
                assert stored_bytes(store, put.key) == put.data, where
            assert state is None or state is is_there, (where, number, state)
            stored[number] = is_there
        there = {number for number, state in stored.items() if state}
        assert store.facts().fragments == len(there), where
        kinds = {damage.kind for damage in store.damage}
        assert kinds <= {DamageKind.TORN, DamageKind.UNFINISHED}, where
    for number in set(stored) - there:
        if len(stored) > 2000:  # what went long ago is looked for often enough
            del stored[number]


@pytest.mark.timeout(max(120, KILLS))
def test_a_store_that_is_killed_again_and_again_loses_and_revives_nothing(tmp_path):
    seed = random.SystemRandom().getrandbits(32) if KILLS else 1
    rng = random.Random(seed)
    stored, acknowledged = {}, 0
    with forker() as process:
        for kill in range(KILLS or 15):
            live = [number for number, state in stored.items() if state]
            order = {"folder": str(tmp_path), "seed": rng.getrandbits(64), "live": live}
            acknowledged += run_and_kill(process, order, rng, stored)
            check(tmp_path, stored, f"kill {kill}, seed {seed}")
    assert acknowledged >= 10 * (KILLS or 15)
    assert len(list(tmp_path.glob("sb-*.dat"))) > 1
    print(f"{acknowledged} acknowledged writes, {KILLS or 15} kills, seed {seed}")
