"""A comparison as one picture (SVG) and one self-contained page (HTML). Loads nothing."""

import html
import math
from collections.abc import Callable, Sequence
from itertools import groupby

from smart_client.simulator.report import Cell, interval_text, multiple_text, remarks_on

WIDTH, LEFT, RIGHT, TOP = 860, 170, 60, 34
LINE, GAP = 22, 34

OWN = "smart"

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --dim: #68707a; --paper: #ffffff; --rule: #d8dde3;
  --own: #1a7f37; --other: #9a5b00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --dim: #9aa3ad; --paper: #14171a;
  --rule: #343a41; --own: #4ac26b; --other: #e0a64a; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper);
  max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; text-align: right; border-bottom: 1px solid var(--rule); }
td { white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tr.own td { font-weight: 600; color: var(--own); }
code { font-size: .95em; }
"""

_COLUMNS = (
    ("scheduler", "Who decides what is fetched next"),
    ("sessions", "Worlds played; every scheduler met the same ones"),
    ("W / W*", "Mean waiting (start + stalls) as a multiple of the clairvoyant optimum's"),
    ("95 % interval", "Bootstrap-t over worlds"),
    ("median", "Of the sessions' own multiples"),
    ("W saved", "Mean waiting saved against the reference, paired by world"),
    ("start p50", "Seconds until playback begins"),
    ("start p95", ""),
    ("rebuffer s/h", "Seconds of stall in an hour of playback"),
    ("stalled", "Share of sessions with a stall"),
    ("extra", "Bytes that crossed the wire beyond what was played"),
    (
        "cut",
        "Sessions that did not end in six times the video's length: waiting is counted to then",
    ),
)


def comparison_svg(cells: Sequence[Cell]) -> str:
    """Return a dot plot: each scheduler's multiple of the optimum with its interval, log scale."""
    groups = _groups(cells)
    known = [cell for cell in cells if not math.isnan(cell.ratio)]
    tops = [c.ratio if math.isnan(c.ratio_high) else c.ratio_high for c in known]
    top_ratio = max(tops, default=2.0)
    decades = max(0.2, math.log10(max(1.6, top_ratio)))
    height = TOP + sum(GAP + LINE * len(group) for _, group in groups) + 10

    def x_of(ratio: float) -> float:
        share = math.log10(max(1.0, ratio)) / decades
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="waiting as a multiple of the optimum" font-family="sans-serif" '
        f'font-size="13">',
        "<style>text{fill:#68707a}.own{fill:#1a7f37;stroke:#1a7f37}"
        ".other{fill:#b26a00;stroke:#b26a00}.rule{stroke:#68707a;stroke-opacity:.35}</style>",
    ]
    for tick in _ticks(top_ratio):
        x = x_of(tick)
        out.append(f'<line class="rule" x1="{x:.1f}" y1="{TOP}" x2="{x:.1f}" y2="{height - 8}"/>')
        out.append(f'<text x="{x:.1f}" y="{TOP - 10}" text-anchor="middle">{tick:g}x</text>')
    y = float(TOP)
    for name, group in groups:
        out.append(f'<text x="8" y="{y + 22:.0f}" font-weight="bold">{html.escape(name)}</text>')
        y += GAP
        for cell in group:
            out += _dots(cell, y, x_of)
            y += LINE
    return "\n".join([*out, "</svg>"]) + "\n"


def _dots(cell: Cell, y: float, x_of: Callable[[float], float]) -> list[str]:
    kind = "own" if cell.scheduler == OWN else "other"
    middle = y + LINE / 2
    label = f'<text x="24" y="{middle + 4:.0f}">{html.escape(cell.scheduler)}</text>'
    if math.isnan(cell.ratio):
        return [label]
    at = x_of(cell.ratio)
    low, high = (
        (at, at) if math.isnan(cell.ratio_low) else (x_of(cell.ratio_low), x_of(cell.ratio_high))
    )
    return [
        label,
        f'<line class="{kind}" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}" '
        'stroke-width="2"/>',
        f'<circle class="{kind}" cx="{at:.1f}" cy="{middle}" r="4.5"/>',
        f'<text x="{max(high, at) + 8:.1f}" y="{middle + 4:.0f}">{multiple_text(cell)}</text>',
    ]


def _ticks(top: float) -> list[float]:
    steps = [1.0, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]
    shown = [tick for tick in steps if tick <= max(1.6, top)]
    return shown if len(shown) <= 8 else [t for t in shown if t not in (1.2, 1.5, 3, 20, 200)]


def comparison_html(cells: Sequence[Cell], *, how: Sequence[str], reference: str) -> str:
    """Return the page: picture, tables, and how it was made.

    Args:
        how: sentences on what was played, for the reader who wants to repeat it.
        reference: the scheduler that "saved" counts from.
    """
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Schedulers compared</title>',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<style>{_STYLE}</style></head><body>",
        "<h1>Schedulers compared</h1>",
        "<p>Waiting is the time to the start plus all stalls. The optimum is what a scheduler that "
        "knows the future could reach at best in the same world (max-flow bound), so 1.00 cannot "
        "be beaten. Every scheduler meets the same worlds, seed by seed.</p>",
        f'<div class="wide">{comparison_svg(cells)}</div>',
    ]
    for name, group in _groups(cells):
        parts.append(f"<h2>{html.escape(name)}</h2>")
        parts.append(f'<div class="wide">{_table(group)}</div>')
    parts.append(f"<p>Saved: against <b>{html.escape(reference)}</b>, paired by world.</p>")
    parts += [f"<p>{html.escape(remark)}.</p>" for remark in remarks_on(cells)]
    parts.append("<h2>How</h2><ul>")
    parts += [f"<li><code>{html.escape(line)}</code></li>" for line in how]
    parts.append("</ul></body></html>")
    return "\n".join(parts) + "\n"


def _table(cells: Sequence[Cell]) -> str:
    head = "".join(f'<th title="{html.escape(why)}">{name}</th>' for name, why in _COLUMNS)
    rows = []
    for cell in cells:
        own = ' class="own"' if cell.scheduler == OWN else ""
        row = "".join(f"<td>{html.escape(text)}</td>" for text in cell_texts(cell))
        rows.append(f"<tr{own}>{row}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def cell_texts(cell: Cell) -> list[str]:
    """Return a cell's figures as people read them, in the order of the page's columns."""
    known = not math.isnan(cell.ratio)
    return [
        cell.scheduler,
        str(cell.sessions),
        multiple_text(cell),
        "-" if math.isnan(cell.ratio_low) else f"{cell.ratio_low:.2f} .. {cell.ratio_high:.2f}",
        f"{cell.ratio_median:.2f}" if known else "-",
        "-"
        if math.isnan(cell.saved)
        else f"{cell.saved:.0%}{interval_text(cell.saved_low, cell.saved_high, '.0%')}",
        f"{cell.startup_s:.2f}",
        f"{cell.startup_p95_s:.2f}",
        f"{cell.rebuffer_s_per_h:.1f}",
        f"{cell.stalled_share:.0%}",
        f"{cell.extra_share:.2%}",
        str(cell.unfinished or "-"),
    ]


def _groups(cells: Sequence[Cell]) -> list[tuple[str, list[Cell]]]:
    """Return the cells of each world family, ours first, then by waiting."""
    ordered = sorted(cells, key=lambda c: (c.scenario, c.layout, c.scheduler != OWN, c.waiting_s))
    return [
        (f"{scenario} {layout}", list(group))
        for (scenario, layout), group in groupby(ordered, key=lambda c: (c.scenario, c.layout))
    ]
