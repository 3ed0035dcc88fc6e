"""Windows over a ladder: units are opened late, each in a rendition chosen at that instant.

    beyond the window ──in reach, and too little left to ask for──▶ open: its rendition is chosen

A unit that is open keeps its rendition: what was fetched of it is not thrown away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from smart_client.core.abr.contract import UNKNOWN, Choice, RateController, Situation
from smart_client.core.abr.ladder import Ladder
from smart_client.core.abr.meter import ThroughputMeter
from smart_client.core.demand import Demand
from smart_client.core.playback_buffer import EPSILON_S, Reader, ReaderState
from smart_client.core.scheduler import Scheduler
from smart_client.core.session import Session
from smart_client.core.state import SessionConfig, SessionState

# Controllers see so many units ahead: two windows of 2-s units, as BBA's reservoir asks for.
LOOK_AHEAD_UNITS = 120


@dataclass(frozen=True, slots=True)
class Opening:
    """When the next unit is opened."""

    # ... when less media than this is open and not yet asked for. Nodes differ and hold parts of
    # the units only, so with little open the fast ones idle: at 4 s and 1.25 times the top rate 2.6
    # of 4.3 Mbit/s are played, at 8 s 3.2. With much open choices are old: at 30 s stalls come.
    ahead_s: float = 8.0
    # ... or less than this share of what is buffered: with much of it choices may be older. 0.5 is
    # worth another 0.2 Mbit/s; at 1.0 stalls come. Varied by ``scripts/bench_abr --ahead --share``.
    buffer_share: float = 0.5

    def __post_init__(self) -> None:
        if self.ahead_s <= 0 or self.buffer_share < 0:
            raise ValueError("something must be open")


class LadderDemand(Demand):
    """Responsible for windows over a ladder, and for what each unit is played in."""

    __slots__ = (
        "_bitrates",
        "_controller",
        "_ladder",
        "_opening",
        "_seen",
        "_sizes",
        "choices",
        "meter",
    )

    def __init__(
        self,
        state: SessionState,
        ladder: Ladder,
        controller: RateController,
        opening: Opening,
    ) -> None:
        super().__init__(state)
        self._ladder = ladder
        self._controller = controller
        self._opening = opening
        self._bitrates = ladder.bitrates
        self._sizes = ladder.sizes
        self._seen = (state.now_s, 0)  # when throughput was last looked at, and the bytes by then
        self.meter = ThroughputMeter()
        self.choices: dict[int, Choice] = {}  # unit -> what it was opened in

    def rebuild(self) -> None:
        """Work out all wishes anew; where readers stand now, units are open."""
        state = self._state
        state.order = []
        for reader in state.buffer.readers.values():
            first = self._position(reader)
            if reader.state is not ReaderState.ENDED and first < len(state.chunks):
                if first not in self.choices:
                    self._open(first, reader)
                state.order.append(first)
        super().rebuild()

    def refresh(self) -> None:
        """Measure, let windows follow their readers, and open what is due to be opened."""
        self._measure()
        super().refresh()

    def next_growth_s(self) -> float:
        """Return when the next unit enters a window; those that wait for requests need no time."""
        state = self._state
        wake_s = inf
        for reader in state.buffer.readers.values():
            edge = self._edges.get(reader.id, len(state.chunks))
            if reader.state is ReaderState.PLAYING and edge < len(state.chunks):
                ahead_s = state.timeline.starts_s[edge] - state.config.window_s
                enters_s = reader.base_s + (ahead_s - reader.base_media_s)
                if enters_s > state.now_s:
                    wake_s = min(wake_s, enters_s)
        return wake_s

    def _grow(self, reader: Reader) -> bool:
        state, began = self._state, self._edges[reader.id]
        edge, timeline = began, state.timeline
        limit_s = reader.taken_s(state.now_s) + state.config.window_s + EPSILON_S
        unasked_s = self._unasked_s()
        while edge < len(state.chunks) and timeline.starts_s[edge] <= limit_s:
            if edge not in self.choices:
                if not self._is_due(unasked_s, reader):
                    break
                self._open(edge, reader)
            chunk = state.chunks[edge]
            chunk.wanted = chunk.all_rows
            if chunk.needs_asking:
                unasked_s += timeline.durations_s[edge]
            edge += 1
        self._edges[reader.id] = edge
        return edge > began

    # -- when ------------------------------------------------------------------------------------

    def _unasked_s(self) -> float:
        """Return how much open media has rows nobody was asked for."""
        state = self._state
        return sum(
            state.timeline.durations_s[index]
            for index in state.order
            if state.chunks[index].needs_asking
        )

    def _is_due(self, unasked_s: float, reader: Reader) -> bool:
        """Whether another unit should be opened now, one that is in reach."""
        if self.meter.bytes_per_s() != UNKNOWN:
            share_s = self._opening.buffer_share * reader.buffered_s(self._state.now_s)
            return unasked_s < max(self._opening.ahead_s, share_s)
        # A choice that knows nothing is made for no more units than must be.
        state = self._state
        return unasked_s == 0.0 and all(state.chunks[index].is_decoded for index in state.order)

    def _measure(self) -> None:
        """Count what came since the last step if there was something left to ask for all along."""
        state = self._state
        then_s, then_bytes = self._seen
        now_bytes = state.counters.received_bytes
        self._seen = (state.now_s, now_bytes)
        if state.now_s == then_s and now_bytes == then_bytes:
            return
        is_new = self.meter.bytes_per_s() == UNKNOWN and bool(state.pieces)
        if is_new or any(state.chunks[index].needs_asking for index in state.order):
            self.meter.add(now_bytes - then_bytes, state.now_s - then_s)

    # -- what ------------------------------------------------------------------------------------

    def _open(self, unit: int, reader: Reader) -> None:
        choice = self._controller.choose(self.situation(unit, reader))
        self.choices[unit] = choice
        self._state.open_unit(self._ladder.renditions[choice.rendition][unit], choice.rendition)

    def situation(self, unit: int, reader: Reader) -> Situation:
        """Return what is known when this unit is opened for this reader."""
        state = self._state
        buffer_s = reader.buffered_s(state.now_s)
        ahead_s = state.timeline.starts_s[unit] - reader.playhead_s(state.now_s)
        before = self.choices.get(unit - 1)
        return Situation(
            buffer_s=buffer_s,
            pending_s=max(0.0, ahead_s - buffer_s),
            pending_bytes=self._pending_bytes(unit),
            bytes_per_s=self.meter.bytes_per_s(),
            samples=tuple(self.meter.samples),
            unit_s=state.timeline.durations_s[unit],
            bitrates=self._bitrates,
            sizes=self._sizes[unit : unit + LOOK_AHEAD_UNITS],
            last=before.rendition if before else -1,
            window_s=state.config.window_s,
        )

    def _pending_bytes(self, unit: int) -> int:
        """Return what is still to come of open units before this one."""
        chunks, pending = self._state.chunks, 0
        index = unit - 1
        while index in self.choices and not chunks[index].is_decoded:
            chunk = chunks[index]
            rows = chunk.wanted & ~chunk.received.full & ~chunk.decoded
            pending += min(rows.bit_count() * chunk.geometry.row_bytes, chunk.geometry.chunk_bytes)
            index -= 1
        return pending


def ladder_session(
    ladder: Ladder,
    node_ids: Sequence[str],
    scheduler: Scheduler,
    *,
    controller: RateController,
    config: SessionConfig | None = None,
    opening: Opening | None = None,
) -> Session:
    """Return a session that plays a ladder; offsets are positions in ``ladder.positions()``."""
    opening = opening or Opening()
    return Session(
        ladder.positions(),
        node_ids,
        scheduler,
        config,
        make_demand=lambda state: LadderDemand(state, ladder, controller, opening),
    )
