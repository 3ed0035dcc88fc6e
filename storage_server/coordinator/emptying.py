"""Taking a live node out: its fragments are copied away first, one at a time.

    plan everything -> for each fragment: copy, verify, compare-and-set, drop -> forget the node

Nothing is begun unless everything has a place to go. A failure in the middle leaves every
fragment recorded where it is; asking again goes on with what is left.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from msgspec import structs

from redundancy.errors import EvenflowError, TooFewNodes
from redundancy.placement import Demand, Placement, PlacementNode
from redundancy.scheme import Layout, Scheme
from smart_client import wire
from storage_server.coordinator.errors import CannotEmptyNode, MoveFailed
from storage_server.coordinator.failure_detector import NodeState
from storage_server.coordinator.library import Library
from storage_server.coordinator.links import NodeLinks
from storage_server.coordinator.membership import Membership
from storage_server.coordinator.registers import Registers, parse_group_key
from storage_server.coordinator.trash import drop_quietly
from storage_server.coordinator.uploads import Uploads

log = logging.getLogger(__name__)

# Uploads under way may record fragments on the node until they hear that it goes.
_ROUNDS_MAX = 8


@dataclass(frozen=True, slots=True)
class Move:
    """One fragment's way from one node to another."""

    group: str  # the register's key
    chunk: int
    index: int
    key: str
    source: str
    target: str


class NodeEmptier:
    """Responsible for a node leaving without any fragment being lost or less redundant."""

    def __init__(
        self,
        registers: Registers,
        library: Library,
        members: Membership,
        *,
        links: NodeLinks,
        uploads: Uploads,
        placement: Placement,
    ) -> None:
        self._registers = registers
        self._library = library
        self._members = members
        self._links = links
        self._uploads = uploads
        self._placement = placement

    async def remove(self, node: str) -> int:
        """Empty a node and forget it; return how many fragments were moved.

        Raises:
            NodeNotFound.
            CannotEmptyNode: nothing was changed.
            MoveFailed: what was moved before stays moved; ask again to go on.
        """
        self._members.record(node)
        if node in self._members.draining:
            raise CannotEmptyNode(f"node {node} is being removed already", hint="wait for it")
        self._members.draining.add(node)
        try:
            return await self._empty_and_forget(node)
        finally:
            self._members.draining.discard(node)

    async def _empty_and_forget(self, node: str) -> int:
        moved = 0
        for _ in range(_ROUNDS_MAX):
            for move in await self._plan(node):
                moved += await self._move(move)
            async with self._uploads.gate:
                if not self._groups_on(node):
                    await self._members.remove(node)
                    return moved
        raise MoveFailed(
            f"node {node} gets new fragments all the time", hint="try again when uploads are done"
        )

    # -- planning --------------------------------------------------------------------------------

    async def _plan(self, node: str) -> list[Move]:
        """Return a place for every fragment on the node. Raises: CannotEmptyNode."""
        groups = self._groups_on(node)
        if groups and self._members.state(node) is not NodeState.UP:
            raise CannotEmptyNode(
                f"node {node} does not answer, so its fragments cannot be copied away; nothing "
                "was changed",
                hint="bring it back, then remove it",
                detail={"videos": self._names_of(groups)},
            )
        moves: list[Move] = []
        stuck: list[str] = []
        for key in groups:
            stored = await self._registers.get(key, wire.GroupRecord)
            if stored is None:
                continue  # deleted meanwhile
            try:
                moves += self._plan_group(node, key, stored.record)
            except TooFewNodes:
                stuck.append(key)
        if stuck:
            counts = self._members.counts()
            raise CannotEmptyNode(
                f"node {node} cannot be removed without loss: the {counts.ready} other nodes that "
                "are up and have room cannot take its fragments; nothing was changed",
                hint="add a node first, or delete the videos named",
                detail={"videos": self._names_of(stuck)},
            )
        return moves

    def _plan_group(self, node: str, key: str, group: wire.GroupRecord) -> list[Move]:
        """Raises: TooFewNodes."""
        others = [each for each in self._members.placement_nodes() if each.id != node]
        targets = self._targets(key, group, others)
        return [
            Move(key, chunk.number, fragment.index, fragment.key, node, target)
            for chunk, target_by_index in zip(group.chunks, targets, strict=True)
            for fragment in chunk.fragments
            if fragment.node == node
            for target in [self._target(target_by_index, chunk, fragment, others)]
        ]

    def _targets(
        self, key: str, group: wire.GroupRecord, others: list[PlacementNode]
    ) -> list[tuple[str, ...]]:
        """Return the nodes by index that the policy would repair each chunk to, if it can."""
        layout = group.chunks[0].layout.to_layout()
        demand = Demand(layout, len(group.chunks), max(chunk.size for chunk in group.chunks))
        current = []
        for chunk in group.chunks:
            nodes = [""] * layout.fragments_total
            for fragment in chunk.fragments:
                nodes[fragment.index] = fragment.node
            current.append(nodes)
        _, video_id, rendition, number = key.split("/")
        name = f"{video_id}/{rendition}/{int(number)}"
        try:
            return [each.nodes for each in self._placement.repair(name, others, demand, current)]
        except TooFewNodes:
            # Some fragment that never was stored finds no place either; those here still may.
            return [() for _ in group.chunks]

    def _target(
        self,
        by_index: tuple[str, ...],
        chunk: wire.ChunkRecord,
        fragment: wire.FragmentRecord,
        others: list[PlacementNode],
    ) -> str:
        """Return where one fragment goes. Raises: TooFewNodes."""
        if by_index:
            return by_index[fragment.index]
        holders = {each.node for each in chunk.fragments}
        free = [replace(each, excluded=each.excluded or each.id in holders) for each in others]
        demand = Demand(Layout(Scheme(1, 1)), 1, chunk.size)
        return self._placement.choose(fragment.key, free, demand)[0].nodes[0]

    def _groups_on(self, node: str) -> list[str]:
        """Return the groups with a fragment to be saved; what is being deleted is not."""
        groups = self._library.groups_on(node)
        return [key for key in groups if parse_group_key(key)[0] not in self._library.trash]

    def _names_of(self, groups: Iterable[str]) -> list[str]:
        return self._library.names(parse_group_key(key)[0] for key in groups)

    # -- moving ----------------------------------------------------------------------------------

    async def _move(self, move: Move) -> bool:
        """Copy, verify, compare-and-set, then drop; return whether there was something to move."""
        urls = self._members.record(move.source).urls
        try:
            # The target checks the bytes against the key before it stores and answers.
            await self._links.call(move.target, lambda link: link.pull(move.key, urls))
        except EvenflowError as error:
            raise MoveFailed(
                f"fragment {move.index} of chunk {move.chunk} could not be copied from "
                f"{move.source} to {move.target}: {error.message}",
                hint="every fragment stays recorded where it is; ask again to go on",
            ) from error
        if not await self._record(move):
            # Somebody else changed the record first. What was copied may be named by it now, so
            # it stays.
            return False
        await drop_quietly(self._links, move.source, move.key)
        return True

    async def _record(self, move: Move) -> bool:
        """Name the new node in the group's register; return whether the old one was named."""
        written: list[wire.GroupRecord] = []

        def redirect(group: wire.GroupRecord | None) -> wire.GroupRecord | None:
            written.clear()
            if group is None:
                return None
            changed = redirected(group, move)
            if changed != group:
                written.append(changed)
            return changed

        version = await self._registers.update(move.group, wire.GroupRecord, redirect)
        for group in written:
            self._library.put_group(move.group, group, version)
        return bool(written)


def redirected(group: wire.GroupRecord, move: Move) -> wire.GroupRecord:
    """Return the group with the fragment on its new node.

    Unchanged if the fragment is not on the old node any more, or the new one has a piece of this
    chunk already.
    """

    def redirect(chunk: wire.ChunkRecord) -> wire.ChunkRecord:
        if chunk.number != move.chunk or any(each.node == move.target for each in chunk.fragments):
            return chunk
        fragments = tuple(
            structs.replace(each, node=move.target)
            if (each.index, each.node, each.key) == (move.index, move.source, move.key)
            else each
            for each in chunk.fragments
        )
        return structs.replace(chunk, fragments=fragments)

    return structs.replace(group, chunks=tuple(map(redirect, group.chunks)))
