"""A whole cluster on one machine: real processes that run on when the command ends."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import structs

from redundancy.errors import EvenflowError, UsageError
from smart_client import wire
from smart_client.errors import NodeUnreachable
from smart_client.transport.coordinator import CoordinatorClient
from smart_client.transport.errors import TransportFailure
from smart_client.transport.nodes import NodeConnections
from storage_server.cluster_state import (
    COORDINATOR,
    GATEWAY,
    ClusterFolder,
    ClusterProblem,
    ClusterState,
    Member,
    with_policy,
)
from storage_server.directory_lock import DirectoryLock
from storage_server.processes import (
    ProcessId,
    ProcessState,
    end,
    interrupts_put_off,
    send,
    start_detached,
    state_of,
    terminated_like_interrupted,
    wait_for,
)

NODES_DEFAULT = 5

# Python, numpy and aiohttp take about a second to import on an idle core; here five may start
# at once on two busy ones.
READY_TIMEOUT_S = 60.0
UP_TIMEOUT_S = 30.0
END_PATIENCE_S = 5.0

_POLL_S = 0.05

# With the coordinator at its usual 8400, the gateway is at its usual 8480.
_GATEWAY_PORT_OFFSET = 80

_STATE_AFTER = {
    signal.SIGKILL: ProcessState.GONE,
    signal.SIGSTOP: ProcessState.FROZEN,
    signal.SIGCONT: ProcessState.RUNNING,
}


@dataclass(frozen=True, slots=True)
class UpWish:
    """What ``up`` should bring about."""

    nodes: int | None = None  # None: as many as there are, or five
    base_port: int | None = None  # the coordinator's; None: free ports
    waits: bool = True  # until the coordinator has heard every node
    gateway: bool = False  # also one for players
    signed_reads: bool = False  # fragments only for those with a grant
    node_options: tuple[str, ...] = ()
    policy: str | None = None  # the coordinator's; None: as it was, or its default


@dataclass(frozen=True, slots=True)
class MemberView:
    """One process and what the coordinator thinks of it."""

    member: Member
    process: ProcessState
    state: str | None = None  # None: the coordinator does not know it, or does not answer


@dataclass(frozen=True, slots=True)
class ClusterView:
    """A cluster as it is now."""

    directory: Path
    coordinator: MemberView
    nodes: tuple[MemberView, ...]
    gateway: MemberView | None = None
    started: tuple[str, ...] = ()  # by the command that made this view

    @property
    def is_healthy(self) -> bool:
        """Whether everything runs and the coordinator has heard every node."""
        others = [self.coordinator, *([self.gateway] if self.gateway else [])]
        return not self.missing and all(each.process is ProcessState.RUNNING for each in others)

    @property
    def missing(self) -> tuple[MemberView, ...]:
        """The nodes that cannot be counted on; the coordinator learns of a death only later."""
        return tuple(
            node
            for node in self.nodes
            if node.process is not ProcessState.RUNNING or node.state != "up"
        )


class LocalCluster:
    """Responsible for the processes of one directory. One command at a time changes them."""

    def __init__(self, directory: Path, say: Callable[[str], None] = lambda _: None) -> None:
        """Args: say: told what happens, for people."""
        self.folder = ClusterFolder(directory)
        self._say = say

    # -- commands --------------------------------------------------------------------------------

    def up(self, wish: UpWish) -> ClusterView:
        """Start what is not running; what is, and all data, stays.

        If anything fails, or the user interrupts, what was started by this call is ended again.
        Raises: ClusterProblem, ConfigError, DirectoryLocked.
        """
        self.folder.make()
        with self._locked(), self._undone_on_failure() as started:
            state = self.folder.load()
            options = self._read_options(state, wish)
            coordinator = state.coordinator or Member(
                name=COORDINATOR,
                url=f"http://127.0.0.1:{wish.base_port or 0}",
                options=options,
            )
            coordinator = with_policy(coordinator, wish.policy)
            wish = replace(wish, node_options=(*wish.node_options, *options))
            self._start([coordinator], started)
            self._start(self._wanted(state, wish), started)
            view = asyncio.run(self._view(wait_s=UP_TIMEOUT_S if wish.waits else 0.0))
            return replace(view, started=tuple(started))

    def down(self, *, purge: bool = False) -> list[str]:
        """End every process; return the names of those that ran. Nothing to end is no error.

        Raises: ClusterProblem: a process cannot be ended.
        """
        if not self.folder.exists:
            return []
        with self._locked():
            state = self.folder.load()
            running = [each for each in state.members if each.state is not ProcessState.GONE]
            left = end(
                [each.process for each in running if each.process is not None],
                patience_s=END_PATIENCE_S,
            )
            if left:
                raise ClusterProblem(
                    f"processes cannot be ended: {', '.join(str(each.pid) for each in left)}"
                )
            for member in running:
                self._save(structs.replace(member, process=None))
            if purge:
                self.folder.purge(self.folder.load())
        return [member.name for member in running]

    def start(self, names: Sequence[str]) -> ClusterView:
        """Start members again with their data, at their old addresses."""
        with self._locked(), self._undone_on_failure() as started:
            state = self.folder.require()
            self._start([state.member(name) for name in names], started)
            view = asyncio.run(self._view(wait_s=UP_TIMEOUT_S))
            return replace(view, started=tuple(started))

    def signal(self, names: Sequence[str], number: signal.Signals) -> list[str]:
        """Send a signal to members and wait for what it does.

        Returns: the names of those that were there to get it.
        """
        state = self.folder.require()
        members = [state.member(name) for name in names]
        return [member.name for member in members if _signal(member, number)]

    def view(self) -> ClusterView:
        """Return the cluster as it is now."""
        return asyncio.run(self._view(wait_s=0.0))

    def slow(self, names: Sequence[str], limits: dict[str, float | None]) -> None:
        """Change nodes' limits while they run. Raises: NodeUnreachable, UsageError."""
        state = self.folder.require()
        members = [state.member(name) for name in names]
        for member in members:
            asyncio.run(_set_limits(member, limits))

    # -- starting --------------------------------------------------------------------------------

    def _read_options(self, state: ClusterState, wish: UpWish) -> tuple[str, ...]:
        """Return what coordinator and nodes are told of read keys; new nodes as the others."""
        has_keys = state.coordinator is not None and "--read-keys" in state.coordinator.options
        if wish.signed_reads and state.coordinator is not None and not has_keys:
            raise UsageError(
                "this cluster was made without signed reads",
                hint="make another one: storage-server cluster up --signed-reads --dir OTHER",
            )
        if not wish.signed_reads and not has_keys:
            return ()
        return ("--read-keys", str(self.folder.read_keys()))

    def _wanted(self, state: ClusterState, wish: UpWish) -> list[Member]:
        """Return the nodes, and the gateway if there is to be one."""
        nodes = list(state.nodes)
        for number in range(len(nodes) + 1, (wish.nodes or len(nodes) or NODES_DEFAULT) + 1):
            port = wish.base_port + number if wish.base_port else 0
            url = f"http://127.0.0.1:{port}"
            nodes.append(Member(name=f"node-{number}", url=url, options=wish.node_options))
        if state.gateway is not None:
            return [*nodes, state.gateway]
        if not wish.gateway:
            return nodes
        port = wish.base_port + _GATEWAY_PORT_OFFSET if wish.base_port else 0
        return [*nodes, Member(name=GATEWAY, url=f"http://127.0.0.1:{port}")]

    def _start(self, members: Sequence[Member], started: dict[str, ProcessId]) -> None:
        """Start those that do not run, all at once; return when each has said it is ready."""
        begun = []
        for member in members:
            if member.state is ProcessState.GONE:
                with interrupts_put_off():
                    process = started[member.name] = self._spawn(member)
                    begun.append(self._save(structs.replace(member, process=process)))
        for member in begun:
            self._save(self._wait_until_ready(member))

    def _spawn(self, member: Member) -> ProcessId:
        coordinator = self.folder.load().coordinator
        reports_to = ["--coordinator", coordinator.url] if coordinator else []
        data = ["--data", str(self.folder.data(member.name))]
        words = {
            COORDINATOR: ["storage_server", "coordinator", *data],
            GATEWAY: ["smart_client", "serve", *reports_to],
        }.get(member.name, ["storage_server", "node", "--id", member.name, *data, *reports_to])
        command = [sys.executable, "-m", *words, "--json"]
        command += ["--listen", f"127.0.0.1:{member.port}", *member.options]
        self._say(f"starting {member.name}")
        return start_detached(
            command,
            output=self.folder.output(member.name),
            errors=self.folder.log(member.name),
            environment=os.environ,
        )

    def _wait_until_ready(self, member: Member) -> Member:
        """Return the member with the address that its ready line names. Raises: ClusterProblem."""
        assert member.process is not None
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while True:
            is_gone = state_of(member.process) is ProcessState.GONE
            said = _first_line(self.folder.output(member.name))
            if said.get("event") == "ready":
                return structs.replace(member, url=str(said["url"]))
            if is_gone:
                raise self._did_not_start(member, said)
            if time.monotonic() >= deadline_s:
                raise ClusterProblem(
                    f"{member.name} is not ready after {READY_TIMEOUT_S:g} s",
                    hint=f"its log: {self.folder.log(member.name)}",
                )
            time.sleep(_POLL_S)

    def _did_not_start(self, member: Member, said: dict[str, object]) -> ClusterProblem:
        error = said.get("error")
        reason = error.get("message") if isinstance(error, dict) else "it said nothing"
        return ClusterProblem(
            f"{member.name} did not start: {reason}",
            hint=f"its log: {self.folder.log(member.name)}",
        )

    @contextlib.contextmanager
    def _undone_on_failure(self) -> Iterator[dict[str, ProcessId]]:
        """Give a dict to note started processes in; end them if what follows fails."""
        started: dict[str, ProcessId] = {}
        try:
            with terminated_like_interrupted():
                yield started
        except BaseException:
            with interrupts_put_off():
                if started:
                    self._say(f"ending what was started: {', '.join(started)}")
                end(started.values(), patience_s=END_PATIENCE_S)
                state = self.folder.load()
                for name in started:
                    self._save(structs.replace(state.member(name), process=None))
            raise

    def _save(self, member: Member) -> Member:
        self.folder.save(self.folder.load().with_member(member))
        return member

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if not self.folder.path.is_dir():
            self.folder.require()
        lock = DirectoryLock(self.folder.path, holder="cluster command")
        try:
            yield
        finally:
            lock.release()

    # -- looking ---------------------------------------------------------------------------------

    async def _view(self, *, wait_s: float) -> ClusterView:
        """Return the cluster, once every node that runs is up at the coordinator or time is up."""
        state = self.folder.require()
        assert state.coordinator is not None
        deadline_s = time.monotonic() + wait_s
        async with _client(state.coordinator) as client:
            while True:
                view = await self._look(state, state.coordinator, client)
                waiting = any(
                    node.process is ProcessState.RUNNING and node.state != "up"
                    for node in view.nodes
                )
                if not waiting or time.monotonic() >= deadline_s:
                    return view
                await asyncio.sleep(_POLL_S)

    async def _look(
        self, state: ClusterState, coordinator: Member, client: CoordinatorClient
    ) -> ClusterView:
        heard: dict[str, str] = {}
        if coordinator.state is ProcessState.RUNNING:
            with contextlib.suppress(EvenflowError):  # then nothing is known of the nodes
                heard = {each.record.id: each.state for each in await client.nodes()}
        return ClusterView(
            directory=self.folder.path,
            coordinator=MemberView(coordinator, coordinator.state),
            nodes=tuple(MemberView(node, node.state, heard.get(node.name)) for node in state.nodes),
            gateway=MemberView(state.gateway, state.gateway.state) if state.gateway else None,
        )


def _signal(member: Member, number: signal.Signals) -> bool:
    """Return whether the member was there to get the signal."""
    if member.process is None or not send(member.process, number):
        return False
    wait_for(member.process, _STATE_AFTER[number], timeout_s=END_PATIENCE_S)
    return True


@contextlib.asynccontextmanager
async def _client(coordinator: Member) -> AsyncIterator[CoordinatorClient]:
    async with CoordinatorClient([coordinator.url], timeout_s=2.0) as client:
        yield client


async def _set_limits(member: Member, limits: dict[str, float | None]) -> None:
    link = NodeConnections(wire.NodeRecord(id=member.name, urls=(member.url,)))
    try:
        async with asyncio.timeout(END_PATIENCE_S):
            await link.set_limits(limits)
    except (TransportFailure, TimeoutError) as error:
        raise NodeUnreachable(
            f"{member.name} does not answer at {member.url}",
            hint="see storage-server cluster status",
        ) from error
    finally:
        await link.close()


def _first_line(path: Path) -> dict[str, object]:
    """Return the JSON object in a file's first line; empty while there is none."""
    try:
        line, newline, _ = path.read_text(encoding="utf-8").partition("\n")
    except FileNotFoundError:
        return {}
    if not newline:
        return {}
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
