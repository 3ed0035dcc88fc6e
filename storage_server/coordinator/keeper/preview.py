"""What the keeper would do, without doing it: moves and bytes, for who asks before he orders."""

from collections import Counter

from redundancy.placement import Placement
from smart_client import wire
from smart_client.storage_report import NodePlan
from storage_server.coordinator.keeper.balance import (
    by_catalogue,
    held_bytes,
    is_even,
    moved_bytes,
    plan_moves,
)
from storage_server.coordinator.keeper.jobs import Job
from storage_server.coordinator.keeper.keeper import Keeper
from storage_server.coordinator.keeper.tools import Tools
from storage_server.coordinator.keeper.wants import plan
from storage_server.coordinator.registers import parse_group_key


class Preview:
    """Responsible for plans that are told and not carried out."""

    def __init__(self, tools: Tools, keeper: Keeper, placement: Placement) -> None:
        self._registers = tools.registers
        self._library = tools.library
        self._keeper = keeper
        self._placement = placement

    async def repair(self) -> NodePlan:
        """Return what making good and laying out anew takes, by what is known now.

        Raises: CatalogueError, RegisterDamaged.
        """
        view = self._keeper.view()
        jobs: list[Job] = []
        groups = 0
        for _, key in self._keeper.needy(view):
            stored = await self._registers.get(key, wire.GroupRecord)
            video = self._library.video(parse_group_key(key)[0])
            if stored is None or video is None:
                continue
            groups += 1
            layout = video.layout_of(parse_group_key(key)[1])
            for chunk in stored.record.chunks:
                job = plan(key, chunk, layout, view, placement=self._placement)
                if isinstance(job, Job):
                    jobs.append(job)
        return self._told(jobs, groups)

    async def rebalance(self) -> NodePlan:
        """Return what evening the nodes out takes. Raises: CatalogueError, RegisterDamaged."""
        view = self._keeper.view()
        records = {}
        held: Counter[str] = Counter()
        for key in self._keeper.groups():
            stored = await self._registers.get(key, wire.GroupRecord)
            if stored is not None:
                records[key] = stored.record
                held += held_bytes(stored.record)
        jobs: list[Job] = []
        groups = 0
        for key, record in records.items():
            if is_even(by_catalogue(view.places, held)):
                break
            moves = plan_moves(key, record, view, held, placement=self._placement)
            for job in moves:
                held = moved_bytes(held, job)
            jobs += moves
            groups += bool(moves)
        return self._told(jobs, groups)

    def _told(self, jobs: list[Job], groups: int) -> NodePlan:
        bytes_moved = sum(job.wire_bytes for job in jobs)
        moves = sum(_pieces(job) for job in jobs)
        rate = self._keeper.limits.wire_bytes_per_s
        return NodePlan(moves=moves, bytes=bytes_moved, seconds=bytes_moved / rate, left=groups)


def _pieces(job: Job) -> int:
    """Return how many fragments come to lie where they did not."""
    before = {(each.index, each.node) for each in job.chunk.fragments}
    if job.is_new_layout:
        return len(job.homes)
    return sum((index, node) not in before for index, node in job.homes.items())
