"""What is said between those who agree, kept for a moment, while somebody looks.

    who asks, answers, decides --note--> a bounded ring --read(after)--> readers, each at its pace

Nothing is noted while nobody has read lately, so it costs one comparison a message.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any

from smart_client.agreement import TRACE_EVENTS_MAX, AgreementTrace, TraceEvent

# Several seconds of a busy coordinator; an event takes about 400 bytes, so at most 13 MB.
EVENTS_KEPT = 32_768

# Whoever reads asks again within this, or nothing is noted any more and the ring is emptied.
LISTENING_S = 30.0


class Trace:
    """Responsible for the events of the last moments."""

    def __init__(
        self,
        *,
        kept: int = EVENTS_KEPT,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._ring: deque[TraceEvent] = deque(maxlen=kept)
        self._clock = clock
        self._wall_clock = wall_clock
        self._wanted_until_s = float("-inf")
        self._next = 1
        self._news = asyncio.Event()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody reads. Whoever would note something asks first."""
        if self._clock() < self._wanted_until_s:
            return True
        if self._ring:
            self._ring.clear()
        return False

    def note(self, kind: str, what: str, **facts: Any) -> None:
        """Note an event; ``facts`` are fields of ``TraceEvent``. Only while ``is_wanted``."""
        at_s = self._wall_clock()
        self._ring.append(TraceEvent(seq=self._next, at_s=at_s, kind=kind, what=what, **facts))
        self._next += 1
        self._news.set()

    async def read(
        self, after: int | None, *, wait_s: float = 0.0, limit: int = TRACE_EVENTS_MAX
    ) -> AgreementTrace:
        """Return the events from number ``after`` on; wait for one if there is none.

        Args:
            after: the last answer's ``next``; None: from now on, answered at once. A number that
                was not reached yet is of a coordinator before this one: from now on, too.
        """
        self._wanted_until_s = self._clock() + wait_s + LISTENING_S
        if after is None or after > self._next:
            return AgreementTrace(events=(), next=self._next)
        if after == self._next and wait_s > 0:
            await self._wait_for_news(wait_s)
        oldest = self._ring[0].seq if self._ring else self._next
        start = max(after, oldest)
        skipped = start - oldest
        events = tuple(islice(self._ring, skipped, skipped + min(limit, TRACE_EVENTS_MAX)))
        return AgreementTrace(
            events=events, next=start + len(events), missed=max(0, oldest - max(1, after))
        )

    async def _wait_for_news(self, wait_s: float) -> None:
        self._news.clear()
        try:
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        except TimeoutError:
            return
