"""What the rest of a node may ask of a store of fragments, whatever keeps the bytes."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from redundancy.errors import EvenflowError
from storage_server.node.errors import FragmentMissing, FragmentTooLarge, HashMismatch
from storage_server.node.superblock_format import FRAGMENT_BYTES_MAX, KEY_BYTES

# A disk fills up while nobody looks: say so early, and stop while deletes and repairs still fit.
WARN_FULLNESS = 0.85
FULL_FULLNESS = 0.95


@dataclass(frozen=True, slots=True)
class Put:
    """A fragment to store. Build it with ``verified``: a store trusts the key."""

    key: bytes
    data: bytes

    def __post_init__(self) -> None:
        if not 1 <= len(self.data) <= FRAGMENT_BYTES_MAX:
            raise FragmentTooLarge(
                f"a fragment has 1 to {FRAGMENT_BYTES_MAX} bytes, got {len(self.data)}"
            )

    @classmethod
    def verified(cls, key: bytes, data: bytes) -> "Put":
        """Return the write once ``key`` is seen to be the SHA-256 of ``data``.

        Raises: HashMismatch, FragmentTooLarge.
        """
        found = hashlib.sha256(data).digest()
        if found != key:
            raise HashMismatch(
                f"the body's SHA-256 is {found.hex()}", hint="send it again under its own key"
            )
        return cls(key, data)


@dataclass(frozen=True, slots=True)
class Delete:
    """A fragment to remove."""

    key: bytes

    def __post_init__(self) -> None:
        assert len(self.key) == KEY_BYTES


Write = Put | Delete

# Whether the write changed anything; or why it failed.
Outcome = bool | EvenflowError


class StoredFragment(Protocol):
    """A stored fragment that can be read in parts."""

    @property
    def length_bytes(self) -> int:
        """The fragment's size."""

    @property
    def descriptor(self) -> int | None:
        """A file to ``sendfile`` from, if there is one."""

    @property
    def offset(self) -> int:
        """Where the fragment starts in that file."""

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop); may wait for a disk.

        Raises: ReadFailed: the disk did not give them.
        """


@dataclass(frozen=True, slots=True)
class BadFragment:
    """A fragment that was stored and cannot be read any more."""

    key: bytes
    file: str
    offset: int
    kind: str


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """How full and how well a store is."""

    capacity_bytes: int
    used_bytes: int  # dead records and headers included
    free_bytes: int  # what may still be written: the lesser of capacity and disk
    live_bytes: int
    dead_bytes: int  # records deleted but not yet reclaimed
    fragments: int
    superblocks: int = 0
    damaged: int = 0  # stretches of superblocks that were found unreadable
    read_only_reason: str = ""

    @property
    def fullness(self) -> float:
        """The used part of the capacity, 0 to 1, counting what others took of the disk."""
        return 1 - self.free_bytes / self.capacity_bytes

    @property
    def is_full(self) -> bool:
        """Whether new fragments are refused."""
        return is_full(self.free_bytes, self.capacity_bytes)

    @property
    def status(self) -> str:
        """``read-only``, ``full``, ``warn`` or ``ok``, the gravest that holds."""
        if self.read_only_reason:
            return "read-only"
        if self.is_full:
            return "full"
        return "warn" if self.fullness >= WARN_FULLNESS or self.damaged else "ok"

    @property
    def reason(self) -> str:
        """Why the status is not ``ok``; nothing if it is."""
        parts = [self.read_only_reason] if self.read_only_reason else []
        if self.fullness >= WARN_FULLNESS or self.is_full:
            parts.append(f"disk {100 * self.fullness:.0f} % full")
        if self.damaged:
            places = "1 damaged place" if self.damaged == 1 else f"{self.damaged} damaged places"
            parts.append(f"{places} on its disk")
        return ", ".join(parts)


class ChunkStore(ABC):
    """Keeps fragments by the SHA-256 of their bytes.

    One thread may write; any thread may read meanwhile. A write that ``commit`` reports as done
    survives a power cut and is readable at once. The same key always means the same bytes, so a
    second put changes nothing.
    """

    @abstractmethod
    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do the writes in order, together, and return what became of each.

        Outcomes that are errors: StoreFull, StoreReadOnly.
        """

    @abstractmethod
    def find(self, key: bytes) -> StoredFragment:
        """Return the fragment, ready to be read.

        Raises: FragmentMissing.
        """

    @abstractmethod
    def page(self, after: bytes, limit: int) -> list[tuple[bytes, int]]:
        """Return up to ``limit`` pairs (key, size) with keys above ``after``, in order."""

    def bad(self) -> list[BadFragment]:
        """Return the fragments that were lost to damage and have not been stored again."""
        return []

    @abstractmethod
    def facts(self) -> StoreFacts:
        """Return how full and how well the store is."""

    @abstractmethod
    def close(self) -> None:
        """Let go of all files."""

    def put(self, put: Put) -> bool:
        """Store a fragment; return whether it is new. Raises what ``commit`` reports."""
        return self._commit_one(put)

    def delete(self, key: bytes) -> bool:
        """Remove a fragment; return whether it was there. Raises what ``commit`` reports."""
        return self._commit_one(Delete(key))

    def has(self, key: bytes) -> bool:
        """Whether the fragment is stored."""
        try:
            self.find(key)
        except FragmentMissing:
            return False
        return True

    def _commit_one(self, write: Write) -> bool:
        (outcome,) = self.commit([write])
        if isinstance(outcome, EvenflowError):
            raise outcome
        return outcome


def is_full(free_bytes: int, capacity_bytes: int) -> bool:
    """Whether a store with so much room left takes no more fragments."""
    return 1 - free_bytes / capacity_bytes >= FULL_FULLNESS


def fragment_missing(key: bytes) -> FragmentMissing:
    """Return the error that says a key is not here."""
    return FragmentMissing(f"no fragment {key.hex()} here", hint="ask another node")
