"""Intervals of a ratio of sums: how often they hold the truth, and where there is none."""

import math

import numpy as np

from smart_client.simulator.intervals import WORLDS_MIN, ratio_interval


def test_they_hold_the_truth_more_often_than_percentiles_do_where_worlds_are_skewed() -> None:
    """Forty worlds; waiting is a lognormal multiple of the optimum."""
    draw = np.random.default_rng(3)
    population = 1 + np.exp(draw.normal(-1.5, 1.2, 100_000))
    optimum = np.exp(draw.normal(1.0, 0.6, population.size))
    truth = (population * optimum).sum() / optimum.sum()
    held = held_by_percentiles = 0
    for _ in range(200):
        worlds = draw.choice(population.size, 40, replace=False)
        had, best = (population * optimum)[worlds], optimum[worlds]
        low, high = ratio_interval(had, best)
        held += low <= truth <= high
        again = draw.integers(0, 40, (500, 40))
        low, high = np.percentile(had[again].sum(1) / best[again].sum(1), [2.5, 97.5])
        held_by_percentiles += low <= truth <= high
    assert held >= 170
    assert held >= held_by_percentiles + 10


def test_worlds_that_are_all_alike_leave_no_doubt() -> None:
    low, high = ratio_interval(np.full(20, 3.0), np.full(20, 2.0))
    assert (low, high) == (1.5, 1.5)


def test_too_few_worlds_or_nothing_to_compare_with_give_none() -> None:
    few = np.arange(1.0, WORLDS_MIN)
    assert all(map(math.isnan, ratio_interval(few, few)))
    nothing = np.zeros(20)
    assert all(map(math.isnan, ratio_interval(nothing, np.ones(20))))
    assert all(map(math.isnan, ratio_interval(np.ones(20), nothing)))


def test_a_world_more_or_less_that_waits_nothing_is_no_trouble() -> None:
    had = np.concatenate([np.zeros(19), [5.0]])
    low, high = ratio_interval(had, np.ones(20))
    assert 0 <= low <= 0.25 <= high
