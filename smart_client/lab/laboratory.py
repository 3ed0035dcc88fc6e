"""A lab: namespaces, cables, nodes and fronts, from first to last; sessions are played in it."""

import asyncio
import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import msgspec

from smart_client.lab import plan
from smart_client.lab.agent import Agent, Answer
from smart_client.lab.client import ClientReport, Play, Store, Stored
from smart_client.lab.errors import LabUnavailable
from smart_client.lab.keeper import clean_up
from smart_client.lab.messages import Begin, Finish, FrontReport, Ready, SwitchReport
from smart_client.lab.plan import NetworkPlan
from smart_client.lab.script import node_scripts
from smart_client.lab.yardstick import Measure, Measured
from smart_client.simulator.simulate import Outcome
from smart_client.simulator.world import World
from smart_client.wire import Manifest

# Programs of the lab, each a process of its own.
KEEPER, SWITCH = "smart_client.lab.keeper", "smart_client.lab.switch"
FRONT, CLIENT, YARDSTICK = (
    "smart_client.lab.front",
    "smart_client.lab.client",
    "smart_client.lab.yardstick",
)

COMMAND_TIMEOUT_S = 20.0

# Six interpreters start at once, on two cores that others use too.
START_TIMEOUT_S = 90.0
STORE_TIMEOUT_S = 300.0

# The keeper ends what is left and removes namespaces, one after the other.
CLEAN_UP_TIMEOUT_S = 30.0

# From "begin" to the session's first instant: time to set a rate and to get round the loop.
LEAD_S = 0.3

# A client that is told to end at an instant has ended this much later, or is lost.
END_GRACE_S = 30.0


@dataclass(frozen=True, slots=True)
class LabSession:
    """One session on sockets, and how well the lab kept to its script."""

    outcome: Outcome
    requests: int  # that the fronts saw
    head_bytes: int  # of the answers
    client_cpu_s: float
    client_late_p99_s: float  # of the client's timers
    late_p99_s: float  # of frames in the switch
    late_max_s: float
    answer_late_max_s: float  # of answers in the fronts


def require_lab() -> None:
    """Raise LabUnavailable unless this user on this machine can have a lab."""
    missing = [name for name in ("ip", "tc") if shutil.which(name) is None]
    if missing:
        raise LabUnavailable(
            f"the lab needs {' and '.join(missing)}",
            hint="install iproute2 (Debian: apt-get install iproute2)",
        )
    if os.geteuid() != 0:
        raise LabUnavailable(
            "the lab makes network namespaces, which only root may",
            hint="run it with sudo, in a virtual machine if you like",
        )


class Lab:
    """Responsible for everything that has to be there, and to be gone afterwards."""

    def __init__(self, nodes: int) -> None:
        self.prefix = f"lab{os.getpid()}x{secrets.token_hex(3)}"
        self.plan = NetworkPlan(self.prefix, nodes)
        self.directory = ""
        self._keeper: Agent | None = None
        self._agents: list[Agent] = []  # the switch, then the fronts in order
        self._stored: tuple[World, Manifest] | None = None

    async def __aenter__(self) -> "Lab":
        """Start it. Raises: LabUnavailable, LabBroken."""
        require_lab()
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End it: nothing is left."""
        await self._end()

    @property
    def pids(self) -> list[int]:
        """The processes it started, the keeper first."""
        agents = [self._keeper] if self._keeper else []
        return [agent.pid for agent in (*agents, *self._agents)]

    async def store(self, world: World) -> Manifest:
        """Put a world's chunks onto its nodes, once; return where they are."""
        if self._stored is None or self._stored[0] is not world:
            client = await self._agent(self.plan.client, CLIENT)
            try:
                client.say(Store(world.seed, world.chunks, self.plan.nodes))
                stored = await client.hear(Stored, STORE_TIMEOUT_S)
            finally:
                await client.end()
            self._stored = (world, stored.manifest)
        return self._stored[1]

    async def play(self, world: World, scheduler: str, recording: str = "") -> LabSession:
        """Let a scheduler play in a world, in real time, at most to the world's horizon."""
        manifest = await self.store(world)
        order = Play(manifest, world.viewers, world.config, scheduler, world.horizon_s, recording)
        report = await self._live(CLIENT, world, order, ClientReport)
        return await self._finish(report)

    async def measure(self, world: World, order: Measure) -> Measured:
        """Look at the nodes of a world whose chunks are stored."""
        measured = await self._live(YARDSTICK, world, order, Measured)
        await self._finish_all()
        return measured

    async def _live(
        self, module: str, world: World, order: msgspec.Struct, kind: type[Answer]
    ) -> Answer:
        """Let a world begin for a process beside the client's link; return what it reports."""
        lines = [plan.client_shape_line(world.client_bytes_per_s)]
        await self._run("tc", "-n", self.plan.hub, "-batch", "-", lines=lines)
        client = await self._agent(self.plan.client, module)
        try:
            client.say(order)
            await client.hear(Ready, START_TIMEOUT_S)
            begin = Begin(time.monotonic() + LEAD_S, node_scripts(world.nodes, world.horizon_s))
            for agent in self._agents:
                agent.say(begin)
            client.say(Begin(begin.at_s, ()))
            return await client.hear(kind, LEAD_S + world.horizon_s + END_GRACE_S)
        finally:
            await client.end()

    async def _finish_all(self) -> tuple[SwitchReport, list[FrontReport]]:
        for agent in self._agents:
            agent.say(Finish())
        switch, *fronts = self._agents
        crossed = await switch.hear(SwitchReport, COMMAND_TIMEOUT_S)
        return crossed, [await front.hear(FrontReport, COMMAND_TIMEOUT_S) for front in fronts]

    async def _finish(self, report: ClientReport) -> LabSession:
        crossed, seen = await self._finish_all()
        # Heads of answers are no part of what the simulator moves.
        node_bytes = tuple(
            moved - front.head_bytes
            for moved, front in zip(crossed.payload_bytes, seen, strict=True)
        )
        outcome = msgspec.structs.replace(
            report.outcome,
            node_bytes=node_bytes,
            extra_share=sum(node_bytes) / max(1, report.outcome.delivered_bytes) - 1,
        )
        return LabSession(
            outcome=outcome,
            requests=sum(front.requests for front in seen),
            head_bytes=sum(front.head_bytes for front in seen),
            client_cpu_s=report.cpu_s,
            client_late_p99_s=report.late_p99_s,
            late_p99_s=crossed.late_p99_s,
            late_max_s=crossed.late_max_s,
            answer_late_max_s=max(front.late_max_s for front in seen),
        )

    # -- start and end ---------------------------------------------------------------------------

    async def _start(self) -> None:
        self.directory = tempfile.mkdtemp(prefix=f"{self.prefix}-")
        # First of all who cleans up; ctrl-C in the terminal must not reach it.
        words = (sys.executable, "-m", KEEPER, self.prefix, self.directory)
        log = Path(self.directory, "keeper.log")
        self._keeper = await Agent.start("the lab's keeper", words, complaints=log, detached=True)
        await self._keeper.hear(Ready, START_TIMEOUT_S)
        for namespace, lines in self.plan.make_commands():
            inside = ("-n", namespace) if namespace else ()
            await self._run("ip", *inside, "-batch", "-", lines=lines)
        self._agents = [await self._agent(self.plan.hub, SWITCH, str(self.plan.nodes))]
        for index in range(self.plan.nodes):
            data_dir = str(Path(self.directory, f"node-{index}"))
            front = await self._agent(self.plan.node(index), FRONT, str(index), data_dir)
            self._agents.append(front)
        for agent in self._agents:
            await agent.hear(Ready, START_TIMEOUT_S)

    async def _end(self) -> None:
        await asyncio.gather(*(agent.end() for agent in self._agents))
        status = None if self._keeper is None else await self._keeper.end(CLEAN_UP_TIMEOUT_S)
        if self.directory and status != 0:
            await asyncio.to_thread(clean_up, self.prefix, self.directory)

    async def _agent(self, namespace: str, module: str, *words: str) -> Agent:
        inside = ("ip", "netns", "exec", namespace, sys.executable, "-m")
        name = module.rpartition(".")[2]
        return await Agent.start(
            f"the lab's {name} in {namespace}",
            (*inside, module, *words),
            complaints=Path(self.directory, f"{namespace}-{name}.log"),
        )

    async def _run(self, *words: str, lines: Sequence[str]) -> None:
        """Run a batch. Raises: LabUnavailable: it failed, and what it said."""
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        body = "".join(f"{line}\n" for line in lines).encode()
        _, said = await asyncio.wait_for(process.communicate(body), COMMAND_TIMEOUT_S)
        if process.returncode:
            raise LabUnavailable(
                f"`{' '.join(words)}` failed: the kernel or the user's rights lack something",
                detail={"said": said.decode(errors="replace").strip()},
                hint="the lab needs network namespaces, veth, tbf and packet sockets",
            )
