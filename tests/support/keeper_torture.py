"""Real processes that are killed again and again while a keeper repairs and lays out anew."""

import asyncio
import contextlib
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from redundancy.backends import best_codec
from redundancy.errors import RedundancyError
from redundancy.fragment_format import read_footer_at_end
from redundancy.fragments import decode_chunk
from smart_client import wire
from smart_client.ingest.clip import make_clip
from support.forker import Forker, is_alive, kill_and_wait
from support.keeper_witness import OneWriter, Seen, Witnesses

LAYOUTS = ["rs:3+2", "rep:3", "rs:2+2", "rs:3+3", "rs:4+2", "rs:3+2+1copy"]
PATIENCE_S = 240.0  # of a machine that does much else
FILM_S = 60.0  # encoded in a tenth of it; every player plays it in real time


class Lost(Exception):
    """Bytes that were acknowledged cannot be read, or are wrong."""


@dataclass
class Account:
    """What was done and seen."""

    kills: int = 0
    coordinator_kills: int = 0
    declared_lost: int = 0
    layouts_set: int = 0
    bytes_read: int = 0
    films_read: int = 0
    retries: int = 0
    rebalances: int = 0
    drained: int = 0
    seen: Seen = field(default_factory=Seen)
    done: dict[str, int] = field(default_factory=dict)


class Process:
    """One of our servers: started with its first port for ever, killed, started again."""

    def __init__(self, forker: Forker, log: Path, *words: str) -> None:
        self._forker = forker
        self._log = log
        self._words = list(words)
        self._port = 0
        self._starts = 0
        self.url = ""
        self.start()

    def start(self) -> None:
        self._starts += 1
        out = self._log.with_suffix(f".{self._starts}.out")
        argv = [*self._words, "--json", "--listen", f"127.0.0.1:{self._port}"]
        self.pid = self._forker.start("storage-server", argv, out, self._log)
        until_s = time.monotonic() + PATIENCE_S
        while not (out.exists() and out.read_text().endswith("\n")):
            if not is_alive(self.pid) or time.monotonic() > until_s:
                raise RuntimeError(f"did not start: {self._log.read_text()[-2000:]}")
            time.sleep(0.02)
        self.url = json.loads(out.read_text().splitlines()[0])["url"]
        self._port = int(self.url.rpartition(":")[2])
        out.unlink()

    def kill(self) -> None:
        kill_and_wait(self.pid)


class TorturedCluster:
    """Responsible for the processes, the films in them, and knowing what each film is."""

    def __init__(self, directory: Path, nodes: int, rng: random.Random) -> None:
        self.directory = directory
        self.rng = rng
        self.account = Account()
        self.forker = Forker()
        self.hub = Process(
            self.forker, directory / "hub.log", "coordinator", "--data", str(directory / "hub")
        )
        self.nodes = {f"node-{i}": self._start_node(f"node-{i}") for i in range(1, nodes + 1)}
        self.films: dict[str, str] = {}  # name -> SHA-256
        self.drained = ""
        self.witnesses = Witnesses(self.hub.url, directory)
        self.witnesses.states = {name: OneWriter("not") for name in self.nodes}

    def _start_node(self, name: str) -> Process:
        words = ["node", "--id", name, "--data", str(self.directory / name)]
        words += ["--coordinator", self.hub.url, "--capacity", "640MiB"]
        return Process(self.forker, self.directory / f"{name}.log", *words)

    def close(self) -> None:
        for process in (self.hub, *self.nodes.values()):
            process.kill()
        self.forker.close()

    def ask(self, method: str, path: str, body: object = None) -> object:
        """Ask the coordinator until it answers; returns None when it refuses."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = httpx.request(
                    method,
                    self.hub.url + path,
                    content=None if body is None else wire.encode(body),
                    timeout=30,
                    trust_env=False,
                )
                if answer.status_code < 500:
                    return answer.json() if answer.status_code == 200 else None
            except httpx.TransportError:
                pass
            if time.monotonic() > until_s:
                raise Lost(f"the coordinator does not answer {path}")
            time.sleep(0.2)

    def store(self, name: str, seconds: float, layout: str) -> None:
        source = self.directory / "source.mp4"
        if not source.exists():
            make_clip(source, seconds)
        data = source.read_bytes()
        command = [sys.executable, "-m", "smart_client", "put", str(source), "--name", name]
        command += ["--redundancy", layout, "--coordinator", self.hub.url, "-q"]
        subprocess.run(command, check=True, timeout=120, stdout=subprocess.DEVNULL)
        self.films[name] = hashlib.sha256(data).hexdigest()
        self.witnesses.layouts[name] = OneWriter(layout)

    def wait_until_up(self) -> None:
        self._wait(
            lambda: all(each["state"] == "up" for each in self.ask("GET", "/v1/nodes")), "up"
        )

    def wait_until_kept(self) -> dict:
        """Wait until nothing is left to do."""
        self._wait(self._is_kept, "kept")
        return self.ask("GET", "/v1/keeper")

    def _is_kept(self) -> bool:
        found = self.ask("GET", "/v1/keeper") or {"groups_left": 1, "is_keeper": False}
        left = found["groups_left"] or found.get("fragments_missing") or found.get("stuck")
        return found["is_keeper"] and not left

    def _wait(self, is_true, what: str, detail: object = "") -> None:
        until_s = time.monotonic() + PATIENCE_S
        while not is_true():
            if time.monotonic() > until_s:
                status = self.ask("GET", "/v1/keeper")
                raise Lost(f"the cluster does not come to be {what}: {detail} {status}")
            time.sleep(0.3)

    # -- what is done to it ----------------------------------------------------------------------

    def hurt(self) -> None:
        """Kill something at a random instant, and start it again sooner or later."""
        kind = self.rng.choices(["node", "lost", "hub"], [5, 2, 3])[0]
        if kind == "lost" and not self._is_kept():
            kind = "node"  # one more lost before the last is made good could be one too many
        if self.rng.random() < 0.35:
            name, layout = self.rng.choice(sorted(self.films)), self.rng.choice(LAYOUTS)
            self._set_layout(name, layout)
        if self.rng.random() < 0.3:
            threading.Thread(target=self._rebalance, daemon=True).start()
        if self.rng.random() < 0.25:
            self.drain_or_take_back()
        time.sleep(self.rng.uniform(0.0, 2.0))
        if kind == "hub":
            self.hub.kill()
            self.account.coordinator_kills += 1
            time.sleep(self.rng.uniform(0.0, 0.3))
            self.hub.start()
        else:
            name = self.rng.choice(sorted(self.nodes))
            self.nodes[name].kill()
            if kind == "lost":
                self.witnesses.states[name].begin("lost")
                self.ask("POST", f"/v1/nodes/{name}/lost")
                self.witnesses.states[name].end()
                self.account.declared_lost += 1
                time.sleep(self.rng.uniform(0.0, 2.0))
            self.nodes[name].start()
            if kind == "lost":
                self.drained = "" if self.drained == name else self.drained
                record = {"id": name, "urls": [self.nodes[name].url]}
                self.witnesses.states[name].begin("not")
                self.ask("PUT", f"/v1/nodes/{name}", record)
                self.witnesses.states[name].end()
        self.account.kills += 1

    def _set_layout(self, name: str, layout: str) -> None:
        """Have a film laid out anew; asked again until it is answered, refused or done."""
        register = self.witnesses.layouts[name]
        register.begin(layout)
        if self.ask("PUT", f"/v1/videos/{name}/layout", {"redundancy": layout}) is None:
            # Refused, for too few nodes are up; unless a try without an answer was taken.
            found = self.ask("GET", f"/v1/videos/{name}")
            layout = str(wire.decode(json.dumps(found), wire.VideoRecord).layout.to_layout())
            register.begin(layout)
        register.end()
        self.account.layouts_set += 1

    def drain_or_take_back(self) -> None:
        """Have a node emptied, or the one that is being emptied filled again."""
        if self.drained:
            record = {"id": self.drained, "urls": [self.nodes[self.drained].url]}
            self.ask("PUT", f"/v1/nodes/{self.drained}", record)
            self.drained = ""
        else:
            name = self.rng.choice(sorted(self.nodes))
            if self.ask("POST", f"/v1/nodes/{name}/drain") is not None:
                self.drained = name
                self.account.drained += 1

    def _rebalance(self) -> None:
        with contextlib.suppress(httpx.TransportError):
            url = f"{self.hub.url}/v1/keeper/rebalance"
            if httpx.post(url, timeout=20, trust_env=False).status_code == 200:
                self.account.rebalances += 1


class Reader:
    """Responsible for reading one film after the other all the time, from whatever there is."""

    def __init__(self, cluster: TorturedCluster, seed: int) -> None:
        self._cluster = cluster
        self._rng = random.Random(seed)
        self._stop = threading.Event()
        self.trouble = ""
        self._thread = threading.Thread(target=lambda: asyncio.run(self._read_for_ever()))

    def __enter__(self) -> "Reader":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)

    async def _read_for_ever(self) -> None:
        try:
            while not self._stop.is_set():
                await self.read(self._rng.choice(sorted(self._cluster.films)))
        except Lost as error:
            self.trouble = str(error)

    async def read(self, name: str) -> None:
        """Read a film and compare it. Raises: Lost."""
        digest, number, until_s = hashlib.sha256(), 0, time.monotonic() + PATIENCE_S
        async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
            while True:
                try:
                    url = f"{self._cluster.hub.url}/v1/videos/{name}/manifest"
                    manifest = wire.decode((await http.get(url)).content, wire.Manifest)
                    while number < len(manifest.chunks):
                        chunk = await self._chunk(http, manifest, number)
                        digest.update(chunk)
                        self._cluster.account.bytes_read += len(chunk)
                        number, until_s = number + 1, time.monotonic() + PATIENCE_S
                        await asyncio.sleep(0.5)  # as a player would: leave some of the machine
                    break
                except (httpx.TransportError, RedundancyError, ValueError) as error:
                    self._cluster.account.retries += 1
                    if time.monotonic() > until_s:
                        raise Lost(f"{name}, chunk {number}: {error}") from error
                    await asyncio.sleep(0.2)
                except Exception as error:
                    if self._stop.is_set():
                        return
                    if time.monotonic() > until_s:
                        raise Lost(f"{name}, chunk {number}: {error!r}") from error
                    self._cluster.account.retries += 1
                    await asyncio.sleep(0.2)
        if digest.hexdigest() != self._cluster.films[name]:
            raise Lost(f"{name} came back wrong")
        self._cluster.account.films_read += 1

    async def _chunk(self, http: httpx.AsyncClient, manifest: wire.Manifest, number: int) -> bytes:
        chunk = manifest.chunks[number]
        urls = {node.id: node.urls for node in manifest.nodes}
        payloads, footer = {}, None
        fragments = list(chunk.fragments)
        self._rng.shuffle(fragments)
        layout = chunk.layout.to_layout()
        for each in fragments:
            try:
                answer = await http.get(f"{urls[each.node][0]}/v1/chunks/{each.key}")
            except (httpx.TransportError, IndexError):
                continue
            if answer.status_code != 200:
                continue
            if hashlib.sha256(answer.content).hexdigest() != each.key:
                raise Lost(f"{each.node} gave wrong bytes for {each.key}")
            one = read_footer_at_end(answer.content)
            payloads[each.index] = answer.content[: one.payload_bytes]
            footer = one if footer is None or footer.is_copy else footer
            if layout.is_copy(each.index) or len(payloads) >= layout.scheme.k:
                break
        if footer is None:
            raise ValueError("nobody has any of it")
        return bytes(decode_chunk(footer, payloads, best_codec(layout.scheme)))


def torture(
    kills: int, seed: int, *, nodes: int = 7, films: int = 3, time_max_s: float = 1e9, tell=None
) -> Account:
    """Kill so many processes while films are read; return what was seen. Raises: Lost."""
    rng = random.Random(seed)
    until_s = time.monotonic() + time_max_s
    with tempfile.TemporaryDirectory(prefix="keeper-") as directory:
        cluster = TorturedCluster(Path(directory), nodes, rng)
        try:
            cluster.wait_until_up()
            for number in range(films):
                cluster.store(f"film-{number}", FILM_S, LAYOUTS[number])
            cluster.witnesses.start(sorted(cluster.films), players=2, readers=2)
            with Reader(cluster, seed) as reader:
                while cluster.account.kills < kills and time.monotonic() < until_s:
                    if reader.trouble or cluster.witnesses.trouble:
                        break
                    cluster.hurt()
                    if tell:
                        tell(cluster.account)
            if reader.trouble or cluster.witnesses.trouble:
                raise Lost(reader.trouble or cluster.witnesses.trouble)
            if cluster.drained:
                cluster.drain_or_take_back()
            cluster.wait_until_up()
            cluster.account.done = cluster.wait_until_kept()["done"]
            for name in cluster.films:
                asyncio.run(Reader(cluster, seed).read(name))
            cluster.witnesses.stop()
            if cluster.witnesses.trouble:
                raise Lost(cluster.witnesses.trouble)
            cluster.account.seen = cluster.witnesses.seen
            return cluster.account
        finally:
            cluster.witnesses.stop()
            cluster.close()
