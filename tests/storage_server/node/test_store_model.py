"""The superblock store against a dict, on a disk that fails in every way at every step.

Whatever happens: what was acknowledged is there and right, what was not is either whole and right
or not there, and a healthy disk is never called rotten. Failures print the steps that repeat them.
"""

import errno
import os

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from redundancy.errors import EvenflowError
from storage_server.node.errors import FragmentMissing, StoreFull, StoreReadOnly
from storage_server.node.store import Delete
from storage_server.node.superblock_scan import DamageKind
from support.fragments import fragment, open_store, stored_bytes
from support.inline_upkeep import compact_all
from support.simulated_disk import PowerCut, SimulatedDisk

# Sizes on both sides of the record alignment, and one that fills half a superblock.
SIZES = (1, 4016, 4017, 9000, 30_000)
SUPERBLOCK_BYTES = 64 * 1024

numbers = st.integers(0, 11)
writes = st.lists(st.tuples(st.booleans(), numbers), min_size=1, max_size=8)


def put_number(number):
    return fragment(number, SIZES[number % len(SIZES)])


class StoreModel(RuleBasedStateMachine):
    """Responsible for the dict: True = stored, False = not, None = a failed write decides."""

    def __init__(self):
        super().__init__()
        self.expected = dict.fromkeys(range(12), False)

    @initialize(seed=st.integers(0, 2**32))
    def start(self, seed):
        self.disk = SimulatedDisk(total_bytes=1 << 26, seed=seed)
        self.open()

    def open(self):
        self.store = open_store(
            self.disk, superblock_bytes=SUPERBLOCK_BYTES, capacity_bytes=1 << 26
        )
        for number, state in self.expected.items():
            if state is None:  # what a start finds is synced, so it stays
                self.expected[number] = self.store.has(put_number(number).key)

    @rule(batch=writes)
    def write(self, batch):
        commits = [
            put_number(number) if is_put else Delete(put_number(number).key)
            for is_put, number in batch
        ]
        try:
            outcomes = self.store.commit(commits)
        except PowerCut:
            for _, number in batch:
                self.expected[number] = None
            self.restart_after_power_cut()
            return
        for (is_put, number), outcome in zip(batch, outcomes, strict=True):
            before = self.expected[number]
            if isinstance(outcome, StoreReadOnly):
                if before is not is_put:
                    self.expected[number] = None
            elif not isinstance(outcome, EvenflowError):
                assert before is None or outcome is (before is not is_put)
                self.expected[number] = is_put

    @rule()
    def compact(self):
        try:
            compact_all(self.store)
        except PowerCut:
            self.restart_after_power_cut()
        except (StoreFull, StoreReadOnly):
            pass

    @rule(steps=st.integers(1, 12))
    def stop_soon(self, steps):
        self.disk.steps_until_stop = steps

    @rule(
        operation=st.sampled_from(["write", "allocate", "create"]),
        error=st.sampled_from([errno.ENOSPC, errno.EDQUOT]),
    )
    def run_out_of_space_soon(self, operation, error):
        self.disk.fail_next(operation, error)

    @rule(operation=st.sampled_from(["write", "sync", "sync_folder", "truncate", "allocate"]))
    def fail_soon(self, operation):
        self.disk.fail_next(operation, errno.EIO)

    @rule()
    def restart(self):
        self.disk.fail_nothing()
        self.open()

    @rule()
    def restart_after_power_cut(self):
        self.disk.cut_power()
        self.open()

    @rule(steps=st.integers(1, 12))
    def stop_while_starting(self, steps):
        self.disk.cut_power()
        self.disk.steps_until_stop = steps
        try:
            self.open()
        except PowerCut:
            self.restart_after_power_cut()

    @precondition(lambda self: self.disk.steps_until_stop is None)
    @invariant()
    def every_fragment_is_there_or_not_and_right(self):
        found = {}
        for number, state in self.expected.items():
            put = put_number(number)
            try:
                assert stored_bytes(self.store, put.key) == put.data
                found[put.key] = len(put.data)
            except FragmentMissing:
                assert state is not True, f"fragment {number} was acknowledged and is lost"
            else:
                assert state is not False, f"fragment {number} was deleted and is back"
        assert self.store.page(b"", 100) == sorted(found.items())
        assert self.store.facts().fragments == len(found)

    @precondition(lambda self: self.disk.steps_until_stop is None)
    @invariant()
    def nothing_is_called_rotten(self):
        kinds = {damage.kind for damage in self.store.damage}
        assert kinds <= {DamageKind.TORN, DamageKind.UNFINISHED}, self.store.damage


TestStoreModel = StoreModel.TestCase
# The same worlds every time; EVENFLOW_MODEL_EXAMPLES asks for that many new ones.
EXAMPLES = int(os.environ.get("EVENFLOW_MODEL_EXAMPLES", "0"))
TestStoreModel.settings = settings(
    max_examples=EXAMPLES or 100,
    stateful_step_count=40,
    derandomize=not EXAMPLES,
    phases=set(Phase) - {Phase.explain},
    deadline=None,
)
