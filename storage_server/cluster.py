"""A whole cluster on one machine: real processes that run on when the command ends."""

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import structs

from redundancy.errors import EvenflowError
from smart_client import wire
from smart_client.errors import NodeUnreachable
from smart_client.transport.coordinator import CoordinatorClient
from smart_client.transport.errors import TransportFailure
from smart_client.transport.nodes import NodeConnections
from storage_server.cluster_launch import find_etcd, launch, wait_until_ready
from storage_server.cluster_plan import UpWish, in_order, planned
from storage_server.cluster_state import (
    ClusterFolder,
    ClusterProblem,
    ClusterState,
    Member,
    MemberKind,
)
from storage_server.directory_lock import DirectoryLock
from storage_server.processes import (
    ProcessId,
    ProcessState,
    end,
    interrupts_put_off,
    send,
    terminated_like_interrupted,
    wait_for,
)

UP_TIMEOUT_S = 30.0
END_PATIENCE_S = 5.0

# One that hangs must not hold up the view of the others for long.
COORDINATOR_TIMEOUT_S = 2.0

_POLL_S = 0.05

_STATE_AFTER = {
    signal.SIGKILL: ProcessState.GONE,
    signal.SIGSTOP: ProcessState.FROZEN,
    signal.SIGCONT: ProcessState.RUNNING,
}


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
    coordinators: tuple[MemberView, ...]
    nodes: tuple[MemberView, ...]
    catalogue: str = "sqlite"
    etcd: tuple[MemberView, ...] = ()
    gateway: MemberView | None = None
    started: tuple[str, ...] = ()  # by the command that made this view

    @property
    def coordinator(self) -> MemberView:
        """The first of them."""
        return self.coordinators[0]

    @property
    def is_healthy(self) -> bool:
        """Whether everything runs and all coordinators have heard every node."""
        others = [*self.coordinators, *self.etcd, *([self.gateway] if self.gateway else [])]
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
            plan = planned(state, wish, self.folder)
            if plan.etcd:
                find_etcd()
            self.folder.save(structs.replace(state, catalogue=plan.catalogue))
            for group in in_order(plan):
                plan = self._start(group, plan, started)
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
            # Those that keep the catalogue last: others write their last words into it.
            left = []
            for keeps in (False, True):
                group = [each for each in running if _keeps_catalogue(each) is keeps]
                processes = [each.process for each in group if each.process is not None]
                left += end(processes, patience_s=END_PATIENCE_S)
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
            wanted = [state.member(name) for name in names]
            for group in in_order(state):
                state = self._start([each for each in group if each in wanted], state, started)
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
        """Change nodes' limits while they run; they keep them when they are started again.

        Raises: NodeUnreachable, UsageError, DirectoryLocked.
        """
        with self._locked():
            state = self.folder.require()
            members = [state.member(name) for name in names]
            for member in members:
                asyncio.run(_set_limits(member, limits))
                self._save(structs.replace(member, limits=member.limits | limits))

    # -- starting --------------------------------------------------------------------------------

    def _start(
        self, members: Sequence[Member], plan: ClusterState, started: dict[str, ProcessId]
    ) -> ClusterState:
        """Start those that do not run, all at once; return the plan when all are ready."""
        begun = []
        for member in members:
            if member.state is ProcessState.GONE:
                self._say(f"starting {member.name}")
                with interrupts_put_off():
                    process = started[member.name] = launch(member, plan, self.folder)
                    begun.append(self._save(structs.replace(member, process=process)))
            else:
                self._save(member)
        for member in begun:
            plan = plan.with_member(self._save(wait_until_ready(member, self.folder)))
            if member.limits:
                asyncio.run(_set_limits(member, member.limits))
        return plan

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
        """Return the cluster, once every node that runs is up everywhere or time is up."""
        state = self.folder.require()
        deadline_s = time.monotonic() + wait_s
        async with contextlib.AsyncExitStack() as stack:
            clients = {
                each.name: await stack.enter_async_context(
                    CoordinatorClient([each.url], timeout_s=COORDINATOR_TIMEOUT_S)
                )
                for each in state.coordinators
            }
            while True:
                view = await self._look(state, clients)
                waiting = any(
                    node.process is ProcessState.RUNNING and node.state != "up"
                    for node in view.nodes
                )
                if not waiting or time.monotonic() >= deadline_s:
                    return view
                await asyncio.sleep(_POLL_S)

    async def _look(
        self, state: ClusterState, clients: Mapping[str, CoordinatorClient]
    ) -> ClusterView:
        running = [each for each in state.coordinators if each.state is ProcessState.RUNNING]
        heard = await asyncio.gather(*(_heard_by(clients[each.name]) for each in running))
        nodes = []
        for node in state.nodes:
            states = [found.get(node.name) for found in heard if found is not None]
            # What not all agree on is not counted on.
            word = next((each for each in states if each != "up"), "up") if states else None
            nodes.append(MemberView(node, node.state, word))
        coordinators = [MemberView(each, each.state) for each in state.coordinators]
        return ClusterView(
            directory=self.folder.path,
            catalogue=state.catalogue,
            coordinators=tuple(coordinators),
            nodes=tuple(nodes),
            etcd=tuple(MemberView(each, each.state) for each in state.etcd),
            gateway=MemberView(state.gateway, state.gateway.state) if state.gateway else None,
        )


async def _heard_by(client: CoordinatorClient) -> dict[str, str] | None:
    """Return the nodes' states at one coordinator; None: it does not answer."""
    try:
        return {each.record.id: each.state for each in await client.nodes()}
    except EvenflowError:
        return None


def _keeps_catalogue(member: Member) -> bool:
    return member.kind in (MemberKind.NODE, MemberKind.ETCD)


def _signal(member: Member, number: signal.Signals) -> bool:
    """Return whether the member was there to get the signal."""
    if member.process is None or not send(member.process, number):
        return False
    wait_for(member.process, _STATE_AFTER[number], timeout_s=END_PATIENCE_S)
    return True


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
