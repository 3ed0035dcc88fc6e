"""How likely a chunk is lost in a year, and how likely it cannot be read now. Pure.

Three models of loss; every figure names its own:

- ``markov``: pieces fail and are rebuilt independently, both after exponential times, any number
  at once. Exact, by uniformisation: only non-negative numbers are added and multiplied, so that
  1e-30 keeps its digits.
- ``binomial``: the year is cut into repair times; a chunk is lost when too many pieces fail within
  one of them (Backblaze's calculator, and its published 17+3 figure). Failures that meet across a
  cut are missed, so it says about n - k + 1 times less than the others.
- ``monte-carlo``: every piece's failures and repairs drawn one by one, repairs exponential or of
  fixed length, which makes little difference; for checking the two.

None of them knows of fires, thieves or mistakes: beyond about 11 nines a figure says only that
something else will be the cause.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from redundancy.errors import UsageError
from redundancy.scheme import Layout

Matrix = npt.NDArray[np.float64]

HOURS_PER_YEAR = 365.25 * 24

# Backblaze counts 365 days; so does its published figure.
_BINOMIAL_HOURS_PER_YEAR = 365.0 * 24

# Two-sided 95 % of the normal distribution, for intervals.
_NORMAL_95 = 1.959963984540054

# Below this a term of the uniformised series no longer changes the sum.
_SERIES_END = 1e-18

# A Monte Carlo run that needs more events than this per trial was given rates per second.
_EVENTS_MAX = 1_000_000


@dataclass(frozen=True, slots=True)
class FailureRates:
    """How often a node's data is gone for good, and how long until it is rebuilt elsewhere."""

    failures_per_year: float = 0.10  # of one node; "AFR 10 %"
    repair_h: float = 24.0  # mean, from the failure to the last fragment rebuilt

    def __post_init__(self) -> None:
        if not 0 < self.failures_per_year < 1e6 or not 0 < self.repair_h < 1e9:
            raise UsageError(
                "failures per year and hours of repair must be more than 0, "
                f"got {self.failures_per_year:g} and {self.repair_h:g}",
                hint="for example --afr 10% --mttr 24h",
            )

    @property
    def repairs_per_year(self) -> float:
        """The rate at which one lost piece is rebuilt."""
        return HOURS_PER_YEAR / self.repair_h


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured share with its 95 % interval (Wilson's, which holds near 0 too)."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, hits: int, trials: int) -> "Estimate":
        """Return the share of hits."""
        share, z2 = hits / trials, _NORMAL_95**2
        middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
        half = (
            _NORMAL_95
            / (1 + z2 / trials)
            * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
        )
        return cls(share, max(0.0, middle - half), min(1.0, middle + half))


def nines(probability: float) -> float:
    """Return how many nines 1 - ``probability`` has: 1e-6 gives 6."""
    return math.inf if probability <= 0 else -math.log10(probability)


# --- loss


@lru_cache(maxsize=4096)
def markov_loss(layout: Layout, rates: FailureRates, years: float = 1.0) -> float:
    """Return the probability that a chunk stored whole is lost within ``years``."""
    generator = _generator(layout, rates)
    return float(_exponential(generator, years)[0, -1])


def _generator(layout: Layout, rates: FailureRates) -> Matrix:
    """Return the rates between states (coded pieces gone, copies gone); the last state is loss.

    A chunk lives while k coded pieces or one copy do: then all that is gone can be rebuilt.
    """
    k, n, copies = layout.scheme.k, layout.scheme.n, layout.copies
    states = {
        state: number
        for number, state in enumerate(
            (coded, whole)
            for coded in range(n + 1)
            for whole in range(copies + 1)
            if coded <= n - k or whole < copies
        )
    }
    loss = len(states)
    found = np.zeros((loss + 1, loss + 1))
    for (coded, whole), number in states.items():
        for after, rate in (
            ((coded + 1, whole), (n - coded) * rates.failures_per_year),
            ((coded, whole + 1), (copies - whole) * rates.failures_per_year),
            ((coded - 1, whole), coded * rates.repairs_per_year),
            ((coded, whole - 1), whole * rates.repairs_per_year),
        ):
            if rate:
                found[number, states.get(after, loss)] += rate
    return found


def _exponential(rates: Matrix, years: float) -> Matrix:
    """Return the transition probabilities after ``years``, by uniformisation and squaring.

    Source: Jensen 1953; no subtraction, so small entries are as exact as large ones.
    """
    leaving = rates.sum(axis=1)
    fastest = float(leaving.max())
    step = rates / fastest
    step[np.diag_indices_from(step)] += 1.0 - leaving / fastest
    squarings = max(0, math.ceil(math.log2(max(fastest * years, 1e-300))))
    events = fastest * years / 2.0**squarings
    term = np.eye(len(rates)) * math.exp(-events)
    total = term.copy()
    for number in range(1, 200):
        term = term @ step * (events / number)
        total += term
        # Any state reaches loss within as many events as there are states.
        if number > len(rates) and term.max() < _SERIES_END * total[0, -1]:
            break
    for _ in range(squarings):
        total = total @ total
    return total


def binomial_loss(layout: Layout, rates: FailureRates) -> float:
    """Return the annual loss when all failures of one repair time must meet.

    Copies count as pieces of which one is enough. Source: Backblaze/erasure-coding-durability.
    """
    period_h = rates.repair_h
    failing = -math.expm1(-rates.failures_per_year * period_h / _BINOMIAL_HOURS_PER_YEAR)
    too_many = layout.scheme.n - layout.scheme.k + 1
    chances = _binomial(layout.scheme.n, failing)
    in_one = float(chances[too_many:].sum()) * failing**layout.copies
    if in_one >= 1.0:
        return 1.0
    return -math.expm1(_BINOMIAL_HOURS_PER_YEAR / period_h * math.log1p(-in_one))


def _binomial(n: int, probability: float) -> Matrix:
    """Return the probabilities of 0..n hits."""
    return np.array(
        [
            math.comb(n, hits) * probability**hits * (1.0 - probability) ** (n - hits)
            for hits in range(n + 1)
        ]
    )


def monte_carlo_loss(
    layout: Layout,
    rates: FailureRates,
    rng: np.random.Generator,
    *,
    trials: int = 20_000,
    fixed_repair: bool = False,
) -> Estimate:
    """Return the share of trials in which a chunk was lost within a year.

    Args:
        rng: seeded by the caller.
        fixed_repair: every repair takes exactly ``repair_h``, not that on average.
    """
    k, n = layout.scheme.k, layout.scheme.n
    pieces = layout.fragments_total
    repair_years = rates.repair_h / HOURS_PER_YEAR
    due = rng.exponential(1 / rates.failures_per_year, (trials, pieces))
    is_there = np.ones((trials, pieces), dtype=bool)
    lost = 0
    for _ in range(_EVENTS_MAX):
        piece = due.argmin(axis=1)
        rows = np.arange(len(due))
        now = due[rows, piece]
        broke = is_there[rows, piece]
        is_there[rows, piece] = ~broke
        wait = rng.exponential(1.0, len(due))
        repair = repair_years if fixed_repair else wait * repair_years
        due[rows, piece] = now + np.where(broke, repair, wait / rates.failures_per_year)
        dead = (is_there[:, :n].sum(axis=1) < k) & ~is_there[:, n:].any(axis=1) & (now < 1.0)
        lost += int(dead.sum())
        going_on = ~dead & (now < 1.0)
        if not going_on.any():
            return Estimate.of(lost, trials)
        due, is_there = due[going_on], is_there[going_on]
    raise UsageError("more failures a year than can be simulated", hint="lower --afr")


# --- availability


@dataclass(frozen=True, slots=True)
class ZoneFacts:
    """What nodes share: how many zones there are, and how reliably each is up."""

    zones: int = 1
    zone_availability: float = 1.0
    node_availability: float = 0.97  # of a node in a zone that is up

    def __post_init__(self) -> None:
        if self.zones < 1:
            raise UsageError(f"there is at least 1 zone, got {self.zones}")
        for share in (self.zone_availability, self.node_availability):
            if not 0 <= share <= 1:
                raise UsageError(
                    f"an availability is between 0 and 1, got {share:g}",
                    hint="for example --availability 0.97",
                )


def spread(layout: Layout, zones: int) -> list[tuple[int, int]]:
    """Return (coded pieces, copies) of each zone when they are dealt out in turn."""
    found = []
    for zone in range(zones):
        coded = len(range(zone, layout.scheme.n, zones))
        whole = len(range((zone - layout.scheme.n) % zones, layout.copies, zones))
        found.append((coded, whole))
    return found


@lru_cache(maxsize=4096)
def unavailability(layout: Layout, facts: ZoneFacts) -> float:
    """Return the probability that a chunk cannot be read at a random instant.

    Nodes fail independently of each other but for their zones, which fail as one.
    """
    k, n = layout.scheme.k, layout.scheme.n
    up = facts.node_availability
    # chances[c, w]: c coded pieces are at hand, and (w = 1) some copy is.
    chances = np.zeros((n + 1, 2))
    chances[0, 0] = 1.0
    for coded, whole in spread(layout, facts.zones):
        no_copy = (1.0 - up) ** whole
        at_hand = _binomial(coded, up) * facts.zone_availability
        after = np.zeros_like(chances)
        for found, chance in enumerate(at_hand):
            moved = chances[: n + 1 - found] * chance
            after[found:, 0] += moved[:, 0] * no_copy
            after[found:, 1] += moved[:, 1] + moved[:, 0] * (1.0 - no_copy)
        chances = after + chances * (1.0 - facts.zone_availability)
    return float(chances[:k, 0].sum())


# --- traffic, and all of it in one line


def repair_bytes_per_year(layout: Layout, rates: FailureRates) -> float:
    """Return the bytes read to rebuild what fails, for each byte of the video and year.

    Each coded piece is rebuilt from k others, so it costs as many bytes as a whole copy does.
    """
    return layout.fragments_total * rates.failures_per_year


@dataclass(frozen=True, slots=True)
class Worth:
    """What a layout costs and gives."""

    layout: Layout
    overhead: float  # bytes stored for each byte
    annual_loss: float  # by ``model``
    model: str
    unavailability: float  # by zone convolution
    repair_per_year: float  # bytes for each byte of the video


def worth(layout: Layout, rates: FailureRates, zones: ZoneFacts) -> Worth:
    """Return a layout's figures; loss by the Markov model."""
    return Worth(
        layout=layout,
        overhead=layout.overhead,
        annual_loss=markov_loss(layout, rates),
        model="markov",
        unavailability=unavailability(layout, zones),
        repair_per_year=repair_bytes_per_year(layout, rates),
    )
