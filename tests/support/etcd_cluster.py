"""A real etcd cluster of three members on loopback, when Debian's ``etcd-server`` is installed."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

ETCD = shutil.which("etcd")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


class EtcdCluster:
    """Responsible for three processes."""

    def __init__(self, directory: Path) -> None:
        ports = free_ports(6)
        self.endpoints = [f"http://127.0.0.1:{port}" for port in ports[:3]]
        peers = [f"http://127.0.0.1:{port}" for port in ports[3:]]
        everybody = ",".join(f"m{i}={peer}" for i, peer in enumerate(peers))
        self.processes = []
        for i, (endpoint, peer) in enumerate(zip(self.endpoints, peers, strict=True)):
            with (directory / f"m{i}.log").open("w") as log:
                words = [ETCD, "--name", f"m{i}", "--data-dir", str(directory / f"m{i}")]
                words += ["--listen-client-urls", endpoint, "--advertise-client-urls", endpoint]
                words += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
                words += ["--initial-cluster", everybody, "--logger", "zap"]
                self.processes.append(subprocess.Popen(words, stdout=log, stderr=log))

    def wait_until_ready(self, timeout_s: float = 30.0) -> None:
        deadline_s = time.monotonic() + timeout_s
        waiting = list(self.endpoints)
        while waiting:
            try:
                with urllib.request.urlopen(waiting[0] + "/health", timeout=2.0) as answer:
                    if json.load(answer)["health"] == "true":
                        waiting.pop(0)
                        continue
            except OSError:
                pass
            assert time.monotonic() < deadline_s, "etcd does not start"
            time.sleep(0.05)

    def empty(self) -> None:
        """Delete every key."""
        body = json.dumps({"key": "AA==", "range_end": "AA=="}).encode()
        request = urllib.request.Request(self.endpoints[-1] + "/v3/kv/deleterange", data=body)
        with urllib.request.urlopen(request, timeout=5.0) as answer:
            assert answer.status == 200

    def freeze(self, member: int) -> None:
        self.processes[member].send_signal(signal.SIGSTOP)

    def thaw(self, member: int) -> None:
        self.processes[member].send_signal(signal.SIGCONT)

    def kill(self, member: int) -> None:
        self.processes[member].kill()
        self.processes[member].wait()

    def close(self) -> None:
        for member, process in enumerate(self.processes):
            if process.poll() is None:
                self.thaw(member)
                self.kill(member)


@contextlib.contextmanager
def running_etcd(directory: Path) -> Iterator[EtcdCluster]:
    cluster = EtcdCluster(directory)
    try:
        cluster.wait_until_ready()
        yield cluster
    finally:
        cluster.close()
