"""A piece: one request for a byte range of one fragment, and how far it has come."""


class Piece:
    """Responsible for what is known of one request. Rows are those of its chunk.

    A footer piece has no rows and an unknown length.
    """

    __slots__ = (
        "chunk",
        "counted_rows",
        "due_media_s",
        "first_byte_s",
        "first_row",
        "fragment",
        "id",
        "is_alone",
        "is_footer",
        "is_rushed",
        "last_byte_s",
        "mark_bytes",
        "mark_s",
        "node",
        "received_bytes",
        "requested_s",
        "rows",
        "start",
        "stop",
        "waits_alone",
    )

    def __init__(self, number: int, node: int, chunk: int, fragment: int, now_s: float) -> None:
        self.id = number
        self.node = node
        self.chunk = chunk
        self.fragment = fragment
        self.is_footer = True
        self.is_alone = True  # its node had nothing else in flight: its round trip is clean
        self.first_row = 0
        self.rows = 0
        self.start = 0
        self.stop = 0
        self.due_media_s = 0.0  # media time of its last row
        self.is_rushed = False  # asked beside others of its node that can wait
        self.requested_s = now_s
        self.mark_s = now_s  # since when its recent pace is counted ...
        self.mark_bytes = 0  # ... and what had come by then
        self.first_byte_s = -1.0  # -1: no answer yet
        self.last_byte_s = now_s
        self.received_bytes = 0
        self.counted_rows = 0  # rows already credited to the chunk
        self.waits_alone = False  # silent, but nobody else could bring its rows

    def cover(self, first_row: int, rows: int, start: int, stop: int) -> "Piece":
        """Make it a data piece for these rows and bytes."""
        self.is_footer = False
        self.first_row = first_row
        self.rows = rows
        self.start = start
        self.stop = stop
        return self

    @property
    def has_answered(self) -> bool:
        """Whether the head of the answer is in."""
        return self.first_byte_s >= 0

    @property
    def remaining_bytes(self) -> int:
        """Bytes still to come; 0 for a footer."""
        return max(0, self.stop - self.start - self.received_bytes)
