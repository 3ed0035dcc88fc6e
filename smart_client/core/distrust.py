"""Bytes that do not match: whose fault, and what to fetch instead.

A fragment whose bytes contradict the footer is not asked for again. When so many contradict it that
fewer than k are left, the footer itself is doubted, and its node's fragment with it. The manifest's
SHA-256 of the whole chunk has the last word.
"""

from smart_client.core import commands, events
from smart_client.core.demand import Demand
from smart_client.core.events import FailureKind
from smart_client.core.state import Handlers, SessionState


class Distrust:
    """Responsible for bad fragments, bad footers and chunks that must be fetched anew."""

    def __init__(self, state: SessionState, demand: Demand) -> None:
        self.state = state
        self.demand = demand
        self._unplayable: set[int] = set()

    def handlers(self) -> Handlers:
        """Return which method takes which event."""
        return {
            events.BlocksRejected: self._blocks_rejected,
            events.ChunkRejected: self._chunk_rejected,
        }

    def fragment_is_bad(
        self, index: int, fragment: int, kind: FailureKind, *, in_footer: bool
    ) -> None:
        """Never ask for this fragment again; when too few are left, doubt the footer instead."""
        state = self.state
        chunk = state.chunks[index]
        chunk.bad_footers.add(fragment)
        if kind is FailureKind.CORRUPT:
            state.counters.corrupt += 1
            state.out.append(
                commands.Notice(
                    "corrupt", node=chunk.node_of.get(fragment, -1), chunk=index, fragment=fragment
                )
            )
        if in_footer and kind is FailureKind.CORRUPT:
            # Its payload may still be right: another footer will tell, if there is one.
            alike = {f for f in chunk.node_of if chunk.is_copy[f] == chunk.is_copy[fragment]}
            if alike <= chunk.bad_footers:
                chunk.bad_fragments |= alike
        elif kind is FailureKind.MISSING:
            # What came of it before is good. It may lie elsewhere now.
            self._abandon(index, fragment)
            chunk.bad_fragments.add(fragment)
            chunk.missing.add(fragment)
            state.stale.add(index)
        else:
            self._abandon(index, fragment)
            chunk.reject(fragment)
            if chunk.usable_fragments() < chunk.k:
                # Everybody contradicts one footer: the footer may be the liar.
                self._doubt_footer(index)
        self._report_if_unplayable(index, kind.value)

    def relocated(self, index: int) -> None:
        """The chunk lies elsewhere: what was said of it is out of date."""
        self._unplayable.discard(index)

    def _abandon(self, index: int, fragment: int) -> None:
        state = self.state
        for piece in list(state.pieces.values()):
            if piece.chunk == index and piece.fragment == fragment:
                state.abandon(piece)

    def _doubt_footer(self, index: int) -> None:
        """Start the chunk over with another footer, unless that was done often enough.

        Up to n - k nodes may lie. When so many footers were doubted, it is the fragments.
        """
        chunk = self.state.chunks[index]
        source = chunk.footer_source
        if source < 0 or len(chunk.doubted) >= chunk.layout.scheme.n - chunk.k:
            return
        chunk.doubted.add(source)
        self._forget_chunk(index)
        chunk.bad_fragments = set(chunk.doubted)
        chunk.bad_footers = set(chunk.doubted)

    def _forget_chunk(self, index: int) -> None:
        """Throw away all bytes of a chunk and start over with it."""
        state = self.state
        for piece in list(state.pieces.values()):
            if piece.chunk == index:
                state.abandon(piece)
        state.chunks[index].forget()
        state.buffer.cut(state.timeline.offsets[index])
        state.out.append(commands.Discard(index))
        self.demand.rebuild()

    def _report_if_unplayable(self, index: int, reason: str) -> None:
        chunk = self.state.chunks[index]
        if chunk.usable_fragments() < chunk.k and index not in self._unplayable:
            self._unplayable.add(index)
            self.state.out.append(commands.Notice("unplayable", chunk=index, reason=reason))

    def _blocks_rejected(self, event: events.BlocksRejected) -> None:
        chunk = self.state.chunks[event.chunk]
        assert event.fragment in chunk.is_copy, "a fragment that never was"
        holder = chunk.node_of.get(event.fragment, -1)
        self.fragment_is_bad(event.chunk, event.fragment, FailureKind.CORRUPT, in_footer=False)
        if holder >= 0:  # else it is stored nowhere any more
            self.state.suspect(self.state.nodes[holder], FailureKind.CORRUPT)

    def _chunk_rejected(self, event: events.ChunkRejected) -> None:
        self.state.counters.corrupt += 1
        self.state.out.append(commands.Notice("corrupt", chunk=event.chunk, reason="whole chunk"))
        chunk = self.state.chunks[event.chunk]
        if chunk.is_carried:
            self._forget_chunk(event.chunk)  # two layouts had a part in it: all of it from one
            return
        before = len(chunk.doubted)
        self._doubt_footer(event.chunk)
        if len(chunk.doubted) == before:
            # Nothing is left to doubt: what is stored is not what the manifest names.
            chunk.bad_fragments = set(chunk.node_of)
            self._forget_chunk(event.chunk)
        self._report_if_unplayable(event.chunk, "whole chunk")
