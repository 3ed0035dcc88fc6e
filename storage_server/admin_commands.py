"""``storage-server admin ...``: what an operator asks of a running coordinator."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec

from redundancy.errors import ExitCode
from redundancy.quantities import size_text
from redundancy.terminal import Terminal
from smart_client import wire
from smart_client.transport.coordinator import CoordinatorClient
from storage_server.config import AdminConfig
from storage_server.tables import table

Answer = TypeVar("Answer")

# Taking a node out moves all it holds before it is answered.
_PATIENCE_S = 24 * 3600.0


def list_nodes(args: argparse.Namespace, terminal: Terminal) -> int:
    """List the nodes; tell by the exit code whether all are up."""
    nodes = asyncio.run(_list(AdminConfig.from_args(args)))
    terminal.result({"nodes": msgspec.to_builtins(nodes)}, _as_text(nodes))
    return ExitCode.OK if all(node.state == "up" for node in nodes) else ExitCode.PARTIAL


def add_node(args: argparse.Namespace, terminal: Terminal) -> int:
    """Add a node by hand."""
    # Decoded, so that a name or an address that cannot be is refused before anything is sent.
    record = wire.decode(
        wire.encode({"id": args.name, "urls": [args.url], "zone": args.zone}), wire.NodeRecord
    )
    node = asyncio.run(_add(AdminConfig.from_args(args), record))
    terminal.result(
        {"node": msgspec.to_builtins(node)},
        f"node {node.record.id} added, its state is {node.state}",
    )
    return ExitCode.OK


def lose_node(args: argparse.Namespace, terminal: Terminal) -> int:
    """Declare a node lost."""
    node = ask(args, lambda client: client.declare_lost(args.name))
    terminal.result(
        {"node": msgspec.to_builtins(node)},
        f"node {node.record.id} is {node.state}: what it held is made anew on other nodes. "
        "See `storage-server admin keeper status`",
    )
    return ExitCode.OK


def set_layout(args: argparse.Namespace, terminal: Terminal) -> int:
    """Have a video stored in another layout."""
    wish = wire.SetLayout(redundancy=args.layout)
    video = ask(args, lambda client: client.set_layout(args.name, wish))
    terminal.result(
        {"video": msgspec.to_builtins(video)},
        f"'{video.name}' will be stored as {video.layout.to_layout()} ({video.reason})",
    )
    return ExitCode.OK


def ask(
    args: argparse.Namespace, question: Callable[[CoordinatorClient], Awaitable[Answer]]
) -> Answer:
    """Put one question to a coordinator, and wait as long as it takes."""
    config = AdminConfig.from_args(args)

    async def put() -> Answer:
        client = CoordinatorClient(config.coordinators, token=config.token, timeout_s=_PATIENCE_S)
        async with client:
            return await question(client)

    return asyncio.run(put())


async def _list(config: AdminConfig) -> tuple[wire.NodeStatus, ...]:
    async with CoordinatorClient(config.coordinators, token=config.token) as client:
        return await client.nodes()


async def _add(config: AdminConfig, record: wire.NodeRecord) -> wire.NodeStatus:
    async with CoordinatorClient(config.coordinators, token=config.token) as client:
        return await client.add_node(record)


def _as_text(nodes: Sequence[wire.NodeStatus]) -> str:
    if not nodes:
        return "no nodes. next: storage-server node --data DIR --coordinator URL"
    first = ("NODE", "STATE", "SEEN", "UPTIME", "USED", "CAPACITY")
    return table((*first, "FRAGMENTS", "ZONE", "URL", "NOTE"), [_row(node) for node in nodes])


def _row(node: wire.NodeStatus) -> Sequence[str]:
    seen = "never" if node.seen_s_ago is None else f"{node.seen_s_ago:.0f} s ago"
    return (
        node.record.id,
        node.state,
        seen,
        "-" if node.uptime is None else f"{node.uptime:.2%}",
        size_text(node.used_bytes),
        size_text(node.record.capacity_bytes),
        str(node.fragments),
        node.record.zone or "-",
        " ".join(node.record.urls) or "-",
        "" if node.status == "ok" else node.status,
    )
