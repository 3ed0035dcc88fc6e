"""A cluster of real processes: started, broken on purpose, mended, ended without a trace."""

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from msgspec import structs

from redundancy.errors import ExitCode
from storage_server.cli import main
from storage_server.cluster_state import ClusterFolder
from storage_server.processes import ProcessState, end, identify, send, state_of

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]


class Command:
    """Runs ``storage-server cluster`` on one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def __call__(self, *words: str, exit_code: int = ExitCode.OK) -> dict:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            found = main(["cluster", *self.words(*words)])
        assert found == exit_code, printed.getvalue()
        return json.loads(printed.getvalue())

    def words(self, action: str, *rest: str) -> list[str]:
        # Tests run beside each other, so none takes the usual port.
        ports = ("--base-port", "0") if action == "up" else ()
        return [action, "--dir", str(self.directory), "--json", *ports, *rest]

    def status(self, exit_code: int = ExitCode.OK) -> dict:
        return self("status", exit_code=exit_code)["cluster"]

    def wait_until(self, node: str, state: str) -> None:
        deadline_s = time.monotonic() + 30
        url = ClusterFolder(self.directory).load().coordinator.url
        while True:
            nodes = httpx.get(f"{url}/v1/nodes", timeout=10, trust_env=False).json()
            if {each["record"]["id"]: each["state"] for each in nodes}[node] == state:
                return
            assert time.monotonic() < deadline_s
            time.sleep(0.1)


@pytest.fixture
def command(tmp_path):
    """Leaves no process behind, even when a test fails."""
    made = Command(tmp_path / "cluster")
    yield made
    # By their command lines: also those that a broken `up` has not written down.
    processes = list(filter(None, map(identify, processes_naming(made.directory))))
    for process in processes:
        send(process, signal.SIGKILL)
    assert end(processes, patience_s=5) == []


def processes_naming(directory: Path) -> list[int]:
    """Every process with this directory on its command line."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(directory).encode() in words:
                found.append(int(entry.name))
    return found


def test_a_cluster_is_started_broken_mended_and_ended(command):
    cluster = command("up", "-n", "2")["cluster"]
    assert cluster["healthy"]
    assert [node["id"] for node in cluster["nodes"]] == ["node-1", "node-2"]
    assert cluster["started"] == ["coordinator", "node-1", "node-2"]
    for member in (cluster["coordinator"], *cluster["nodes"]):
        assert os.getsid(member["pid"]) == member["pid"]
        assert Path(member["data"]).is_dir()
    answer = httpx.get(f"{cluster['coordinator']['url']}/v1/status", trust_env=False).json()
    assert {node["state"] for node in answer["nodes"]} == {"up"}

    again = command("up")["cluster"]
    assert again == {**cluster, "started": []}
    for words, refused in ((("-n", "1"), "-n 1"), (("--base-port", "9000"), "--base-port 9000")):
        message = command("up", *words, exit_code=ExitCode.USAGE)["error"]["message"]
        assert "has 2 nodes" in message
        assert f"{refused} was not applied" in message

    command("kill", "node-1")
    broken = command.status(ExitCode.PARTIAL)
    assert (broken["nodes"][0]["process"], broken["nodes"][0]["pid"]) == ("gone", None)
    assert broken["nodes"][1]["process"] == "running"
    command("freeze", "node-2")
    command.wait_until("node-1", "suspect")
    command.wait_until("node-2", "suspect")
    frozen = command.status(ExitCode.PARTIAL)["nodes"]
    assert [node["process"] for node in frozen] == ["gone", "frozen"]
    command("thaw", "node-2")
    command.wait_until("node-2", "up")
    mended = command("start", "node-1")["cluster"]
    assert mended["healthy"]
    assert mended["nodes"][0]["url"] == cluster["nodes"][0]["url"]
    assert mended["nodes"][0]["pid"] != cluster["nodes"][0]["pid"]

    slow = command("slow", "node-1", "--rate", "800kbit/s", "--delay", "0.1")
    assert slow["limits"] == {"upload_bytes_per_s": 100_000.0, "delay_s": 0.1}
    limits = f"{mended['nodes'][0]['url']}/v1/admin/limits"
    assert httpx.get(limits, trust_env=False).json() == slow["limits"]
    command("kill", "node-1")
    command("start", "node-1")
    assert httpx.get(limits, trust_env=False).json() == slow["limits"], "a restart keeps them"
    command("slow", "node-1", "--rate", "none", "--delay", "0")
    assert httpx.get(limits, trust_env=False).json() == {"upload_bytes_per_s": None, "delay_s": 0}

    assert command("down")["ended"] == ["coordinator", "node-1", "node-2"]
    assert processes_naming(command.directory) == []
    assert Path(cluster["nodes"][0]["data"]).is_dir()
    assert command("down", "--purge")["ended"] == []
    assert not command.directory.exists()


def test_data_and_addresses_survive_down_and_up(command):
    first = command("up", "-n", "1")["cluster"]
    key = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    chunk = f"{first['nodes'][0]['url']}/v1/chunks/{key}"
    assert httpx.put(chunk, content=b"hello", trust_env=False).status_code == 201
    command("down")
    second = command("up")["cluster"]
    for before, after in zip(first["nodes"], second["nodes"], strict=True):
        assert (before["url"], before["data"]) == (after["url"], after["data"])
    assert second["coordinator"]["url"] == first["coordinator"]["url"]
    assert httpx.get(chunk, trust_env=False).content == b"hello"


def test_a_node_that_reports_takes_little_memory_and_ends_without_a_complaint(command):
    node = command("up", "-n", "1")["cluster"]["nodes"][0]
    time.sleep(2.5)  # a few heartbeats
    status = Path(f"/proc/{node['pid']}/status").read_text(encoding="ascii")
    assert int(status.split("RssAnon:")[1].split()[0]) * 1024 <= 40e6  # httpx would be 7 MB more
    command("down")
    log = (command.directory / "logs" / "node-1.log").read_text().splitlines()
    levels = [json.loads(line)["level"] for line in log if '"log"' in line]
    assert set(levels) == {"info"}, log


def test_up_restarts_what_died_and_adds_what_is_asked_for_besides(command):
    command("up", "-n", "1")
    command("kill", "node-1")
    grown = command("up", "-n", "2")["cluster"]
    assert grown["started"] == ["node-1", "node-2"]
    assert grown["healthy"]
    command("kill", "coordinator")
    assert command.status(ExitCode.TEMPORARY)["coordinator"]["process"] == "gone"
    mended = command("up")["cluster"]
    assert mended["started"] == ["coordinator"]
    assert mended["healthy"]


def test_a_gateway_belongs_to_the_cluster_once_it_was_asked_for(command):
    assert command("up", "-n", "1")["cluster"]["gateway"] is None
    gateway = command("up", "--gateway")["cluster"]["gateway"]
    assert httpx.get(f"{gateway['url']}/healthz", trust_env=False).status_code == 200
    command("kill", "gateway")
    assert command.status(ExitCode.PARTIAL)["gateway"]["process"] == "gone"
    again = command("up")["cluster"]
    assert again["started"] == ["gateway"]
    assert again["gateway"]["url"] == gateway["url"]
    assert command("down")["ended"] == ["coordinator", "node-1", "gateway"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-C", "SIGTERM"])
def test_an_interrupted_up_ends_what_it_started(command, number):
    line = [sys.executable, "-m", "storage_server", "cluster", *command.words("up", "-n", "3")]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as up:
        deadline_s = time.monotonic() + 60
        while not ClusterFolder(command.directory).load().nodes:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        up.send_signal(number)
        up.communicate(timeout=60)
    assert up.returncode == ExitCode.INTERRUPTED
    assert processes_naming(command.directory) == []
    assert all(each.process is None for each in ClusterFolder(command.directory).load().members)


def test_a_port_in_use_is_named_and_nothing_is_left_running(command):
    cluster = command("up", "-n", "1")["cluster"]
    command("down")
    port = int(cluster["nodes"][0]["url"].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        error = command("up", exit_code=ExitCode.TEMPORARY)["error"]
    assert f"node-1 did not start: 127.0.0.1:{port} is in use already" in error["message"]
    assert processes_naming(command.directory) == []


def test_a_recycled_process_number_is_not_signalled_by_down(command):
    command("up", "-n", "1")
    folder = ClusterFolder(command.directory)
    state = folder.load()
    node = state.nodes[0]
    send(node.process, signal.SIGKILL)
    end([node.process], patience_s=5)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        recycled = structs.replace(node.process, pid=stranger.pid)
        folder.save(state.with_member(structs.replace(node, process=recycled)))
        assert command("down")["ended"] == ["coordinator"]
        assert state_of(identify(stranger.pid)) is ProcessState.RUNNING
        stranger.communicate(b"\n")
    assert stranger.returncode == 0


def test_commands_on_no_cluster_say_so(command):
    assert command("down")["ended"] == []
    assert not command.directory.exists()
    for words in (
        ("status",),
        ("kill", "node-1"),
        ("start", "node-1"),
        ("slow", "x", "--delay", "1"),
    ):
        error = command(*words, exit_code=ExitCode.CONFIG)["error"]
        assert "there is no cluster" in error["message"]
        assert error["hint"] == "storage-server cluster up"
    assert not command.directory.exists()


def test_a_node_that_is_not_in_the_cluster_is_a_usage_error(command):
    command("up", "-n", "1")
    error = command("kill", "node-9", exit_code=ExitCode.USAGE)["error"]
    assert error["hint"] == "it has: coordinator, node-1"
    command("kill", "node-1")
    error = command("slow", "node-1", "--delay", "1", exit_code=ExitCode.TEMPORARY)["error"]
    assert "node-1 does not answer" in error["message"]
