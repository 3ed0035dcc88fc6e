"""The protocol in storms: seeded schedules with every fault, judged by what clients saw.

``scripts/check_consensus`` plays as many as you like, and says which seed repeats a failure.
"""

import pytest

from storage_server.consensus.events import Settings
from storage_server.consensus.messages import Key
from storage_server.consensus.values import (
    CompareAndSet,
    Found,
    Mismatch,
    ReadKey,
    Unclear,
    Value,
    Written,
)
from support.consensus_directed import DIRECTED
from support.consensus_history import Call, Violation, is_linearizable
from support.consensus_machine import NO_BUGS
from support.consensus_mutants import MEMBERSHIP_MUTANTS, MUTANTS
from support.consensus_reconfiguration import EPOCHS_MAX, run_reconfigured_schedule
from support.consensus_schedules import run_schedule
from support.consensus_world import Host, Weather, World

KEY = Key(b"", "shared")

# Those that chance finds in fewer than 1 of 50 schedules have a schedule made for them.
FREQUENT = [name for name in MUTANTS if name not in DIRECTED]
FREQUENT_MEMBERSHIP = [name for name in MEMBERSHIP_MUTANTS if name not in DIRECTED]
SEEDS_MAX = 1000


@pytest.mark.parametrize("first_seed", range(0, 2000, 500))
def test_two_thousand_storms_break_nothing(first_seed):
    for seed in range(first_seed, first_seed + 500):
        run_schedule(seed)


def test_members_change_through_storms_and_nothing_breaks():
    epochs = [run_reconfigured_schedule(seed).epoch for seed in range(150)]
    assert epochs.count(EPOCHS_MAX) >= 145


def first_fall(run, bugs) -> int | None:
    for seed in range(SEEDS_MAX):
        try:
            run(seed, bugs)
        except Violation:
            return seed
    return None


@pytest.mark.parametrize("name", FREQUENT)
def test_a_mutant_falls(name):
    assert first_fall(run_schedule, MUTANTS[name]) is not None


@pytest.mark.parametrize("name", FREQUENT_MEMBERSHIP)
def test_a_mutant_of_the_membership_change_falls(name):
    assert first_fall(run_reconfigured_schedule, MEMBERSHIP_MUTANTS[name]) is not None


@pytest.mark.parametrize("name", DIRECTED)
def test_a_mutant_that_chance_seldom_finds_falls_in_a_schedule_made_for_it(name):
    DIRECTED[name](NO_BUGS)
    with pytest.raises(Violation):
        DIRECTED[name]({**MUTANTS, **MEMBERSHIP_MUTANTS}[name])


def test_a_schedule_is_repeated_by_its_seed():
    def trace(seed):
        world = run_schedule(seed)
        return world.messages, {key: list(map(repr, calls)) for key, calls in world.calls.items()}

    assert trace(7) == trace(7)
    assert trace(7) != trace(8)


@pytest.mark.parametrize("seed", range(4))
def test_eight_duelling_proposers_all_come_through(seed):
    settings = Settings()
    world = World(seed, machines=3, hosts=2, weather=Weather(delay_s=0.001), settings=settings)
    hosts = [Host(world, f"h{i}") for i in range(8)]
    longest_s = 0.0

    def again(host, left):
        call = Call(None, world.now_s)

        def then(outcome):
            nonlocal longest_s
            longest_s = max(longest_s, world.now_s - call.started_s)
            assert isinstance(outcome, Written | Mismatch | Unclear)
            if left:
                again(host, left - 1)

        host.do(CompareAndSet(KEY, host.versions.get(KEY, 0), b"x"), then)

    for host in hosts:
        again(host, 20)
    world.run_until(60.0)
    calls = world.calls[KEY]
    assert len(calls) == 8 * 21
    assert all(call.outcome for call in calls)
    # Who is overtaken four times after its accept cannot know any more, and says so.
    assert sum(isinstance(call.outcome, Unclear) for call in calls) <= 0.1 * len(calls)
    assert longest_s < 1.0  # virtual seconds


# -- the judge itself -----------------------------------------------------------------------------


def wrote(started_s, ended_s, expected, payload, version):
    return Call(CompareAndSet(KEY, expected, payload), started_s, ended_s, Written(version))


def read(started_s, ended_s, version, payload):
    return Call(ReadKey(KEY), started_s, ended_s, Found(Value(version, payload, ())))


def test_the_judge_accepts_what_one_register_could_have_done():
    lost = Call(CompareAndSet(KEY, 1, b"b"), 2.0)
    calls = [wrote(0, 1, 0, b"a", 1), lost, read(3, 4, 1, b"a"), read(5, 6, 2, b"b")]
    assert is_linearizable(calls)
    assert is_linearizable([*calls[:3], read(5, 6, 1, b"a")])


@pytest.mark.parametrize(
    "calls",
    [
        [wrote(0, 1, 0, b"a", 1), read(2, 3, 0, None)],  # a lost write
        [wrote(0, 1, 0, b"a", 1), wrote(2, 3, 0, b"b", 1)],  # written twice
        [wrote(0, 9, 0, b"a", 1), read(1, 2, 1, b"a"), read(3, 4, 0, None)],  # back in time
        [read(0, 1, 1, b"a"), wrote(2, 3, 0, b"a", 1)],  # read before it was written
        [  # refused, and then it happened
            Call(CompareAndSet(KEY, 0, b"a"), 0, 1, Mismatch(Value(0, None, ()))),
        ],
    ],
)
def test_the_judge_rejects_what_no_register_could_have_done(calls):
    assert not is_linearizable(calls)
