"""``redundancy simulate``: policies beside each other in the same made-up worlds."""

import argparse
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from redundancy.durability import FailureRates
from redundancy.errors import ExitCode, UsageError
from redundancy.plan_commands import limits_of
from redundancy.policy import FixedPolicy, HybridPolicy, Policy, ThresholdPolicy
from redundancy.policy_options import required_range
from redundancy.scheme import Layout
from redundancy.simulation import Efficiency, Interval, simulate
from redundancy.simulation_world import WorldFacts, make_world
from redundancy.sizing import HybridLimits
from redundancy.tables import table
from redundancy.terminal import Terminal

_HEAD = (
    "POLICY",
    "SPACE",
    "SAVED",
    "NINES",
    "FAILED READS",
    "(MODEL)",
    "DECODED",
    "REPAIR/YEAR",
    "MOVED/YEAR",
)

# Named in the order in which an efficiency's figures are shown.
_FIGURES = (
    "overhead",
    "saving",
    "nines",
    "failed_reads",
    "failed_reads_expected",
    "degraded_reads",
    "repair_per_year",
    "migration_per_year",
    "migrations_per_year",
    "hot_videos",
    "hot_reads",
    "busiest_day_share",
)


def simulate_policies(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print what each policy cost and gave, with intervals over the runs."""
    facts = _facts(args)
    policies = _policies(facts, limits_of(args))
    found: dict[str, list[Efficiency]] = {policy.name: [] for policy in policies}
    for seed in _seeds(args, terminal):
        world = make_world(facts, seed)
        for policy in policies:
            found[policy.name].append(simulate(world, policy, budget_share_per_day=args.budget))
    terminal.result(_json(args, policies, found), _text(args, facts, policies, found))
    return ExitCode.OK


def _facts(args: argparse.Namespace) -> WorldFacts:
    if len(args.availability) != 1:
        raise UsageError("simulate knows one --availability for all nodes")
    required_range("--videos", args.videos, 100, 1_000_000)
    required_range("--runs", args.runs, 1, 1000)
    return WorldFacts(
        videos=args.videos,
        weeks=required_range("--weeks", args.weeks, 53, 1040),
        nodes=args.nodes,
        zones=args.zones,
        node_availability=args.availability[0],
        zone_availability=args.zone_availability,
        mean_views=args.mean_views,
        rates=FailureRates(args.afr, args.mttr),
    )


def _policies(facts: WorldFacts, limits: HybridLimits) -> list[Policy]:
    cluster = facts.cluster
    fixed = [FixedPolicy(cluster, Layout.parse(text)) for text in ("rep:3", "rs:3+2")]
    return [*fixed, ThresholdPolicy(cluster), HybridPolicy(cluster, limits)]


def _seeds(args: argparse.Namespace, terminal: Terminal) -> Iterator[int]:
    """Return the seeds, showing how far it is where a moving line is welcome."""
    seeds: Iterable[int] = range(args.seed, args.seed + args.runs)
    if terminal.shows_progress:
        from rich.progress import track  # noqa: PLC0415

        console = terminal.console(stderr=True)
        seeds = track(seeds, "simulate", console=console, transient=True)
    yield from seeds


def _interval(found: Sequence[Efficiency], figure: str) -> Interval:
    return Interval.of([float(getattr(each, figure)) for each in found])


def _json(
    args: argparse.Namespace, policies: Sequence[Policy], found: dict[str, list[Efficiency]]
) -> dict[str, object]:
    return {
        "runs": args.runs,
        "seed": args.seed,
        "loss_model": "markov",
        "policies": [
            {
                "policy": policy.name,
                "cold": str(policy.cold),
                "hot": str(policy.hot),
                "summary": policy.summary,
                "figures": {
                    figure: asdict(_interval(found[policy.name], figure)) for figure in _FIGURES
                },
                "by_run": [asdict(each) for each in found[policy.name]],
            }
            for policy in policies
        ],
        "hybrid_minus_threshold": {
            figure: asdict(_paired(found, figure)) for figure in ("overhead", "failed_reads")
        },
    }


def _paired(found: dict[str, list[Efficiency]], figure: str) -> Interval:
    """Return how much more hybrid has of something than threshold, run by run."""
    pairs = zip(found["hybrid"], found["threshold"], strict=True)
    return Interval.of([getattr(ours, figure) - getattr(other, figure) for ours, other in pairs])


def _text(
    args: argparse.Namespace,
    facts: WorldFacts,
    policies: Sequence[Policy],
    found: dict[str, list[Efficiency]],
) -> str:
    space, failed = _paired(found, "overhead"), _paired(found, "failed_reads")
    lines = [
        f"{facts.nodes} nodes in {facts.zones} zones, {facts.videos} videos over {facts.weeks} "
        f"weeks, the last year measured, {args.runs} runs from seed {args.seed}; mean ± 95 %",
        "nines: Markov model; failed reads: as it happened, and by zone convolution",
        "",
        table(_HEAD, [_row(policy.name, found[policy.name]) for policy in policies]),
        "",
    ]
    for policy in policies:
        hot = _interval(found[policy.name], "hot_videos").mean
        reads = _interval(found[policy.name], "hot_reads").mean
        if policy.hot != policy.cold:
            lines.append(
                f"{policy.name}: {policy.cold}, and {policy.hot} for {hot:.1%} of videos, which "
                f"are {reads:.0%} of the views"
            )
    lines.append(
        f"hybrid - threshold, same runs: space {_signed(space, '.3f')}x, failed reads "
        f"{_signed(failed, '.1e')}"
    )
    return "\n".join(lines)


def _signed(value: Interval, form: str) -> str:
    return f"{value.mean:+{form}}{_half(value, form)}"


def _half(value: Interval, form: str) -> str:
    """Return how sure a mean is; nothing of a single run."""
    return "" if math.isnan(value.half) else f" ± {value.half:{form}}"


def _row(name: str, found: Sequence[Efficiency]) -> Sequence[str]:
    def shown(figure: str, form: str, unit: str = "") -> str:
        value = _interval(found, figure)
        return f"{value.mean:{form}}{unit}{_half(value, form)}"

    return (
        name,
        shown("overhead", ".3f", "x"),
        f"{_interval(found, 'saving').mean:.1%}",
        shown("nines", ".2f"),
        shown("failed_reads", ".1e"),
        f"{_interval(found, 'failed_reads_expected').mean:.2e}",
        f"{_interval(found, 'degraded_reads').mean:.1%}",
        shown("repair_per_year", ".2f", "x"),
        shown("migration_per_year", ".3f", "x"),
    )
