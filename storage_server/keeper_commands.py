"""``admin keeper|repair|rebalance|scrub``, and nodes emptied: the plan first, then progress."""

import argparse
import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

from redundancy.errors import ExitCode
from redundancy.quantities import duration_text, size_text
from redundancy.terminal import Terminal
from smart_client import wire
from smart_client.storage_report import NodePlan
from smart_client.transport.coordinator import CoordinatorClient, ask_each
from storage_server.admin_commands import ask
from storage_server.config import AdminConfig
from storage_server.scrubbing import Scrubbed, scrub_videos

_LOOK_EVERY_S = 1.0

# A coordinator that does not say within this whether it keeps is not asked further.
_FIND_S = 2.0

_MBIT_BYTES = 1e6 / 8

_DONE = {
    "repair": "chunks repaired",
    "move": "moved",
    "migrate": "laid out anew",
    "trim": "trimmed",
}


def keeper_status(args: argparse.Namespace, terminal: Terminal) -> int:
    """Tell what is repaired and moved; tell by the exit code whether something is left."""
    _turn_to_keeper(args)
    return _tell(ask(args, CoordinatorClient.keeper), terminal)


def keeper_run(args: argparse.Namespace, terminal: Terminal) -> int:
    """Look at everything now."""
    _turn_to_keeper(args)
    return _tell(ask(args, CoordinatorClient.run_keeper), terminal)


def repair(args: argparse.Namespace, terminal: Terminal) -> int:
    """Make good what is lost, after saying what it takes."""
    return _upkeep(args, terminal, "repair", CoordinatorClient.run_keeper)


def rebalance(args: argparse.Namespace, terminal: Terminal) -> int:
    """Even the nodes out, after saying what it takes."""
    return _upkeep(args, terminal, "rebalance", CoordinatorClient.rebalance)


def drain_node(args: argparse.Namespace, terminal: Terminal) -> int:
    """Empty a node that stays."""
    if args.dry_run:
        return _tell_plan(ask(args, lambda client: client.plan_node(args.name)), terminal)
    planned = ask(args, lambda client: client.drain_node(args.name))
    terminal.note(_plan_text(planned))
    if args.watch:
        _watch(args, terminal, lambda client: client.plan_node(args.name))
    done = (
        "holds nothing that videos need"
        if args.watch
        else "is being emptied, and takes nothing new"
    )
    hint = f"to take it back: storage-server admin node add {args.name} URL"
    terminal.result(
        {"plan": msgspec.to_builtins(planned), "done": args.watch},
        f"node {args.name} {done}. {hint}",
    )
    return ExitCode.OK


def remove_node(args: argparse.Namespace, terminal: Terminal) -> int:
    """Take a node out; its fragments move first."""
    planned = ask(args, lambda client: client.plan_node(args.name))
    if args.dry_run:
        return _tell_plan(planned, terminal)
    terminal.note(_plan_text(planned))
    removed = ask(args, lambda client: client.remove_node(args.name))
    terminal.result(
        msgspec.to_builtins(removed), f"node {removed.node} removed, {removed.moved} migrated"
    )
    return ExitCode.OK


def scrub(args: argparse.Namespace, terminal: Terminal) -> int:
    """Have every fragment read and checked where it lies, and make good what is bad."""
    config = AdminConfig.from_args(args)

    def say(found: Scrubbed) -> None:
        terminal.note(f"{found.checked} of {found.total} fragments checked, {found.bad} bad")

    found = asyncio.run(scrub_videos(config, tuple(args.videos), say))
    status = None
    if found.bad or found.missing:
        _turn_to_keeper(args)
        status = ask(args, CoordinatorClient.run_keeper)
    text = f"{found.checked} fragments checked: {found.bad} bad, {found.missing} missing"
    text += f"; {found.unasked} on nodes that do not answer" if found.unasked else ""
    text += f"\n{keeper_text(status)}" if status else ""
    told = msgspec.to_builtins(status) if status else None
    terminal.result({"scrub": msgspec.to_builtins(found), "keeper": told}, text)
    left = status is not None and _is_left(status)
    return ExitCode.PARTIAL if left or found.unasked else ExitCode.OK


def _turn_to_keeper(args: argparse.Namespace) -> None:
    """Of several coordinators ask the one that keeps, if one says that it does."""
    config = AdminConfig.from_args(args)
    if len(config.coordinators) == 1:
        return
    asking = ask_each(
        config.coordinators, CoordinatorClient.keeper, token=config.token, patience_s=_FIND_S
    )
    for url, said in asyncio.run(asking).items():
        if isinstance(said, wire.KeeperStatus) and said.is_keeper:
            args.coordinator = [url]


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
    if status.limits:
        lines.append(_limits_text(status.limits))
    return "\n".join(lines)


def _limits_text(limits: dict[str, str | float]) -> str:
    """Return what the keeper may do; an older coordinator may name fewer limits."""
    known = {name: value for name, value in limits.items() if isinstance(value, int | float)}
    parts = [f"policy {limits.get('policy', '?')}"]
    if "policy_bytes_per_day" in known:
        parts.append(f"{size_text(known['policy_bytes_per_day'])} a day for it")
    if "bytes_per_s" in known and "jobs_at_once" in known:
        rate = known["bytes_per_s"] / _MBIT_BYTES
        parts.append(f"at most {rate:g} Mbit/s and {known['jobs_at_once']:g} chunks at once")
    if "lost_after_s" in known:
        parts.append(f"nodes are lost after {duration_text(known['lost_after_s'])}")
    return f"limits: {', '.join(parts)}"


def _upkeep(
    args: argparse.Namespace,
    terminal: Terminal,
    what: str,
    order: Callable[[CoordinatorClient], Awaitable[wire.KeeperStatus]],
) -> int:
    _turn_to_keeper(args)
    planned = ask(args, lambda client: client.plan_keeper(what))
    if args.dry_run:
        return _tell_plan(planned, terminal)
    terminal.note(_plan_text(planned))
    if not args.watch:
        return _tell(ask(args, order), terminal)

    async def order_and_watch() -> wire.KeeperStatus:
        config = AdminConfig.from_args(args)
        async with CoordinatorClient(
            config.coordinators, token=config.token, timeout_s=24 * 3600.0
        ) as client:
            before = (await client.keeper()).received_bytes
            ordered = asyncio.ensure_future(order(client))
            while not ordered.done():
                await asyncio.wait({ordered}, timeout=_LOOK_EVERY_S)
                if not ordered.done():
                    terminal.note(_progress(await client.keeper(), before, planned))
            return await ordered

    return _tell(asyncio.run(order_and_watch()), terminal)


def _watch(
    args: argparse.Namespace,
    terminal: Terminal,
    question: Callable[[CoordinatorClient], Awaitable[NodePlan]],
) -> None:
    """Tell how much is left until nothing is."""
    while (left := ask(args, question)).moves:
        terminal.note(f"{left.moves} fragments, {size_text(left.bytes)} to go")
        time.sleep(_LOOK_EVERY_S)


def _progress(status: wire.KeeperStatus, before: int, planned: NodePlan) -> str:
    """Return how far it is; ``before``: bytes moved when it was ordered."""
    share = f" of about {size_text(planned.bytes)}" if planned.bytes else ""
    left = f"{status.groups_left} groups to do"
    return f"{left}; {size_text(max(0, status.received_bytes - before))}{share} moved"


def _plan_text(planned: NodePlan) -> str:
    if not planned.moves:
        return "nothing to move"
    return (
        f"{planned.moves} fragments to make or move, {size_text(planned.bytes)} between nodes, "
        f"{duration_text(planned.seconds)} at least"
    )


def _tell_plan(planned: NodePlan, terminal: Terminal) -> int:
    terminal.result({"plan": msgspec.to_builtins(planned), "dry_run": True}, _plan_text(planned))
    return ExitCode.OK


def _is_left(status: wire.KeeperStatus) -> bool:
    return bool(status.groups_left or status.fragments_missing or status.stuck)


def _tell(status: wire.KeeperStatus, terminal: Terminal) -> int:
    terminal.result({"keeper": msgspec.to_builtins(status)}, keeper_text(status))
    return ExitCode.PARTIAL if _is_left(status) else ExitCode.OK
