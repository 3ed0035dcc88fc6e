"""Runs a session against the network model, in virtual time."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from smart_client.core import commands, events
from smart_client.core.commands import Command, Notice
from smart_client.core.events import Event, FailureKind
from smart_client.core.session import Session
from smart_client.simulator.network import Flow, Happening, Network

_FAILURES = {
    Happening.REFUSED: FailureKind.REFUSED,
    Happening.RESET: FailureKind.RESET,
    Happening.GARBAGE: FailureKind.CORRUPT,
}

# Of a (3, 5) chunk of 2 MiB: 43 blocks in each of 5 fragments, 8 bytes a block, and the fixed part.
FOOTER_BYTES = 2_000


@dataclass(slots=True)
class Engine:
    """Responsible for one session's virtual life."""

    session: Session
    network: Network
    footer_size_of: Callable[[int, int, int], int] = lambda *_: FOOTER_BYTES
    trace: list[tuple[float, Command]] = field(default_factory=list)
    notices: list[tuple[float, Notice]] = field(default_factory=list)
    keeps_trace: bool = False
    _footers: dict[int, int] = field(default_factory=dict)  # piece -> size
    _starts: dict[int, int] = field(default_factory=dict)  # piece -> its first byte
    _next_probe: int = -1

    def play(self, *, offset: int = 0, limit_s: float = 3600.0) -> None:
        """Let one paced reader play from ``offset`` to the end, or until ``limit_s``."""
        self.post(events.ReaderOpened(0, offset, True))
        reader = self.session.state.buffer.readers[0]
        while reader.state != "ended" and self.network.now_s < limit_s:
            self.step(limit_s)

    def step(self, limit_s: float) -> None:
        """Go to the next instant at which anything happens."""
        network, session = self.network, self.session
        wake_s = session.next_wakeup_s()
        next_s = max(network.now_s, min(network.next_event_s(), wake_s, limit_s))
        happened = network.advance(next_s)
        for what, flow in happened:
            for event in self._translate(what, flow):
                self.post(event)
        if not happened:
            self.post(events.Tick())

    def post(self, event: Event) -> None:
        """Hand an event to the session and carry out what it commands."""
        queue = deque([event])
        while queue:
            for command in self.session.handle(queue.popleft(), self.network.now_s):
                queue.extend(self._apply(command))

    def _translate(self, what: Happening, flow: Flow) -> list[Event]:
        if flow.number < 0:
            return self._translate_probe(what, flow)
        piece = flow.number
        if what is Happening.CONNECTED:
            return [events.Connected(flow.node, piece, flow.rtt_s)]
        if what is Happening.FIRST_BYTE:
            return [events.FirstByte(piece)]
        if what is Happening.BYTES:
            return [] if piece in self._footers else [events.BytesArrived(piece, flow.reported)]
        if what is Happening.DONE:
            if piece in self._footers:
                return [events.FooterKnown(piece, self._footers[piece])]
            return [events.PieceDone(piece)]
        return [events.PieceFailed(piece, _FAILURES[what], int(flow.received))]

    def _translate_probe(self, what: Happening, flow: Flow) -> list[Event]:
        if what is Happening.DONE:
            rtt_s = self.network.now_s - flow.requested_s
            return [events.ProbeAnswered(flow.node, rtt_s)]
        if what in _FAILURES:
            return [events.ProbeFailed(flow.node, _FAILURES[what])]
        return []

    def _apply(self, command: Command) -> list[Event]:
        if self.keeps_trace:
            self.trace.append((self.network.now_s, command))
        network = self.network
        match command:
            case commands.Fetch():
                self._starts[command.piece] = command.start
                network.request(command.piece, command.node, command.stop - command.start)
            case commands.FetchFooter():
                size = self.footer_size_of(command.chunk, command.fragment, command.start)
                self._footers[command.piece] = size
                network.request(command.piece, command.node, size)
            case commands.Shorten():
                network.shorten(command.piece, command.stop - self._starts[command.piece])
            case commands.Cancel():
                network.cancel(command.piece)
            case commands.Probe():
                network.request(self._next_probe, command.node, 1)
                self._next_probe -= 1
            case commands.Decode():
                return [events.RowsDecoded(command.chunk, command.first_row, command.rows)]
            case commands.VerifyChunk():
                return [events.ChunkVerified(command.chunk)]
            case commands.Notice():
                self.notices.append((network.now_s, command))
            case _:
                pass
        return []
