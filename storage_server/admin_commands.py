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
    node = _ask(args, lambda client: client.declare_lost(args.name))
    terminal.result(
        {"node": msgspec.to_builtins(node)},
        f"node {node.record.id} is {node.state}: what it held is made anew on other nodes. "
        "See `storage-server admin keeper status`",
    )
    return ExitCode.OK


def remove_node(args: argparse.Namespace, terminal: Terminal) -> int:
    """Take a node out; its fragments move first."""
    removed = _ask(args, lambda client: client.remove_node(args.name))
    terminal.result(
        msgspec.to_builtins(removed), f"node {removed.node} removed, {removed.moved} migrated"
    )
    return ExitCode.OK


def keeper_status(args: argparse.Namespace, terminal: Terminal) -> int:
    """Tell what is repaired and moved; tell by the exit code whether something is left."""
    return _tell(_ask(args, CoordinatorClient.keeper), terminal)


def keeper_run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Look at everything now."""
    return _tell(_ask(args, CoordinatorClient.run_keeper), terminal)


def set_layout(args: argparse.Namespace, terminal: Terminal) -> int:
    """Have a video stored in another layout."""
    wish = wire.SetLayout(redundancy=args.layout)
    video = _ask(args, lambda client: client.set_layout(args.name, wish))
    terminal.result(
        {"video": msgspec.to_builtins(video)},
        f"'{video.name}' will be stored as {video.layout.to_layout()} ({video.reason})",
    )
    return ExitCode.OK


def _ask(
    args: argparse.Namespace, question: Callable[[CoordinatorClient], Awaitable[Answer]]
) -> Answer:
    config = AdminConfig.from_args(args)

    async def ask() -> Answer:
        client = CoordinatorClient(config.coordinators, token=config.token, timeout_s=_PATIENCE_S)
        async with client:
            return await question(client)

    return asyncio.run(ask())


def _tell(status: wire.KeeperStatus, terminal: Terminal) -> int:
    terminal.result({"keeper": msgspec.to_builtins(status)}, keeper_text(status))
    left = status.groups_left or status.fragments_missing or status.stuck
    return ExitCode.PARTIAL if left else ExitCode.OK


def keeper_text(status: wire.KeeperStatus) -> str:
    """Return what the keeper does, for people."""
    done = ", ".join(f"{count} {_DONE.get(kind, kind)}" for kind, count in status.done.items())
    left = f"{status.groups_left} groups of chunks to do" if status.groups_left else "nothing to do"
    lines = [left if status.is_keeper else f"another coordinator keeps; as seen here {left}"]
    if status.fragments_missing:
        lines.append(f"{status.fragments_missing} fragments are lost on nodes that are up")
    lines.append(f"since the start: {done or 'nothing'}; {size_text(status.received_bytes)} moved")
    if status.collected or status.drops_waiting:
        lines.append(
            f"{status.collected} fragments that no record names collected, "
            f"{status.drops_waiting} superseded ones wait for old manifests to be forgotten"
        )
    if status.resting:
        lines.append(f"given a rest, because they play: {', '.join(status.resting)}")
    lines += [f"stuck: {each}" for each in status.stuck]
    if status.trouble:
        lines.append(f"waits: {status.trouble}")
    return "\n".join(lines)


_DONE = {
    "repair": "chunks repaired",
    "move": "moved",
    "migrate": "laid out anew",
    "trim": "trimmed",
}


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
