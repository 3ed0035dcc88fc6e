"""What nodes hold, against what the catalogue says: bad, missing and orphaned fragments.

A fragment that no record names is an *orphan* when it still is none a long grace time after it was
first seen: it may belong to an upload under way, or to a job. A restart forgets what was seen, so
the time begins anew.
"""

import logging
from collections.abc import Iterable
from typing import Any

from redundancy.errors import EvenflowError
from smart_client import wire
from smart_client.transport.nodes import NodeConnections
from storage_server.coordinator.failure_detector import NodeState
from storage_server.coordinator.keeper.jobs import NodeKey
from storage_server.coordinator.keeper.tools import Tools
from storage_server.coordinator.keeper.worker import is_there
from storage_server.coordinator.trash import drop_quietly

log = logging.getLogger(__name__)

_PAGE_KEYS = 10_000

# So many strays may be what a job or an upload left, however little else there is.
_STRAYS_OF_CHANCE = 8


class Audit:
    """Responsible for knowing which recorded fragments are not there, and collecting the others."""

    def __init__(self, tools: Tools) -> None:
        self._registers = tools.registers
        self._library = tools.library
        self._members = tools.members
        self._links = tools.links
        self._limits = tools.limits
        self._clock = tools.clock
        self._bad_read_at_s: dict[str, float] = {}
        self._audited_at_s: dict[str, float] = {}
        self._orphans: dict[NodeKey, float] = {}  # -> when it was seen first
        self.missing: dict[NodeKey, str] = {}  # -> its group
        self.collected = 0
        self._counts: dict[str, tuple[int, int]] = {}  # node -> recorded there, strays

    @property
    def warning(self) -> str:
        """What speaks against this catalogue being that of these nodes; empty: nothing."""
        named = sum(count for count, _ in self._counts.values())
        strays = sum(count for _, count in self._counts.values())
        if not strays or (named and strays <= max(named, _STRAYS_OF_CHANCE)):
            return ""
        return (
            f"nodes hold {strays} fragments that this catalogue does not name, and {named} that "
            "it does: is it the right one? None of them is dropped"
        )

    async def look(self, *, at_all: bool = False) -> None:
        """Look at the nodes that are due, or at all that are up."""
        self._counts = {n: c for n, c in self._counts.items() if n in self._members.records}
        for node in sorted(self._members.records):
            if self._members.state(node) is not NodeState.UP:
                self._audited_at_s.pop(node, None)  # whoever comes back is looked at anew
                continue
            try:
                if at_all or self._is_due(self._audited_at_s, node, self._limits.audit_every_s):
                    await self._audit(node)
                elif self._is_due(self._bad_read_at_s, node, self._limits.bad_every_s):
                    await self._read_bad(node)
            except EvenflowError as error:
                log.info("node %s could not be looked at: %s", node, error.message)

    def forget(self, keys: Iterable[NodeKey]) -> None:
        """Take note that these were made again."""
        for key in keys:
            self.missing.pop(key, None)

    def forget_all(self) -> None:
        """Forget what was found: another coordinator looks now."""
        self.missing.clear()
        self._counts.clear()

    def _is_due(self, last_s: dict[str, float], node: str, every_s: float) -> bool:
        return self._clock() - last_s.get(node, float("-inf")) >= every_s

    # -- what should be there --------------------------------------------------------------------

    async def _named(self, node: str) -> dict[str, str]:
        """Return key -> group of every fragment recorded on a node."""
        named: dict[str, str] = {}
        for key in self._library.groups_on(node):
            stored = await self._registers.get(key, wire.GroupRecord)
            chunks = stored.record.chunks if stored else ()
            for chunk in chunks:
                named |= {each.key: key for each in chunk.fragments if each.node == node}
        return named

    async def _read_bad(self, node: str) -> None:
        """Read a node's own list of what it lost."""
        bad = await self._bad_of(node)
        self._bad_read_at_s[node] = self._clock()
        if not bad:
            return
        named = await self._named(node)
        for key in bad:
            if key in named:
                self._note_missing(node, key, named[key])
            else:
                await drop_quietly(self._links, node, key)  # off the list: nobody wants it

    async def _bad_of(self, node: str) -> list[str]:
        answer = await self._links.call(node, lambda link: link.ask("/v1/bad"))
        return [str(each["key"]) for each in answer["bad"]]

    async def _audit(self, node: str) -> None:
        """Compare all that a node lists with all that is recorded on it."""
        named = await self._named(node)
        held = await self._held(node)
        for key in named.keys() - held:
            # Recorded while the list was read, or just moved: only who is asked again counts.
            if not await is_there(self._links, node, key):
                self._note_missing(node, key, named[key])
        await self._read_bad(node)
        self._counts[node] = len(named), len(held - named.keys())
        await self._collect(node, held - named.keys())
        self._audited_at_s[node] = self._clock()

    async def _held(self, node: str) -> set[str]:
        held: set[str] = set()
        after: str | None = ""
        while after is not None:
            path = f"/v1/list?limit={_PAGE_KEYS}" + (f"&after={after}" if after else "")

            async def page(link: NodeConnections, path: str = path) -> Any:
                return await link.ask(path)

            answer = await self._links.call(node, page)
            held |= {str(each["key"]) for each in answer["keys"]}
            after = answer["next"]
        return held

    def _note_missing(self, node: str, key: str, group: str) -> None:
        if (node, key) not in self.missing:
            log.warning("node %s has lost fragment %s", node, key)
            self.missing[node, key] = group

    # -- what should not -------------------------------------------------------------------------

    async def _collect(self, node: str, strays: set[str]) -> None:
        """Drop what was a stray for the whole grace time and still is none's."""
        now_s = self._clock()
        known = [pair for pair in self._orphans if pair[0] == node]
        for pair in known:
            if pair[1] not in strays:
                del self._orphans[pair]
        due = []
        for key in strays:
            since_s = self._orphans.setdefault((node, key), now_s)
            if now_s - since_s >= self._limits.orphan_after_s:
                due.append(key)
        # A catalogue that is empty, old or another's must not have everything dropped.
        if not due or self.warning:
            return
        named = await self._named_anywhere(node)  # the second look
        for key in due:
            del self._orphans[node, key]
            if key not in named:
                await drop_quietly(self._links, node, key)
                self.collected += 1
        log.info("node %s: %d fragments that nobody names were dropped", node, len(due))

    async def _named_anywhere(self, node: str) -> set[str]:
        """Return the keys recorded on a node, by the registers and by nothing remembered."""
        groups = await self._registers.scan("group/", wire.GroupRecord)
        return {
            fragment.key
            for group in groups
            for chunk in group.record.chunks
            for fragment in chunk.fragments
            if fragment.node == node
        }
