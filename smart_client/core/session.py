"""The session: one rendition being read by one or more readers, as a pure state machine.

    events + instants ──▶ Session.handle ──▶ commands

The same object runs under the asyncio driver, on sockets, and under the simulator, in virtual time.
It keeps the books (readers, chunks, nodes, pieces); the scheduler it is given decides on requests.
"""

from collections.abc import Callable, Sequence

from smart_client.core import events
from smart_client.core.chunk_progress import mask_of
from smart_client.core.commands import Command
from smart_client.core.demand import Demand
from smart_client.core.distrust import Distrust
from smart_client.core.events import Event
from smart_client.core.footers import plan_footers
from smart_client.core.node_desk import NodeDesk
from smart_client.core.piece_desk import PieceDesk
from smart_client.core.placement_desk import PlacementDesk
from smart_client.core.reader_desk import ReaderDesk
from smart_client.core.recall_desk import RecallDesk
from smart_client.core.scheduler import Scheduler
from smart_client.core.state import Handlers, SessionConfig, SessionState
from smart_client.wire import ChunkRecord


class Session:
    """Responsible for turning what happened into what to do. See ``handle``."""

    def __init__(
        self,
        chunks: Sequence[ChunkRecord],
        node_ids: Sequence[str],
        scheduler: Scheduler,
        config: SessionConfig | None = None,
        *,
        make_demand: Callable[[SessionState], Demand] = Demand,
    ) -> None:
        self.state = SessionState(chunks, node_ids, config or SessionConfig())
        self.scheduler = scheduler
        self.demand = make_demand(self.state)
        self.nodes = NodeDesk(self.state)
        distrust = Distrust(self.state, self.demand)
        self.placement = PlacementDesk(self.state, self.demand, distrust, self.nodes)
        self.recall = RecallDesk(self.state, self.demand)
        self._handlers: Handlers = {
            **ReaderDesk(self.state, self.demand).handlers(),
            **self.nodes.handlers(),
            **PieceDesk(self.state, self.demand, distrust).handlers(),
            **distrust.handlers(),
            **self.placement.handlers(),
            **self.recall.handlers(),
            events.Tick: lambda _: None,
        }

    def handle(self, event: Event, now_s: float) -> list[Command]:
        """Take one event in; return what the shell must do, in order. The only way to change state.

        Args:
            event: what happened.
            now_s: when, on a clock that never goes back (any origin).
        """
        return self.handle_all((event,), now_s)

    def handle_all(self, happened: Sequence[Event], now_s: float) -> list[Command]:
        """Take in everything that happened at one instant, then decide once."""
        state = self.state
        assert now_s >= state.now_s, "time ran backwards"
        state.now_s = now_s
        state.out = []
        state.out += state.buffer.advance(now_s)
        for event in happened:
            self._handlers[type(event)](event)
        state.out += state.buffer.advance(now_s)
        self.demand.refresh()
        self.recall.ask()
        self.nodes.probe_idle_nodes()
        self.placement.ask_if_stale()
        self.scheduler.decide(state)
        plan_footers(state)
        return state.out

    def next_wakeup_s(self) -> float:
        """Return the instant at which to send a ``Tick`` unless an event comes first."""
        return min(
            self.state.buffer.next_wakeup_s(),
            self.demand.next_growth_s(),
            self.scheduler.next_wakeup_s(self.state),
            self.nodes.next_probe_s(),
            self.placement.next_ask_s(),
        )

    def check_invariants(self) -> None:
        """Assert what must hold between any two events."""
        state = self.state
        for chunk in state.chunks:
            for fragment, rows in chunk.received.by_fragment.items():
                asked = chunk.asked.by_fragment.get(fragment, 0)
                assert not rows & ~asked, f"chunk {chunk.index}: received rows nobody asked for"
            assert not chunk.decoded & chunk.decoding, f"chunk {chunk.index}: decoded twice"
        seen: dict[tuple[int, int], int] = {}
        for piece in state.pieces.values():
            if piece.is_footer:
                continue
            assert piece in state.nodes[piece.node].pieces, "a piece its node does not know"
            rows = mask_of(piece.first_row, piece.rows)
            key = (piece.chunk, piece.fragment)
            assert not seen.get(key, 0) & rows, "a row asked for twice of one fragment"
            seen[key] = seen.get(key, 0) | rows
        for reader in state.buffer.readers.values():
            assert reader.frontier >= reader.offset, "a reader ahead of its bytes"
