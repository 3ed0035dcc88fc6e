"""Real processes for end-to-end tests: a cluster on loopback, and the commands a user types."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COMMAND_TIMEOUT_S = 90.0

# Which catalogue new clusters get, as in ``storage-server cluster up --catalogue``.
CATALOGUE_VARIABLE = "EVENFLOW_CATALOGUE"


@dataclass
class Done:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        return json.loads(self.out.splitlines()[-1])


@dataclass
class RealCluster:
    """Responsible for one cluster of real processes in ``directory``."""

    directory: Path
    coordinator: str = ""  # where clients go: all of them, separated by commas
    coordinators: list[dict[str, Any]] = field(default_factory=list)
    nodes: list[dict[str, Any]] = field(default_factory=list)
    is_whole: bool = True

    def storage_server(self, *words: str) -> Done:
        """Run ``storage-server cluster WORDS`` on this cluster."""
        return run("storage_server", "cluster", *words, "--dir", str(self.directory), "--json")

    def up(self, count: int = 5, *options: str) -> None:
        done = self.storage_server(
            *("up", "-n", str(count), "--base-port", "0"), *options, *self._wished(options)
        )
        assert done.code == 0, done
        self._take(done.json["cluster"])

    def _wished(self, options: tuple[str, ...]) -> tuple[str, ...]:
        """What the environment says of a new cluster's catalogue."""
        wished = os.environ.get(CATALOGUE_VARIABLE)
        is_new = not self.nodes and "--catalogue" not in options
        return ("--catalogue", wished) if wished and is_new else ()

    def _take(self, cluster: dict[str, Any]) -> None:
        self.coordinators = cluster["coordinators"]
        self.coordinator = ",".join(each["url"] for each in self.coordinators)
        self.nodes = cluster["nodes"]

    def status(self) -> dict[str, Any]:
        return self.storage_server("status").json["cluster"]

    def refresh(self) -> None:
        """Learn who runs now."""
        self._take(self.status())

    def down(self) -> None:
        done = self.storage_server("down", "--purge")
        assert done.code == 0, done

    def pid(self, position: int) -> int:
        return self.nodes[position]["pid"]

    def signal(self, position: int, number: int) -> None:
        self.is_whole = False
        os.kill(self.pid(position), number)

    def mend(self) -> None:
        """Thaw and restart whatever a test broke."""
        if self.is_whole:
            return
        self.is_whole = True
        self.storage_server("thaw", *(node["id"] for node in self.nodes))
        self.up(len(self.nodes))

    def client(
        self, *words: str, timeout_s: float = COMMAND_TIMEOUT_S, where: str | None = None
    ) -> Done:
        """Run ``smart-client WORDS`` against this cluster, or one coordinator of it."""
        option = ("--coordinator", where or self.coordinator)
        return run("smart_client", *words, *option, timeout_s=timeout_s, home=self.directory)


def clean_environment(home: Path | None = None) -> dict[str, str]:
    """An environment with nothing of ours in it; caches and results go below ``home``."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SMART_CLIENT", "STORAGE_"))}
    if home is not None:
        clean |= {"XDG_CACHE_HOME": str(home / "cache"), "XDG_STATE_HOME": str(home / "state")}
    return clean


def run(
    module: str,
    *words: str,
    timeout_s: float = COMMAND_TIMEOUT_S,
    home: Path | None = None,
    env: dict[str, str] | None = None,
) -> Done:
    """Run one of our commands as a user would; without ``env`` nothing of ours is in it."""
    done = subprocess.run(
        [sys.executable, "-m", module, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=clean_environment(home) if env is None else env,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def serving(cluster: RealCluster, *options: str) -> Iterator[str]:
    """Run ``smart-client serve`` on a free port; yield its URL."""
    words = ["serve", "--listen", "127.0.0.1:0", "--coordinator", cluster.coordinator, "--json"]
    words += options
    process = subprocess.Popen(
        [sys.executable, "-m", "smart_client", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(cluster.directory),
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()
