"""A made-up library on made-up nodes, for comparing policies: the same for each of them. Pure.

Views follow what is known of real libraries: a stretched exponential over videos (c = 0.35 fits
18,214 titles with R² = .998) and a decay with age. Nodes go down and come back, zones too, and
now and then a node's data is gone for good. Everything follows from one seed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from redundancy.durability import HOURS_PER_YEAR, FailureRates
from redundancy.errors import UsageError
from redundancy.sizing import ClusterFacts, NodeFacts

Floats = npt.NDArray[np.float64]

WEEKS_PER_YEAR = 52
HOURS_PER_WEEK = 168

# The nodes are looked at once in so many hours.
STEP_H = 2
STEPS_PER_WEEK = HOURS_PER_WEEK // STEP_H

# Videos are dealt out over this many ways to place pieces on the nodes.
PLACEMENTS = 240

# Shape of the stretched exponential over titles, and what the weekly decay's exponent varies in.
VIEWS_SHAPE = 0.35
DECAY_EXPONENTS = (0.7, 1.3)


@dataclass(frozen=True, slots=True)
class WorldFacts:
    """What is simulated."""

    videos: int = 20_000  # that come by and by, all weeks alike
    weeks: int = 156
    nodes: int = 12
    zones: int = 4
    node_availability: float = 0.97
    zone_availability: float = 0.998
    node_outage_h: float = 8.0  # mean
    zone_outage_h: float = 4.0  # mean
    mean_views: float = 500.0  # of a video, in as many weeks
    rates: FailureRates = field(default_factory=FailureRates)

    def __post_init__(self) -> None:
        if not 1 <= self.zones <= self.nodes <= 200:
            raise UsageError(f"need 1 <= zones <= nodes <= 200, got {self.zones} and {self.nodes}")
        if self.videos < 1 or self.weeks <= WEEKS_PER_YEAR or self.mean_views <= 0:
            raise UsageError(
                f"need videos, views and more than {WEEKS_PER_YEAR} weeks: the last year counts"
            )
        if not 0 < self.node_availability <= 1 or not 0 < self.zone_availability <= 1:
            raise UsageError("an availability is more than 0 and at most 1")

    @property
    def cluster(self) -> ClusterFacts:
        """The nodes as a policy sees them."""
        nodes = tuple(
            NodeFacts(f"node-{i + 1}", f"zone-{i % self.zones + 1}", self.node_availability)
            for i in range(self.nodes)
        )
        return ClusterFacts(nodes, self.rates, self.zone_availability)


@dataclass(frozen=True, slots=True)
class World:
    """One library and one history of the nodes. Arrays that start with V have a row a video."""

    facts: WorldFacts
    sizes: Floats  # V: bytes
    birth: npt.NDArray[np.intp]  # V: the week it comes
    placement: npt.NDArray[np.intp]  # V: which row of ``orders``
    orders: npt.NDArray[np.intp]  # PLACEMENTS x nodes: who gets piece 0, 1, ...
    is_up: npt.NDArray[np.bool_]  # steps x nodes
    failures: npt.NDArray[np.intp]  # weeks x nodes: how often its data was gone
    _means: Floats  # V: expected views in its first ``weeks``
    _exponents: Floats  # V
    _seed: int

    def views(self) -> Iterator[npt.NDArray[np.int64]]:
        """Return week by week how often each video is watched; the same at every call."""
        rng = np.random.default_rng([self._seed, 1])
        ages = np.arange(1, self.facts.weeks + 1, dtype=np.float64)
        scale = self._means / _sums_of_powers(ages, self._exponents)
        for week in range(self.facts.weeks):
            age = week - self.birth
            expected = scale * np.maximum(age + 1.0, 1.0) ** -self._exponents
            yield rng.poisson(np.where(age >= 0, expected, 0.0))


def make_world(facts: WorldFacts, seed: int) -> World:
    """Return the world of a seed."""
    rng = np.random.default_rng([seed, 0])
    means = rng.weibull(VIEWS_SHAPE, facts.videos)
    sizes = rng.lognormal(0.0, 0.8, facts.videos) * 1e9
    is_up, failures = _node_history(facts, rng)
    return World(
        facts=facts,
        sizes=sizes,
        birth=rng.integers(0, facts.weeks, facts.videos),
        placement=np.arange(facts.videos) % PLACEMENTS,
        orders=_orders(facts, rng),
        is_up=is_up,
        failures=failures,
        _means=means * facts.mean_views / means.mean(),
        _exponents=rng.uniform(*DECAY_EXPONENTS, facts.videos),
        _seed=seed,
    )


def _sums_of_powers(ages: Floats, exponents: Floats) -> Floats:
    """Return sum(age ** -b) for each b, read off a table of 601 values."""
    table = np.linspace(*DECAY_EXPONENTS, 601)
    sums = (ages[:, None] ** -table[None, :]).sum(axis=0)
    found: Floats = np.interp(exponents, table, sums)
    return found


def _orders(facts: WorldFacts, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Return orders of the nodes in which the zones take turns, so no zone gets more than due."""
    found = np.empty((PLACEMENTS, facts.nodes), dtype=np.intp)
    zone = np.arange(facts.nodes) % facts.zones
    for row in range(PLACEMENTS):
        turn = rng.permutation(facts.zones)[zone]
        luck = rng.random(facts.nodes)
        place = np.empty(facts.nodes)
        for each in range(facts.zones):
            members = np.flatnonzero(zone == each)
            place[members[np.argsort(luck[members])]] = np.arange(len(members))
        found[row] = np.lexsort((turn, place))
    return found


def _node_history(
    facts: WorldFacts, rng: np.random.Generator
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]:
    """Return who is up at each step, and how often each node lost its data in each week."""
    steps = facts.weeks * STEPS_PER_WEEK
    zones_up = np.stack(
        [
            _up_and_down(facts.zone_availability, facts.zone_outage_h, steps, rng)
            for _ in range(facts.zones)
        ],
        axis=1,
    )
    nodes_up = np.stack(
        [
            _up_and_down(facts.node_availability, facts.node_outage_h, steps, rng)
            for _ in range(facts.nodes)
        ],
        axis=1,
    )
    is_up = nodes_up & zones_up[:, np.arange(facts.nodes) % facts.zones]
    failures = np.zeros((facts.weeks, facts.nodes), dtype=np.intp)
    hours = facts.weeks * HOURS_PER_WEEK
    for node in range(facts.nodes):
        expected = facts.rates.failures_per_year * hours / HOURS_PER_YEAR
        for at_h in rng.uniform(0, hours, rng.poisson(expected)):
            failures[int(at_h // HOURS_PER_WEEK), node] += 1
            back_h = at_h + rng.exponential(facts.rates.repair_h)
            is_up[int(at_h // STEP_H) : int(back_h // STEP_H) + 1, node] = False
    return is_up, failures


def _up_and_down(
    availability: float, outage_h: float, steps: int, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return whether something is up at each step: up and down times are exponential."""
    if availability >= 1:
        return np.ones(steps, dtype=bool)
    up_h = outage_h * availability / (1 - availability)
    rounds = int(steps * STEP_H / (up_h + outage_h) * 1.5) + 50
    starts_up = rng.random() < availability
    ups, downs = rng.exponential(up_h, rounds), rng.exponential(outage_h, rounds)
    first, second = (ups, downs) if starts_up else (downs, ups)
    ends_h = np.cumsum(np.stack([first, second], axis=1).ravel())
    flips = np.searchsorted(ends_h, np.arange(steps) * STEP_H, side="right")
    found: npt.NDArray[np.bool_] = (flips % 2 == 0) == starts_up
    return found
