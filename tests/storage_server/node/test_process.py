"""A node as a process: its ready line, its signals, and kill -9 at any instant."""

import contextlib
import hashlib
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from support.fragments import fragment
from support.node_process import NodeProcess

pytestmark = pytest.mark.real


def run_node(*words):
    command = [sys.executable, "-m", "storage_server.node", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_node_says_when_it_is_ready_and_stops_when_it_is_told(tmp_path, number):
    with NodeProcess(tmp_path, "--id", "box-1") as node:
        assert node.ready["event"] == "ready"
        assert node.ready["node"] == "box-1"
        assert node.ready["pid"] == node.pid
        code, log = node.stop(number)
    assert code == 0
    lines = [json.loads(line) for line in log.splitlines()]
    assert [line["level"] for line in lines] == ["info"]


def test_an_idle_node_takes_little_memory(tmp_path):
    program = ("storage_server", "node")
    with NodeProcess(tmp_path, "--listen", "127.0.0.1:0", program=program) as node:
        status = Path(f"/proc/{node.pid}/status").read_text(encoding="ascii")
    own_kib = int(status.split("RssAnon:")[1].split()[0])
    assert own_kib * 1024 <= 40e6  # numpy alone would be 13 MB more


def test_a_person_gets_one_readable_ready_line(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "storage_server.node", "--data", tmp_path, "--id", "box-1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline()
    process.terminate()
    process.communicate(timeout=20)
    assert line.startswith("node box-1 ready at http://127.0.0.1:")


def test_a_second_process_on_a_directory_is_told_whose_it_is(tmp_path):
    with NodeProcess(tmp_path) as node:
        second = run_node("--data", str(tmp_path), "--json")
        assert second.returncode == 9
        error = json.loads(second.stdout)["error"]
        assert error["code"] == "DIRECTORY_LOCKED"
        assert error["detail"]["pid"] == str(node.pid)
        node.kill()
    with NodeProcess(tmp_path) as node:  # the lock went with the process
        assert node.stop()[0] == 0


def test_a_port_in_use_is_said_with_exit_code_9(tmp_path):
    with NodeProcess(tmp_path / "one") as node:
        where = "{}:{}".format(*node.address)
        second = run_node("--data", str(tmp_path / "two"), "--listen", where)
        assert second.returncode == 9
        assert f"{where} is in use already" in second.stderr
        assert "next:" in second.stderr


def test_an_open_address_without_a_token_is_refused_with_exit_code_9(tmp_path):
    refused = run_node("--data", str(tmp_path / "d"), "--listen", "0.0.0.0:0")
    assert refused.returncode == 9
    assert "--token-file" in refused.stderr
    assert not (tmp_path / "d").exists()


# EVENFLOW_KILL_ROUNDS asks for a longer run.
KILL_ROUNDS = int(os.environ.get("EVENFLOW_KILL_ROUNDS", "3"))
WRITERS = 4


class Writer(threading.Thread):
    """Puts and deletes until the node dies; remembers what was acknowledged."""

    def __init__(self, address, rng, stored, on_acknowledged):
        super().__init__()
        self._address, self._rng, self._on_acknowledged = address, rng, on_acknowledged
        self.stored = stored  # number -> True (there), False (gone), None (nobody knows)

    def run(self):
        connection = http.client.HTTPConnection(*self._address, timeout=20)
        with (
            contextlib.closing(connection),
            contextlib.suppress(OSError, http.client.HTTPException),
        ):
            while True:
                self._write_once(connection)
                self._on_acknowledged()

    def _write_once(self, connection):
        there = [number for number, state in self.stored.items() if state]
        is_put = len(there) < 5 or self._rng.random() < 0.8
        number = self._rng.getrandbits(40) if is_put else self._rng.choice(there)
        put = made(number)
        path = f"/v1/chunks/{put.key.hex()}"
        self.stored[number] = None
        connection.request("PUT" if is_put else "DELETE", path, put.data if is_put else None)
        response = connection.getresponse()
        response.read()
        assert response.status == (201 if is_put else 204)
        self.stored[number] = is_put


def made(number):
    return fragment(number, 1 + number % 70_000)


class Killer:
    """Kills a node some moments after so many acknowledgements, in the middle of later writes."""

    def __init__(self, node, rng):
        self._left = rng.randint(110, 150)
        self.timer = threading.Timer(rng.uniform(0, 0.02), node.kill)
        self._lock = threading.Lock()

    def count_one(self):
        with self._lock:
            self._left -= 1
            if not self._left:
                self.timer.start()


def test_kill_9_at_any_instant_loses_nothing_acknowledged(tmp_path):
    """4 writers, superblocks of 1 MiB: kills hit writes, syncs, rotations and starts."""
    seed = random.SystemRandom().getrandbits(32) if KILL_ROUNDS > 3 else 1
    rng = random.Random(seed)
    stored = [{} for _ in range(WRITERS)]
    for round_number in range(KILL_ROUNDS):
        with NodeProcess(tmp_path, "--superblock-size", "1MiB") as node:
            where = f"round {round_number}, seed {seed}"
            check_everything(node.address, stored, where)
            killer = Killer(node, rng)
            writers = [
                Writer(node.address, random.Random(rng.getrandbits(64)), each, killer.count_one)
                for each in stored
            ]
            for thread in writers:
                thread.start()
            for thread in (*writers, killer.timer):
                thread.join()
    acknowledged = sum(state is not None for each in stored for state in each.values())
    assert acknowledged >= 200
    with NodeProcess(tmp_path, "--superblock-size", "1MiB") as node:
        check_everything(node.address, stored, f"seed {seed}")
        assert node.stop()[0] == 0


def check_everything(address, stored, where):
    """Every acknowledged fragment is there and right; every other is right or not there."""
    connection = http.client.HTTPConnection(*address, timeout=20)
    found = 0
    with contextlib.closing(connection):
        for states in stored:
            for number, state in states.items():
                put = made(number)
                connection.request("GET", f"/v1/chunks/{put.key.hex()}")
                response = connection.getresponse()
                body = response.read()
                is_there = response.status == 200
                if is_there:
                    assert hashlib.sha256(body).digest() == put.key, where
                assert state is None or state is is_there, (where, number, state)
                states[number] = is_there
                found += is_there
        connection.request("GET", "/healthz")
        health = json.loads(connection.getresponse().read())
    assert health["fragments"] == found, where
    assert health["damaged"] == 0, where
