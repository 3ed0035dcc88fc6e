"""Made-up bandwidth traces that resemble measured ones: DSL, cable, 3G, LTE and 5G.

A link stays at a level for a while, then moves to another (a Markov chain: other people's traffic,
a cell change); around the level it wobbles (a lognormal AR(1) process: scheduling, contention);
now and then it fades to a small share or to nothing. Figures per family were fitted to the medians
of public measurements: FCC's Measuring Broadband America (DSL, cable), HSDPA logs from Norway (3G),
LTE logs from Ghent, Lumos 4G and 5G.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import inf

import numpy as np

from smart_client.simulator.trace_library import FloatArray, Trace, TraceLibrary

# Any seed of the library's own: part of its name, so results say which traces they were made on.
LIBRARY_SEED = 1
TRACES_PER_FAMILY = 60
TRACE_SECONDS = 400


@dataclass(frozen=True, slots=True)
class LinkFamily:
    """One kind of access link, as the parameters of its generator."""

    name: str
    mean_mbit_per_s: float  # median over links of a link's average
    mean_sigma: float  # lognormal spread of that average over links
    levels: tuple[float, ...]  # relative rates it moves between
    dwell_s: float  # mean stay at a level
    wobble_sigma: float  # of the logarithm
    wobble_half_life_s: float
    character_sigma: float = 0.3  # lognormal spread over links of how much a link wobbles
    fade_every_s: float = inf
    fade_lasting_s: float = 3.0
    fade_share_max: float = 0.0  # a fade leaves up to this share of the rate
    dead_share: float = 0.0  # of the fades: they leave nothing

    def __post_init__(self) -> None:
        positive = (self.mean_mbit_per_s, self.dwell_s, self.wobble_half_life_s, *self.levels)
        if not self.levels or min(positive) <= 0:
            raise ValueError(f"{self.name}: rates, levels and times must be above 0")
        if min(self.mean_sigma, self.wobble_sigma, self.character_sigma) < 0:
            raise ValueError(f"{self.name}: spreads must be at least 0")
        if self.fade_every_s <= 0 or self.fade_lasting_s <= 0:
            raise ValueError(f"{self.name}: fades need a distance and a length above 0")
        if not (0 <= self.fade_share_max <= 1 and 0 <= self.dead_share <= 1):
            raise ValueError(f"{self.name}: shares lie between 0 and 1")


FAMILIES = (
    LinkFamily("dsl", 2.4, 0.55, (0.8, 1.0, 1.1), 60.0, 0.13, 6.0, 0.7, 240.0, 4.0, 0.6),
    LinkFamily("cable", 14.0, 0.35, (0.08, 0.6, 1.0, 1.6, 2.2), 25.0, 0.20, 20.0, 0.3),
    LinkFamily("3g", 1.1, 0.4, (0.55, 1.0, 1.35), 30.0, 0.20, 6.0, 0.4, 150.0, 4.0, 0.4),
    LinkFamily("lte", 30.0, 0.45, (0.35, 0.9, 1.5), 25.0, 0.32, 4.0, 0.4, 80.0, 4.0, 0.15, 0.08),
    LinkFamily(
        "5g", 440.0, 0.4, (0.12, 0.5, 1.4, 2.0), 14.0, 0.42, 6.0, 0.3, 40.0, 3.0, 0.06, 0.25
    ),
)


def _levels(family: LinkFamily, seconds: int, rng: np.random.Generator) -> FloatArray:
    """Return the level of each second; stays are geometric with mean ``dwell_s``."""
    leaves = rng.random(seconds) < 1.0 / family.dwell_s
    leaves[0] = True
    chosen = rng.integers(0, len(family.levels), seconds)
    stay = np.maximum.accumulate(np.where(leaves, np.arange(seconds), 0))
    result: FloatArray = np.array(family.levels)[chosen[stay]]
    return result


def ar1(seconds: int, rng: np.random.Generator, *, sigma: float, half_life_s: float) -> FloatArray:
    """Return a normal process of mean 0, one value a second, that forgets with a half-life."""
    keep = 0.5 ** (1.0 / half_life_s)
    shocks = rng.normal(0.0, sigma * np.sqrt(1 - keep * keep), seconds)
    value = float(rng.normal(0.0, sigma))
    values = np.empty(seconds)
    for second, shock in enumerate(shocks):
        value = keep * value + float(shock)
        values[second] = value
    return values


def _wobble(family: LinkFamily, seconds: int, rng: np.random.Generator) -> FloatArray:
    """Return a lognormal AR(1) process with median 1."""
    sigma = family.wobble_sigma * float(rng.lognormal(0.0, family.character_sigma))
    result: FloatArray = np.exp(
        ar1(seconds, rng, sigma=sigma, half_life_s=family.wobble_half_life_s)
    )
    return result


def _fades(family: LinkFamily, seconds: int, rng: np.random.Generator) -> FloatArray:
    """Return the share of the rate that fades leave in each second: 1 outside them."""
    share = np.ones(seconds)
    if not np.isfinite(family.fade_every_s):
        return share
    at_s = float(rng.exponential(family.fade_every_s))
    while at_s < seconds:
        lasting_s = float(rng.exponential(family.fade_lasting_s))
        is_dead, left = rng.random(2)
        left *= family.fade_share_max * (is_dead >= family.dead_share)
        share[int(at_s) : int(at_s + lasting_s) + 1] = left
        at_s += lasting_s + float(rng.exponential(family.fade_every_s))
    return share


def make_trace(family: LinkFamily, seed: int, number: int, seconds: int = TRACE_SECONDS) -> Trace:
    """Return trace ``number`` of a family: the same for the same arguments, on every machine."""
    rng = np.random.default_rng([seed, number, *family.name.encode()])
    mean = family.mean_mbit_per_s * float(rng.lognormal(0.0, family.mean_sigma)) * 1e6 / 8
    shape = _levels(family, seconds, rng) * _wobble(family, seconds, rng)
    shape *= _fades(family, seconds, rng)
    if not shape.any():  # one fade over all of a very short trace
        shape += 1.0
    return Trace(family.name, f"{family.name}-{number}", shape * (mean / shape.mean()))


@lru_cache(maxsize=4)
def synthetic_library(seed: int = LIBRARY_SEED) -> TraceLibrary:
    """Return the library the product ships: equally many traces of every family."""
    traces = tuple(
        make_trace(family, seed, number)
        for family in FAMILIES
        for number in range(TRACES_PER_FAMILY)
    )
    return TraceLibrary(f"synthetic-{seed}", traces)
