"""``redundancy durability``: what layouts withstand."""

import argparse
from dataclasses import dataclass

import numpy as np

from redundancy.durability import (
    Estimate,
    FailureRates,
    ZoneFacts,
    binomial_loss,
    markov_loss,
    monte_carlo_loss,
    nines,
    repair_bytes_per_year,
    unavailability,
)
from redundancy.errors import ExitCode
from redundancy.policy_options import required_range
from redundancy.quantities import size_text
from redundancy.scheme import Layout
from redundancy.tables import table
from redundancy.terminal import Terminal

_SHOWN = ("rep:3", "rs:3+2", "rs:4+2", "rs:6+3", "rs:6+3+1copy", "rs:8+4", "rs:10+4")

_HEAD = ("LAYOUT", "SPACE", "SURVIVES", "LOST A YEAR", "NINES", "OF 1 TB", "FAILED READS", "REPAIR")

_TB = 1e12


@dataclass(frozen=True, slots=True)
class _Figures:
    """One line of the answer."""

    layout: Layout
    loss: Estimate
    unavailability: float
    repair_per_year: float  # bytes read for each byte of video

    def to_json(self) -> dict[str, object]:
        return {
            "layout": str(self.layout),
            "overhead": self.layout.overhead,
            "tolerates": self.layout.tolerates,
            "annual_loss": self.loss.value,
            "annual_loss_low": self.loss.low,
            "annual_loss_high": self.loss.high,
            "nines": nines(self.loss.value) if self.loss.value else None,
            "bytes_lost_per_tb_year": self.loss.value * _TB,
            "unavailability": self.unavailability,
            "repair_bytes_per_byte_year": self.repair_per_year,
        }

    def row(self) -> tuple[str, ...]:
        loss, lost_bytes = self.loss, self.loss.value * _TB
        interval = "" if loss.low == loss.high else f" ({loss.low:.4g} to {loss.high:.4g})"
        return (
            str(self.layout),
            f"{self.layout.overhead:.2f}x",
            f"{self.layout.tolerates} lost",
            f"{loss.value:.4g}{interval}",
            f"{nines(loss.value):.2f}" if loss.value else "-",
            size_text(lost_bytes) if lost_bytes >= 1 else "< 1 B",
            f"{self.unavailability:.2e}",
            f"{self.repair_per_year:.2f}x",
        )


def durability(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print the four figures of each layout, and which model made them."""
    layouts = [Layout.parse(text) for text in args.layouts or _SHOWN]
    rates = FailureRates(args.afr, args.mttr)
    zones = ZoneFacts(args.zones, args.zone_availability, args.availability)
    required_range("--trials", args.trials, 100, 10_000_000)
    found = [
        _Figures(
            layout,
            _loss(layout, rates, args),
            unavailability(layout, zones),
            repair_bytes_per_year(layout, rates),
        )
        for layout in layouts
    ]
    fixed = " exactly" if args.fixed_repair and args.model == "monte-carlo" else ""
    text = (
        f"loss by the {args.model} model: {args.afr:.4g} failures a node and year, each repaired "
        f"in {args.mttr:g} h{fixed}; failed reads by zone convolution: nodes up "
        f"{args.availability:.2%}, {args.zones} zone{'s' if args.zones > 1 else ''} up "
        f"{args.zone_availability:.2%}; repair: bytes read a year for each byte of video\n"
    )
    terminal.result(
        {
            "model": args.model,
            "afr": args.afr,
            "mttr_h": args.mttr,
            "layouts": [each.to_json() for each in found],
        },
        text + table(_HEAD, [each.row() for each in found]),
    )
    return ExitCode.OK


def _loss(layout: Layout, rates: FailureRates, args: argparse.Namespace) -> Estimate:
    if args.model == "monte-carlo":
        rng = np.random.default_rng(args.seed)
        fixed = args.fixed_repair
        return monte_carlo_loss(layout, rates, rng, trials=args.trials, fixed_repair=fixed)
    value = (markov_loss if args.model == "markov" else binomial_loss)(layout, rates)
    return Estimate(value, value, value)
