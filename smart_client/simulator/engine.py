"""Runs a session against the network model, in virtual time."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from smart_client.core import commands, events
from smart_client.core.commands import Command, Notice
from smart_client.core.events import Event, FailureKind
from smart_client.core.playback_buffer import ReaderState
from smart_client.core.session import Session
from smart_client.simulator.network import INFINITY, Flow, Happening, Network

_FAILURES: Final = {
    Happening.REFUSED: FailureKind.REFUSED,
    Happening.RESET: FailureKind.RESET,
    Happening.GARBAGE: FailureKind.CORRUPT,
}

# Of a (3, 5) chunk of 2 MiB: 43 blocks in each of 5 fragments, 8 bytes a block, and the fixed part.
FOOTER_BYTES: Final = 2_000

# A reader with less than this buffered may stall on the next block, so every block counts at once.
NEARLY_DRY_S: Final = 1.0

# A session that still wants to be woken at once after a tick waits for a rounding error to pass.
EPSILON_S: Final = 1e-6

# Wake-ups are at least this far apart: epoll counts in milliseconds.
WAKE_UP_MIN_S: Final = 1e-3


def _footer_bytes(_chunk: int, _fragment: int, _start: int) -> int:
    return FOOTER_BYTES


@dataclass(slots=True)
class Engine:
    """Responsible for one session's virtual life."""

    session: Session
    network: Network
    footer_size_of: Callable[[int, int, int], int] = _footer_bytes
    trace: list[tuple[float, Command]] = field(default_factory=list)
    notices: list[tuple[float, Notice]] = field(default_factory=list)
    keeps_trace: bool = False
    # Report blocks as they come while a reader waits for them, and else in batches and when the
    # session wakes up. Cheaper, and nearer to sockets than reports at fixed distances.
    follows_readers: bool = False
    # Tells the session what no client could know, before every step; returns what follows from it.
    inform: Callable[[Session, Network], list[Event]] | None = None
    _footers: dict[int, int] = field(default_factory=dict)  # piece -> size
    _starts: dict[int, int] = field(default_factory=dict)  # piece -> its first byte
    _next_probe: int = -1
    _woken_s: float = -1.0

    def play(self, *, offset: int = 0, limit_s: float = 3600.0) -> None:
        """Let one paced reader play from ``offset`` to the end, or until ``limit_s``."""
        self.run([(self.network.now_s, events.ReaderOpened(0, offset, True))], limit_s)

    def run(self, script: Sequence[tuple[float, Event]], limit_s: float) -> None:
        """Post each event at its instant and go on until all readers ended, or until ``limit_s``.

        Args:
            script: what viewers do, in the order of time.
        """
        coming = deque(script)
        readers = self.session.state.buffer.readers
        while self.network.now_s < limit_s:
            while coming and coming[0][0] <= self.network.now_s:
                self.post(coming.popleft()[1])
            if not coming and all(r.state is ReaderState.ENDED for r in readers.values()):
                return
            self.step(min(limit_s, coming[0][0] if coming else INFINITY))

    def step(self, limit_s: float) -> None:
        """Go to the next instant at which anything happens."""
        network, session = self.network, self.session
        if self.follows_readers:
            network.report_blocks(self._anybody_waits())
        wake_s = session.next_wakeup_s()
        if self.follows_readers:
            wake_s = max(wake_s, self._woken_s + WAKE_UP_MIN_S)
        elif wake_s <= network.now_s == self._woken_s:
            wake_s = network.now_s + EPSILON_S
        next_s = max(network.now_s, min(network.next_event_s(), wake_s, limit_s))
        happened = network.advance(next_s)
        if not happened:
            self._woken_s = next_s
            if self.follows_readers:
                # A socket would have handed over by now what its session wakes up to decide on.
                happened = network.overdue_reports()
        told = [event for what, flow in happened for event in self._translate(what, flow)]
        if self.inform is not None:
            told += self.inform(session, network)
        if not happened and not told:
            told = [events.Tick()]
        if self.follows_readers:
            self._post_all(told)
        else:
            for event in told:
                self.post(event)

    def post(self, event: Event) -> None:
        """Hand an event to the session and carry out what it commands, one event at a time."""
        session, now_s = self.session, self.network.now_s
        queue: deque[Event] = deque()
        following: Event | None = event
        while following is not None:
            for command in session.handle(following, now_s):
                queue.extend(self._apply(command))
            following = queue.popleft() if queue else None

    def _post_all(self, happened: list[Event]) -> None:
        """Hand over what happened at one instant together; what follows from it, together again."""
        while happened:
            issued = self.session.handle_all(happened, self.network.now_s)
            happened = [event for command in issued for event in self._apply(command)]

    def _anybody_waits(self) -> bool:
        now_s = self.network.now_s
        for reader in self.session.state.buffer.readers.values():
            if reader.buffered_s(now_s) < NEARLY_DRY_S and reader.state is not ReaderState.ENDED:
                return True
        return False

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
        return [events.PieceFailed(piece, _FAILURES[what], max(0, flow.reported))]

    def _translate_probe(self, what: Happening, flow: Flow) -> list[Event]:
        if what is Happening.DONE:
            rtt_s = self.network.now_s - flow.requested_s
            return [events.ProbeAnswered(flow.node, rtt_s)]
        if what in _FAILURES:
            return [events.ProbeFailed(flow.node, _FAILURES[what])]
        return []

    def _apply(self, command: Command) -> Sequence[Event]:
        if self.keeps_trace:
            self.trace.append((self.network.now_s, command))
        network = self.network
        match command:
            case commands.Fetch():
                self._starts[command.piece] = command.start
                network.request(command.piece, command.node, command.stop - command.start)
            case commands.Decode():
                return (events.RowsDecoded(command.chunk, command.first_row, command.rows),)
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
            case commands.VerifyChunk():
                return (events.ChunkVerified(command.chunk),)
            case commands.Notice():
                self.notices.append((network.now_s, command))
            case _:
                pass
        return ()
