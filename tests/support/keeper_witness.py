"""Who watches while a cluster is tortured: players in real time, and readers of its registers."""

import hashlib
import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from smart_client import wire
from support.forker import Forker, is_alive

# A film of a minute that is still not over after this hangs.
_PLAY_S_MAX = 600.0


class Broken(Exception):
    """Something was seen that must not be: wrong bytes, or a register that went back."""


@dataclass
class Seen:
    """What the witnesses saw."""

    plays: int = 0
    played_s: float = 0.0
    stalls: int = 0
    stalled_s: float = 0.0
    startup_s_max: float = 0.0
    plays_refused: int = 0  # nobody told where the film lies: the coordinator was down
    register_reads: int = 0
    register_versions: int = 0
    stalled: list[str] = field(default_factory=list)


@dataclass
class _Write:
    value: str
    began_s: float
    ended_s: float = float("inf")


class OneWriter:
    """Responsible for a register that one thread writes and many read being atomic to all of them.

    A read may return what was being written while it lasted, or what was there; nothing older
    than a write, or a read, that ended before it began.
    """

    def __init__(self, first: str) -> None:
        self._writes = [_Write(first, 0.0, 0.0)]
        self._newest = (0.0, 0)  # the latest end of a read, and the write it returned
        self._lock = threading.Lock()

    def begin(self, value: str) -> None:
        with self._lock:
            self._writes.append(_Write(value, time.monotonic()))

    def end(self) -> None:
        with self._lock:
            self._writes[-1].ended_s = time.monotonic()

    def read(self, value: str, began_s: float, ended_s: float) -> None:
        """Judge a read. Raises: Broken."""
        with self._lock:
            settled = max(i for i, w in enumerate(self._writes) if w.ended_s < began_s or i == 0)
            oldest = max(settled, self._newest[1] if self._newest[0] < began_s else 0)
            for index in range(len(self._writes) - 1, oldest - 1, -1):
                write = self._writes[index]
                if write.value == value and write.began_s <= ended_s:
                    if index > self._newest[1]:
                        self._newest = (ended_s, index)
                    return
        raise Broken(f"a register reads {value}, after {self._writes[oldest:]}")


class Versions:
    """Responsible for one register's versions never going back, and each having one value."""

    def __init__(self) -> None:
        self._values: dict[int, str] = {}
        self._newest: list[tuple[float, int]] = []  # (end of a read, version), both growing
        self._what: object = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def read(self, version: int, value: str, what: object, span_s: tuple[float, float]) -> None:
        """Judge a read.

        Args:
            what: of the value, what never changes.
        Raises: Broken.
        """
        began_s, ended_s = span_s
        with self._lock:
            if self._values.setdefault(version, value) != value:
                raise Broken(f"version {version} has two values")
            if self._what is None:
                self._what = what
            if what != self._what:
                raise Broken("the chunks of a film changed")
            before = max((v for end_s, v in self._newest if end_s < began_s), default=0)
            if version < before:
                raise Broken(f"version {version} was read after {before}")
            if not self._newest or version > self._newest[-1][1]:
                self._newest.append((ended_s, version))


class Witnesses:
    """Responsible for threads that watch until they are told to stop, and for what they saw."""

    def __init__(self, url: str, directory: Path) -> None:
        self._url = url
        self._directory = directory
        self.seen = Seen()
        self.trouble = ""
        self._versions: dict[str, Versions] = {}
        self.layouts: dict[str, OneWriter] = {}
        self.states: dict[str, OneWriter] = {}  # of nodes: whether they were declared lost
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def start(self, films: list[str], *, players: int, readers: int) -> None:
        """Begin to watch."""
        works: list[Callable[[], None]] = []
        for number in range(players):
            works.append(lambda n=number: self._play(films[n % len(films) :] + films, n))
        works += [lambda: self._read_registers(films)] * readers
        for work in works:
            self._threads.append(threading.Thread(target=self._until_trouble, args=(work,)))
            self._threads[-1].start()

    def stop(self) -> None:
        """End, and add up."""
        self._stop.set()
        for thread in self._threads:
            thread.join(120)
        self.seen.register_versions = sum(map(len, self._versions.values()))

    def _until_trouble(self, work: Callable[[], None]) -> None:
        try:
            while not self._stop.is_set():
                work()
        except Broken as error:
            self.trouble = str(error)

    # -- players ---------------------------------------------------------------------------------

    def _play(self, films: list[str], number: int) -> None:
        forker = Forker()
        plays = 0
        try:
            for film in itertools.cycle(films):
                if self._stop.is_set():
                    return
                plays += 1
                out = self._directory / f"player-{number}.{plays}"
                argv = ["play", film, "--player", "none", "--coordinator", self._url, "--json"]
                pid = forker.start("smart-client", argv, out, out)
                until_s = time.monotonic() + _PLAY_S_MAX
                while is_alive(pid):
                    if time.monotonic() > until_s:
                        raise Broken(f"{film} is not played to its end: {out.read_text()}")
                    time.sleep(0.2)
                self._judge(film, out.read_text())
                out.unlink()
        finally:
            forker.close()

    def _judge(self, film: str, text: str) -> None:
        lines = text.splitlines()
        told = json.loads(lines[-2]) if len(lines) > 1 else {}
        code = json.loads(lines[-1]).get("exit", 70) if lines else 70
        with self._lock:
            if code == 5 and "session" not in told:
                self.seen.plays_refused += 1
                return
            if code or not told["session"]["sha256_verified"]:
                raise Broken(f"playing {film}: {text}")
            session = told["session"]
            self.seen.plays += 1
            self.seen.played_s += session["played_s"]
            self.seen.stalls += session["rebuffers"]
            self.seen.stalled_s += session["stalled_s"]
            self.seen.startup_s_max = max(self.seen.startup_s_max, session["startup_s"])
            if session["rebuffers"]:
                self.seen.stalled.append(json.dumps(session))

    # -- registers -------------------------------------------------------------------------------

    def _read_registers(self, films: list[str]) -> None:
        with httpx.Client(base_url=self._url, timeout=5, trust_env=False) as http:
            while not self._stop.is_set():
                try:
                    for film in films:
                        self._read_groups(http, film)
                        self._read_layout(http, film)
                    self._read_states(http)
                except httpx.TransportError:
                    pass  # it was killed in the middle
                time.sleep(0.1)

    def _get(self, http: httpx.Client, path: str, kind: type) -> tuple[object, float, float] | None:
        began_s = time.monotonic()
        answer = http.get(path)
        if answer.status_code != 200:
            return None
        with self._lock:
            self.seen.register_reads += 1
        return wire.decode(answer.content, kind), began_s, time.monotonic()

    def _read_groups(self, http: httpx.Client, film: str) -> None:
        found = self._get(http, f"/v1/videos/{film}/groups", tuple[wire.StoredGroup, ...])
        if found is None:
            return
        groups, *span_s = found
        for each in groups:
            key = f"{film}/{each.number}"
            with self._lock:
                versions = self._versions.setdefault(key, Versions())
            value = hashlib.sha256(wire.encode(each.group)).hexdigest()
            what = [(chunk.number, chunk.sha256, chunk.offset) for chunk in each.group.chunks]
            versions.read(each.version, value, what, tuple(span_s))

    def _read_layout(self, http: httpx.Client, film: str) -> None:
        found = self._get(http, f"/v1/videos/{film}", wire.VideoRecord)
        if found is not None:
            video, *span_s = found
            self.layouts[film].read(str(video.layout.to_layout()), *span_s)

    def _read_states(self, http: httpx.Client) -> None:
        found = self._get(http, "/v1/nodes", tuple[wire.NodeStatus, ...])
        if found is None:
            return
        nodes, *span_s = found
        for each in nodes:
            # Silence of 15 minutes does not occur here: lost is who was declared lost.
            is_lost = "lost" if each.state == "lost" else "not"
            self.states[each.record.id].read(is_lost, *span_s)
