"""Figures of a batch: waiting as a multiple of the optimum, with an interval over seeds."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from smart_client.simulator.batch import SessionRecord
from smart_client.simulator.intervals import WORLDS_FOR_TRUST, WORLDS_MIN, ratio_interval


@dataclass(frozen=True, slots=True)
class Cell:
    """One scheduler in one scenario and layout, over all seeds."""

    scenario: str
    layout: str
    scheduler: str
    mode: str
    sessions: int
    ratio: float  # of mean waiting to mean optimum; nan without an optimum; at least, if unfinished
    ratio_low: float  # 95 % interval over worlds; nan with too few
    ratio_high: float
    ratio_median: float  # of the sessions' own ratios
    ratio_p95: float
    waiting_s: float  # mean
    optimum_s: float  # mean
    startup_s: float  # median
    startup_p95_s: float
    rebuffer_s_per_h: float  # seconds of stall in an hour of playback
    saved: float  # share of the reference's mean waiting, paired by world; nan without one
    saved_low: float  # 95 % interval over worlds; nan with too few
    saved_high: float
    stalled_share: float  # of the sessions: at least one stall
    extra_share: float  # mean
    unfinished: int  # sessions the world ended before: their waiting is counted to then


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


def ratio_text(cell: Cell) -> str:
    """Return the multiple of the optimum with its interval, as far as they are known."""
    return multiple_text(cell) + interval_text(cell.ratio_low, cell.ratio_high, ".2f")


def multiple_text(cell: Cell) -> str:
    """Return the multiple of the optimum; of sessions that were cut off it is so much at least."""
    if math.isnan(cell.ratio):
        return "-"
    return f"{'≥ ' if cell.unfinished else ''}{cell.ratio:.2f}"


def interval_text(low: float, high: float, form: str) -> str:
    """Return an interval in brackets; nothing if it is not known."""
    return "" if math.isnan(low) else f" [{low:{form}}, {high:{form}}]"


def remarks_on(cells: Sequence[Cell]) -> list[str]:
    """Return what a reader of these figures must know beside them."""
    remarks = [
        f"{cell.scheduler} in {cell.scenario} {cell.layout}: {cell.unfinished} of {cell.sessions} "
        "sessions did not end in six times the video's length; their waiting is counted to then, "
        "so its figures are lower bounds"
        for cell in cells
        if cell.unfinished
    ]
    fewest = min((cell.sessions for cell in cells), default=WORLDS_FOR_TRUST)
    if fewest < WORLDS_MIN:
        remarks.append(f"no intervals with fewer than {WORLDS_MIN} worlds (--runs)")
    elif fewest < WORLDS_FOR_TRUST:
        remarks.append(
            f"with fewer than {WORLDS_FOR_TRUST} worlds intervals tend to be too narrow: a few bad "
            "worlds hold much of the waiting, and may not be among these"
        )
    return remarks


def _waiting_s(record: SessionRecord) -> float:
    """Return what a session waited; one that was cut off waits the optimum at least."""
    waited_s = record.outcome.waiting_s
    return waited_s if record.outcome.ended else max(waited_s, record.optimum_s or 0.0)


def _saved(
    group: Sequence[SessionRecord], reference: Sequence[SessionRecord]
) -> tuple[float, float, float]:
    """Return the share of the reference's waiting that is saved, and its interval over worlds."""
    theirs = {record.seed: _waiting_s(record) for record in reference}
    pairs = [(_waiting_s(r), theirs[r.seed]) for r in group if r.seed in theirs]
    if not pairs or sum(pair[1] for pair in pairs) <= 0:
        return float("nan"), float("nan"), float("nan")
    had, base = np.array(pairs).T
    low, high = ratio_interval(had, base)
    return float(1 - had.sum() / base.sum()), 1 - high, 1 - low


def _cell(
    key: tuple[str, str, str, str],
    group: Sequence[SessionRecord],
    reference: Sequence[SessionRecord],
) -> Cell:
    waiting = np.array([_waiting_s(record) for record in group])
    optimum = np.array([r.optimum_s if r.optimum_s is not None else np.nan for r in group])
    known = ~np.isnan(optimum)
    low = high = median = p95 = ratio = float("nan")
    if known.any():
        had, best = waiting[known], optimum[known]
        ratio = float(had.sum() / best.sum())
        low, high = ratio_interval(had, best)
        low = low if math.isnan(low) else max(1.0, low)  # nobody waits less
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
