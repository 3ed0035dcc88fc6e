"""``storage-server cluster ...``: from arguments to one call, from its answer to a table."""

import argparse
import signal
from collections.abc import Sequence

from redundancy.errors import ExitCode, UsageError
from redundancy.quantities import parse_size
from redundancy.terminal import Terminal
from storage_server.cluster import ClusterView, LocalCluster, MemberView
from storage_server.cluster_plan import UpWish
from storage_server.coordinator.config import DEFAULT_LISTEN
from storage_server.node.config import parse_rate
from storage_server.processes import ProcessState
from storage_server.tables import table


def up(args: argparse.Namespace, terminal: Terminal) -> int:
    """Start a cluster, or what of it does not run."""
    if args.nodes is not None and args.nodes < 1:
        raise UsageError("a cluster has at least 1 node")
    if args.coordinators is not None and args.coordinators < 1:
        raise UsageError("a cluster has at least 1 coordinator")
    if args.capacity:
        parse_size(args.capacity)  # said now rather than by every node
    wish = UpWish(
        nodes=args.nodes,
        base_port=args.base_port,
        waits=args.wait,
        gateway=args.gateway,
        signed_reads=args.signed_reads,
        policy=args.policy,
        catalogue=args.catalogue,
        coordinators=args.coordinators,
        node_options=("--capacity", args.capacity) if args.capacity else (),
    )
    view = _cluster(args, terminal).up(wish)
    if not view.started:
        terminal.note("the cluster is up already")
    return _show(view, terminal, is_asked_to_wait=args.wait, next_step=_export_line(view))


def down(args: argparse.Namespace, terminal: Terminal) -> int:
    """End a cluster."""
    ended = _cluster(args, terminal).down(purge=args.purge)
    what = f"ended {', '.join(ended)}" if ended else "nothing was running"
    if args.purge:
        what += "; its data is removed"
    terminal.result({"ended": ended, "purged": args.purge}, what)
    return ExitCode.OK


def status(args: argparse.Namespace, terminal: Terminal) -> int:
    """Show what runs and what does not."""
    return _show(_cluster(args, terminal).view(), terminal)


def kill(args: argparse.Namespace, terminal: Terminal) -> int:
    """End nodes at once."""
    return _signal(args, terminal, signal.SIGKILL, "killed")


def freeze(args: argparse.Namespace, terminal: Terminal) -> int:
    """Stop nodes where they stand."""
    return _signal(args, terminal, signal.SIGSTOP, "frozen")


def thaw(args: argparse.Namespace, terminal: Terminal) -> int:
    """Let frozen nodes go on."""
    return _signal(args, terminal, signal.SIGCONT, "thawed")


def start(args: argparse.Namespace, terminal: Terminal) -> int:
    """Start nodes again with their data."""
    return _show(_cluster(args, terminal).start(args.names), terminal)


def slow(args: argparse.Namespace, terminal: Terminal) -> int:
    """Change how fast nodes answer."""
    limits: dict[str, float | None] = {}
    if args.rate is not None:
        limits["upload_bytes_per_s"] = None if args.rate == "none" else parse_rate(args.rate)
    if args.delay is not None:
        limits["delay_s"] = args.delay
    if not limits:
        raise UsageError("say how slow: --rate 500kbit/s, --delay 0.3, or both")
    _cluster(args, terminal).slow(args.names, limits)
    terminal.result(
        {"nodes": args.names, "limits": limits}, f"{', '.join(args.names)}: {_limits_text(limits)}"
    )
    return ExitCode.OK


def _cluster(args: argparse.Namespace, terminal: Terminal) -> LocalCluster:
    return LocalCluster(args.dir, say=terminal.note)


def _signal(args: argparse.Namespace, terminal: Terminal, number: signal.Signals, done: str) -> int:
    """Send a signal; a member that is gone already has nothing to get it."""
    reached = _cluster(args, terminal).signal(args.names, number)
    gone = [name for name in args.names if name not in reached]
    parts = [f"{done} {', '.join(reached)}"] if reached else []
    parts += [f"{', '.join(gone)} did not run"] if gone else []
    terminal.result({done: reached, "gone": gone}, "; ".join(parts))
    return ExitCode.PARTIAL if gone and number != signal.SIGKILL else ExitCode.OK


def _export_line(view: ClusterView) -> str:
    """Return what to paste so that the other commands find the cluster; empty: they do."""
    urls = ",".join(each.member.url for each in view.coordinators)
    return "" if urls == f"http://{DEFAULT_LISTEN}" else f"export SMART_CLIENT_COORDINATOR={urls}"


def _show(
    view: ClusterView, terminal: Terminal, *, is_asked_to_wait: bool = True, next_step: str = ""
) -> int:
    """Print the cluster; return whether it is as it should be."""
    terminal.result({"cluster": _as_json(view)}, f"{_as_text(view)}\n{next_step}".rstrip())
    if view.is_healthy or not is_asked_to_wait:
        return ExitCode.OK
    runs = any(each.process is ProcessState.RUNNING for each in view.coordinators)
    return ExitCode.PARTIAL if runs else ExitCode.TEMPORARY


def _as_json(view: ClusterView) -> dict[str, object]:
    nodes = [
        {"id": node.member.name, **_facts(view, node), "state": node.state} for node in view.nodes
    ]
    return {
        "dir": str(view.directory),
        "healthy": view.is_healthy,
        "catalogue": view.catalogue,
        "coordinator": _facts(view, view.coordinator),
        "coordinators": [_named(view, each) for each in view.coordinators],
        "etcd": [_named(view, each) for each in view.etcd],
        "nodes": nodes,
        "gateway": _facts(view, view.gateway) if view.gateway else None,
        "started": list(view.started),
    }


def _named(view: ClusterView, each: MemberView) -> dict[str, object]:
    return {"id": each.member.name, **_facts(view, each)}


def _facts(view: ClusterView, each: MemberView) -> dict[str, object]:
    process = each.member.process
    return {
        "url": each.member.url,
        "pid": process.pid if process and each.process is not ProcessState.GONE else None,
        "process": each.process,
        "data": str(view.directory / each.member.name),
        "log": str(view.directory / "logs" / f"{each.member.name}.log"),
    }


def _as_text(view: ClusterView) -> str:
    rows = [_row(each, "") for each in (*view.coordinators, *view.etcd)]
    rows += [_row(each, each.state or "not known") for each in view.nodes]
    rows += [_row(view.gateway, "")] if view.gateway else []
    lines = [table(("NAME", "PROCESS", "STATE", "URL", "PID"), rows), _verdict(view)]
    return "\n".join(lines)


def _row(each: MemberView, state: str) -> Sequence[str]:
    process = each.member.process
    pid = str(process.pid) if process and each.process is not ProcessState.GONE else "-"
    return (each.member.name, each.process, state, each.member.url, pid)


def _verdict(view: ClusterView) -> str:
    """Return how it is, and what to do next."""
    away = [
        each
        for each in (*view.coordinators, *view.etcd)
        if each.process is not ProcessState.RUNNING
    ]
    for each in away:
        verb = "thaw" if each.process is ProcessState.FROZEN else "start"
        name = each.member.name
        return f"{name} is {each.process}. next: storage-server cluster {verb} {name}"
    missing = view.missing
    if view.gateway is not None and view.gateway.process is not ProcessState.RUNNING:
        return f"the gateway is {view.gateway.process}. next: storage-server cluster up"
    if not missing:
        urls = ",".join(each.member.url for each in view.coordinators)
        return f"all {len(view.nodes)} nodes are up. coordinator: {urls}"
    steps = [
        f"storage-server cluster {verb} {' '.join(names)}"
        for verb, process in (("thaw", ProcessState.FROZEN), ("start", ProcessState.GONE))
        if (names := [each.member.name for each in missing if each.process is process])
    ]
    text = f"not up: {', '.join(each.member.name for each in missing)}"
    return f"{text}. next: {'; '.join(steps)}" if steps else text


def _limits_text(limits: dict[str, float | None]) -> str:
    parts = []
    if "upload_bytes_per_s" in limits:
        rate = limits["upload_bytes_per_s"]
        parts.append("no cap" if rate is None else f"at most {rate * 8 / 1000:g} kbit/s")
    if "delay_s" in limits:
        parts.append(f"{limits['delay_s']:g} s before each answer")
    return ", ".join(parts)
