"""A store that is killed, or loses power, again and again; an account says what must be there.

Two ways to stop it: kill -9 of a real process on real files (which, with ``forget``, then lose what
was not synced), and a simulated disk that forgets, tears and reorders. Same seed, same orders.
"""

import contextlib
import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from redundancy.errors import EvenflowError
from storage_server.node.errors import StoreReadOnly
from storage_server.node.store import Delete
from storage_server.node.superblock_scan import DamageKind
from support.forgetful_disk import cut_power
from support.fragments import open_store, stored_bytes
from support.inline_upkeep import compact_all
from support.simulated_disk import PowerCut, SimulatedDisk
from support.store_forker import SUPERBLOCK_BYTES, made, next_batch, open_real_store

TESTS = Path(__file__).parents[1]
PROGRAM = (
    f"import sys; sys.path[:0] = [{str(TESTS.parent)!r}, {str(TESTS)!r}]\n"
    "from support.store_forker import main; main()"
)

# Numbers that went long ago are looked for often enough.
_REMEMBERED = 2000


class Lost(AssertionError):
    """An acknowledged write is not as it was acknowledged."""


@dataclass
class Account:
    """Responsible for what a store must hold: True there, False not, None nobody knows."""

    states: dict[int, bool | None] = field(default_factory=dict)
    puts: int = 0  # acknowledged
    deletes: int = 0
    stops: int = 0
    starts_checked: int = 0
    fragments_checked: int = 0
    sectors_forgotten: int = 0

    @property
    def live(self) -> list[int]:
        """The numbers that must be there."""
        return [number for number, state in self.states.items() if state]

    def doubt(self, batch: dict[int, bool]) -> None:
        self.states.update(dict.fromkeys(batch))

    def acknowledge(self, batch: dict[int, bool]) -> None:
        self.states.update(batch)
        self.puts += sum(batch.values())
        self.deletes += len(batch) - sum(batch.values())

    def check(self, store, where: str) -> None:
        """Compare with a store just opened; from then on what was in doubt is as it is found."""
        for number, state in list(self.states.items()):
            put = made(number)
            is_there = store.has(put.key)
            if is_there and stored_bytes(store, put.key) != put.data:
                raise Lost(f"wrong bytes of fragment {number} at {where}")
            if state is not None and state is not is_there:
                what = "was acknowledged and is lost" if state else "was deleted and is back"
                raise Lost(f"fragment {number} {what} at {where}")
            self.states[number] = is_there
            self.fragments_checked += is_there
        there = set(self.live)
        if store.facts().fragments != len(there):
            raise Lost(f"{store.facts().fragments} fragments instead of {len(there)} at {where}")
        rotten = {each.kind for each in store.damage} - {DamageKind.TORN, DamageKind.UNFINISHED}
        if rotten:
            raise Lost(f"a healthy disk is called rotten at {where}: {store.damage}")
        self.starts_checked += 1
        for number in list(self.states):
            if len(self.states) > _REMEMBERED and number not in there:
                del self.states[number]


# Killed


@contextlib.contextmanager
def _forker(preload: Path | None):
    environment = {**os.environ, **({"LD_PRELOAD": str(preload)} if preload else {})}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait(timeout=20)
        process.stdout.close()


def _run_and_kill(process, order: dict, rng, account: Account) -> None:
    """Let one child write for a while, then kill it at some instant."""
    process.stdin.write(json.dumps(order) + "\n")
    process.stdin.flush()
    child = int(process.stdout.readline().split()[1])
    left, batch = rng.randint(1, 12), {}
    while (line := process.stdout.readline().strip()) != "gone":
        kind, _, rest = line.partition(" ")
        if kind not in ("?", "!"):
            raise Lost(line)
        if kind == "?":
            batch = dict(json.loads(rest))
            account.doubt(batch)
            continue
        account.acknowledge(batch)
        left -= 1
        if left == 0:
            time.sleep(rng.uniform(0, 0.006))  # the instant is what is being tried out
            os.kill(child, signal.SIGKILL)


def kill_again_and_again(
    folder: Path,
    *,
    kills: int,
    seed: int,
    preload: Path | None = None,
    syncs: bool = True,
    on_stop=lambda _: None,
) -> Account:
    """Kill a process that puts, deletes, rotates and compacts, until ``kills`` have died.

    Args:
        preload: the library of ``forgetful_disk``: files then also lose what was not synced.
        syncs: False lets the store believe it synced, which must be found out.
    Raises: Lost.
    """
    rng = random.Random(seed)
    account = Account()
    with _forker(preload) as process:
        while account.stops < kills:
            order = {"folder": str(folder), "seed": rng.getrandbits(64), "syncs": syncs}
            _run_and_kill(process, {**order, "live": account.live}, rng, account)
            account.stops += 1
            if preload is not None:
                account.sectors_forgotten += cut_power(folder, rng)
            with contextlib.closing(open_real_store(folder)) as store:
                account.check(store, f"kill {account.stops}, seed {seed}")
            on_stop(account)
    return account


# On a disk that forgets


class SyncsNothing(SimulatedDisk):
    """A disk whose syncs are a lie: what a test of durability must find out."""

    def _settle(self, inode):
        """Leave everything where a power cut finds it."""


def forget_again_and_again(
    *, puts: int, seed: int, disk_kind=SimulatedDisk, on_stop=lambda _: None
) -> Account:
    """Put, delete and compact on a disk that loses power at random calls, also during starts.

    Ends when ``puts`` were acknowledged. Now and then a sync or a write fails instead.
    Raises: Lost.
    """
    rng = random.Random(seed)
    disk = disk_kind(total_bytes=1 << 28, seed=seed)
    account = Account()
    while account.puts < puts:
        where = f"stop {account.stops}, seed {seed}"
        try:
            if rng.random() < 0.2:
                disk.steps_until_stop = rng.randint(1, 60)  # the start itself is cut short
            store = open_store(disk, superblock_bytes=SUPERBLOCK_BYTES, capacity_bytes=1 << 28)
            disk.fail_nothing()
            account.check(store, where)
            _arrange_an_end(disk, rng)
            _write_until_stopped(store, rng, account)
        except PowerCut:
            pass
        # A process that merely ended leaves everything in memory; a power cut does not.
        if rng.random() < 0.8:
            disk.cut_power()
        disk.fail_nothing()
        account.stops += 1
        on_stop(account)
    return account


def _arrange_an_end(disk, rng) -> None:
    if rng.random() < 0.15:
        operation = rng.choice(("sync", "write", "sync_folder", "truncate"))
        disk.fail_next(operation, errno.EIO)
    disk.steps_until_stop = rng.randint(1, 200)


def _write_until_stopped(store, rng, account: Account) -> None:
    live = set(account.live)
    while True:
        if rng.random() < 0.15:
            try:
                compact_all(store)
            except StoreReadOnly:
                return
            continue
        batch = next_batch(rng, live)
        account.doubt(batch)
        outcomes = store.commit(
            [made(number) if put else Delete(made(number).key) for number, put in batch.items()]
        )
        if any(isinstance(outcome, EvenflowError) for outcome in outcomes):
            return
        if outcomes != [True] * len(batch):
            raise Lost(f"a write that changes something changed nothing: {outcomes}")
        account.acknowledge(batch)
        for number, put in batch.items():
            (live.add if put else live.discard)(number)
