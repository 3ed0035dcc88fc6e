"""Deleting a video: its name is free at once, its fragments go as the nodes can be reached.

    trash/{id} written -> video/{name} deleted -> answered
        then, in the background: fragments -> group registers -> views -> trash/{id}

A crash between any two steps leaves a trash register, from which the rest is done at the start.
"""

import asyncio
import logging
from collections.abc import Iterable

from redundancy.errors import EvenflowError
from smart_client import wire
from smart_client.errors import Conflict, NodeUnreachable
from smart_client.transport.nodes import NodeConnections
from storage_server.coordinator.failure_detector import NodeState
from storage_server.coordinator.library import Library
from storage_server.coordinator.links import NodeLinks
from storage_server.coordinator.membership import Membership
from storage_server.coordinator.registers import (
    Registers,
    Stored,
    Trash,
    Views,
    groups_prefix,
    trash_key,
    video_key,
    views_key,
)

log = logging.getLogger(__name__)

# Deleting is never urgent: few requests at once, and pauses that grow while a node is away.
_DROPS_AT_ONCE = 8
PAUSE_S_MIN = 1.0
PAUSE_S_MAX = 60.0


class TrashSweeper:
    """Responsible for every deletion that began being finished some day."""

    def __init__(
        self, registers: Registers, library: Library, members: Membership, links: NodeLinks
    ) -> None:
        self._registers = registers
        self._library = library
        self._members = members
        self._links = links
        self._dropped: dict[str, set[tuple[str, str]]] = {}  # by video: (node, key)
        self._has_work = asyncio.Event()
        self._gate = asyncio.Semaphore(_DROPS_AT_ONCE)
        self._pause_s = PAUSE_S_MIN
        members.when_changed(self.wake)

    async def begin(self, video_id: str, name: str) -> None:
        """Write down that a video is to be deleted; from then on it will be."""
        mark = Trash(id=video_id, name=name)
        await self._registers.update(trash_key(video_id), Trash, lambda _: mark)
        self._library.trash.add(video_id)

    def wake(self) -> None:
        """Look for work now: something was deleted, or a node came back."""
        self._pause_s = PAUSE_S_MIN
        self._has_work.set()

    async def run(self) -> None:
        """Sweep for ever, until cancelled."""
        while True:
            self._has_work.clear()
            if await self.sweep():
                await self._has_work.wait()
                continue
            try:
                async with asyncio.timeout(self._pause_s):
                    await self._has_work.wait()
            except TimeoutError:
                self._pause_s = min(2 * self._pause_s, PAUSE_S_MAX)

    async def sweep(self) -> bool:
        """Do what can be done now; return whether nothing is left."""
        is_done = True
        try:
            for trash in await self._registers.scan("trash/", Trash):
                is_done &= await self._sweep_video(trash)
        except EvenflowError as error:
            log.warning("deleting waits: %s", error.message)
            return False
        return is_done

    async def _sweep_video(self, trash: Stored[Trash]) -> bool:
        video_id, name = trash.record.id, trash.record.name
        self._library.trash.add(video_id)
        await self.free_name(name, video_id)
        is_done = True
        for group in await self._registers.scan(groups_prefix(video_id), wire.GroupRecord):
            is_done &= await self._sweep_group(video_id, group)
        if not is_done:
            return False
        await self._registers.update(views_key(video_id), Views, lambda _: None)
        await self._registers.write(trash.key, None, trash.version)
        self._library.trash.discard(video_id)
        self._dropped.pop(video_id, None)
        log.info("video %s (%s) is deleted", name, video_id)
        return True

    async def free_name(self, name: str, video_id: str) -> None:
        """Delete the register of the name if it is still this video's."""

        def free(record: wire.VideoRecord | None) -> wire.VideoRecord | None:
            return record if record is not None and record.id != video_id else None

        await self._registers.update(video_key(name), wire.VideoRecord, free)
        known = self._library.videos.get(name)
        if known is not None and known.id == video_id:
            self._library.drop_video(name)

    async def _sweep_group(self, video_id: str, group: Stored[wire.GroupRecord]) -> bool:
        fragments = {
            (fragment.node, fragment.key)
            for chunk in group.record.chunks
            for fragment in chunk.fragments
        }
        dropped = self._dropped.setdefault(video_id, set())
        await self._drop_all(fragments - dropped, dropped)
        if not fragments <= dropped:
            return False
        try:
            await self._registers.write(group.key, None, group.version)
        except Conflict:
            return False  # a fragment was moved meanwhile: look again
        self._library.drop_group(group.key)
        dropped -= fragments
        return True

    async def _drop_all(
        self, fragments: Iterable[tuple[str, str]], dropped: set[tuple[str, str]]
    ) -> None:
        async def drop(node: str, key: str) -> None:
            async with self._gate:
                if await self._drop(node, key):
                    dropped.add((node, key))

        await asyncio.gather(*(drop(node, key) for node, key in fragments))

    async def _drop(self, node: str, key: str) -> bool:
        """Return whether the fragment is surely gone, or its node is."""
        if node not in self._members.records:
            return True
        if self._members.state(node) is not NodeState.UP:
            return False
        try:
            await self._links.call(node, lambda link: link.delete(key), needs_token=True)
        except NodeUnreachable as error:
            log.debug("fragment %s is not dropped yet: %s", key, error.message)
            return False
        except EvenflowError as error:
            log.warning("node %s keeps a fragment that should go: %s", node, error.message)
            return False
        return True


async def drop_quietly(links: NodeLinks, node: str, key: str) -> None:
    """Try once to drop a fragment that no record names any more."""

    async def delete(link: NodeConnections) -> None:
        await link.delete(key)

    try:
        await links.call(node, delete, needs_token=True)
    except EvenflowError as error:
        log.info("fragment %s is left behind: %s", key, error.message)
