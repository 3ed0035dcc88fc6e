"""The tables a scheduler looks at, and the few things it may do."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from redundancy.fragment_format import footer_offset
from redundancy.rows import RowGeometry
from smart_client.core import commands
from smart_client.core.chunk_progress import ChunkProgress, mask_of
from smart_client.core.commands import Command
from smart_client.core.events import FailureKind
from smart_client.core.node_table import NodeState, NodeTable
from smart_client.core.pieces import Piece
from smart_client.core.playback_buffer import PlaybackBuffer, ReaderState
from smart_client.core.timeline import Timeline
from smart_client.wire import ChunkRecord

# Which method takes which event. The event's type is its key, so the argument needs no type here.
Handlers = dict[type, Callable[[Any], None]]


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What a session is allowed and asked to do."""

    # How far ahead of a reader bytes are fetched. Depth is worth more than any rule: with 30 s a
    # clairvoyant scheduler waits three times as long as with 120 s.
    window_s: float = 120.0
    window_bytes_min: int = 0  # ... and at least this many bytes (downloads)
    start_buffer_s: float = 2.0  # playback starts with this much buffered
    resume_buffer_s: float = 2.0  # ... and goes on with this much after a stall
    cache_bytes_max: int = 2 * 1024**3  # decoded bytes kept, read or not
    # Seconds of media that a reader takes a second. A download takes them as fast as they come, so
    # for it everything is late, and no node may idle while another is slow.
    pace: float = 1.0

    def __post_init__(self) -> None:
        if self.window_s <= 0 or self.start_buffer_s < 0 or self.resume_buffer_s < 0:
            raise ValueError("buffers must be positive")
        if self.pace <= 0:
            raise ValueError("the pace must be positive")
        if self.window_s < max(self.start_buffer_s, self.resume_buffer_s):
            raise ValueError("the window must hold at least what playback starts with")


@dataclass(slots=True)
class Counters:
    """Sums over a session's life."""

    received_bytes: int = 0  # all bytes of fragments that came, footers included
    delivered_bytes: int = 0  # of the rendition, made ready from what came
    recalled_bytes: int = 0  # of the rendition, out of the local cache
    footer_bytes: int = 0
    pieces: int = 0
    takeovers: int = 0
    reissues: int = 0
    corrupt: int = 0


class SessionState:
    """Responsible for the session's tables; every change leaves its command in ``out``."""

    def __init__(
        self, chunks: Sequence[ChunkRecord], node_ids: Sequence[str], config: SessionConfig
    ) -> None:
        position = {node_id: index for index, node_id in enumerate(node_ids)}
        self.config = config
        self.timeline = Timeline(chunks)
        self.nodes = NodeTable(node_ids)
        self.records = list(chunks)  # as what and where each chunk is stored
        self.chunks = [_progress(chunk, position, self.nodes) for chunk in chunks]
        self.stale: set[int] = set()  # chunks that lacked a fragment since placement was known
        self.kept: set[int] = set()  # chunks of which the local cache has a copy
        self.recalling: set[int] = set()  # ... that are being taken out of it
        self.buffer = PlaybackBuffer(
            self.timeline,
            start_buffer_s=config.start_buffer_s,
            resume_buffer_s=config.resume_buffer_s,
        )
        self.pieces: dict[int, Piece] = {}
        self.order: list[int] = []  # chunks with wanted rows not ready, most urgent first
        self.counters = Counters()
        self.now_s = 0.0
        self.out: list[Command] = []
        self._next_piece = 0

    # -- looking ---------------------------------------------------------------------------------

    def media_s(self, chunk: int, row: int) -> float:
        """Return the media time at which a row begins."""
        geometry = self.chunks[chunk].geometry
        return self.timeline.time_in(chunk, geometry.chunk_range(row, 1)[0])

    def deadline_s(self, chunk: int, row: int) -> float:
        """Return the instant at which some reader needs this row; infinity if none does."""
        return self.due_s(chunk, self.media_s(chunk, row))

    def due_s(self, chunk: int, media_s: float) -> float:
        """Return the instant at which some reader needs a media time of this chunk.

        A reader that waits needs all it waits for at once, and what follows as if it played then.
        """
        end_s = self.timeline.starts_s[chunk] + self.timeline.durations_s[chunk]
        best_s = inf
        for reader in self.buffer.readers.values():
            if reader.state is ReaderState.ENDED:
                continue
            head_s = reader.playhead_s(self.now_s)
            if end_s > head_s:
                due_media_s = media_s - self.buffer.gate_s(reader)
                ahead_s = max(0.0, due_media_s - head_s) / self.config.pace
                best_s = min(best_s, self.now_s + ahead_s)
        return best_s

    def first_missing_row(self, chunk: ChunkProgress) -> int:
        """Return the first wanted row that is not ready; -1 if all are."""
        missing = chunk.wanted & ~chunk.decoded
        return (missing & -missing).bit_length() - 1

    def pieces_of(self, chunk: int) -> list[Piece]:
        """Return the data pieces in flight for a chunk."""
        return [p for p in self.pieces.values() if p.chunk == chunk and not p.is_footer]

    # -- doing -----------------------------------------------------------------------------------

    def ask(
        self, node: NodeState, chunk: ChunkProgress, fragment: int, first: int, rows: int
    ) -> Piece:
        """Request rows of a fragment from the node that holds it."""
        assert chunk.node_of[fragment] == node.index
        chunk.ask(fragment, mask_of(first, rows))
        start, stop = chunk.byte_range(fragment, first, rows)
        piece = self._new_piece(node, chunk, fragment).cover(first, rows, start, stop)
        piece.due_media_s = self.media_s(chunk.index, first + rows - 1)
        node.pieces.append(piece)
        self.out.append(commands.Fetch(piece.id, node.index, chunk.index, fragment, start, stop))
        return piece

    def ask_footer(self, node: NodeState, chunk: ChunkProgress, fragment: int) -> Piece:
        """Request a fragment's footer."""
        piece = self._new_piece(node, chunk, fragment)
        node.footers_in_flight += 1
        start = footer_offset(chunk.geometry.chunk_bytes, chunk.k, chunk.is_copy[fragment])
        self.out.append(commands.FetchFooter(piece.id, node.index, chunk.index, fragment, start))
        return piece

    def _new_piece(self, node: NodeState, chunk: ChunkProgress, fragment: int) -> Piece:
        piece = Piece(self._next_piece, node.index, chunk.index, fragment, self.now_s)
        piece.is_alone = not node.pieces and not node.footers_in_flight
        self._next_piece += 1
        self.pieces[piece.id] = piece
        self.counters.pieces += 1
        return piece

    def open_unit(self, record: ChunkRecord, rendition: int) -> None:
        """Let a chunk of this rendition play where the record says; nothing is asked for there."""
        index = record.number
        assert not self.chunks[index].asked.by_fragment, "it is being fetched"
        self.records[index] = record
        self.chunks[index] = _progress(record, self.nodes.positions(), self.nodes)
        self.timeline.replace(index, record.size)
        self.out.append(commands.OpenUnit(index, rendition))

    def relocate(self, record: ChunkRecord) -> None:
        """Fetch a chunk from where its record says; what came counts on if the layout is the same.

        Where it is another, decoded rows stay: they are the chunk's bytes in any layout.
        """
        index, old = record.number, self.records[record.number]
        anew = (record.layout, record.generation) != (old.layout, old.generation)
        stays = set() if anew else set(old.fragments) & set(record.fragments)
        kept = {fragment.index for fragment in stays}
        for piece in list(self.pieces.values()):
            if piece.chunk == index and piece.fragment not in kept:
                self.abandon(piece)
        chunk = self.chunks[index]
        self.records[index] = record
        self.out.append(commands.Relocate(index, anew))
        if anew:
            self.chunks[index] = _progress(record, self.nodes.positions(), self.nodes)
            self.chunks[index].carry(chunk)
            chunk = self.chunks[index]
            if chunk.decoded == chunk.all_rows and not chunk.verified:
                self.out.append(commands.VerifyChunk(index))
        else:
            chunk.place(_holders(record, self.nodes.positions()))
            chunk.forgive(fragment for fragment in chunk.node_of if fragment not in kept)

    def shorten(self, piece: Piece, rows: int) -> None:
        """Keep only the first ``rows`` rows of a piece; the others are open again."""
        chunk = self.chunks[piece.chunk]
        assert piece.counted_rows <= rows < piece.rows
        if rows == 0:
            self.abandon(piece)
            return
        chunk.take_back(piece.fragment, mask_of(piece.first_row + rows, piece.rows - rows))
        piece.rows = rows
        piece.stop = chunk.byte_range(piece.fragment, piece.first_row, rows)[1]
        piece.due_media_s = self.media_s(piece.chunk, piece.first_row + rows - 1)
        self.out.append(commands.Shorten(piece.id, piece.stop))

    def abandon(self, piece: Piece) -> int:
        """Cancel a piece; its rows that have not come are open again. Return their bytes."""
        self.out.append(commands.Cancel(piece.id))
        return self.close(piece)

    def close(self, piece: Piece) -> int:
        """Strike a piece that ended; rows it did not bring are open again. Return their bytes."""
        del self.pieces[piece.id]
        node = self.nodes[piece.node]
        if piece.is_footer:
            node.footers_in_flight -= 1
            return 0
        node.pieces.remove(piece)
        left = piece.rows - piece.counted_rows
        if left:
            chunk = self.chunks[piece.chunk]
            first = piece.first_row + piece.counted_rows
            if piece.fragment not in chunk.bad_fragments:
                chunk.take_back(piece.fragment, mask_of(first, left))
        return piece.remaining_bytes

    def reissue(self, piece: Piece, kind: FailureKind) -> None:
        """Give a piece up because of ``kind``; what has not come will be asked of others."""
        left = self.abandon(piece)
        if not piece.is_footer:
            self.counters.reissues += 1
            self.out.append(
                commands.Notice(
                    "reissued",
                    node=piece.node,
                    chunk=piece.chunk,
                    fragment=piece.fragment,
                    bytes=left,
                    reason=kind.value,
                )
            )

    def suspect(self, node: NodeState, kind: FailureKind) -> None:
        """Leave a node alone for a while; tell so when that is news."""
        is_news = not node.is_suspect
        pause_s = node.suspect(self.now_s)
        if is_news:
            self.out.append(
                commands.Notice("node_suspect", node=node.index, seconds=pause_s, reason=kind.value)
            )


def _progress(chunk: ChunkRecord, position: dict[str, int], nodes: NodeTable) -> ChunkProgress:
    layout = chunk.layout.to_layout()
    geometry = RowGeometry(chunk.size, layout.scheme.k)
    node_of = _holders(chunk, position)
    return ChunkProgress(
        chunk.number, geometry, layout, node_of, is_away=lambda node: nodes[node].is_suspect
    )


def _holders(chunk: ChunkRecord, position: dict[str, int]) -> dict[int, int]:
    return {f.index: position[f.node] for f in chunk.fragments if f.node in position}
