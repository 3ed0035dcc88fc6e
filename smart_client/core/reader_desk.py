"""Readers come, move, pause and go; nobody is asked for what nobody wants any more."""

from typing import Final

from smart_client.core import commands, events
from smart_client.core.chunk_progress import mask_of
from smart_client.core.demand import Demand
from smart_client.core.state import Handlers, SessionState

# Less than this left of an unwanted piece is let run: giving up the connection costs more.
LET_RUN_BYTES: Final = 64 * 1024


class ReaderDesk:
    """Responsible for the events of readers."""

    def __init__(self, state: SessionState, demand: Demand) -> None:
        self.state = state
        self.demand = demand

    def handlers(self) -> Handlers:
        """Return which method takes which event."""
        return {
            events.ReaderOpened: self._reader_opened,
            events.ReaderMoved: self._reader_moved,
            events.ReaderPaused: self._reader_paused,
            events.ReaderClosed: self._reader_closed,
            events.PlayerTold: self._player_told,
        }

    def _reader_opened(self, event: events.ReaderOpened) -> None:
        state = self.state
        reader = state.buffer.open(event.reader, event.offset, paced=event.paced, now_s=state.now_s)
        reader.stop = state.timeline.size if event.stop is None else event.stop
        state.buffer.extend(reader, state.chunks)
        self._wishes_changed()

    def _reader_moved(self, event: events.ReaderMoved) -> None:
        state = self.state
        reader = state.buffer.readers.get(event.reader)
        if reader is None:
            return
        jumped = state.buffer.move(reader, event.offset, state.now_s)
        state.buffer.extend(reader, state.chunks)
        if jumped:
            state.out.append(commands.Notice("seek", reader=reader.id, seconds=reader.base_media_s))
            self._wishes_changed()

    def _reader_paused(self, event: events.ReaderPaused) -> None:
        reader = self.state.buffer.readers.get(event.reader)
        if reader is not None and reader.paced:
            self.state.buffer.pause(reader, event.paused, self.state.now_s)

    def _reader_closed(self, event: events.ReaderClosed) -> None:
        if self.state.buffer.readers.pop(event.reader, None) is not None:
            self._wishes_changed()

    def _player_told(self, event: events.PlayerTold) -> None:
        state = self.state
        state.buffer.tell(event.player, event.media_s, event.rate, state.now_s)

    def _wishes_changed(self) -> None:
        """Readers jumped, came or went: give up what nobody wants any more."""
        state = self.state
        self.demand.rebuild()
        for piece in list(state.pieces.values()):
            wanted = state.chunks[piece.chunk].wanted
            rows = mask_of(piece.first_row, piece.rows)
            if not piece.is_footer and not wanted & rows and piece.remaining_bytes > LET_RUN_BYTES:
                state.abandon(piece)
