"""Taking a node out: what it holds goes elsewhere first, copied from it or, if dead, made anew.

    plan everything -> chunk by chunk: copy or make, compare-and-set, drop -> forget the node

Nothing is begun unless everything has a place to go. A failure in the middle leaves every
fragment recorded where it is; asking again goes on with what is left.
"""

from collections.abc import Iterable

from redundancy.errors import EvenflowError
from redundancy.placement import Placement
from smart_client import wire
from smart_client.storage_report import NodePlan
from smart_client.transport.nodes import NodeConnections
from storage_server.coordinator.errors import CannotEmptyNode, MoveFailed
from storage_server.coordinator.keeper.jobs import Job
from storage_server.coordinator.keeper.keeper import Keeper
from storage_server.coordinator.keeper.plan import Stuck, plan_chunk
from storage_server.coordinator.keeper.tools import Tools
from storage_server.coordinator.registers import parse_group_key
from storage_server.coordinator.uploads import Uploads

# Uploads under way may record fragments on the node until they hear that it goes.
_ROUNDS_MAX = 8


class NodeEmptier:
    """Responsible for a node leaving without any fragment being lost or less redundant."""

    def __init__(
        self, tools: Tools, keeper: Keeper, *, uploads: Uploads, placement: Placement
    ) -> None:
        self._registers = tools.registers
        self._library = tools.library
        self._members = tools.members
        self._links = tools.links
        self._keeper = keeper
        self._uploads = uploads
        self._placement = placement

    async def remove(self, node: str) -> int:
        """Empty a node and forget it; return how many fragments were moved or made anew.

        Raises:
            NodeNotFound.
            CannotEmptyNode: nothing was changed.
            MoveFailed: what was moved before stays moved; ask again to go on.
        """
        self._members.record(node)
        if node in self._members.removing:
            raise CannotEmptyNode(f"node {node} is being removed already", hint="wait for it")
        self._members.removing.add(node)
        try:
            return await self._empty_and_forget(node)
        finally:
            self._members.removing.discard(node)

    async def plan(self, node: str) -> NodePlan:
        """Return what it takes to empty a node; nothing is changed.

        Raises: NodeNotFound, CannotEmptyNode: it cannot be done, with the names of the videos.
        """
        self._members.record(node)
        jobs = await self._plan(node)
        bytes_moved = sum(job.wire_bytes for job in jobs)
        moves = sum(each.node == node for job in jobs for each in job.chunk.fragments)
        rate = self._keeper.limits.wire_bytes_per_s
        return NodePlan(node=node, moves=moves, bytes=bytes_moved, seconds=bytes_moved / rate)

    async def _empty_and_forget(self, node: str) -> int:
        moved = 0
        for _ in range(_ROUNDS_MAX):
            for job in await self._plan(node):
                if await self._carried_out(job, node):
                    moved += sum(each.node == node for each in job.chunk.fragments)
            async with self._uploads.gate:
                if not self._groups_on(node):
                    await self._members.remove(node)
                    return moved
        raise MoveFailed(
            f"node {node} gets new fragments all the time", hint="try again when uploads are done"
        )

    async def _carried_out(self, job: Job, node: str) -> bool:
        try:
            return await self._keeper.worker.carry_out(job, drops_now=True)
        except MoveFailed as error:
            try:
                await self._links.call(node, NodeConnections.ping)
            except EvenflowError:
                raise MoveFailed(
                    f"node {node} has stopped answering; what was moved before stays moved",
                    hint="run this again in some seconds: what it held is then made anew",
                    detail=error.detail,
                ) from error
            raise

    async def _plan(self, node: str) -> list[Job]:
        """Return what gives every fragment on the node a place. Raises: CannotEmptyNode."""
        jobs: list[Job] = []
        stuck: list[str] = []
        unreadable: list[str] = []
        view = self._keeper.view(leaving=(node,))
        for key in self._groups_on(node):
            stored = await self._registers.get(key, wire.GroupRecord)
            if stored is None:
                self._library.drop_group(key)
                continue  # deleted meanwhile
            self._library.put_group(key, stored.record, stored.version)
            for chunk in stored.record.chunks:
                if all(each.node != node for each in chunk.fragments):
                    continue
                # What never was stored, or is too much, is the keeper's.
                job = plan_chunk(key, chunk, None, view, placement=self._placement)
                if isinstance(job, Job) and _frees(job, node):
                    jobs.append(job)
                elif isinstance(job, Stuck) and job.is_unreadable:
                    unreadable.append(key)
                else:
                    stuck.append(key)
        if unreadable:
            raise CannotEmptyNode(
                f"node {node} does not answer, and without it some chunks cannot be read; nothing "
                "was changed",
                hint="bring it back, then remove it; or delete the videos named",
                detail={"videos": self._names_of(unreadable)},
            )
        if stuck:
            others = self._members.ready_without(node)
            raise CannotEmptyNode(
                f"node {node} cannot be removed without loss: the {others} other nodes that "
                "are up and have room cannot take its fragments; nothing was changed",
                hint="add a node first, or delete the videos named",
                detail={"videos": self._names_of(stuck)},
            )
        return jobs

    def _groups_on(self, node: str) -> list[str]:
        """Return the groups with a fragment to be saved; what is being deleted is not."""
        groups = self._library.groups_on(node)
        return [key for key in groups if parse_group_key(key)[0] not in self._library.trash]

    def _names_of(self, groups: Iterable[str]) -> list[str]:
        return self._library.names(parse_group_key(key)[0] for key in groups)


def _frees(job: Job, node: str) -> bool:
    """Whether everything that a chunk has on a node has another home afterwards."""
    homes = [job.homes.get(each.index) for each in job.chunk.fragments if each.node == node]
    return None not in homes and node not in homes
