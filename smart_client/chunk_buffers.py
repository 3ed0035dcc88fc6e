"""The bytes of one chunk on their way from nodes to a reader: received, checked, put together."""

from redundancy.backends import best_codec
from redundancy.errors import InvalidFragment
from redundancy.fragment_format import Footer
from redundancy.rows import BLOCK_BYTES, RowGeometry, assemble_rows_into
from smart_client.wire import ChunkRecord


class ChunkBuffers:
    """Responsible for the fragment payloads of one chunk, as far as they have come.

    A payload's buffer has its final length from the start and fills up out of order. Blocks are
    checked as soon as a footer of the right kind (coded or whole copy) is known.
    """

    def __init__(self, chunk: ChunkRecord, video_id: str, rendition: str) -> None:
        self.chunk = chunk
        self.epoch = 0  # grows when everything is thrown away: late results are of another life
        self._video_id = bytes.fromhex(video_id)
        self._rendition = rendition
        self._layout = chunk.layout.to_layout()
        self._geometry = RowGeometry(chunk.size, chunk.layout.k)
        self._payloads: dict[int, bytearray] = {}
        self._footers: dict[bool, Footer] = {}  # by "is a whole copy"
        self._unchecked: dict[int, list[tuple[int, int]]] = {}  # fragment -> byte ranges

    def clear(self) -> None:
        """Throw everything away."""
        self.epoch += 1
        self._payloads.clear()
        self._footers.clear()
        self._unchecked.clear()

    def free_payloads(self) -> None:
        """Drop the payloads; the chunk is complete elsewhere."""
        self._payloads.clear()
        self._unchecked.clear()

    def write(self, fragment: int, offset: int, data: bytes | memoryview) -> None:
        """Put bytes of a fragment's payload where they belong, unless they came into ``room``."""
        payload = self._payload(fragment)
        if not isinstance(data, memoryview) or data.obj is not payload:
            memoryview(payload)[offset : offset + len(data)] = data

    def room(self, fragment: int, start: int, stop: int) -> memoryview:
        """Return where bytes [start, stop) of a fragment's payload belong, to be written there."""
        return memoryview(self._payload(fragment))[start:stop]

    def _payload(self, fragment: int) -> bytearray:
        payload = self._payloads.get(fragment)
        if payload is None:
            is_copy = self._layout.is_copy(fragment)
            size = self._geometry.copy_bytes if is_copy else self._geometry.payload_bytes
            payload = self._payloads[fragment] = bytearray(size)
        return payload

    def good_bytes(self, fragment: int, start: int, stop: int) -> int:
        """Check the whole blocks of [start, stop); return how many bytes from ``start`` are good.

        ``start`` is the beginning of a block. Without a footer the range is noted for later and
        counts as good.
        """
        footer = self._footers.get(self._layout.is_copy(fragment))
        if footer is None:
            self._unchecked.setdefault(fragment, []).append((start, stop))
            return stop - start
        bad = footer.bad_blocks(
            fragment, memoryview(self._payloads[fragment])[start:stop], start // BLOCK_BYTES
        )
        return bad[0] * BLOCK_BYTES - start if bad else stop - start

    def accept_footer(self, fragment: int, raw: bytes) -> list[int]:
        """Take a footer in; return the fragments whose unchecked blocks do not match it.

        Raises: InvalidFragment: it is damaged, or not the footer of this fragment of this chunk.
        """
        footer = Footer.unpack(raw)
        label = footer.label
        same = (
            label.video_id == self._video_id
            and label.rendition == self._rendition
            and label.number == self.chunk.number
            and label.generation == self.chunk.generation
            and footer.index == fragment
            and footer.layout == self._layout
            and footer.chunk_bytes == self.chunk.size
            and footer.chunk_sha256.hex() == self.chunk.sha256
        )
        if not same:
            raise InvalidFragment(f"chunk {self.chunk.number}: the footer is of something else")
        kind = self._layout.is_copy(fragment)
        if kind in self._footers:
            return []
        self._footers[kind] = footer
        bad: list[int] = []
        for other, ranges in list(self._unchecked.items()):
            if self._layout.is_copy(other) == kind:
                del self._unchecked[other]
                if any(self.good_bytes(other, a, b) < b - a for a, b in ranges):
                    bad.append(other)
        return bad

    def assemble(self, first_row: int, rows: int, fragments: tuple[int, ...]) -> bytearray:
        """Return the chunk's bytes of these rows, from checked blocks. Runs in any thread."""
        start, stop = self._geometry.chunk_range(first_row, rows)
        payloads = {fragment: self._payloads[fragment] for fragment in fragments}
        first = fragments[0]
        if self._layout.is_copy(first):
            return payloads[first][start:stop]
        out = bytearray(stop - start)
        codec = best_codec(self._layout.scheme)
        assemble_rows_into(out, self._geometry, codec, payloads, first_row=first_row, rows=rows)
        return out
