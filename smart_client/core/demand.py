"""Windows: which rows the readers want, in which order, and what may be forgotten."""

from math import inf

from smart_client.core import commands
from smart_client.core.chunk_progress import mask_of
from smart_client.core.playback_buffer import EPSILON_S, Reader, ReaderState
from smart_client.core.state import SessionState


class Demand:
    """Responsible for ``wanted`` of every chunk, for ``state.order`` and for the cache's limit."""

    __slots__ = ("_edges", "_state")

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._edges: dict[int, int] = {}  # reader -> first chunk beyond its window

    def rebuild(self) -> None:
        """Work out all wishes anew: after a jump, an open or a close."""
        state = self._state
        for chunk in state.chunks:
            chunk.wanted = 0
        self._edges = {}
        for reader in state.buffer.readers.values():
            if reader.state is ReaderState.ENDED or self._offset(reader) >= reader.stop:
                continue
            first = self._position(reader)
            self._edges[reader.id] = first
            if first == len(state.chunks):
                continue
            geometry = state.chunks[first].geometry
            byte = state.timeline.byte_in(first, self._offset(reader))
            row = geometry.row_at(max(0, byte))
            rows = self._rows_before(reader, first)
            if rows > row:
                state.chunks[first].wanted |= mask_of(row, rows - row)
            self._edges[reader.id] = first + 1
            self._grow(reader)
        self._sort()

    def refresh(self) -> None:
        """Let windows follow their readers; drop what is ready from the order."""
        state = self._state
        grown = False
        for reader in state.buffer.readers.values():
            if reader.id in self._edges:
                grown |= self._grow(reader)
        if grown:
            self._sort()
            return
        for index in state.order:
            if state.chunks[index].is_decoded:
                state.order = [i for i in state.order if not state.chunks[i].is_decoded]
                return

    def reorder(self) -> None:
        """Put wanted chunks in order again: something other than readers changed them."""
        self._sort()

    def next_growth_s(self) -> float:
        """Return when the next chunk enters the window of a playing reader."""
        state = self._state
        wake_s = inf
        for reader in state.buffer.readers.values():
            edge = self._edges.get(reader.id, len(state.chunks))
            if edge >= len(state.chunks) or state.timeline.offsets[edge] >= reader.stop:
                continue
            if reader.state is ReaderState.PLAYING:
                ahead_s = state.timeline.starts_s[edge] - state.config.window_s
                wake_s = min(wake_s, reader.base_s + (ahead_s - reader.base_media_s))
        return wake_s

    def evict(self) -> None:
        """Forget chunks farthest from any reader while more is kept than allowed."""
        state = self._state
        held = [c for c in state.chunks if c.decoded]
        excess = sum(c.geometry.chunk_bytes for c in held)
        excess -= state.config.cache_bytes_max
        if excess <= 0:
            return
        spans = [
            (self._position(reader), self._edges[reader.id])
            for reader in state.buffer.readers.values()
            if reader.id in self._edges
        ]
        outside = [
            (min((_distance(c.index, span) for span in spans), default=0), c.index)
            for c in held
            if c.verified
        ]
        for distance, index in sorted(outside, reverse=True):
            if excess <= 0 or (spans and distance == 0):
                return
            state.chunks[index].forget()
            state.chunks[index].wanted = 0  # it was read: nobody is waiting for it any more
            state.out.append(commands.Discard(index))
            excess -= state.chunks[index].geometry.chunk_bytes

    # -- helpers ---------------------------------------------------------------------------------

    def _offset(self, reader: Reader) -> int:
        if reader.paced:
            return self._state.timeline.offset_at(reader.playhead_s(self._state.now_s))
        return reader.offset

    def _position(self, reader: Reader) -> int:
        return self._state.timeline.chunk_at(self._offset(reader))

    def _rows_before(self, reader: Reader, chunk: int) -> int:
        """Return how many rows of a chunk begin before the reader's stop."""
        timeline = self._state.timeline
        geometry = self._state.chunks[chunk].geometry
        if timeline.offsets[chunk + 1] <= reader.stop:
            return geometry.rows
        byte = timeline.byte_in(chunk, reader.stop)
        return geometry.row_at(byte - 1) + 1 if byte > 0 else 0

    def _grow(self, reader: Reader) -> bool:
        state = self._state
        edge = self._edges[reader.id]
        if edge >= len(state.chunks):
            return False
        timeline = state.timeline
        limit_s = reader.taken_s(state.now_s) + state.config.window_s + EPSILON_S
        limit_bytes = reader.offset + state.config.window_bytes_min
        began = edge
        while (
            edge < len(state.chunks)
            and timeline.offsets[edge] < reader.stop
            and (timeline.starts_s[edge] <= limit_s or timeline.offsets[edge] < limit_bytes)
        ):
            state.chunks[edge].wanted |= mask_of(0, self._rows_before(reader, edge))
            edge += 1
        self._edges[reader.id] = edge
        return edge > began

    def _sort(self) -> None:
        state = self._state
        missing = [
            chunk
            for chunk in state.chunks
            if not chunk.is_decoded and chunk.index not in state.recalling
        ]
        if len(state.buffer.readers) > 1:
            missing.sort(
                key=lambda c: (state.deadline_s(c.index, state.first_missing_row(c)), c.index)
            )
        state.order = [chunk.index for chunk in missing]


def _distance(index: int, span: tuple[int, int]) -> int:
    """Return how many chunks ``index`` lies outside [first, edge)."""
    first, edge = span
    if index < first:
        return first - index
    return max(0, index - edge + 1)
