"""How many fragments a chunk has, and how many of them bring it back."""

import re
from dataclasses import dataclass

from redundancy.errors import InvalidScheme

# GF(2^8) has 256 elements, and every fragment needs one of its own.
FRAGMENTS_MAX = 256

_LAYOUT = re.compile(
    r"(?:rep:(?P<times>\d{1,3})|rs:(?P<k>\d{1,3})\+(?P<parity>\d{1,3}))"
    r"(?:\+(?P<copies>\d{1,3})cop(?:y|ies))?"
)


@dataclass(frozen=True, slots=True)
class Scheme:
    """A systematic code: fragments 0..k-1 are the data, k..n-1 the parity."""

    k: int  # fragments needed to rebuild
    n: int  # fragments stored

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.n <= FRAGMENTS_MAX:
            raise InvalidScheme(
                f"need 1 <= k <= n <= {FRAGMENTS_MAX}, got k={self.k}, n={self.n}",
                hint="k fragments of n are enough to rebuild, for example -k 3 -n 5",
            )


@dataclass(frozen=True, slots=True)
class Layout:
    """What is stored of one chunk: n coded fragments (indices 0..n-1) and whole copies after them.

    Replication is k = 1: then every coded fragment is a whole copy too.
    """

    scheme: Scheme
    copies: int = 0  # whole copies besides the coded fragments

    def __post_init__(self) -> None:
        if self.copies < 0 or self.fragments_total > FRAGMENTS_MAX:
            raise InvalidScheme(
                f"need 0 <= copies and n + copies <= {FRAGMENTS_MAX}, "
                f"got n={self.scheme.n}, copies={self.copies}"
            )

    @classmethod
    def parse(cls, text: str) -> "Layout":
        """Read ``rs:3+2`` (3 data, 2 parity), ``rep:3`` (3 copies) or ``rs:6+3+1copy``.

        Raises: InvalidScheme: anything else, or numbers no code can have.
        """
        found = _LAYOUT.fullmatch(text.strip())
        if found is None:
            raise InvalidScheme(
                f"not a layout: {text[:80]!r}",
                hint="write rs:3+2 (3 data, 2 parity), rep:3 (3 copies) or rs:6+3+1copy",
            )
        if found["times"] is not None:
            scheme = Scheme(1, int(found["times"]))
        else:
            scheme = Scheme(int(found["k"]), int(found["k"]) + int(found["parity"]))
        return cls(scheme, int(found["copies"] or 0))

    def __str__(self) -> str:
        k, n = self.scheme.k, self.scheme.n
        code = f"rep:{n}" if k == 1 else f"rs:{k}+{n - k}"
        if not self.copies:
            return code
        return f"{code}+{self.copies}{'copy' if self.copies == 1 else 'copies'}"

    @property
    def fragments_total(self) -> int:
        """How many pieces are stored: coded fragments and copies."""
        return self.scheme.n + self.copies

    @property
    def overhead(self) -> float:
        """Bytes stored for each byte of the chunk, padding and footers left out."""
        return self.scheme.n / self.scheme.k + self.copies

    @property
    def tolerates(self) -> int:
        """How many stored pieces may be lost, whichever they are, with the chunk still there."""
        return self.scheme.n - self.scheme.k + self.copies

    def is_copy(self, index: int) -> bool:
        """Whether the piece at ``index`` is the whole chunk by itself."""
        return self.scheme.k == 1 or index >= self.scheme.n
