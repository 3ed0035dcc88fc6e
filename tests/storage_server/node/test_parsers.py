"""Whatever bytes come, a parser refuses them its way or accepts what holds its promise.

``scripts/fuzz_node`` does the same a million times.
"""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_server.node.scrub import Checkpoint, read_checkpoint
from support.mutations import mutated
from support.parser_targets import TARGETS, Surprise, Target, fuzz, try_one
from support.simulated_disk import SimulatedDisk


def named(target):
    return target.name


@pytest.mark.parametrize("target", TARGETS, ids=named)
def test_good_bytes_are_accepted(target):
    assert any(try_one(target, data, target.name) for data in target.corpus)


@pytest.mark.parametrize("target", TARGETS, ids=named)
def test_mutated_bytes_hold_no_surprise(target):
    fuzz(target, inputs=30 * target.weight, seed=1)


@pytest.mark.parametrize("target", TARGETS, ids=named)
@given(data=st.binary(max_size=300), seed=st.integers(0, 2**32))
def test_any_bytes_hold_no_surprise(target, data, seed):
    try_one(target, data, target.name)
    spliced = mutated(target.corpus[0], random.Random(seed), data)
    try_one(target, target.mend(spliced), target.name)


def test_a_parser_that_fails_is_found_out_with_the_bytes_that_repeat_it():
    def careless(data):
        return data[20] > 0

    with pytest.raises(Surprise, match=r"careless, seed 7, input \d+: unforeseen IndexError"):
        fuzz(Target("careless", (b"x" * 21,), careless), inputs=500, seed=7)


@pytest.mark.parametrize("rubbish", [b"[" * 100_000, b'{"format": 1, "superblock": 1e999}', b"7"])
def test_a_small_file_of_rubbish_is_the_beginning(rubbish):
    disk = SimulatedDisk()
    disk.replace("scrub.json", rubbish)
    assert read_checkpoint(disk) == Checkpoint()
