"""Repair gives way to playback: a bound on bytes, on jobs, and a rest for nodes that are busy."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable

from storage_server.coordinator.keeper.limits import KeeperLimits

# Loads are known from heartbeats, once a second.
_LOOK_AGAIN_S = 0.25


class Throttle:
    """Responsible for when a job may begin."""

    def __init__(
        self,
        limits: KeeperLimits,
        requests_in_flight: Callable[[str], int],
        clock: Callable[[], float],
    ) -> None:
        """Start with nothing under way.

        Args:
            requests_in_flight: of a node, as it said last.
            clock: monotonic seconds.
        """
        self._limits = limits
        self._requests_in_flight = requests_in_flight
        self._clock = clock
        self._gate = asyncio.Semaphore(limits.jobs_at_once)
        self._own: Counter[str] = Counter()
        self._free_at_s = clock()
        self.resting: set[str] = set()  # nodes a job waits for

    @contextlib.asynccontextmanager
    async def turn(
        self, nodes: Iterable[str], wire_bytes: int, *, is_urgent: bool
    ) -> AsyncIterator[None]:
        """Wait until a job may begin, and count it while it is under way.

        Args:
            is_urgent: one more loss makes the chunk unreadable: nobody is waited for.
        """
        names = set(nodes)
        async with self._gate:
            await self._pay(wire_bytes)
            if not is_urgent:
                await self._let_play(names)
            self._own.update(names)
            try:
                yield
            finally:
                self._own.subtract(names)

    def load(self, node: str) -> int:
        """Return how many requests of others a node has under way."""
        return max(0, self._requests_in_flight(node) - self._own[node])

    async def _pay(self, wire_bytes: int) -> None:
        now_s = self._clock()
        begin_s = max(now_s, self._free_at_s)
        self._free_at_s = begin_s + wire_bytes / self._limits.wire_bytes_per_s
        if begin_s > now_s:
            await asyncio.sleep(begin_s - now_s)

    async def _let_play(self, nodes: set[str]) -> None:
        until_s = self._clock() + self._limits.patience_s
        while self._clock() < until_s:
            busy = {node for node in nodes if self.load(node) >= self._limits.busy_requests}
            if not busy:
                return
            self.resting |= busy
            try:
                await asyncio.sleep(_LOOK_AGAIN_S)
            finally:
                self.resting -= busy
