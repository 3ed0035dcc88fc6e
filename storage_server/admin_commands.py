"""``storage-server admin ...``: what an operator asks of a running coordinator."""

import argparse
import asyncio
from collections.abc import Sequence

import msgspec

from redundancy.errors import ExitCode
from redundancy.quantities import size_text
from redundancy.terminal import Terminal
from smart_client import wire
from smart_client.transport.coordinator import CoordinatorClient
from storage_server.config import AdminConfig
from storage_server.tables import table


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


async def _list(config: AdminConfig) -> tuple[wire.NodeStatus, ...]:
    async with CoordinatorClient(config.coordinators, token=config.token) as client:
        return await client.nodes()


async def _add(config: AdminConfig, record: wire.NodeRecord) -> wire.NodeStatus:
    async with CoordinatorClient(config.coordinators, token=config.token) as client:
        return await client.add_node(record)


def _as_text(nodes: Sequence[wire.NodeStatus]) -> str:
    if not nodes:
        return "no nodes. next: storage-server node --data DIR --coordinator URL"
    head = ("NODE", "STATE", "SEEN", "USED", "CAPACITY", "FRAGMENTS", "ZONE", "URL", "NOTE")
    return table(head, [_row(node) for node in nodes])


def _row(node: wire.NodeStatus) -> Sequence[str]:
    seen = "never" if node.seen_s_ago is None else f"{node.seen_s_ago:.0f} s ago"
    return (
        node.record.id,
        node.state,
        seen,
        size_text(node.used_bytes),
        size_text(node.record.capacity_bytes),
        str(node.fragments),
        node.record.zone or "-",
        " ".join(node.record.urls) or "-",
        "" if node.status == "ok" else node.status,
    )
