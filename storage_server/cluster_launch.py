"""How a member of a local cluster is started, and how one sees that it is ready."""

import json
import os
import shutil
import sys
import time
import urllib.request
from pathlib import Path

from msgspec import structs

from redundancy.errors import ConfigError
from storage_server.cluster_state import (
    ClusterFolder,
    ClusterProblem,
    ClusterState,
    Member,
    MemberKind,
)
from storage_server.processes import ProcessId, ProcessState, start_detached, state_of

# Python, numpy and aiohttp take about a second to import on an idle core; here five may start
# at once on two busy ones.
READY_TIMEOUT_S = 60.0

_POLL_S = 0.05
_HEALTH_TIMEOUT_S = 2.0


def find_etcd() -> str:
    """Return the path of etcd. Raises: ConfigError: it is not installed."""
    found = shutil.which("etcd")
    if found is None:
        raise ConfigError(
            "etcd is not installed here",
            hint="apt-get install etcd-server, or --catalogue chunkpaxos, which needs nothing",
        )
    return found


def launch(member: Member, state: ClusterState, folder: ClusterFolder) -> ProcessId:
    """Start a member's process; it runs on when this one ends. Raises: ConfigError, OSError."""
    return start_detached(
        _command(member, state, folder),
        output=folder.output(member.name),
        errors=folder.log(member.name),
        environment=os.environ,
    )


def _command(member: Member, state: ClusterState, folder: ClusterFolder) -> list[str]:
    data = str(folder.data(member.name))
    if member.kind is MemberKind.ETCD:
        return [find_etcd(), "--name", member.name, "--data-dir", data, *member.options]
    urls = ",".join(state.coordinator_urls)
    words = {
        MemberKind.COORDINATOR: ["storage_server", "coordinator", "--data", data],
        MemberKind.GATEWAY: ["smart_client", "serve", "--coordinator", urls, "--cache-dir", data],
        MemberKind.NODE: [
            *("storage_server", "node", "--id", member.name, "--data", data),
            *("--coordinator", urls),
        ],
    }[member.kind]
    listen = ("--listen", f"127.0.0.1:{member.port}")
    return [sys.executable, "-m", *words, "--json", *listen, *member.options]


def wait_until_ready(member: Member, folder: ClusterFolder) -> Member:
    """Return the member with the address that its ready line names. Raises: ClusterProblem."""
    assert member.process is not None
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    hint = f"its log: {folder.log(member.name)}"
    while True:
        is_gone = state_of(member.process) is ProcessState.GONE
        if member.kind is MemberKind.ETCD:
            said: dict[str, object] = {}
            if _is_healthy(member.url):
                return member
        else:
            said = _first_line(folder.output(member.name))
            if said.get("event") == "ready":
                return structs.replace(member, url=str(said["url"]))
        if is_gone:
            error = said.get("error")
            reason = error.get("message") if isinstance(error, dict) else "it said nothing"
            raise ClusterProblem(f"{member.name} did not start: {reason}", hint=hint)
        if time.monotonic() >= deadline_s:
            raise ClusterProblem(
                f"{member.name} is not ready after {READY_TIMEOUT_S:g} s", hint=hint
            )
        time.sleep(_POLL_S)


def _is_healthy(url: str) -> bool:
    """Whether an etcd member knows of a leader and answers."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=_HEALTH_TIMEOUT_S) as answer:
            return bool(json.load(answer).get("health") == "true")
    except (OSError, ValueError):
        return False


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
