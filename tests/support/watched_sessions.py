"""A simulated session that is looked at after every event: what it may ask, and that it gets on."""

from collections.abc import Sequence

from smart_client.core import commands, events
from smart_client.core.chunk_progress import mask_of
from smart_client.core.commands import Command
from smart_client.core.events import Event
from smart_client.simulator.engine import Engine

# More events at one instant than these small worlds can cause: decisions that undo each other.
EVENTS_AT_ONCE_MAX = 2_000


class Watch:
    """Responsible for the contract of a scheduler, checked on every step of one session."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.session = engine.session
        self.decoded: dict[int, int] = {}
        self.steps = 0
        self.commands: list[tuple[float, Command]] = []
        self._at_once = (0.0, 0)
        self._handle = engine.session.handle
        engine.session.handle = self.handle

    def handle(self, event: Event, now_s: float) -> list[Command]:
        issued = self._handle(event, now_s)
        self.steps += 1
        then_s, count = self._at_once
        self._at_once = (now_s, count + 1 if now_s == then_s else 1)
        assert self._at_once[1] < EVENTS_AT_ONCE_MAX, f"spinning at {now_s}"
        self.session.check_invariants()
        self._check(issued, now_s)
        self.commands += [(now_s, command) for command in issued]
        return issued

    def _check(self, issued: Sequence[Command], now_s: float) -> None:
        state = self.session.state
        for command in issued:
            match command:
                case commands.Fetch():
                    chunk = state.chunks[command.chunk]
                    node = state.nodes[command.node]
                    assert chunk.node_of[command.fragment] == command.node
                    assert command.fragment not in chunk.bad_fragments, "asked for known rubbish"
                    assert command.stop > command.start
                    if node.is_suspect:
                        assert now_s >= node.suspect_until_s, "asked a node that is left alone"
                        assert len(node.pieces) <= 1, "a node on trial gets one request"
                    piece = state.pieces.get(command.piece)
                    if piece is not None:
                        rows = mask_of(piece.first_row, piece.rows)
                        assert not rows & ~chunk.wanted, "asked for rows nobody wants"
                        assert rows & ~chunk.received.full, "asked for rows that are all here"
                case commands.Decode():
                    rows = mask_of(command.first_row, command.rows)
                    assert not rows & self.decoded.get(command.chunk, 0), "decoded twice"
                    self.decoded[command.chunk] = self.decoded.get(command.chunk, 0) | rows
                case commands.Discard():
                    self.decoded[command.chunk] = 0

    def play(self, *, limit_s: float = 3600.0, steps_max: int = 60_000) -> None:
        """Play to the end; every row was decoded once, and nothing is left under way."""
        engine = self.engine
        engine.post(events.ReaderOpened(0, 0, True))
        state = self.session.state
        reader = state.buffer.readers[0]
        while reader.state != "ended":
            engine.step(limit_s)
            assert engine.network.now_s < limit_s, f"not ended after {limit_s:.0f} s"
            assert self.steps < steps_max, f"{self.steps} events in {engine.network.now_s:.0f} s"
        assert reader.frontier == state.timeline.size
        assert all(self.decoded[c.index] == c.all_rows for c in state.chunks)
        assert not [piece for piece in state.pieces.values() if not piece.is_footer]

    def of(self, kind: type[Command]) -> list[tuple[float, Command]]:
        return [(at_s, command) for at_s, command in self.commands if isinstance(command, kind)]
