"""A node running in an event loop: everything but the process around it.

start -> listening -> stop: not ready -> no new connections -> requests end -> store closes
"""

import asyncio
import contextlib
import dataclasses
import logging
import resource
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from smart_client.accepting import close_server
from storage_server.listening import address_errors, bound_socket, url_of
from storage_server.node.access import Guard
from storage_server.node.app import CHUNK_ROUTE, NodeApp
from storage_server.node.caretaker import Caretaker
from storage_server.node.config import NodeConfig, NodeLimits
from storage_server.node.group_commit import GroupCommit
from storage_server.node.heartbeat import Heartbeat, HeartbeatFacts, beat_for_ever
from storage_server.node.http_server import NodeServer, require_c_parser
from storage_server.node.limits import Budget, Pacer, Shaping
from storage_server.node.lock import DataFolder
from storage_server.node.metrics import NodeMetrics
from storage_server.node.node_state import NodeState
from storage_server.node.plain_reads import PlainReads
from storage_server.node.responses import SliceSender
from storage_server.node.superblock_store import SuperblockStore
from storage_server.node.tls import certificate_of, listening_options

log = logging.getLogger(__name__)

_BACKLOG = 1024

# So many are taken in at once; a few such rounds pass before the first can be turned away.
_ACCEPTS_AT_ONCE = 8

# Descriptors for what is neither a connection nor a superblock, those rounds among them.
_DESCRIPTORS_SPARE = 128
_CONNECTIONS_MIN = 16

# Handlers that are still under way after the drain are cancelled; this is how long that may take.
_CANCEL_S = 0.2


@dataclass(frozen=True, slots=True)
class RunningNode:
    """What others may know of a node that runs."""

    node_id: str
    url: str
    node: NodeState
    guard: Guard

    def facts(self) -> HeartbeatFacts:
        """Return what a heartbeat says."""
        node = self.node
        facts = node.facts()
        return HeartbeatFacts(
            node=self.node_id,
            store_uuid=node.identity.store_uuid.hex(),
            zone=node.config.zone,
            urls=node.config.advertise or (self.url,),
            capacity_bytes=facts.capacity_bytes,
            used_bytes=facts.used_bytes,
            free_bytes=facts.free_bytes,
            fragments=facts.fragments,
            load=node.load,
            status=facts.status,
            reason=facts.reason,
            read_keys=self.guard.read_key_prints,
            uptime_s=node.clock() - node.started_s,
        )


@contextlib.asynccontextmanager
async def running_node(
    config: NodeConfig,
    *,
    heartbeat: Heartbeat | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[RunningNode]:
    """Run a node: its data is read and it listens when this is entered; it drains on the way out.

    Args:
        heartbeat: called every second while the node runs; what it raises is logged.
    Raises: ConfigError (DirectoryLocked, WrongNode, UnknownFormat, address not free), OSError.
    """
    require_c_parser()
    certificate = certificate_of(config.tls_certificate, config.tls_key)
    async with contextlib.AsyncExitStack() as stack:
        bound = stack.enter_context(bound_socket(config.host, config.port))
        node = await _open_node(config, stack, clock)
        app = stack.enter_context(contextlib.closing(NodeApp(node)))
        server = NodeServer(
            app.handle,
            _affordable(config, node),
            node.metrics,
            PlainReads(node, CHUNK_ROUTE),
            app.plain_puts,
        )
        with address_errors(config.host, config.port):
            listener = await asyncio.get_running_loop().create_server(
                server,
                sock=bound,
                backlog=_ACCEPTS_AT_ONCE,
                **listening_options(certificate),
            )
            bound.listen(_BACKLOG)  # the kernel keeps more waiting than are taken in at once
        stack.push_async_callback(_drain, node, server, listener)
        url = url_of(bound, is_encrypted=certificate is not None)
        if certificate is not None:
            await stack.enter_async_context(certificate.kept_current())
        running = RunningNode(node.identity.node_id, url, node, app.guard)
        if heartbeat is not None:
            beating = asyncio.create_task(beat_for_ever(heartbeat, running.facts))
            stack.push_async_callback(_cancel, beating)
        yield running


def _affordable(config: NodeConfig, node: NodeState) -> NodeLimits:
    """Return the limits with no more connections than there will be descriptors for.

    A process without descriptors can neither accept a connection nor refuse it.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return config.limits
    superblocks = node.facts().capacity_bytes // config.superblock_bytes + 2
    room = soft - superblocks - _DESCRIPTORS_SPARE
    if room >= config.limits.connections_max:
        return config.limits
    room = max(_CONNECTIONS_MIN, room)
    log.warning("room for %d connections only: %d files may be open (ulimit -n)", room, soft)
    return dataclasses.replace(config.limits, connections_max=room)


async def _open_node(
    config: NodeConfig, stack: contextlib.AsyncExitStack, clock: Callable[[], float]
) -> NodeState:
    folder = stack.enter_context(contextlib.closing(DataFolder(config.data_dir, config.node_id)))
    store = await asyncio.to_thread(
        SuperblockStore,
        folder.disk,
        folder.identity,
        capacity_bytes=config.capacity_bytes,
        superblock_bytes=config.superblock_bytes,
    )
    stack.enter_context(contextlib.closing(store))
    for damage in store.damage:
        log.warning("damaged superblock: %s", damage.describe())
    metrics = NodeMetrics()
    writer = GroupCommit(store, on_commit=metrics.observe_commit)
    stack.push_async_callback(writer.close)
    caretaker = Caretaker(store, writer, folder.disk, limits=config.upkeep, clock=clock)
    pacer = Pacer(Shaping(config.upload_bytes_per_s), clock)
    sender = SliceSender(pacer, metrics, stall_timeout_s=config.limits.stall_timeout_s)
    stack.enter_context(contextlib.closing(sender))
    node = NodeState(
        config=config,
        identity=folder.identity,
        store=store,
        writer=writer,
        caretaker=caretaker,
        metrics=metrics,
        pacer=pacer,
        sender=sender,
        put_budget=Budget(config.limits.put_bytes_in_flight_max),
        clock=clock,
        started_s=clock(),
    )
    await stack.enter_async_context(caretaker.at_work(node.wait_until_idle))
    return node


async def _drain(node: NodeState, server: NodeServer, listener: asyncio.Server) -> None:
    """Take no new connections, let requests end, close the rest."""
    node.is_draining = True

    async def shut_down() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(node.config.limits.drain_s):
                await node.wait_until_idle()
        server.pre_shutdown()
        await server.shutdown(_CANCEL_S)

    await close_server(listener, server, shut_down)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
