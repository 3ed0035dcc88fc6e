"""Real processes: what ``exposure`` says of every set of missing nodes is what then comes true."""

import contextlib
import itertools
import os
import random
import signal

import httpx
import pytest

from redundancy.backends import best_codec
from redundancy.errors import ExitCode, InsufficientFragments
from redundancy.fragment_format import read_footer_at_end
from redundancy.fragments import decode_chunk
from smart_client import wire
from support.node_process import NodeProcess
from support.real_cluster import RealCluster, run

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]

NODES = 4

# Of two chunks each, but the last; every kind of layout.
VIDEOS = {
    "copies": ("rep:3", 2_200_000),
    "code": ("rs:2+1", 2_300_000),
    "mixed": ("rs:2+1+1copy", 2_300_000),
    "single": ("rep:1", 50_000),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A cluster and its videos."""
    cluster = RealCluster(tmp_path_factory.mktemp("cluster"))
    originals = {}
    try:
        cluster.up(NODES)
        for name, (layout, size) in VIDEOS.items():
            path = tmp_path_factory.mktemp("video") / name
            data = random.Random(name).randbytes(size)
            path.write_bytes(data)
            done = cluster.client("put", str(path), "--redundancy", layout)
            assert done.code == 0, done
            originals[name] = data
        yield cluster, originals
    finally:
        cluster.down()


def exposure(cluster: RealCluster, *words: str):
    return run("storage_server", "exposure", *words, "--coordinator", cluster.coordinator)


def all_sets():
    """Every set of 1 to 3 of the nodes, in an order in which few have to be started again."""
    rest = [set(each) for size in (1, 2, 3) for each in itertools.combinations(range(NODES), size)]
    missing: set[int] = set()
    while rest:
        rest.sort(key=lambda each: (len(missing - each), len(each - missing), sorted(each)))
        missing = rest.pop(0)
        yield missing


class Nodes:
    """Responsible for exactly the nodes that should be missing being gone, by kill -9."""

    def __init__(self, cluster: RealCluster, stack: contextlib.ExitStack) -> None:
        self._cluster, self._stack = cluster, stack
        self._ours: dict[int, NodeProcess] = {}
        self._missing: set[int] = set()

    def leave_out(self, missing: set[int]) -> frozenset[str]:
        """Kill and start until these are missing; return their names."""
        for position in sorted(self._missing - missing):
            node = self._cluster.nodes[position]
            words = ["--id", node["id"], "--listen", node["url"].removeprefix("http://")]
            self._ours[position] = self._stack.enter_context(NodeProcess(node["data"], *words))
        for position in sorted(missing - self._missing):
            if position in self._ours:
                self._ours.pop(position).kill()
            else:
                os.kill(self._cluster.pid(position), signal.SIGKILL)
        self._missing = missing
        return frozenset(self._cluster.nodes[position]["id"] for position in missing)


def rebuildable(cluster: RealCluster, originals: dict[str, bytes]) -> set[str]:
    """Fetch every fragment there is to be had, decode; return the videos that come back."""
    found = set()
    with httpx.Client(trust_env=False, timeout=20.0) as http:
        for name, original in originals.items():
            url = f"{cluster.coordinator}/v1/videos/{name}/manifest"
            manifest = wire.decode(http.get(url).content, wire.Manifest)
            addresses = {node.id: node.urls[0] for node in manifest.nodes}
            try:
                chunks = [decoded(http, chunk, addresses) for chunk in manifest.chunks]
            except InsufficientFragments:
                continue
            assert b"".join(chunks) == original
            found.add(name)
    return found


def decoded(http: httpx.Client, chunk: wire.ChunkRecord, addresses: dict[str, str]) -> bytes:
    """Raises: InsufficientFragments."""
    payloads, footer = {}, None
    for fragment in chunk.fragments:
        try:
            answer = http.get(f"{addresses[fragment.node]}/v1/chunks/{fragment.key}")
        except httpx.ConnectError:
            continue
        assert answer.status_code == 200
        footer = read_footer_at_end(answer.content)
        payloads[fragment.index] = answer.content[: footer.payload_bytes]
    if footer is None:
        raise InsufficientFragments("none")
    return bytes(decode_chunk(footer, payloads, best_codec(footer.layout.scheme)))


def a_player_sees_the_same(cluster: RealCluster, stopped: set[str]) -> None:
    for name in ("copies", "single"):
        into = str(cluster.directory / f"{name}.back")
        done = cluster.client("get", name, "-o", into, "--patience", "2")
        assert (done.code == 0) == (name not in stopped), done


def test_one_screen_says_which_box_may_be_unplugged(stored) -> None:
    cluster, _ = stored
    screen = exposure(cluster).out.splitlines()
    assert screen[0] == "4 videos on 4 nodes, all up"
    assert screen[2].split() == [
        "NODE",
        "STATE",
        "IF",
        "YOU",
        "UNPLUG",
        "IT",
        "IF",
        "ITS",
        "DATA",
        "IS",
        "GONE",
    ]
    rows = screen[3:7]
    assert sum("1 video stops: single" in row for row in rows) == 1
    assert sum("safe" in row and "nothing is lost" in row for row in rows) == 3
    assert any(line.startswith("any 2 nodes:") for line in screen)
    assert "cannot be played at a random moment" in screen[-1]


def test_named_nodes_are_judged_together_and_the_exit_code_tells(stored) -> None:
    cluster, _ = stored
    pairs = exposure(cluster, "--json").json["combinations"]
    safe = next(each["nodes"] for each in pairs if each["safe"] and len(each["nodes"]) == 1)
    harmful = max(pairs, key=lambda each: len(each["lost"]))
    done = exposure(cluster, *safe)
    assert done.code == 0
    assert "every video plays on" in done.out
    done = exposure(cluster, *harmful["nodes"])
    assert done.code == ExitCode.PARTIAL
    assert f"{len(harmful['lost'])} videos lost: {harmful['lost'][0]}" in done.out
    done = exposure(cluster, "node-9")
    assert done.code == ExitCode.USAGE
    assert "there are node-1, node-2" in done.err


def test_what_exposure_predicts_for_every_set_of_nodes_comes_true(stored) -> None:
    """The last of this module: it leaves a cluster of which little is left."""
    cluster, originals = stored
    done = exposure(cluster, "--json")
    assert done.code == ExitCode.PARTIAL, done  # 'single' has one copy
    stops = {frozenset(each["nodes"]): set(each["stopped"]) for each in done.json["combinations"]}
    lost = {frozenset(each["nodes"]): set(each["lost"]) for each in done.json["combinations"]}
    assert lost == stops  # with every node up, what stops is what would be lost
    seen = {}
    with contextlib.ExitStack() as stack:
        nodes = Nodes(cluster, stack)
        for missing in all_sets():
            names = nodes.leave_out(missing)
            seen[names] = set(VIDEOS) - rebuildable(cluster, originals)
            if len(seen) == 3:  # once
                a_player_sees_the_same(cluster, seen[names])
    assert len(seen) == 14
    assert seen == stops
    assert set() in stops.values()
    assert max(map(len, stops.values())) > 1
