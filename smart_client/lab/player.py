"""Plays worlds in a lab, one after the other, for callers that are not asynchronous."""

import asyncio
from types import TracebackType

from smart_client.lab.laboratory import Lab, LabSession, require_lab
from smart_client.lab.worlds import limited
from smart_client.simulator.batch import Job, SessionRecord, records_of
from smart_client.simulator.trace_library import TraceLibrary
from smart_client.simulator.world import World, make_world


class LabPlayer:
    """Responsible for a lab with as many nodes as the world at hand has."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._lab: Lab | None = None

    def __enter__(self) -> "LabPlayer":
        """Raises: LabUnavailable."""
        require_lab()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the lab."""
        try:
            self._leave()
        finally:
            self._runner.close()

    def play(self, world: World, scheduler: str, recording: str = "") -> LabSession:
        """Play a world in real time. Raises: LabUnavailable, LabBroken."""
        return self._runner.run(self._play(world, scheduler, recording))

    def play_job(self, job: Job, library: TraceLibrary) -> list[SessionRecord]:
        """Let every scheduler of a job play in the job's world; see ``batch.play_job``."""
        world = limited(make_world(job.scenario, job.seed, library))
        return records_of(job, library, world, lambda name: self.play(world, name).outcome)

    async def _play(self, world: World, scheduler: str, recording: str) -> LabSession:
        if self._lab is not None and self._lab.plan.nodes != len(world.nodes):
            await self._end()
        if self._lab is None:
            lab = Lab(len(world.nodes))
            self._lab = await lab.__aenter__()
        return await self._lab.play(world, scheduler, recording)

    async def _end(self) -> None:
        lab, self._lab = self._lab, None
        if lab is not None:
            await lab.__aexit__(None, None, None)

    def _leave(self) -> None:
        if self._lab is not None:
            self._runner.run(self._end())
