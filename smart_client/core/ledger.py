"""Follows a session from outside: what each node did for each chunk (the node x chunk matrix)."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from smart_client.core import commands, events
from smart_client.core.commands import Command
from smart_client.core.events import Event, FailureKind


class Mark(StrEnum):
    """One cell of the matrix."""

    NONE = "none"
    IN_FLIGHT = "in flight"
    USED = "used"
    RESCUED = "rescued"  # it took over what came too late from another
    CANCELLED = "cancelled"
    FAILED = "failed"


# A cell shows the most telling thing that happened, not the last one.
_RANK: Final = [Mark.NONE, Mark.CANCELLED, Mark.USED, Mark.RESCUED, Mark.FAILED]


class Ledger:
    """Responsible for the marks of all (node, chunk) pairs; an observer of the driver."""

    def __init__(self) -> None:
        self._marks: dict[tuple[int, int], Mark] = {}
        self._pieces: dict[int, tuple[int, int]] = {}
        self._rescues: set[int] = set()

    def observe(self, _now_s: float, event: Event, issued: Sequence[Command]) -> None:
        """Take one step of the session in."""
        match event:
            case events.PieceDone():
                rescued = event.piece in self._rescues
                self._settle(event.piece, Mark.RESCUED if rescued else Mark.USED)
            case events.PieceFailed():
                self._settle(event.piece, Mark.FAILED)
            case _:
                pass
        taken_over = False
        for command in issued:
            match command:
                case commands.Fetch():
                    self._pieces[command.piece] = (command.node, command.chunk)
                    if taken_over:
                        self._rescues.add(command.piece)
                    taken_over = False
                case commands.Cancel():
                    self._settle(command.piece, Mark.CANCELLED)
                case commands.Notice(kind="takeover"):
                    taken_over = True
                case commands.Notice(kind="reissued", reason=FailureKind.SILENT):
                    pass  # given up, by the session itself; the node may bring the rest yet
                case commands.Notice(kind="reissued"):
                    self._raise((command.node, command.chunk), Mark.FAILED)
                case _:
                    pass

    def mark(self, node: int, chunk: int) -> Mark:
        """Return what a node has done for a chunk so far."""
        cell = (node, chunk)
        if cell in self._pieces.values():
            return Mark.IN_FLIGHT
        return self._marks.get(cell, Mark.NONE)

    def marks(self) -> dict[tuple[int, int], Mark]:
        """Return every (node, chunk) of which there is something to tell."""
        return {**self._marks, **dict.fromkeys(self._pieces.values(), Mark.IN_FLIGHT)}

    def _settle(self, piece: int, mark: Mark) -> None:
        cell = self._pieces.pop(piece, None)
        self._rescues.discard(piece)
        if cell is not None:
            self._raise(cell, mark)

    def _raise(self, cell: tuple[int, int], mark: Mark) -> None:
        if _RANK.index(mark) > _RANK.index(self._marks.get(cell, Mark.NONE)):
            self._marks[cell] = mark
