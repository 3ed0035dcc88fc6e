"""``redundancy plan`` and ``recommend``: what policies wish, and why, before anything is moved."""

import argparse
import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from redundancy.durability import FailureRates, Worth, nines, worth
from redundancy.errors import EvenflowError, ExitCode, UsageError
from redundancy.migration import DAY_S, DailyBudget, Plan, Transition, moved_bytes, plan
from redundancy.policy import HybridPolicy, Policy, ThresholdPolicy, VideoFacts, losses
from redundancy.policy_options import required_range
from redundancy.quantities import parse_size, size_text
from redundancy.scheme import Layout
from redundancy.sizing import ClusterFacts, HybridLimits, NodeFacts, misses
from redundancy.tables import table
from redundancy.terminal import Terminal

NODES_MAX = 200

# So many candidates that do what is asked, and that fall short, are shown.
_FIT_SHOWN = 6
_SHORT_SHOWN = 3

_PLAN_HEAD = ("LAYOUT", "SPACE", "SURVIVES", "LOST A YEAR", "NINES", "FAILED READS", "REPAIR", "")
_MOVE_HEAD = ("VIDEO", "FROM", "TO", "MOVES", "STORES", "WHY")
_REQUIRED = ("name", "size", "views", "views_per_week", "layout")


def cluster_of(args: argparse.Namespace) -> ClusterFacts:
    """Return the nodes that the options describe. Raises: UsageError."""
    count = required_range("--nodes", args.nodes, 1, NODES_MAX)
    shares: tuple[float, ...] = args.availability
    if len(shares) not in (1, count):
        raise UsageError(
            f"--availability has {len(shares)} values for {count} nodes",
            hint="give one for all, or one for each",
        )
    zones = 0 if args.zones is None else required_range("--zones", args.zones, 1, count)
    nodes = tuple(
        NodeFacts(
            f"node-{number + 1}",
            f"zone-{number % zones + 1}" if zones else "",
            shares[number % len(shares)],
        )
        for number in range(count)
    )
    return ClusterFacts(nodes, FailureRates(args.afr, args.mttr), args.zone_availability)


def limits_of(args: argparse.Namespace) -> HybridLimits:
    """Return what the options ask of ``hybrid``. Raises: UsageError."""
    return HybridLimits(
        hot_views_per_week=args.hot,
        cold_views_per_week=args.cold,
        losses_min=args.losses,
        annual_loss_max=10.0**-args.nines,
        unavailability_max=args.max_failed_reads,
    )


# --- plan


def plan_layouts(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print which code these nodes should hold, or what is to be done with each video."""
    cluster, limits = cluster_of(args), limits_of(args)
    if args.views:
        return _plan_videos(args, cluster, limits, terminal)
    policy = HybridPolicy(cluster, limits)
    shown = _shown(policy, limits, cluster)
    falls_short = any(misses(worth_of(policy.cold, cluster), limits))
    terminal.result(
        {
            "recommended": str(policy.cold),
            "hot": str(policy.hot),
            "reasons": policy.summary,
            "meets_all": not falls_short,
            "model": "markov",
            "plans": [_candidate_json(each, policy, limits) for each in shown],
        },
        table(_PLAN_HEAD, [_candidate_row(each, policy, limits) for each in shown])
        + "\n\n"
        + "\n".join(policy.summary),
    )
    return ExitCode.PARTIAL if falls_short else ExitCode.OK


def worth_of(layout: Layout, cluster: ClusterFacts) -> Worth:
    """Return a layout's figures on these nodes."""
    return worth(layout, cluster.rates, cluster.zones)


def _shown(policy: HybridPolicy, limits: HybridLimits, cluster: ClusterFacts) -> list[Worth]:
    """Return the smallest candidates that do, the smallest that do not, and what is well known."""
    by_space = sorted(policy.candidates, key=lambda each: (each.overhead, each.annual_loss))
    fit = [each for each in by_space if not any(misses(each, limits))][:_FIT_SHOWN]
    short = [
        each
        for each in by_space
        if any(misses(each, limits)) and each.layout.tolerates >= min(2, limits.losses_min)
    ]
    known = [
        worth_of(layout, cluster)
        for layout in (Layout.parse("rs:3+2"), Layout.parse("rep:3"), policy.cold, policy.hot)
        if layout.fragments_total <= len(cluster.nodes)
    ]
    unique = {each.layout: each for each in (*fit, *short[-_SHORT_SHOWN:], *known)}
    return sorted(unique.values(), key=lambda each: (each.overhead, each.annual_loss))


def _missed(each: Worth, limits: HybridLimits) -> str:
    words = (f"< {limits.losses_min} losses", "too few nines", "too many failed reads")
    found = [word for word, missed in zip(words, misses(each, limits), strict=True) if missed]
    return ", ".join(found)


def _mark(each: Worth, policy: HybridPolicy, limits: HybridLimits) -> str:
    if each.layout == policy.cold:
        return "<- recommended"
    if each.layout == policy.hot:
        return "<- while hot"
    return _missed(each, limits)


def _candidate_row(each: Worth, policy: HybridPolicy, limits: HybridLimits) -> Sequence[str]:
    return (
        str(each.layout),
        f"{each.overhead:.2f}x",
        f"{each.layout.tolerates} lost",
        f"{each.annual_loss:.1e}",
        f"{nines(each.annual_loss):.1f}",
        f"{each.unavailability:.1e}",
        f"{each.repair_per_year:.2f}x",
        _mark(each, policy, limits),
    )


def _candidate_json(each: Worth, policy: HybridPolicy, limits: HybridLimits) -> dict[str, object]:
    return {
        "layout": str(each.layout),
        "overhead": each.overhead,
        "tolerates": each.layout.tolerates,
        "annual_loss": each.annual_loss,
        "nines": nines(each.annual_loss),
        "unavailability": each.unavailability,
        "repair_bytes_per_byte_year": each.repair_per_year,
        "recommended": each.layout == policy.cold,
        "misses": _missed(each, limits),
    }


# --- plan --views


def _plan_videos(
    args: argparse.Namespace, cluster: ClusterFacts, limits: HybridLimits, terminal: Terminal
) -> int:
    policy: Policy = HybridPolicy(cluster, limits)
    if args.policy == "threshold":
        policy = ThresholdPolicy(cluster)
    path = Path(args.views)
    with path.open(encoding="utf-8-sig", newline="") as lines:
        videos = list(read_views(lines, str(path)))
    made = plan(policy, videos, 0.0, DailyBudget(parse_size(args.budget)))
    terminal.result(_plan_json(policy, made, videos), _plan_text(policy, made, videos))
    return ExitCode.OK


def read_views(lines: Iterator[str], where: str) -> Iterator[VideoFacts]:
    """Read videos from CSV. Raises: UsageError: naming the line that is wrong."""
    rows = csv.DictReader(lines)
    absent = [head for head in _REQUIRED if head not in (rows.fieldnames or ())]
    if absent:
        raise UsageError(
            f"{where}: no column '{absent[0]}' in the first line",
            hint=f"it begins with {','.join(_REQUIRED)}",
        )
    for row in rows:
        try:
            yield _video(row)
        except (ValueError, EvenflowError) as error:
            what = error.message if isinstance(error, EvenflowError) else str(error)
            raise UsageError(f"{where}, line {rows.line_num}: {what}") from error


def _video(row: dict[str, str | None]) -> VideoFacts:
    """Raises: ValueError, EvenflowError."""
    filled = {head: (text or "").strip() for head, text in row.items() if isinstance(text, str)}
    empty = [head for head in _REQUIRED if not filled.get(head)]
    if empty:
        raise ValueError(f"nothing under '{empty[0]}'")
    changed, wish = filled.get("changed_days_ago"), filled.get("wish")
    return VideoFacts(
        id=filled["name"],
        size_bytes=parse_size(filled["size"]),
        views=int(filled["views"]),
        views_per_week=float(filled["views_per_week"]),
        layout=Layout.parse(filled["layout"]),
        changed_at_s=-float(changed) * DAY_S if changed else float("-inf"),
        wish=Layout.parse(wish) if wish else None,
    )


def _stored(videos: Sequence[VideoFacts]) -> float:
    return sum(each.layout.overhead * each.size_bytes for each in videos if each.layout)


def _plan_json(policy: Policy, made: Plan, videos: Sequence[VideoFacts]) -> dict[str, object]:
    held = max(1, sum(each.size_bytes for each in videos))
    before = _stored(videos)
    after = before + sum(each.stored_bytes for each in made.now)
    return {
        "policy": policy.name,
        "summary": policy.summary,
        "now": [_move_json(each) for each in made.now],
        "later": [{**_move_json(each), "waits": why} for each, why in made.later],
        "unchanged": made.unchanged,
        "moved_bytes": made.moved_bytes,
        "budget_bytes": made.budget.limit_bytes,
        "overhead_before": before / held,
        "overhead_after": after / held,
    }


def _move_json(each: Transition) -> dict[str, object]:
    return {
        "video": each.video.id,
        "from": str(each.before),
        "to": str(each.after),
        "moved_bytes": each.moved_bytes,
        "stored_bytes": each.stored_bytes,
        "urgent": each.is_urgent,
        "reasons": each.reasons,
    }


def _plan_text(policy: Policy, made: Plan, videos: Sequence[VideoFacts]) -> str:
    figures = _plan_json(policy, made, videos)
    lines = [f"{policy.name}:", *(f"  {each}" for each in policy.summary), ""]
    if made.now:
        lines += ["now:", table(_MOVE_HEAD, [_move_row(each, "") for each in made.now]), ""]
    if made.later:
        rows = [_move_row(each, f" - waits: {why}") for each, why in made.later]
        lines += ["later:", table(_MOVE_HEAD, rows), ""]
    lines.append(
        f"{len(made.now)} change now, moving {size_text(made.moved_bytes)} of "
        f"{size_text(made.budget.limit_bytes)} a day; {len(made.later)} wait, {made.unchanged} "
        f"stay; space {figures['overhead_before']:.3f}x -> {figures['overhead_after']:.3f}x"
    )
    return "\n".join(lines)


def _move_row(each: Transition, more: str) -> Sequence[str]:
    sign = "-" if each.stored_bytes < 0 else "+"
    return (
        each.video.id,
        str(each.before),
        str(each.after),
        size_text(each.moved_bytes),
        f"{sign}{size_text(abs(each.stored_bytes))}",
        "; ".join(each.reasons) + more,
    )


# --- recommend


def recommend(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print what each policy would do with one video, and why."""
    cluster, limits = cluster_of(args), limits_of(args)
    video = VideoFacts(
        id="video",
        size_bytes=parse_size(args.size),
        views=args.views,
        views_per_week=args.views_per_week,
        layout=Layout.parse(args.layout) if args.layout else None,
        changed_at_s=float("-inf") if args.changed is None else -args.changed * 3600.0,
        wish=Layout.parse(args.wish) if args.wish else None,
    )
    policies: list[Policy] = [HybridPolicy(cluster, limits), ThresholdPolicy(cluster)]
    found, lines = [], []
    for policy in policies:
        decision = policy.decide(video, 0.0)
        has = video.layout or decision.layout
        moved = moved_bytes(has, decision.layout, video.size_bytes)
        stored = round(decision.layout.overhead * video.size_bytes)
        found.append(
            {
                "policy": policy.name,
                "layout": str(decision.layout),
                "changes": has != decision.layout,
                "reasons": decision.reasons,
                "urgent": decision.is_urgent,
                "moved_bytes": moved,
                "stored_bytes": stored,
            }
        )
        verb = f"{has} -> {decision.layout}" if has != decision.layout else str(decision.layout)
        lines.append(
            f"{policy.name}: {verb}, stores {size_text(stored)}, moves {size_text(moved)}, "
            f"{losses(decision.layout.tolerates)}"
        )
        lines += [f"  {reason}" for reason in decision.reasons]
    terminal.result({"recommendations": found}, "\n".join(lines))
    return ExitCode.OK
