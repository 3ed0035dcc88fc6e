"""Figures of a batch: waiting as a multiple of the optimum, with an interval over seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from smart_client.simulator.batch import SessionRecord

RESAMPLES = 2000
RESAMPLE_SEED = 1


@dataclass(frozen=True, slots=True)
class Cell:
    """One scheduler in one scenario and layout, over all seeds."""

    scenario: str
    layout: str
    scheduler: str
    mode: str
    sessions: int
    ratio: float  # of mean waiting to mean optimum; nan without an optimum
    ratio_low: float  # 95 % bootstrap interval over seeds
    ratio_high: float
    ratio_median: float  # of the sessions' own ratios
    ratio_p95: float
    waiting_s: float  # mean
    optimum_s: float  # mean
    startup_s: float  # median
    startup_p95_s: float
    rebuffer_s_per_h: float  # seconds of stall in an hour of playback
    saved: float  # share of the reference's mean waiting, paired by world; nan without one
    saved_low: float  # 95 % bootstrap interval over worlds
    saved_high: float
    stalled_share: float  # of the sessions: at least one stall
    extra_share: float  # mean
    unfinished: int  # sessions the world ended before


def cells_of(records: Iterable[SessionRecord], *, reference: str = "") -> list[Cell]:
    """Return one cell for each (scenario, layout, scheduler, mode), in the order they appear.

    Args:
        reference: the scheduler that ``saved`` counts from; empty for none.
    """
    groups: dict[tuple[str, str, str, str], list[SessionRecord]] = {}
    for record in records:
        key = (record.scenario, record.layout, record.scheduler, record.mode)
        groups.setdefault(key, []).append(record)
    return [
        _cell(key, group, groups.get((key[0], key[1], reference, key[3]), []))
        for key, group in groups.items()
    ]


def _saved(
    group: Sequence[SessionRecord], reference: Sequence[SessionRecord]
) -> tuple[float, float, float]:
    """Return the share of the reference's waiting that is saved, and its interval over worlds."""
    theirs = {record.seed: record.outcome.waiting_s for record in reference}
    pairs = [(r.outcome.waiting_s, theirs[r.seed]) for r in group if r.seed in theirs]
    if not pairs or sum(pair[1] for pair in pairs) <= 0:
        return float("nan"), float("nan"), float("nan")
    had, base = np.array(pairs).T
    rng = np.random.default_rng(RESAMPLE_SEED)
    drawn = rng.integers(0, base.size, (RESAMPLES, base.size))
    shares = 1 - had[drawn].sum(1) / np.maximum(base[drawn].sum(1), 1e-9)
    low, high = (float(q) for q in np.percentile(shares, [2.5, 97.5]))
    return float(1 - had.sum() / base.sum()), low, high


def _cell(
    key: tuple[str, str, str, str],
    group: Sequence[SessionRecord],
    reference: Sequence[SessionRecord],
) -> Cell:
    waiting = np.array([record.outcome.waiting_s for record in group])
    optimum = np.array([r.optimum_s if r.optimum_s is not None else np.nan for r in group])
    known = ~np.isnan(optimum)
    low = high = median = p95 = ratio = float("nan")
    if known.any():
        had, best = waiting[known], optimum[known]
        rng = np.random.default_rng(RESAMPLE_SEED)
        drawn = rng.integers(0, best.size, (RESAMPLES, best.size))
        ratios = had[drawn].sum(1) / best[drawn].sum(1)
        ratio = float(had.sum() / best.sum())
        low, high = (float(q) for q in np.percentile(ratios, [2.5, 97.5]))
        median, p95 = (float(q) for q in np.percentile(had / best, [50, 95]))
    startups = [record.outcome.startup_s for record in group]
    stalled_s = sum(record.outcome.stalled_s for record in group)
    played_s = sum(record.played_s for record in group)
    saved, saved_low, saved_high = _saved(group, reference)
    return Cell(
        *key,
        sessions=len(group),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
        ratio_median=median,
        ratio_p95=p95,
        waiting_s=float(waiting.mean()),
        optimum_s=float(optimum[known].mean()) if known.any() else float("nan"),
        startup_s=float(np.median(startups)),
        startup_p95_s=float(np.percentile(startups, 95)),
        rebuffer_s_per_h=3600 * stalled_s / played_s if played_s else float("nan"),
        saved=saved,
        saved_low=saved_low,
        saved_high=saved_high,
        stalled_share=float(np.mean([record.outcome.stalls > 0 for record in group])),
        extra_share=float(np.mean([record.outcome.extra_share for record in group])),
        unfinished=sum(not record.outcome.ended for record in group),
    )
