"""How far one chunk has come: which rows are asked for, received and decoded, per fragment.

Sets of rows are bit masks in plain integers (bit r = row r), so "which rows still need a fragment
that this node has" is three machine operations a row word instead of a loop over blocks.

``coverage[l]`` holds the rows that at least l+1 distinct fragments serve. A row is *covered* when
k distinct fragments are asked for it (or one whole copy is), and *complete* when they are in.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from redundancy.rows import BLOCK_BYTES, RowGeometry
from redundancy.scheme import Layout


def runs_of(mask: int) -> Iterator[tuple[int, int]]:
    """Yield (first, length) of every run of ones, lowest first."""
    base = 0
    while mask:
        skip = (mask & -mask).bit_length() - 1
        mask >>= skip
        length = (~mask & (mask + 1)).bit_length() - 1
        yield base + skip, length
        mask >>= length
        base += skip + length


def mask_of(first_row: int, rows: int) -> int:
    """Return the mask of ``rows`` rows from ``first_row`` on."""
    return ((1 << rows) - 1) << first_row


class Coverage:
    """Counts, for every row, how many distinct fragments serve it, up to k."""

    __slots__ = ("by_fragment", "filled", "levels")

    def __init__(self, k: int, filled: int = 0) -> None:
        self.filled = filled  # rows that have all they need, from no fragment of these
        self.levels = [filled] * k
        self.by_fragment: dict[int, int] = {}

    @property
    def full(self) -> int:
        """The rows that have all k."""
        return self.levels[-1]

    @property
    def touched(self) -> int:
        """The rows that have at least one."""
        return self.levels[0]

    def add(self, fragment: int, mask: int, *, whole: bool) -> None:
        """Count ``fragment`` for rows that it did not serve before; a whole copy fills them."""
        self.by_fragment[fragment] = self.by_fragment.get(fragment, 0) | mask
        if whole:
            self.levels = [level | mask for level in self.levels]
            return
        carry = mask
        for index, level in enumerate(self.levels):
            self.levels[index] = level | carry
            carry &= level
            if not carry:
                return

    def remove(self, fragment: int, mask: int, is_copy: Mapping[int, bool]) -> None:
        """Take ``fragment`` back for these rows and count again."""
        rest = self.by_fragment.get(fragment, 0) & ~mask
        others = {**self.by_fragment, fragment: rest}
        self.levels = [self.filled] * len(self.levels)
        self.by_fragment = {}
        for index, rows in others.items():
            if rows:
                self.add(index, rows, whole=is_copy[index])


class ChunkProgress:
    """Responsible for the state of one chunk of the session.

    Invariants: received rows of a fragment are asked-for rows; decoded rows are complete rows;
    no fragment is counted twice for a row.
    """

    __slots__ = (
        "all_rows",
        "asked",
        "bad_footers",
        "bad_fragments",
        "decoded",
        "decoding",
        "doubted",
        "footer_coded",
        "footer_copies",
        "footer_source",
        "fragment_at_node",
        "geometry",
        "has_copies",
        "index",
        "is_away",
        "is_carried",
        "is_copy",
        "k",
        "layout",
        "missing",
        "node_of",
        "received",
        "verified",
        "wanted",
    )

    def __init__(
        self,
        index: int,
        geometry: RowGeometry,
        layout: Layout,
        node_of: Mapping[int, int],
        *,
        is_away: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self.index = index
        self.is_away = is_away  # whether a node (by its index) does not answer for now
        self.geometry = geometry
        self.layout = layout
        self.k = layout.scheme.k
        self.all_rows = (1 << geometry.rows) - 1
        self.is_copy: dict[int, bool] = {}  # of every fragment that was ever stored
        self.place(node_of)
        self.wanted = 0  # rows some reader needs
        self.bad_fragments: set[int] = set()
        self.missing: set[int] = set()  # those of them that were only not there
        self.bad_footers: set[int] = set()
        self.doubted: set[int] = set()  # whose footer everybody contradicted
        self.forget()

    def place(self, node_of: Mapping[int, int]) -> None:
        """Fragments lie on these nodes (fragment -> node) from now on; what came counts on."""
        self.node_of = dict(node_of)
        for fragment in self.node_of:
            self.is_copy[fragment] = self.k > 1 and self.layout.is_copy(fragment)
        self.has_copies = any(self.is_copy.values())
        self.fragment_at_node: dict[int, list[int]] = {}
        for fragment, node in self.node_of.items():
            self.fragment_at_node.setdefault(node, []).append(fragment)

    def forget(self) -> None:
        """Go back to knowing nothing of the chunk's bytes."""
        self.asked = Coverage(self.k)
        self.received = Coverage(self.k)
        self.decoding = 0
        self.decoded = 0
        self.footer_coded = False
        self.footer_source = -1  # the fragment whose footer checks the coded ones
        self.footer_copies = False
        self.is_carried = False  # some rows were decoded from another layout
        self.verified = False

    def carry(self, old: "ChunkProgress") -> None:
        """Take over from the same chunk in another layout what is decoded there and wanted."""
        self.wanted = 0
        for first, rows in runs_of(old.wanted):
            start, stop = old.geometry.chunk_range(first, rows)
            begin = start // self.geometry.row_bytes
            self.wanted |= mask_of(begin, -(-stop // self.geometry.row_bytes) - begin)
        whole = 0
        for first, rows in runs_of(old.decoded):
            start, stop = old.geometry.chunk_range(first, rows)
            begin = -(-start // self.geometry.row_bytes)
            at_end = stop == self.geometry.chunk_bytes
            end = self.geometry.rows if at_end else stop // self.geometry.row_bytes
            whole |= mask_of(begin, max(0, end - begin))
        self.asked = Coverage(self.k, whole)
        self.received = Coverage(self.k, whole)
        self.decoded = whole
        self.is_carried = bool(whole)
        self.verified = old.verified

    def forgive(self, fragments: Iterable[int]) -> None:
        """Ask for these again, whatever was wrong with them."""
        for fragment in list(fragments):
            self.bad_fragments.discard(fragment)
            self.bad_footers.discard(fragment)
            self.missing.discard(fragment)

    # -- what to ask for -------------------------------------------------------------------------

    def open_rows(self, fragment: int) -> int:
        """Return the wanted rows for which this fragment would still help."""
        if fragment in self.bad_fragments:
            return 0
        if self.is_copy[fragment] and self._coded_suffice():
            # A copy beside coded pieces of the same row would fetch the row's bytes twice.
            return self.wanted & ~self.asked.touched
        own = self.asked.by_fragment.get(fragment, 0)
        return self.wanted & ~self.asked.full & ~own

    def _coded_suffice(self) -> bool:
        """Whether k coded fragments may be asked; else only a copy can end what they have begun."""
        answering = sum(
            1
            for fragment, node in self.node_of.items()
            if not self.is_copy[fragment]
            and fragment not in self.bad_fragments
            and not self.is_away(node)
        )
        return answering >= self.k

    def spare_rows(self, fragment: int) -> int:
        """Return the wanted rows that have not come and that this fragment is not asked for.

        Others may be asked for them: asking this one too is a deliberate duplicate. Whatever comes
        first counts, the rest is waste.
        """
        if fragment in self.bad_fragments:
            return 0
        own = self.asked.by_fragment.get(fragment, 0)
        return self.wanted & ~self.received.full & ~self.decoded & ~own

    @property
    def needs_asking(self) -> bool:
        """Whether some wanted row is not covered yet."""
        return bool(self.wanted & ~self.asked.full)

    @property
    def is_decoded(self) -> bool:
        """Whether every wanted row is ready."""
        return not self.wanted & ~self.decoded

    def ask(self, fragment: int, mask: int) -> None:
        """Count rows as asked for."""
        self.asked.add(fragment, mask, whole=self.is_copy[fragment])

    def take_back(self, fragment: int, mask: int) -> None:
        """These rows will not come from this fragment after all."""
        self.asked.remove(fragment, mask, self.is_copy)

    # -- what came -------------------------------------------------------------------------------

    def receive(self, fragment: int, mask: int) -> None:
        """Count rows as received."""
        new = mask & ~self.received.by_fragment.get(fragment, 0)
        if new:
            self.received.add(fragment, new, whole=self.is_copy[fragment])

    def reject(self, fragment: int) -> None:
        """Forget all of a fragment that turned out corrupt and never ask for it again."""
        self.bad_fragments.add(fragment)
        self.received.remove(fragment, self.all_rows, self.is_copy)
        self.asked.remove(fragment, self.all_rows, self.is_copy)

    def can_check(self, fragment: int) -> bool:
        """Whether the footer that checks this fragment's blocks is known."""
        return self.footer_copies if self.is_copy[fragment] else self.footer_coded

    def take_decodable(self) -> list[tuple[int, int, tuple[int, ...]]]:
        """Return (first row, rows, fragments) runs that can be decoded now; they count as begun."""
        ready = self.received.full & ~self.decoding & ~self.decoded
        jobs: list[tuple[int, int, tuple[int, ...]]] = []
        while ready:
            first = (ready & -ready).bit_length() - 1
            fragments = self._sources(1 << first)
            if not fragments:
                ready &= ready - 1
                continue
            common = ready
            for fragment in fragments:
                common &= self.received.by_fragment[fragment]
            common >>= first
            rows = (~common & (common + 1)).bit_length() - 1
            run = mask_of(first, rows)
            self.decoding |= run
            ready &= ~run
            jobs.append((first, rows, fragments))
        return jobs

    def _sources(self, row: int) -> tuple[int, ...]:
        """Pick what to decode a row from: a copy, else k coded pieces, data pieces first."""
        coded: list[int] = []
        for fragment, rows in sorted(self.received.by_fragment.items()):
            if not rows & row or not self.can_check(fragment):
                continue
            if self.is_copy[fragment]:
                return (fragment,)
            coded.append(fragment)
        return tuple(coded[: self.k]) if len(coded) >= self.k else ()

    def finish_decoding(self, first_row: int, rows: int) -> None:
        """Rows are ready for readers."""
        run = mask_of(first_row, rows)
        self.decoding &= ~run
        self.decoded |= run & self.all_rows

    # -- geometry --------------------------------------------------------------------------------

    def byte_range(self, fragment: int, first_row: int, rows: int) -> tuple[int, int]:
        """Return [start, stop) of these rows in the fragment's payload."""
        if self.is_copy[fragment]:
            return self.geometry.copy_range(first_row, rows)
        return self.geometry.payload_range(first_row, rows)

    def row_bytes(self, fragment: int) -> int:
        """Return the bytes of one full row in this fragment."""
        return BLOCK_BYTES * self.k if self.is_copy[fragment] else BLOCK_BYTES

    def usable_fragments(self) -> int:
        """Return how many fragments may still serve; a whole copy counts as k."""
        return sum(
            self.k if self.is_copy[fragment] else 1
            for fragment in self.node_of
            if fragment not in self.bad_fragments
        )
