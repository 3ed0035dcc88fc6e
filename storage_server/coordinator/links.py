"""The coordinator's connections to nodes: for questions and orders, never for fragments."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from redundancy.errors import EvenflowError
from smart_client import wire
from smart_client.errors import AccessDenied, NodeUnreachable
from smart_client.transport.errors import TransportFailure
from smart_client.transport.nodes import NodeConnections
from smart_client.transport.tls import tls_trouble
from storage_server.coordinator.membership import Membership
from storage_server.coordinator.troubles import Between
from storage_server.read_keys import ReadGrants

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

# A node that is asked to fetch a fragment reads at most 4 MiB from another one.
ORDER_TIMEOUT_S = 30.0


class NodeLinks:
    """Responsible for one set of connections per node, made anew when its address changes."""

    def __init__(
        self, members: Membership, *, token: str | None = None, grants: ReadGrants | None = None
    ) -> None:
        self.grants = grants or ReadGrants()  # what nodes need to read from each other
        self._members = members
        self._token = token
        self._links: dict[str, NodeConnections] = {}

    async def call(
        self,
        node: str,
        ask: Callable[[NodeConnections], Awaitable[Answer]],
        *,
        needs_token: bool = False,
    ) -> Answer:
        """Ask a node something.

        Args: needs_token: nobody is answered without it, so an answer proves that it is the same.
        Raises: NodeNotFound, NodeUnreachable: it did not answer in time or cannot be reached;
            EvenflowError: it refused.
        """
        link = await self._link(self._members.record(node))
        try:
            async with asyncio.timeout(ORDER_TIMEOUT_S):
                answer = await ask(link)
        except TransportFailure as error:
            if trouble := tls_trouble(error):
                self._note(node, Between.TO_NODE, trouble)
            raise NodeUnreachable(f"node {node}: {error}") from error
        except TimeoutError as error:
            raise NodeUnreachable(f"node {node} did not answer in {ORDER_TIMEOUT_S:g} s") from error
        except AccessDenied:
            another = "it has another token than this coordinator (--token-file)"
            self._note(node, Between.ORDERS, another)
            raise
        self._note(node, Between.TO_NODE, "")
        if needs_token:
            self._note(node, Between.ORDERS, "")
        return answer

    def _note(self, node: str, way: Between, trouble: str) -> None:
        if trouble and trouble not in self._members.troubles.of(node):
            log.warning("node %s: %s", node, trouble)
        self._members.troubles.note(node, way, trouble)

    async def close(self) -> None:
        """Drop all connections."""
        for link in self._links.values():
            await link.close()
        self._links.clear()

    async def _link(self, record: wire.NodeRecord) -> NodeConnections:
        link = self._links.get(record.id)
        if link is not None and link.record.urls == record.urls:
            return link
        if not record.urls:
            raise NodeUnreachable(f"node {record.id} has no address yet")
        self._links[record.id] = NodeConnections(record, token=self._token)
        if link is not None:
            await link.close()
        return self._links[record.id]


class Pinger:
    """Responsible for asking the nodes that send no heartbeats whether they live.

    One question at a time and node, once a second: a node that hangs holds up nobody.
    """

    INTERVAL_S = 1.0

    # Every so many answers a node is asked who it is and how full; a port may change hands.
    _PINGS_PER_INTRODUCTION = 10

    def __init__(
        self,
        members: Membership,
        links: NodeLinks,
        holds_fragments: Callable[[str], bool],
    ) -> None:
        self._members = members
        self._links = links
        self._holds_fragments = holds_fragments
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._pings_left: dict[str, int] = {}
        self._trouble: dict[str, str] = {}

    async def run(self) -> None:
        """Ask for ever, until cancelled."""
        try:
            while True:
                self.ask_all()
                await asyncio.sleep(self.INTERVAL_S)
        finally:
            tasks = list(self._asking.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def ask_all(self) -> None:
        """Start a question to every quiet node that has none open."""
        for record in self._members.without_beats():
            task = self._asking.get(record.id)
            if task is None or task.done():
                self._asking[record.id] = asyncio.create_task(self._ask(record))

    async def _ask(self, record: wire.NodeRecord) -> None:
        node = record.id
        try:
            if self._pings_left.get(node, 0) > 0:
                await self._links.call(node, NodeConnections.ping)
                self._members.hear(node)
                self._pings_left[node] -= 1
            else:
                await self._get_introduced(record)
                self._pings_left[node] = self._PINGS_PER_INTRODUCTION
            self._note(node, "")
        except EvenflowError as error:
            self._pings_left[node] = 0
            self._note(node, error.message)
        except Exception:  # top of the task: the next question may go better
            log.exception("asking node %s failed in an unforeseen way", node)

    async def _get_introduced(self, record: wire.NodeRecord) -> None:
        health = await self._links.call(record.id, NodeConnections.health)
        name = health.get("node", record.id)
        if name != record.id:
            raise NodeUnreachable(f"another node answers at {record.urls[0]}: {name}")
        await self._members.hear_health(
            _as_heartbeat(record, health), self._holds_fragments(record.id)
        )

    def _note(self, node: str, trouble: str) -> None:
        """Log what is wrong once, and that it is over."""
        if trouble and not self._trouble.get(node):
            log.warning("node %s does not answer: %s", node, trouble)
        self._trouble[node] = trouble


def _as_heartbeat(record: wire.NodeRecord, health: Mapping[str, Any]) -> wire.Heartbeat:
    """Return what a node's ``/healthz`` says in the form of a heartbeat."""
    return wire.decode(
        wire.encode(
            {
                "node": record.id,
                "store": health.get("store", record.store),
                "urls": record.urls,
                "zone": health.get("zone") or record.zone,
                "capacity_bytes": health.get("capacity_bytes", record.capacity_bytes),
                "used_bytes": health.get("used_bytes", 0),
                "free_bytes": health.get("free_bytes", 0),
                "fragments": health.get("fragments", 0),
                "status": health.get("status", "ok"),
                "reason": health.get("reason", ""),
                "read_keys": health.get("read_keys"),
            }
        ),
        wire.Heartbeat,
    )
