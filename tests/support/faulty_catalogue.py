"""A catalogue that keeps the contract until the moment it is told to fail."""

from collections.abc import Sequence
from typing import ClassVar

from storage_server.catalogue.contract import Entry, Outcome, Unknown, Write
from storage_server.catalogue.errors import CatalogueUnavailable
from storage_server.catalogue.memory import MemoryCatalogue


class FaultyCatalogue(MemoryCatalogue):
    """Fails like a power cut after so many writes, or answers some writes with ``Unknown``.

    ``writes_left``: None: never cut. 0: everything fails from now on, as if the process were dead.
    ``loses_last_answer``: the write before the cut happens, but nobody hears of it.
    ``unknown``: what becomes of writes that are answered ``Unknown``: "done" or "not done".
    """

    kind: ClassVar[str] = "memory"

    def __init__(
        self,
        entries: Sequence[Entry] = (),
        *,
        writes_left: int | None = None,
        loses_last_answer: bool = False,
    ) -> None:
        super().__init__()
        self._entries = {entry.key: entry for entry in entries}
        self._revision = max((entry.version for entry in entries), default=0)
        self.writes_left = writes_left
        self.loses_last_answer = loses_last_answer
        self.unknown = ""
        self.keys_written: list[str] = []

    @property
    def entries(self) -> list[Entry]:
        """What a disk would still hold."""
        return list(self._entries.values())

    @property
    def is_cut(self) -> bool:
        return self.writes_left == 0

    async def get(self, key: str) -> Entry | None:
        self._require_power()
        return await super().get(key)

    async def scan(self, prefix: str) -> list[Entry]:
        self._require_power()
        return await super().scan(prefix)

    async def batch(self, writes: Sequence[Write]) -> list[Outcome]:
        self._require_power()
        if self.unknown == "not done":
            return [Unknown("told so") for _ in writes]
        outcomes = []
        for write in writes:
            self._require_power()
            outcomes += await super().batch([write])
            self.keys_written.append(write.key)
            if self.writes_left is not None:
                self.writes_left -= 1
        if self.is_cut and self.loses_last_answer:
            raise CatalogueUnavailable("cut before the answer")
        return [Unknown("told so") for _ in writes] if self.unknown == "done" else outcomes

    def _require_power(self) -> None:
        if self.is_cut:
            raise CatalogueUnavailable("cut")
