"""The commands ``plan``, ``recommend``, ``simulate`` and ``durability``: their options and help.

Nothing here needs numpy, so that ``--help`` does not wait for it.
"""

import argparse
import re

from redundancy.errors import UsageError
from redundancy.terminal import CommandParser, add_command, later

_DURABILITY_EXAMPLES = """\
examples:
  redundancy durability                                 what 3 copies and some codes give
  redundancy durability rs:6+3 rep:3 --afr 30% --mttr 72h    old disks, rebuilt in 3 days
  redundancy durability rs:6+3 --zones 4 --zone-availability 99.8%
  redundancy durability rs:17+3 --afr 0.405% --mttr 156h --model binomial
  redundancy durability rs:3+2 --afr 200% --mttr 168h --model monte-carlo --seed 1

models:
  markov       failures and repairs independent, both exponential; exact
  binomial     too many failures within one repair time; Backblaze's calculator
  monte-carlo  every failure drawn, with an interval; sees only what is not too rare

No model knows of fire, theft or mistakes: above about 11 nines one of those comes first.
"""

_PLAN_EXAMPLES = """\
examples:
  redundancy plan --nodes 12 --zones 4                  which code these nodes should hold, and why
  redundancy plan --nodes 5 --availability 99%,99%,95%,90%,97%
  redundancy plan --nodes 12 --zones 4 --nines 9 --max-failed-reads 1e-4
  redundancy plan --nodes 12 --zones 4 --views views.csv --budget 50GB

views.csv: one line a video under the heads
  name,size,views,views_per_week,layout                 required, as in kino,1.4GB,1200,3.5,rs:3+2
  changed_days_ago,wish                                 if you like; wish: a layout that is fixed

exit codes: 0 ok, 2 usage, 3 these nodes cannot do all that is asked, 4 no such file
"""

_RECOMMEND_EXAMPLES = """\
examples:
  redundancy recommend --nodes 12 --zones 4 --views 5000 --views-per-week 3 --layout rep:3
  redundancy recommend --nodes 5 --size 4GB              a new video
  redundancy recommend --nodes 5 --size 4GB --wish rep:4
"""

_SIMULATE_EXAMPLES = """\
examples:
  redundancy simulate                                   12 nodes in 4 zones, 3 years, 10 libraries
  redundancy simulate --nodes 6 --zones 3 --runs 5
  redundancy simulate --availability 90% --videos 100000 --runs 20 --seed 7
  redundancy simulate --max-failed-reads 1e-4           what as few failed reads as 3 copies take

Every policy lives through the same views, outages and failures; the last year is measured. Loss
is too rare to be seen in it: its nines are the Markov model's over the layouts in use.
"""

_SHARE = re.compile(r"((?:\d+(?:\.\d+)?|\.\d+)(?:[eE]-?\d+)?)(%?)")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(min|h|d|)")
_HOURS = {"min": 1 / 60, "h": 1.0, "": 1.0, "d": 24.0}


def share(text: str) -> float:
    """Read ``97%`` or ``0.97``."""
    found = _SHARE.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"not a share: {text!r}; write it like 97% or 0.97")
    return float(found[1]) / (100.0 if found[2] else 1.0)


def shares(text: str) -> tuple[float, ...]:
    """Read one share, or several between commas."""
    return tuple(share(each) for each in text.split(","))


def hours(text: str) -> float:
    """Read ``24h``, ``3d`` or ``90min``; a bare number is hours."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"not a duration: {text!r}; write it like 24h or 3d")
    return float(found[1]) * _HOURS[found[2]]


def add_policy_commands(commands: "argparse._SubParsersAction[CommandParser]") -> None:
    """Add the four commands."""
    _add_plan(commands)
    _add_recommend(commands)
    _add_simulate(commands)
    _add_durability(commands)


def _add_plan(commands: "argparse._SubParsersAction[CommandParser]") -> None:
    plan = add_command(
        commands,
        "plan",
        later("redundancy.plan_commands", "plan_layouts"),
        "Choose a code for some nodes, or for each video of a list, and say why.",
        epilog=_PLAN_EXAMPLES,
    )
    _add_nodes(plan)
    _add_limits(plan)
    plan.add_argument("--views", metavar="FILE", help="what each video is watched: CSV, see below")
    plan.add_argument(
        "--policy",
        choices=("hybrid", "threshold"),
        default="hybrid",
        help="for --views (default %(default)s)",
    )
    plan.add_argument(
        "--budget", default="50GB", metavar="SIZE", help="to be moved a day (default %(default)s)"
    )


def _add_recommend(commands: "argparse._SubParsersAction[CommandParser]") -> None:
    recommend = add_command(
        commands,
        "recommend",
        later("redundancy.plan_commands", "recommend"),
        "Say what each policy would do with one video, and why.",
        epilog=_RECOMMEND_EXAMPLES,
    )
    _add_nodes(recommend)
    _add_limits(recommend)
    recommend.add_argument("--size", default="1GB", metavar="SIZE", help="default %(default)s")
    recommend.add_argument("--views", type=int, default=0, metavar="N", help="all there were")
    recommend.add_argument(
        "--views-per-week", type=float, default=0.0, metavar="X", help="lately (default 0)"
    )
    recommend.add_argument("--layout", help="what it has, as in rs:3+2 (left out: it is new)")
    recommend.add_argument("--wish", metavar="LAYOUT", help="what its owner insists on")
    recommend.add_argument(
        "--changed",
        type=hours,
        metavar="AGO",
        help="when it got its layout, as in 3d (left out: long ago)",
    )


def _add_simulate(commands: "argparse._SubParsersAction[CommandParser]") -> None:
    simulate = add_command(
        commands,
        "simulate",
        later("redundancy.simulate_commands", "simulate_policies"),
        "Let policies run the same made-up library for years, and compare.",
        epilog=_SIMULATE_EXAMPLES,
    )
    _add_nodes(simulate, nodes=12, zones=4)
    _add_limits(simulate)
    option = simulate.add_argument
    option("--videos", type=int, default=20_000, help="in each library (default %(default)s)")
    option("--weeks", type=int, default=156, help="default %(default)s")
    option("--mean-views", type=float, default=500.0, metavar="X", help="of a video, in all weeks")
    option("--runs", type=int, default=10, metavar="N", help="libraries (default %(default)s)")
    option("--seed", type=int, default=1, help="of the first (default %(default)s)")
    option(
        "--budget",
        type=share,
        default=0.01,
        metavar="SHARE",
        help="of the library's bytes, to be moved a day (default 1%%)",
    )


def _add_durability(commands: "argparse._SubParsersAction[CommandParser]") -> None:
    durability = add_command(
        commands,
        "durability",
        later("redundancy.durability_commands", "durability"),
        "Compute annual loss, failed reads and repair traffic of layouts.",
        epilog=_DURABILITY_EXAMPLES,
    )
    durability.add_argument(
        "layouts", nargs="*", metavar="LAYOUT", help="as in rs:3+2, rep:3, rs:6+3+1copy"
    )
    _add_rates(durability)
    option = durability.add_argument
    option("--availability", type=share, default=0.97, metavar="SHARE", help="of each node")
    option("--zones", type=int, default=1, metavar="N", help="pieces are dealt out over so many")
    option("--zone-availability", type=share, default=1.0, metavar="SHARE", help="default 1")
    option("--model", choices=("markov", "binomial", "monte-carlo"), default="markov")
    option("--trials", type=int, default=20_000, help="for monte-carlo (default %(default)s)")
    option("--seed", type=int, default=1, help="for monte-carlo (default %(default)s)")
    option("--fixed-repair", action="store_true", help="monte-carlo: each takes --mttr exactly")


def _add_nodes(
    parser: argparse.ArgumentParser, *, nodes: int | None = None, zones: int | None = None
) -> None:
    parser.add_argument(
        "--nodes",
        type=int,
        required=nodes is None,
        default=nodes,
        metavar="N",
        help="how many there are" + (f" (default {nodes})" if nodes else ""),
    )
    parser.add_argument(
        "--zones",
        type=int,
        default=zones,
        metavar="N",
        help="what fails together: rooms, sites; "
        + (f"default {zones}" if zones else "default: each node by itself"),
    )
    parser.add_argument(
        "--availability",
        type=shares,
        default=(0.97,),
        metavar="SHARE[,SHARE...]",
        help="how much of the time a node answers, for all or for each (default 97%%)",
    )
    parser.add_argument(
        "--zone-availability", type=share, default=0.998, metavar="SHARE", help="default 99.8%%"
    )
    _add_rates(parser)


def _add_rates(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--afr",
        type=share,
        default=0.10,
        metavar="SHARE",
        help="nodes whose data is gone in a year (default 10%%)",
    )
    parser.add_argument(
        "--mttr",
        type=hours,
        default=24.0,
        metavar="TIME",
        help="from that until it is rebuilt, as in 24h or 3d (default 24h)",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--nines",
        type=float,
        default=6.0,
        metavar="X",
        help="nines of a year's durability (default %(default)s)",
    )
    parser.add_argument(
        "--max-failed-reads",
        type=share,
        default=1e-3,
        metavar="SHARE",
        help="of videos that are not hot (default 0.1%%)",
    )
    parser.add_argument(
        "--losses",
        type=int,
        default=2,
        metavar="N",
        help="nodes, whichever, that may go without loss (default %(default)s)",
    )
    parser.add_argument(
        "--hot",
        type=float,
        default=40.0,
        metavar="X",
        help="views a week that make a video hot (default %(default)s)",
    )
    parser.add_argument(
        "--cold",
        type=float,
        default=20.0,
        metavar="X",
        help="... and below which it no longer is (default %(default)s)",
    )


def required_range(name: str, value: int, low: int, high: int) -> int:
    """Return a number that is in its range. Raises: UsageError."""
    if not low <= value <= high:
        raise UsageError(f"{name} is from {low} to {high}, got {value}")
    return value
