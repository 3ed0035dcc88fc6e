"""Seeing what other coordinators of the same catalogue write: nodes, videos, groups, views.

Decisions never rest on it, each is a compare-and-set on what was just read. But a keeper repairs
what it knows of, and a node that was removed elsewhere must get nothing new.
"""

import asyncio
import logging
import time

from redundancy.errors import EvenflowError
from storage_server.coordinator.library import Library
from storage_server.coordinator.membership import Membership
from storage_server.coordinator.registers import Registers
from storage_server.coordinator.views import ViewCounter

log = logging.getLogger(__name__)

INTERVAL_S = 2.0

# Looking takes no more than this share of the time, however large the library.
_SHARE_MAX = 0.05

# Nobody else can have these open.
OF_ONE_PROCESS = frozenset({"sqlite", "memory"})


class Follower:
    """Responsible for one coordinator's picture being a few seconds old at most.

    Where a keeper elsewhere moved fragments is seen when their video's turn comes: the groups of
    one are read again with every look.
    """

    def __init__(
        self, registers: Registers, library: Library, members: Membership, views: ViewCounter
    ) -> None:
        self._registers = registers
        self._library = library
        self._members = members
        self._views = views

    async def run(self) -> None:
        """Look for ever, until cancelled."""
        if self._registers.catalogue.kind in OF_ONE_PROCESS:
            await asyncio.Event().wait()
        while True:
            began_s = time.monotonic()
            try:
                await self.look()
            except EvenflowError as error:
                log.debug("others' writes are not seen now: %s", error.message)
            took_s = time.monotonic() - began_s
            await asyncio.sleep(max(INTERVAL_S, took_s / _SHARE_MAX))

    async def look(self) -> None:
        """Read what may have changed. Raises: CatalogueError, RegisterDamaged."""
        await self._members.refresh()
        await self._library.follow(self._registers)
        await self._views.load()
