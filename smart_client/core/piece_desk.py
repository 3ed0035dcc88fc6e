"""Requests answer, bring bytes, end or fail; rows become complete and are decoded."""

from typing import Final

from smart_client.core import commands, events
from smart_client.core.chunk_progress import mask_of
from smart_client.core.demand import Demand
from smart_client.core.distrust import Distrust
from smart_client.core.events import FailureKind
from smart_client.core.pieces import Piece
from smart_client.core.state import Handlers, SessionState

# The recent pace of a piece is counted over the last spell of about this length.
MARK_EVERY_S: Final = 0.2


class PieceDesk:
    """Responsible for the events of pieces and of decoding."""

    def __init__(self, state: SessionState, demand: Demand, distrust: Distrust) -> None:
        self.state = state
        self.demand = demand
        self.distrust = distrust

    def handlers(self) -> Handlers:
        """Return which method takes which event."""
        return {
            events.FirstByte: self._first_byte,
            events.BytesArrived: self._bytes_arrived,
            events.PieceDone: self._piece_done,
            events.PieceFailed: self._piece_failed,
            events.FooterKnown: self._footer_known,
            events.RowsDecoded: self._rows_decoded,
            events.ChunkVerified: self._chunk_verified,
        }

    def _first_byte(self, event: events.FirstByte) -> None:
        piece = self.state.pieces.get(event.piece)
        if piece is None:
            return  # it was cancelled while the answer was on its way
        now_s = self.state.now_s
        node = self.state.nodes[piece.node]
        piece.first_byte_s = piece.last_byte_s = piece.mark_s = now_s
        if piece.is_alone and not node.is_suspect:
            node.rtt.add(now_s - piece.requested_s)  # a suspect's answer tells how long it was away
        if not any(other.received_bytes for other in node.pieces):
            node.last_byte_s = now_s  # its sending starts here: idle time is not its slowness

    def _bytes_arrived(self, event: events.BytesArrived) -> None:
        piece = self.state.pieces.get(event.piece)
        if piece is not None:
            self._credit(piece, event.received_bytes)

    def _credit(self, piece: Piece, received_bytes: int) -> None:
        """Count bytes for the node's rate and whole rows for the chunk; decode what is complete."""
        state = self.state
        node = state.nodes[piece.node]
        new = received_bytes - piece.received_bytes
        if new <= 0:
            return
        if state.now_s - piece.mark_s >= MARK_EVERY_S:
            piece.mark_s, piece.mark_bytes = piece.last_byte_s, piece.received_bytes
        piece.received_bytes = received_bytes
        node.bytes_received += new
        state.counters.received_bytes += new
        node.rate.add(new, max(0.0, state.now_s - node.last_byte_s))
        piece.last_byte_s = node.last_byte_s = state.now_s
        if node.is_suspect:
            since_s = state.now_s - node.suspect_since_s
            node.trust(state.now_s)
            state.out.append(commands.Notice("node_up", node=node.index, seconds=since_s))
        chunk = state.chunks[piece.chunk]
        whole = received_bytes >= piece.stop - piece.start
        rows = piece.rows if whole else received_bytes // chunk.row_bytes(piece.fragment)
        if rows > piece.counted_rows:
            first = piece.first_row + piece.counted_rows
            chunk.receive(piece.fragment, mask_of(first, rows - piece.counted_rows))
            piece.counted_rows = rows
            self._decode(piece.chunk)

    def _decode(self, index: int) -> None:
        for first, rows, fragments in self.state.chunks[index].take_decodable():
            self.state.out.append(commands.Decode(index, first, rows, fragments))

    def _piece_done(self, event: events.PieceDone) -> None:
        state = self.state
        piece = state.pieces.get(event.piece)
        if piece is None:
            return
        self._credit(piece, piece.stop - piece.start)
        node = state.nodes[piece.node]
        node.completed()
        node.grown_bytes = max(node.grown_bytes, 2 * (piece.stop - piece.start))
        state.close(piece)

    def _piece_failed(self, event: events.PieceFailed) -> None:
        state = self.state
        piece = state.pieces.get(event.piece)
        if piece is None:
            return
        node = state.nodes[piece.node]
        chunk = state.chunks[piece.chunk]
        if not piece.is_footer:
            self._credit(piece, event.received_bytes)
        left = state.close(piece)
        state.counters.reissues += 1
        state.out.append(
            commands.Notice(
                "reissued",
                node=node.index,
                chunk=chunk.index,
                fragment=piece.fragment,
                bytes=left,
                reason=event.kind.value,
            )
        )
        if event.kind in (FailureKind.CORRUPT, FailureKind.MISSING):
            self.distrust.fragment_is_bad(
                piece.chunk, piece.fragment, event.kind, in_footer=piece.is_footer
            )
        in_pause = node.is_suspect and state.now_s < node.suspect_until_s
        if event.kind is not FailureKind.MISSING and not in_pause:
            state.suspect(node, event.kind)

    def _footer_known(self, event: events.FooterKnown) -> None:
        state = self.state
        piece = state.pieces.get(event.piece)
        if piece is None:
            return
        node = state.nodes[piece.node]
        node.completed()
        state.counters.received_bytes += event.size_bytes
        state.counters.footer_bytes += event.size_bytes
        node.bytes_received += event.size_bytes
        if node.is_suspect:
            node.trust(state.now_s)
        state.close(piece)
        chunk = state.chunks[piece.chunk]
        if chunk.is_copy[piece.fragment]:
            chunk.footer_copies = True
        elif not chunk.footer_coded:
            chunk.footer_coded = True
            chunk.footer_source = piece.fragment
        self._decode(piece.chunk)

    def _rows_decoded(self, event: events.RowsDecoded) -> None:
        state = self.state
        chunk = state.chunks[event.chunk]
        if not chunk.decoding & mask_of(event.first_row, event.rows):
            return  # the chunk was forgotten meanwhile
        chunk.finish_decoding(event.first_row, event.rows)
        start, stop = chunk.geometry.chunk_range(event.first_row, event.rows)
        state.counters.delivered_bytes += stop - start
        for reader in state.buffer.readers.values():
            if state.timeline.chunk_at(reader.frontier) == event.chunk:
                state.buffer.extend(reader, state.chunks)
        if chunk.decoded == chunk.all_rows and not chunk.verified:
            state.out.append(commands.VerifyChunk(event.chunk))

    def _chunk_verified(self, event: events.ChunkVerified) -> None:
        if event.kept:
            self.state.kept.add(event.chunk)
        chunk = self.state.chunks[event.chunk]
        if chunk.decoded == chunk.all_rows:
            chunk.verified = True
            self.state.out.append(commands.Notice("chunk_ready", chunk=event.chunk))
            self.demand.evict()
