"""status, doctor, config show."""

import argparse
import asyncio
import importlib.util
import json
import os
import secrets
import shutil
import socket
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.table import Table

from redundancy.backends import best_codec
from redundancy.errors import EvenflowError, ExitCode
from redundancy.quantities import size_text
from redundancy.scheme import Scheme
from redundancy.terminal import Terminal
from smart_client import wire
from smart_client.agreement import Agreement
from smart_client.command_line.common import run_async, settings
from smart_client.command_line.init import init
from smart_client.command_line.verdicts import repair_text, whole_verdict
from smart_client.config import ClientConfig
from smart_client.errors import AccessDenied, CoordinatorUnreachable, VideoNotFound
from smart_client.library import Library
from smart_client.narration import duration_text
from smart_client.player import KNOWN_PLAYERS
from smart_client.transport.coordinator import CoordinatorClient, ask_each
from smart_client.transport.errors import TransportFailure
from smart_client.transport.nodes import NodeConnections
from smart_client.transport.tls import tls_hint, tls_trouble

Answer = TypeVar("Answer")

WATCH_INTERVAL_S = 2.0
URL_COLUMNS = 110  # from so many on the table of nodes has room for addresses
CHECK_TIMEOUT_S = 3.0
GATEWAY_TIMEOUT_S = 0.5

CACHE_FREE_BYTES_MIN = 256 * 1024 * 1024


def status(args: argparse.Namespace, terminal: Terminal) -> int:
    """Show the cluster: the verdict first, then every node."""
    config = settings(args)

    async def work() -> tuple[wire.ClusterStatus, Agreement | None, list[str]]:
        async with Library(config) as library:
            cluster = await library.coordinator.status()
            agreement, silent = await _catalogue_and_coordinators(config, library)
            return cluster, agreement, silent

    while True:
        cluster, agreement, silent = run_async(work())
        verdict, code = whole_verdict(cluster, agreement, silent)
        gateway = gateway_here(config)
        if terminal.json:
            plain = wire.decode(wire.encode(cluster), dict[str, object])
            payload = {"v": 1, "verdict": verdict, "cluster": plain, "gateway": gateway}
            summary = agreement.summary if agreement is not None else "not known now"
            catalogue = {"summary": summary, "silent_coordinators": silent}
            terminal.result({**payload, "catalogue": catalogue})
        else:
            console = terminal.console()
            console.print(verdict, style="bold green" if code is ExitCode.OK else "bold yellow")
            if repair := repair_text(cluster):
                console.print(repair)
            if gateway is not None:
                console.print(gateway_text(gateway))
            console.print(node_table(cluster, console.width))
        if not args.watch:
            return code
        time.sleep(WATCH_INTERVAL_S)


async def _catalogue_and_coordinators(
    config: ClientConfig, library: Library
) -> tuple[Agreement | None, list[str]]:
    """Return how the catalogue is, if that can be told, and which coordinators are silent."""
    return await asyncio.gather(_agreement(library), _silent_coordinators(config, library))


async def _agreement(library: Library) -> Agreement | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await library.coordinator.agreement()
    except (EvenflowError, TimeoutError):
        return None


async def _silent_coordinators(config: ClientConfig, library: Library) -> list[str]:
    """Return which of several coordinators do not answer."""
    if len(config.coordinator) == 1:
        return []  # it just did
    answers = await ask_each(
        config.coordinator,
        CoordinatorClient.status,
        token=library.token,
        patience_s=CHECK_TIMEOUT_S,
    )
    return [url for url, said in answers.items() if isinstance(said, EvenflowError)]


def gateway_here(config: ClientConfig) -> dict[str, Any] | None:
    """Return what the gateway on this machine says of itself; None if none answers."""
    if config.listen.endswith(":0"):
        return None
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{config.listen}/healthz", timeout=GATEWAY_TIMEOUT_S) as answer:
            found = json.loads(answer.read(65536))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "player_bytes" in found else None


def gateway_text(gateway: Mapping[str, Any]) -> str:
    """Say what the gateway does, and what it fetches for each byte it plays."""
    sessions, readers = gateway["sessions"], gateway["readers"]
    text = f"GATEWAY  {sessions} videos open, {readers} connections of players"
    if gateway.get("amplification") is not None:
        text += (
            f"; {size_text(gateway['node_bytes'])} from nodes for "
            f"{size_text(gateway['player_bytes'])} to players (x{gateway['amplification']:.2f})"
        )
    return text


def node_table(cluster: wire.ClusterStatus, width: int) -> Table:
    """Return every node in a line; addresses only where there is room (`doctor` names them too)."""
    table = Table(box=None, pad_edge=False)
    names = ["NODE", "STATE", "SEEN", "USED", "CAPACITY", "FRAGMENTS", "LOAD", "NOTE"]
    if width >= URL_COLUMNS:
        names.append("URL")
    for name in names:
        right = name in ("SEEN", "USED", "CAPACITY", "FRAGMENTS", "LOAD")
        # An address is folded rather than cut, so that it can be copied.
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for node in cluster.nodes:
        seen = "never" if node.seen_s_ago is None else duration_text(node.seen_s_ago)
        cells = (
            node.record.id,
            node.state,
            seen,
            size_text(node.used_bytes),
            size_text(node.record.capacity_bytes),
            str(node.fragments),
            str(node.requests_in_flight),
            _note(node.status, node.reason),
            " ".join(node.record.urls),
        )
        table.add_row(*cells[: len(names)])
    return table


def _note(status: str, reason: str) -> str:
    """Say what is wrong with a node and why; nothing if all is well."""
    if status in ("", "ok"):
        return ""
    return f"{status}: {reason}" if reason else status


# -- doctor --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    found: str
    hint: str = ""


def doctor(args: argparse.Namespace, terminal: Terminal) -> int:
    """Check each step between this machine and a playing video."""
    config = settings(args)
    checks = [
        _python(),
        _codec(),
        _video_library(),
        _players(),
        _cache(config),
        _gateway_port(config),
        *run_async(_network_checks(config)),
    ]
    failed = [check for check in checks if not check.ok]
    lines = [f"{'ok ' if c.ok else 'BAD'}  {c.name:<12} {c.found}" for c in checks]
    lines += [f"  next ({c.name}): {c.hint}" for c in failed if c.hint]
    terminal.result({"v": 1, "checks": [asdict(check) for check in checks]}, "\n".join(lines))
    return ExitCode.TEMPORARY if failed else ExitCode.OK


def _python() -> Check:
    version = ".".join(map(str, sys.version_info[:3]))
    return Check("python", sys.version_info >= (3, 11), version, "install Python 3.11 or newer")


def _codec() -> Check:
    backend = best_codec(Scheme(3, 5)).backend
    return Check("codec", True, f"{backend} (self-test passed)")


def _video_library() -> Check:
    if importlib.util.find_spec("av") is not None:
        return Check("video", True, "PyAV: files are cut at keyframes")
    if shutil.which("ffprobe"):
        return Check("video", True, "ffprobe: files are cut evenly, with their duration")
    return Check("video", True, "no PyAV, no ffprobe: files are stored without times")


def _players() -> Check:
    found = [name for name in KNOWN_PLAYERS if shutil.which(name)]
    text = ", ".join(found) or "none; a browser plays the gateway's URL, or use --player none"
    return Check("players", True, text)


def _cache(config: ClientConfig) -> Check:
    place = Path(config.cache_dir)
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    fine = free >= CACHE_FREE_BYTES_MIN and os.access(place, os.W_OK)
    return Check(
        "cache", fine, f"{size_text(free)} free at {place}", "free space or set --cache-dir"
    )


def _gateway_port(config: ClientConfig) -> Check:
    host, _, port = config.listen.rpartition(":")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
        except (OSError, ValueError):
            # An answering gateway of ours is the usual reason, and no trouble.
            return Check("gateway", True, f"{config.listen} is in use (a running gateway?)")
    return Check("gateway", True, f"{config.listen} is free")


async def _network_checks(config: ClientConfig) -> list[Check]:
    async with Library(config) as library:
        began_s = time.monotonic()
        try:
            cluster = await library.coordinator.status()
        except EvenflowError as error:
            found = "; ".join([error.message, *map(str, error.detail.values())])
            return [Check("coordinator", False, found, _coordinator_hint(config, error))]
        took = duration_text(time.monotonic() - began_s)
        all_of_them = ", ".join(config.coordinator)
        where = all_of_them if len(config.coordinator) == 1 else f"one of {all_of_them}"
        checks = [Check("coordinator", True, f"{where} answered in {took} ({cluster.catalogue})")]
        checks += await _catalogue_checks(config, library)
        checks.append(await _token_check(library))
        checks += await asyncio.gather(
            *(_node_check(node.record, library.token) for node in cluster.nodes)
        )
        if not cluster.nodes:
            checks.append(
                Check("nodes", False, "none registered", "start one: storage-server node --help")
            )
        return checks


async def _catalogue_checks(config: ClientConfig, library: Library) -> list[Check]:
    agreement, silent = await _catalogue_and_coordinators(config, library)
    checks = [
        Check("coordinator", False, f"{url} does not answer", "start it, or leave it out")
        for url in silent
    ]
    if agreement is None:
        return [*checks, Check("catalogue", False, "it does not answer", "is a majority up?")]
    away = [f"{each.name} {each.state}" for each in agreement.members if each.state != "up"]
    hint = f"bring back what does not answer: {', '.join(away)}"
    return [*checks, Check("catalogue", not away, agreement.summary, hint)]


def _coordinator_hint(config: ClientConfig, error: EvenflowError) -> str:
    """Return how to reach a coordinator: the one of a cluster made in this directory, if any."""
    if not isinstance(error, CoordinatorUnreachable) or "certificate" in str(error.detail):
        return error.hint
    url = _coordinator_made_here()
    if url and url not in config.coordinator:
        return f"the cluster in ./.cluster has another: export SMART_CLIENT_COORDINATOR={url}"
    if url:
        return "start the cluster in ./.cluster again: storage-server cluster up"
    return "start one (storage-server cluster up), or point --coordinator at the one there is"


def _coordinator_made_here() -> str:
    try:
        found = json.loads(Path(".cluster/cluster.json").read_bytes())
        return str(found["coordinator"]["url"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


async def _token_check(library: Library) -> Check:
    """See whether the coordinator takes this token: by the removal of what cannot be there."""
    try:
        await library.coordinator.delete_video(f"doctor-{secrets.token_hex(16)}")
    except AccessDenied as error:
        if library.token is None:
            text = "none: videos can be played from here, but not stored or removed"
            return Check("token", True, text)
        return Check("token", False, error.message, error.hint)
    except EvenflowError as error:
        if not isinstance(error, VideoNotFound):
            return Check("token", False, f"cannot be checked now: {error.message}", error.hint)
    return Check("token", True, "may store and remove" if library.token else "none is needed")


async def _takes_token(connection: NodeConnections) -> bool:
    try:
        await connection.delete("0" * 64)  # no fragment has this key
    except AccessDenied:
        return False
    except (TransportFailure, EvenflowError):
        pass  # it says no more of the token
    return True


async def _node_check(record: wire.NodeRecord, token: str | None) -> Check:
    connection = NodeConnections(record, token=token)
    where = " ".join(record.urls)
    try:
        rtt_s = await _within(connection.ping)
        health = await _within(connection.health)
        takes_token = token is None or await _within(lambda: _takes_token(connection))
    except (TransportFailure, EvenflowError, TimeoutError) as error:
        reason = str(error) or "no answer"
        hint = f"is it running, and does {where} reach it from here?"
        if trouble := tls_trouble(error):
            hint = tls_hint(trouble)
        return Check(record.id, False, f"{where}: {reason}", hint)
    finally:
        await connection.close()
    state = str(health.get("status", "?"))
    note = _note(state, str(health.get("reason", ""))) or state
    if not takes_token:
        hint = "coordinator, nodes and clients need the same secret (--token-file)"
        return Check(record.id, False, f"{where} refuses this token", hint)
    # A full node is well: it reads, and nothing more is put there.
    is_well = state in ("ok", "warn", "full")
    return Check(record.id, is_well, f"{where} {duration_text(rtt_s)}, {note}")


async def _within(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    return await asyncio.wait_for(ask(), CHECK_TIMEOUT_S)


def config(args: argparse.Namespace, terminal: Terminal) -> int:
    """Show every setting and where its value comes from, or write them down."""
    if args.action == "init":
        return init(args, terminal)
    found = settings(args)
    values = {k: v for k, v in asdict(found).items() if k != "origins"}
    origins = {name: found.origins.get(name, "default") for name in values}
    lines = [
        f"{name} = {json.dumps(value)}" + (f"   # {origins[name]}" if args.origin else "")
        for name, value in values.items()
    ]
    terminal.result({"v": 1, "config": values, "origins": origins}, "\n".join(lines))
    return ExitCode.OK
