"""The terminal dashboard's picture, drawn from a ``Snapshot`` and what came before it.

Below ``WIDE_COLUMNS`` columns are dropped by priority, so nothing is ever cut in the middle. Where
rows are few, events go first and then the matrix; the line of keys always stays.
"""

import io
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.table import Table
from rich.text import Text

from redundancy.quantities import size_text
from smart_client.core.ledger import Ledger, Mark
from smart_client.core.metrics import NodeFigures, Snapshot
from smart_client.narration import clock, duration_text

WIDE_COLUMNS = 100
HISTORY = 24  # samples in a sparkline
EVENT_LINES = 6
EXTRA_KNOWN_BYTES = 4 * 1024 * 1024  # what is on its way is little against it
MATRIX_CELL_MAX = 4  # columns of a chunk when there is room

_SPARKS = "▁▂▃▄▅▆▇█"
_MARKS = {
    Mark.NONE: ("·", "dim"),
    Mark.IN_FLIGHT: ("◌", "cyan"),
    Mark.USED: ("■", "green"),
    Mark.RESCUED: ("◆", "bright_yellow"),
    Mark.CANCELLED: ("□", "dim"),
    Mark.FAILED: ("✖", "red"),
}
_STATES = {"up": ("●", "green"), "suspect": ("●", "red"), "unknown": ("○", "dim")}
_PLAYING = {
    "playing": ("▶", "green"),
    "waiting": ("…", "yellow"),
    "stalled": ("■", "bold red"),
    "paused": ("Ⅱ", "yellow"),
    "ended": ("✓", "green"),
    "pulling": ("▶", "green"),
    "idle": ("…", "dim"),
}


def sparkline(values: Sequence[float], top: float) -> str:
    """Return values as block characters on a shared scale; nothing at all stays blank."""
    scale = len(_SPARKS) - 1
    return "".join(
        " " if value <= 0 or top <= 0 else _SPARKS[min(scale, int(value / top * scale + 0.5))]
        for value in values
    )


@dataclass(slots=True)
class History:
    """Responsible for the last few figures of every node, sampled at each repaint."""

    rates: dict[str, deque[float]] = field(default_factory=dict)
    rtts: dict[str, deque[float]] = field(default_factory=dict)
    buffer: deque[float] = field(default_factory=lambda: deque(maxlen=HISTORY))
    _before: dict[str, tuple[float, int]] = field(default_factory=dict)

    def sample(self, snapshot: Snapshot) -> None:
        """Take the present figures in."""
        self.buffer.append(snapshot.buffered_s)
        for node in snapshot.nodes:
            then_s, then_bytes = self._before.get(node.id, (snapshot.t_s, 0))
            elapsed_s = snapshot.t_s - then_s
            rate = (node.received_bytes - then_bytes) / elapsed_s if elapsed_s > 0 else 0.0
            self._before[node.id] = (snapshot.t_s, node.received_bytes)
            self.rates.setdefault(node.id, deque(maxlen=HISTORY)).append(rate)
            self.rtts.setdefault(node.id, deque(maxlen=HISTORY)).append(node.rtt_s)

    def rate_top(self) -> float:
        """Return the greatest rate on show: all nodes share one scale."""
        return max((max(values, default=0.0) for values in self.rates.values()), default=0.0)

    def rtt_top(self) -> float:
        """Return the greatest round trip on show."""
        return max((max(values, default=0.0) for values in self.rtts.values()), default=0.0)


@dataclass(slots=True)
class DashboardView:
    """Responsible for one picture. Give it a snapshot, then print it."""

    title: str
    layout: str
    url: str
    ledger: Ledger
    chunk_count: int
    history: History = field(default_factory=History)
    events: deque[str] = field(default_factory=lambda: deque(maxlen=200))
    snapshot: Snapshot | None = None
    keys: str = "q quit   space pause   s save picture   ? help"
    shows_help: bool = False

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw at the width there is."""
        if self.snapshot is None:
            yield Text("opening ...")
            return
        width = options.max_width
        wide = width >= WIDE_COLUMNS
        footer = Text(HELP if self.shows_help else self.keys, "dim", no_wrap=True, overflow="crop")
        rows = options.max_height - 1 - footer.plain.count("\n")  # for all that is above it
        top = [
            self._header(self.snapshot),
            self._receipt(self.snapshot, width),
            self._buffer(self.snapshot, width),
            Text(),
        ]
        nodes = max(1, min(len(self.snapshot.nodes), rows - len(top) - 1))
        rows -= len(top) + 1 + nodes
        matrix = [Text(), *self._matrix(self.snapshot, width)]
        if len(matrix) > rows:
            matrix = []
        rows -= len(matrix)
        events = [Text(), *self._last_events(width, min(EVENT_LINES, rows - 1))] if rows else []
        yield Group(*top, self._nodes(self.snapshot, nodes, wide=wide), *matrix, *events, footer)

    def _header(self, shot: Snapshot) -> Text:
        symbol, style = _PLAYING.get(shot.state, ("?", ""))
        line = Text(f" {symbol} ", style=style)
        line.append(self.title, style="bold")
        line.append(f"  {clock(shot.position_s)}/{clock(shot.end_s)}  {shot.state}")
        line.append(f"  {self.layout}", style="cyan")
        return line

    def _receipt(self, shot: Snapshot, width: int) -> Text:
        start = duration_text(shot.startup_s) if shot.startup_s >= 0 else "-"
        line = Text(f"   start {start}   stalls ")
        line.append(str(shot.stalls), style="bold red" if shot.stalls else "green")
        if shot.stalled_s:
            line.append(f" ({duration_text(shot.stalled_s)})")
        # The rest by priority, as far as it fits.
        for text, style in (
            (_traffic(shot), ""),
            (self.url, "blue"),
            (f"takeovers {shot.takeovers}", ""),
            (f"reissued {shot.reissues}", ""),
        ):
            if text and len(line) + 3 + len(text) < width:
                line.append("   ")
                line.append(text, style=style)
        return line

    def _buffer(self, shot: Snapshot, width: int) -> Text:
        goal_s = min(shot.window_s, max(1.0, shot.end_s - shot.position_s))
        share = min(1.0, shot.buffered_s / goal_s)
        cells = max(10, min(60, width - 28))
        full = int(share * cells)
        color = "red" if shot.buffered_s < 2 else "yellow" if shot.buffered_s < 10 else "green"
        line = Text(f"   buffer {shot.buffered_s:5.1f} s ")
        line.append("█" * full, style=color)
        line.append("░" * (cells - full), style="dim")
        line.append(f" {goal_s:.0f} s")
        return line

    def _nodes(self, shot: Snapshot, shown: int, *, wide: bool) -> Table:
        table = Table(box=None, pad_edge=False, padding=(0, 1), show_edge=False)
        for name in ("  node", "", "rtt"):
            table.add_column(name, justify="right" if name == "rtt" else "left", no_wrap=True)
        if wide:
            table.add_column("round trip", no_wrap=True)
        table.add_column("Mbit/s", justify="right", no_wrap=True)
        if wide:
            table.add_column("received", no_wrap=True)
        for name in ("share", "err", "now"):
            table.add_column(name, justify="right", no_wrap=True)
        for index, node in enumerate(shot.nodes[:shown]):
            table.add_row(*self._node_cells(index, node, wide=wide))
        return table

    def _node_cells(self, index: int, node: NodeFigures, *, wide: bool) -> list[Text]:
        symbol, style = _STATES[node.state]
        cells = [
            Text(f"{index:>2} {node.id}", style="dim" if node.state == "suspect" else ""),
            Text(symbol, style=style),
            Text(f"{node.rtt_s * 1000:.0f} ms" if node.rtt_s else "-"),
        ]
        if wide:
            rtts = self.history.rtts.get(node.id, ())
            cells.append(Text(sparkline(list(rtts), self.history.rtt_top()), style="dim magenta"))
        cells.append(Text(f"{node.bytes_per_s * 8 / 1e6:.1f}" if node.bytes_per_s else "-"))
        if wide:
            rates = self.history.rates.get(node.id, ())
            cells.append(Text(sparkline(list(rates), self.history.rate_top()), style="dim green"))
        quiet = node.state == "suspect"
        cells += [
            Text(f"{100 * node.share:.0f} %"),
            Text(str(node.failures), style="red" if node.failures else "dim"),
            Text("silent" if quiet else str(node.in_flight or "·"), style="red" if quiet else ""),
        ]
        return cells

    def _matrix(self, shot: Snapshot, width: int) -> list[Text]:
        """Draw node x chunk; the columns follow the playhead, few chunks get wide cells."""
        room = width - 20
        columns = max(8, min(self.chunk_count, room))
        cell = max(1, min(MATRIX_CELL_MAX, room // columns))
        first = max(0, min(shot.playhead_chunk - columns // 3, self.chunk_count - columns))
        last = min(self.chunk_count, first + columns)
        ruler = "".join(
            ("▼" if c == shot.playhead_chunk else "┊" if c % 10 == 0 else " ").ljust(cell)
            for c in range(first, last)
        )
        lines = [Text(f"{'chunk':>15} {first:<3}", style="dim") + Text(ruler, style="bold")]
        for index, node in enumerate(shot.nodes):
            line = Text(f"{index:>2} {node.id[:14]:<16}")
            for chunk in range(first, last):
                symbol, style = _MARKS[self.ledger.mark(index, chunk)]
                line.append(symbol * max(1, cell - 1) + " " * (cell > 1), style=style)
            lines.append(line)
        return lines

    def _last_events(self, width: int, rows: int) -> list[Text]:
        last = list(self.events)[-rows:] if rows > 0 else []
        return [Text(line[: width - 1]) for line in last] + [Text()] * (rows - len(last))


def _traffic(shot: Snapshot) -> str:
    """Say what came, and how much more than needed; at first most of it is just not used yet."""
    is_known = shot.delivered_bytes >= EXTRA_KNOWN_BYTES or shot.state == "ended"
    extra = f"+{100 * shot.extra_share:.1f} %" if is_known and shot.delivered_bytes else "-"
    return f"{size_text(shot.received_bytes)} ({extra})"


HELP = (
    "■ used  ◆ took over a late piece  □ given up  ✖ failed  ◌ in flight  ▼ playhead\n"
    "(+x %) bytes beyond the video's own   q quit   space pause   s save   ? back"
)


def picture_svg(view: DashboardView, size: tuple[int, int]) -> str:
    """Return the view as an SVG of ``size`` (columns, rows) that loads nothing from anywhere."""
    columns, rows = size
    console = Console(
        file=io.StringIO(), record=True, width=columns, height=rows, force_terminal=True
    )
    console.print(view)
    svg = console.export_svg(title=f"smart-client: {view.title}")
    # rich names a web font; the viewer's own monospace font serves as well.
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
