"""A store that forgets everything when it goes: for tests of what stands on a store."""

from collections.abc import Sequence
from dataclasses import dataclass

from storage_server.node.errors import StoreFull
from storage_server.node.index import Index, Location
from storage_server.node.store import (
    ChunkStore,
    Outcome,
    Put,
    StoreFacts,
    Write,
    fragment_missing,
    is_full,
)


@dataclass(frozen=True, slots=True)
class MemoryFragment:
    """A fragment held as bytes."""

    data: bytes
    descriptor: int | None = None
    offset: int = 0

    @property
    def length_bytes(self) -> int:
        """The fragment's size."""
        return len(self.data)

    def read(self, start: int, stop: int) -> bytes:
        """Return bytes [start, stop)."""
        return self.data[start:stop]


class MemoryChunkStore(ChunkStore):
    """Responsible for fragments in a dict, with the contract of a store on disk."""

    def __init__(self, capacity_bytes: int = 1 << 30) -> None:
        self._capacity_bytes = capacity_bytes
        self._fragments: dict[bytes, bytes] = {}
        self._index = Index()

    def commit(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do the writes in order; each is done or refused by itself."""
        return [self._write(write) for write in writes]

    def find(self, key: bytes) -> MemoryFragment:
        """Return the fragment; raises FragmentMissing."""
        data = self._fragments.get(key)
        if data is None:
            raise fragment_missing(key)
        return MemoryFragment(data)

    def page(self, after: bytes, limit: int) -> list[tuple[bytes, int]]:
        """Return up to ``limit`` pairs (key, size) with keys above ``after``, in order."""
        return self._index.page(after, limit)

    def facts(self) -> StoreFacts:
        """Return how full the store is."""
        used = sum(map(len, self._fragments.values()))
        return StoreFacts(
            capacity_bytes=self._capacity_bytes,
            used_bytes=used,
            free_bytes=max(0, self._capacity_bytes - used),
            live_bytes=used,
            dead_bytes=0,
            fragments=len(self._fragments),
        )

    def close(self) -> None:
        """Forget everything."""
        self._fragments.clear()
        self._index = Index()

    def _write(self, write: Write) -> Outcome:
        if isinstance(write, Put):
            if write.key in self._fragments:
                return False
            free = self.facts().free_bytes
            if is_full(free, self._capacity_bytes) or free < len(write.data):
                return StoreFull("the node is full", hint="ask another node")
            self._fragments[write.key] = write.data
            self._index.put(write.key, Location(0, 0, len(write.data)))
            return True
        self._index.remove(write.key)
        return self._fragments.pop(write.key, None) is not None
