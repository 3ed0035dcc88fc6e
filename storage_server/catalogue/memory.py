"""A catalogue that forgets everything when it goes: for tests of what stands on a catalogue."""

from collections.abc import Sequence
from typing import ClassVar

from storage_server.catalogue.contract import (
    ABSENT,
    Catalogue,
    Conflict,
    Entry,
    Outcome,
    Version,
    Write,
    check_key,
)
from storage_server.catalogue.errors import CatalogueUnavailable


class MemoryCatalogue(Catalogue):
    """Responsible for registers in a dict. One event loop, so one write at a time."""

    kind: ClassVar[str] = "memory"

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._revision = 0
        self._is_closed = False

    async def get(self, key: str) -> Entry | None:
        """Return the register, or None if it is not there."""
        check_key(key)
        self._require_open()
        return self._entries.get(key)

    async def scan(self, prefix: str) -> list[Entry]:
        """Return the registers whose keys start with ``prefix``, in order."""
        self._require_open()
        found = (entry for key, entry in self._entries.items() if key.startswith(prefix))
        return sorted(found, key=lambda entry: entry.key.encode())

    async def batch(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do the writes in order, each answered on its own."""
        self._require_open()
        return [self._write(write) for write in writes]

    async def close(self) -> None:
        """Take no more requests."""
        self._is_closed = True

    def _write(self, write: Write) -> Outcome:
        entry = self._entries.get(write.key)
        if (entry.version if entry else ABSENT) != write.expected_version:
            return Conflict(entry)
        self._revision += 1
        if write.value is None:
            self._entries.pop(write.key, None)
        else:
            self._entries[write.key] = Entry(write.key, write.value, self._revision)
        return Version(self._revision)

    def _require_open(self) -> None:
        if self._is_closed:
            raise CatalogueUnavailable("the catalogue is closed")
