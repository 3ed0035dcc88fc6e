"""nginx and haproxy in front of a node, as in many homes; each counts what it hands on."""

import contextlib
import shutil
import socket
import subprocess
import time
from pathlib import Path

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  log_format handed_on '$upstream_addr'; access_log {folder}/log handed_on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  client_header_timeout 1s; client_body_timeout 1s; keepalive_timeout 1s; lingering_close off;
  upstream node {{ server {node}; keepalive 2; }}
  server {{
    listen 127.0.0.1:{port}; client_max_body_size 8m;
    location / {{
      proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_request_buffering off; proxy_next_upstream off; proxy_read_timeout 5s;
    }}
  }}
}}
"""

HAPROXY = """
global
  log stdout format raw local0
defaults
  mode http
  log global
  log-format "%s"
  timeout client 1s
  timeout connect 5s
  timeout server 5s
  timeout http-request 1s
  timeout http-keep-alive 1s
  http-reuse always
  retries 0
frontend front
  bind 127.0.0.1:{port}
  default_backend back
backend back
  server node {node}
"""


class Proxy:
    """Responsible for one proxy process; it is gone after ``running_proxy``."""

    def __init__(self, port: int, log: Path, nobody: str) -> None:
        self.address = ("127.0.0.1", port)
        self._log = log
        self._nobody = nobody

    def handed_on(self) -> int:
        """Return how many requests it sent to the node."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return sum(line.strip() not in ("", self._nobody) for line in lines)


@contextlib.contextmanager
def running_proxy(kind: str, node_address: tuple[str, int], folder: Path):
    """Run one; the caller has checked that it is installed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"folder": folder, "port": port, "node": "{}:{}".format(*node_address)}
    conf, log = folder / "conf", folder / "log"
    conf.write_text((NGINX if kind == "nginx" else HAPROXY).format(**settings))
    with log.open("wb") as output:
        words = {
            "nginx": ["nginx", "-c", str(conf), "-p", str(folder)],
            "haproxy": ["haproxy", "-db", "-f", str(conf)],
        }[kind]
        process = subprocess.Popen(
            words, stdout=output if kind == "haproxy" else None, stderr=subprocess.DEVNULL
        )
    try:
        _wait_for(port, process)
        yield Proxy(port, log, "-" if kind == "nginx" else "<NOSRV>")
    finally:
        process.terminate()
        process.wait(timeout=20)


def is_installed(kind: str) -> bool:
    return shutil.which(kind) is not None


def _wait_for(port: int, process: subprocess.Popen) -> None:
    deadline_s = time.monotonic() + 15
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            assert process.poll() is None, "the proxy did not start"
            assert time.monotonic() < deadline_s
            time.sleep(0.02)
