"""Chunks that an earlier session left in the local cache: taken from there, not fetched again.

wanted and kept ──Recall──▶ recalling ──ChunkRecalled──▶ ready
                                └──────RecallFailed────▶ fetched like any other
"""

from smart_client.core import commands, events
from smart_client.core.chunk_progress import Coverage
from smart_client.core.demand import Demand
from smart_client.core.state import Handlers, SessionState


class RecallDesk:
    """Responsible for what is asked of the local cache, and for its answers."""

    def __init__(self, state: SessionState, demand: Demand) -> None:
        self.state = state
        self.demand = demand

    def handlers(self) -> Handlers:
        """Return which method takes which event."""
        return {
            events.ChunksKept: self._kept,
            events.ChunkRecalled: self._recalled,
            events.RecallFailed: self._failed,
        }

    def ask(self) -> None:
        """Ask the cache for wanted chunks that it has; nobody else is asked for them meanwhile."""
        state = self.state
        if not state.kept:
            return
        found = [i for i in state.order if i in state.kept and not state.chunks[i].asked.touched]
        for index in found:
            state.recalling.add(index)
            state.out.append(commands.Recall(index))
        if found:
            state.order = [i for i in state.order if i not in state.recalling]

    def _kept(self, event: events.ChunksKept) -> None:
        self.state.kept |= set(event.chunks)

    def _recalled(self, event: events.ChunkRecalled) -> None:
        state = self.state
        if event.chunk not in state.recalling:
            return
        state.recalling.discard(event.chunk)
        chunk = state.chunks[event.chunk]
        chunk.asked = Coverage(chunk.k, chunk.all_rows)
        chunk.received = Coverage(chunk.k, chunk.all_rows)
        chunk.decoded = chunk.all_rows
        chunk.verified = True
        state.counters.recalled_bytes += chunk.geometry.chunk_bytes
        for reader in state.buffer.readers.values():
            if state.timeline.chunk_at(reader.frontier) == event.chunk:
                state.buffer.extend(reader, state.chunks)
        state.out.append(commands.Notice("chunk_recalled", chunk=event.chunk))
        self.demand.evict()

    def _failed(self, event: events.RecallFailed) -> None:
        state = self.state
        state.kept.discard(event.chunk)
        if event.chunk in state.recalling:
            state.recalling.discard(event.chunk)
            self.demand.reorder()
