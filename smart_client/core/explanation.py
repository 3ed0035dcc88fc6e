"""What happened in a session and why: every stall, every node left alone, every row moved.

An ``Explainer`` follows a session step by step, live or replayed, and looks at the session's own
tables, so what it names is what the scheduler knew and believed at that instant.
"""

from collections.abc import Callable, Sequence
from math import inf

from smart_client.core import commands, events
from smart_client.core.chunk_progress import mask_of
from smart_client.core.commands import Command, Notice
from smart_client.core.events import Event, FailureKind
from smart_client.core.findings import (
    AnyFinding,
    Belief,
    Corrupt,
    Ended,
    Moved,
    Request,
    Returned,
    Sought,
    Stall,
    Started,
    Takeover,
    Trouble,
    Unplayable,
)
from smart_client.core.lanes import find_cause, find_missing
from smart_client.core.metrics import take_snapshot
from smart_client.core.pieces import Piece
from smart_client.core.playback_buffer import Reader, ReaderState
from smart_client.core.session import Session
from smart_client.core.throughput import FlowMeter

# A node's connections break one after the other, in as many steps; that is one trouble.
SAME_MOMENT_S = 0.05

# A player that stands still has taken all that was ready but what lies in socket buffers.
PLAYER_WAITS_BYTES = 4 * 1024 * 1024

# Rows that a failed node owed and that nobody has asked others for are remembered for so many
# failures; a session with more open ones has no holders left.
OPEN_MOVES_MAX = 1_000


class _Move:
    """Rows of a chunk that changed hands, and the finding that tells of it."""

    __slots__ = ("chunk", "finding", "rows", "unasked")

    def __init__(self, finding: Trouble | Takeover, chunk: int, rows: int, unasked: int) -> None:
        self.finding = finding
        self.chunk = chunk
        self.rows = rows  # a stall on one of them is this finding's
        self.unasked = unasked  # of these nobody else was asked yet


class Explainer:
    """Responsible for the findings of one session. Call ``observe`` after every step."""

    def __init__(self, session: Session) -> None:
        self.findings: list[AnyFinding] = []
        self.is_paced = False  # whether a reader plays, so that stalls are known
        self._state = session.state
        self._pieces: dict[int, Piece] = {}
        self._moves: list[_Move] = []
        self._troubles: dict[int, Trouble] = {}  # node -> its latest one
        self._stalls: dict[int, Stall] = {}  # reader -> the stall it is in
        self._player_stall: Stall | None = None
        self._flow = FlowMeter(len(session.state.nodes))

    def observe(self, now_s: float, event: Event, issued: Sequence[Command]) -> None:
        """Take one step of the session in."""
        self._flow.sample(now_s, self._state.nodes.nodes)
        if isinstance(event, events.ReaderOpened):
            self.is_paced |= event.paced
        step = _StepLog(now_s, event, self._pieces)
        for command in issued:
            match command:
                case commands.Fetch():
                    self._asked(command)
                case commands.Cancel() | commands.Shorten():
                    step.given_up = self._pieces.get(command.piece, step.given_up)
                case commands.Relocate() if command.anew:  # its rows are others from now on
                    self._moves = [move for move in self._moves if move.chunk != command.chunk]
                case Notice():
                    self._noticed(command, step)
                case _:
                    pass
        self._forget(event, issued)

    # -- notices ---------------------------------------------------------------------------------

    def _noticed(self, notice: Notice, step: "_StepLog") -> None:
        at_s, name = step.now_s, self._name(notice.node)
        tell: dict[str, Callable[[], object]] = {
            "playing": lambda: self._found(Started(at_s, notice.seconds)),
            "ended": lambda: self._found(Ended(at_s)),
            "seek": lambda: self._found(Sought(at_s, notice.seconds)),
            "stalled": lambda: self._stalled(notice, at_s),
            "resumed": lambda: self._resumed(notice),
            "reissued": lambda: self._reissued(notice, step),
            "node_suspect": lambda: self._suspected(notice, step),
            "node_up": lambda: self._found(Returned(at_s, name, notice.seconds)),
            "takeover": lambda: self._taken_over(notice, at_s),
            "corrupt": lambda: self._found(Corrupt(at_s, name, notice.chunk)),
            "unplayable": lambda: self._found(Unplayable(at_s, notice.chunk, notice.reason)),
        }
        if notice.kind in tell:
            tell[notice.kind]()

    def _found(self, finding: AnyFinding) -> None:
        self.findings.append(finding)

    def _suspected(self, notice: Notice, step: "_StepLog") -> None:
        trouble = self._trouble(notice, step)
        trouble.is_news = True
        trouble.left_alone_s = notice.seconds

    def _trouble(self, notice: Notice, step: "_StepLog") -> Trouble:
        """Return the node's trouble of this moment, a new one if there is none yet."""
        trouble = self._troubles.get(notice.node)
        if trouble is None or step.now_s - trouble.at_s > SAME_MOMENT_S:
            trouble = Trouble(step.now_s, self._name(notice.node), notice.reason)
            self._troubles[notice.node] = trouble
            self.findings.append(trouble)
            signs_s = [p.last_byte_s for p in self._pieces.values() if p.node == notice.node]
            if signs_s and notice.reason == FailureKind.SILENT:
                last_s = max(min(signs_s), self._state.nodes[notice.node].last_byte_s)
                trouble.quiet_s = step.now_s - last_s
        return trouble

    def _reissued(self, notice: Notice, step: "_StepLog") -> None:
        trouble = self._trouble(notice, step)
        trouble.bytes += notice.bytes
        if notice.chunk not in trouble.chunks:
            trouble.chunks.append(notice.chunk)
        piece = step.failed or step.given_up
        step.failed = None
        if piece is not None and not piece.is_footer and piece.chunk == notice.chunk:
            first = piece.first_row + piece.counted_rows
            rows = mask_of(first, max(0, piece.rows - piece.counted_rows))
            self._move(_Move(trouble, notice.chunk, rows, rows))

    def _taken_over(self, notice: Notice, at_s: float) -> None:
        self.findings.append(
            Takeover(
                at_s,
                node=self._name(notice.node),
                from_node=notice.reason,
                chunk=notice.chunk,
                bytes=notice.bytes,
                needed_s=notice.seconds,
            )
        )

    def _move(self, move: _Move) -> None:
        """Remember rows that change hands; playback may stand still for them already."""
        self._moves.append(move)
        for stall in self._stalls.values():
            _blame(stall, move)

    def _asked(self, command: commands.Fetch) -> None:
        """Note a new request; if it brings rows that a failed node owed, say so there."""
        state = self._state
        piece = state.pieces.get(command.piece)
        if piece is None:
            return
        self._pieces[piece.id] = piece
        rows = mask_of(piece.first_row, piece.rows)
        last = self.findings[-1] if self.findings else None
        if isinstance(last, Takeover) and last.at_s == state.now_s and last.due_in_s is None:
            due_s = state.deadline_s(piece.chunk, piece.first_row + piece.rows - 1)
            last.due_in_s = due_s - state.now_s if due_s < inf else None
            self._move(_Move(last, piece.chunk, rows, 0))
            return
        row_bytes = state.chunks[piece.chunk].row_bytes(piece.fragment)
        for move in self._moves:
            taken = move.unasked & rows
            if move.chunk != piece.chunk or not taken or not isinstance(move.finding, Trouble):
                continue
            if move.finding.node != self._name(piece.node):  # it may be asked again itself
                move.unasked &= ~rows
                _credit(move.finding, self._name(piece.node), taken.bit_count() * row_bytes)
                rows &= ~taken

    # -- stalls ----------------------------------------------------------------------------------

    def _resumed(self, notice: Notice) -> None:
        stall = self._stalls.pop(notice.reader, None)
        if stall is not None:
            stall.seconds = notice.seconds

    def player_stalled(self, media_s: float, at_s: float) -> Stall | None:
        """Explain a stall that a player of its own reports; None if it waits for nothing of ours.

        Args:
            media_s: the position it stands at; the nearest reader ahead of it is taken for its own.
        """
        waiting = [
            reader
            for reader in self._state.buffer.readers.values()
            if not reader.paced and self._next_row(reader) is not None
            if reader.frontier <= reader.offset + PLAYER_WAITS_BYTES
        ]
        if not waiting:
            return None
        reader = min(waiting, key=lambda each: abs(each.base_media_s - media_s))
        row = self._next_row(reader)
        assert row is not None
        stall = self._explain(reader, row, media_s, at_s)
        self._player_stall = stall
        return stall

    def player_resumed(self, seconds: float) -> None:
        """Note that the player's stall is over, and how long it took."""
        if self._player_stall is not None:
            self._player_stall.seconds = seconds
            self._player_stall = None

    def _stalled(self, notice: Notice, at_s: float) -> None:
        reader = self._state.buffer.readers.get(notice.reader)
        row = self._next_row(reader) if reader is not None else None
        if reader is None or row is None:
            return
        stall = self._explain(reader, row, notice.seconds, at_s)
        if reader.state is ReaderState.STALLED:
            self._stalls[reader.id] = stall

    def _explain(self, reader: Reader, row: tuple[int, int], media_s: float, at_s: float) -> Stall:
        """Find what is missing and why, and tell it."""
        state = self._state
        missing = find_missing(state, row[0], row[1], at_s)
        flow = self._flow.throughput(at_s, self._rate_needed(row[0]))
        cause, blamed = find_cause(missing, flow)
        stall = Stall(
            at_s,
            media_s=media_s,
            cause=cause,
            missing=missing,
            blamed=blamed,
            flow=flow,
            believed=take_snapshot(state, at_s, reader).nodes,
        )
        self.findings.append(stall)
        for move in self._moves:
            _blame(stall, move)
        return stall

    def _next_row(self, reader: Reader) -> tuple[int, int] | None:
        """Return the chunk and row at which a reader's ready bytes end."""
        timeline = self._state.timeline
        index = timeline.chunk_at(reader.frontier)
        if index == len(self._state.chunks):
            return None
        geometry = self._state.chunks[index].geometry
        return index, geometry.row_at(reader.frontier - timeline.offsets[index])

    def _rate_needed(self, index: int) -> float:
        timeline = self._state.timeline
        size = timeline.offsets[index + 1] - timeline.offsets[index]
        return size / timeline.durations_s[index] if timeline.durations_s[index] else 0.0

    # -- looking ---------------------------------------------------------------------------------

    def belief(self, now_s: float) -> Belief:
        """Return what the session believes now."""
        state = self._state
        urgent = None
        if state.order:
            index = state.order[0]
            row = max(0, state.first_missing_row(state.chunks[index]))
            urgent = find_missing(state, index, row, now_s)
        return Belief(
            take_snapshot(state, now_s),
            tuple(
                Request(
                    node=self._name(piece.node),
                    chunk=piece.chunk,
                    fragment=piece.fragment,
                    first_row=piece.first_row,
                    rows=piece.rows,
                    received_bytes=piece.received_bytes,
                    asked_bytes=piece.stop - piece.start,
                    asked_s_ago=now_s - piece.requested_s,
                )
                for piece in state.pieces.values()
                if not piece.is_footer
            ),
            urgent,
        )

    def _name(self, node: int) -> str:
        return self._state.nodes[node].id if node >= 0 else ""

    def _forget(self, event: Event, issued: Sequence[Command]) -> None:
        """Drop requests that are over and moved rows that have come."""
        if isinstance(event, events.PieceDone | events.PieceFailed):
            self._pieces.pop(event.piece, None)
        for command in issued:
            if isinstance(command, commands.Cancel):
                self._pieces.pop(command.piece, None)
        if isinstance(event, events.RowsDecoded) and self._moves:
            chunks = self._state.chunks
            self._moves = [m for m in self._moves if m.rows & ~chunks[m.chunk].decoded]
            del self._moves[:-OPEN_MOVES_MAX]


class _StepLog:
    """What one step has shown so far."""

    __slots__ = ("failed", "given_up", "now_s")

    def __init__(self, now_s: float, event: Event, pieces: dict[int, Piece]) -> None:
        self.now_s = now_s
        self.failed = pieces.get(event.piece) if isinstance(event, events.PieceFailed) else None
        self.given_up: Piece | None = None  # the last request cancelled or shortened


def _blame(stall: Stall, move: _Move) -> None:
    """If playback stalled on rows that changed hands, say so of both."""
    missing = stall.missing
    rows = mask_of(missing.first_row, missing.rows)
    if move.chunk != missing.chunk or not move.rows & rows or move.finding.stall_at_s is not None:
        return
    move.finding.stall_at_s = stall.at_s
    if isinstance(move.finding, Trouble) and move.finding.node not in stall.troubles:
        stall.troubles.append(move.finding.node)


def _credit(trouble: Trouble, node: str, count: int) -> None:
    for each in trouble.moved:
        if each.node == node:
            each.bytes += count
            return
    trouble.moved.append(Moved(node, count))
