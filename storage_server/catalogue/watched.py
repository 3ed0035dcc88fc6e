"""A catalogue that is counted, timed and shown: what ``GET /v1/consensus`` tells."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence

from msgspec import structs

from smart_client.agreement import Agreement, Quantiles
from storage_server.agreement_trace import Trace
from storage_server.catalogue.contract import (
    Catalogue,
    Conflict,
    Entry,
    Outcome,
    Unknown,
    Version,
    Write,
)
from storage_server.catalogue.errors import CatalogueError

# Quantiles are of so many of the last calls.
TIMES_KEPT = 4096

# However many pages look at it, the members are asked no more often.
AGREEMENT_AGE_MAX_S = 0.5


class Times:
    """Responsible for the last durations of one kind of call."""

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=TIMES_KEPT)

    def add(self, took_s: float) -> None:
        """Take one in."""
        self._last.append(took_s)

    def quantiles(self) -> Quantiles:
        """Return what was measured; all zero if nothing was."""
        found = sorted(self._last)
        if not found:
            return Quantiles()
        p50, p95, p99 = (found[int(share * (len(found) - 1))] for share in (0.5, 0.95, 0.99))
        return Quantiles(count=len(found), p50=p50, p95=p95, p99=p99, max=found[-1])


class WatchedCatalogue(Catalogue):
    """Responsible for what one process asked of its catalogue, and how it went."""

    def __init__(
        self, inner: Catalogue, trace: Trace, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.inner = inner
        self.trace = trace
        self._clock = clock
        self._since_s = clock()
        self._decisions = self._conflicts = self._unknown = self._failed = self._reads = 0
        self._writing, self._reading = Times(), Times()
        self._told = Agreement(catalogue=inner.kind, summary="")
        self._told_at_s = float("-inf")
        self._telling = asyncio.Lock()

    @property
    def kind(self) -> str:
        """What it is called: as what is watched."""
        return self.inner.kind

    async def get(self, key: str) -> Entry | None:
        """Return the register, or None if it is not there."""
        began_s = self._clock()
        entry = await self.inner.get(key)
        self._note_read("read", key, began_s, version=entry.version if entry else 0)
        return entry

    async def scan(self, prefix: str) -> list[Entry]:
        """Return the registers whose keys start with ``prefix``, in order."""
        began_s = self._clock()
        entries = await self.inner.scan(prefix)
        self._note_read("scan", f"{prefix}*", began_s, note=f"{len(entries)} registers")
        return entries

    async def batch(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do many compare-and-sets in order, each answered on its own."""
        began_s = self._clock()
        try:
            outcomes = await self.inner.batch(writes)
        except CatalogueError as error:
            self._failed += len(writes)
            if self.trace.is_wanted:
                for write in writes:
                    self.trace.note("outcome", "failed", key=write.key, note=error.message)
            raise
        took_s = self._clock() - began_s
        for write, outcome in zip(writes, outcomes, strict=True):
            self._note_write(write, outcome, took_s)
        return outcomes

    async def close(self) -> None:
        """Finish what was asked, then let go of everything. May be called twice."""
        await self.inner.close()

    async def agreement(self) -> Agreement:
        """Return how decisions are agreed on, and what was counted here."""
        async with self._telling:
            if self._clock() - self._told_at_s >= AGREEMENT_AGE_MAX_S:
                self._told = await self.inner.agreement()
                self._told_at_s = self._clock()
        return structs.replace(
            self._told,
            measured_s=self._clock() - self._since_s,
            decisions=self._decisions,
            conflicts=self._conflicts,
            unknown=self._unknown,
            failed=self._failed,
            reads=self._reads,
            writing=self._writing.quantiles(),
            reading=self._reading.quantiles(),
        )

    # -- inside ----------------------------------------------------------------------------------

    def _note_read(
        self, what: str, key: str, began_s: float, *, version: int | None = None, note: str = ""
    ) -> None:
        took_s = self._clock() - began_s
        self._reads += 1
        self._reading.add(took_s)
        if self.trace.is_wanted:
            self.trace.note(
                "outcome", what, key=key, took_s=took_s, version=version or None, note=note
            )

    def _note_write(self, write: Write, outcome: Outcome, took_s: float) -> None:
        self._writing.add(took_s)
        version: int | None = None
        note = ""
        match outcome:
            case Version():
                self._decisions += 1
                what, version = "decided", outcome.number
            case Conflict():
                self._conflicts += 1
                what, version = "conflict", outcome.entry.version if outcome.entry else None
                note = f"expected version {write.expected_version}"
            case Unknown():
                self._unknown += 1
                what, note = "unknown", outcome.reason
        if self.trace.is_wanted:
            self.trace.note(
                "outcome", what, key=write.key, version=version, took_s=took_s, note=note
            )
