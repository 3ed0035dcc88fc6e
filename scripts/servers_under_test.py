"""Servers to be measured by scripts/bench_node, and what is put into them."""

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from http_load import Server

KIB, MIB = 1024, 1024 * 1024
SERVER_CORE, LOAD_CORE = 0, 1
STORED_BYTES = 128 * MIB


class Bodies:
    """Responsible for many different bodies of one size, made before the clock runs."""

    def __init__(self, size: int, count: int, salt: bytes):
        rest = os.urandom(size - 16)
        self.rest = rest
        self.items: list[tuple[str, bytes]] = []
        for number in range(count):
            start = salt[:8].ljust(8, b"\0") + number.to_bytes(8, "little")
            digest = hashlib.sha256(start)
            digest.update(rest)
            self.items.append((digest.hexdigest(), start))

    def requests(self) -> Iterator[list[bytes]]:
        """Yield a put of each body."""
        size = 16 + len(self.rest)
        for key, start in self.items:
            head = f"PUT /v1/chunks/{key} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
            yield [head.encode(), start, self.rest]


@contextlib.contextmanager
def node_process(
    folder: Path,
    *words: str,
    program: tuple[str, ...] = ("-m", "storage_server", "node"),
    preload: Path | None = None,
) -> Iterator[Server]:
    """Run a node.

    Args:
        program: what python runs; another one may put another store in the node.
        preload: a library that makes its syncs as slow as a hard disk's.
    """
    process = subprocess.Popen(
        [sys.executable, *program, "--json", "--data", str(folder), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **({"LD_PRELOAD": str(preload)} if preload else {})},
    )
    os.sched_setaffinity(process.pid, {SERVER_CORE})
    try:
        ready = json.loads(process.stdout.readline())
        host, _, port = ready["url"].partition("://")[2].rpartition(":")
        yield Server((host, int(port)), [process.pid])
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20)


NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush off; tcp_nodelay on; keepalive_requests 100000000;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port}{tls}; root {folder}/www;
    location /v1/ {{ dav_methods PUT; create_full_put_path on; client_max_body_size 16m; }}
  }}
}}
"""


@contextlib.contextmanager
def nginx_process(folder: Path, certificate: Path | None = None) -> Iterator[Server]:
    """Serve one large file, as a superblock is one, to be read by ranges.

    Args:
        certificate: a PEM file with its key beside it (.key): serve https.
    """
    (folder / "www").mkdir(parents=True)
    folder.chmod(0o755)
    (folder / "www" / "blob").write_bytes(os.urandom(MIB) * (STORED_BYTES // MIB))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    tls = f" ssl; ssl_certificate {certificate}; ssl_certificate_key {certificate}.key"
    settings = {"folder": folder, "port": port, "tls": tls if certificate else ""}
    (folder / "conf").write_text("user root;" + NGINX.format(**settings))
    process = subprocess.Popen(
        ["nginx", "-c", str(folder / "conf"), "-p", str(folder)],
        stderr=subprocess.DEVNULL,
    )
    os.sched_setaffinity(process.pid, {SERVER_CORE})
    try:
        wait_for_port(port)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            os.sched_setaffinity(int(child), {SERVER_CORE})
        yield Server(("127.0.0.1", port), [int(child) for child in children])
    finally:
        process.terminate()
        process.wait(timeout=20)


def wait_for_port(port: int) -> None:
    """Return when somebody listens."""
    deadline_s = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)
