"""A session on real processes, written down while it runs, replayed to the bit and explained."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from smart_client.core.replay import new_session, replay
from smart_client.recording import Recording
from support.real_cluster import RealCluster, run

pytestmark = pytest.mark.real

FILM_BYTES = 3 * 1024 * 1024


@pytest.fixture(scope="module")
def film(running: RealCluster, clip: Path) -> str:
    """A real clip of twelve seconds."""
    done = running.client("put", str(clip), "--name", "clip", "--redundancy", "rs:3+2")
    assert done.code == 0, done
    return "clip"


@pytest.fixture
def slowed(cluster: RealCluster) -> Iterator[RealCluster]:
    """Every node capped, so that requests are in flight all the time."""
    names = [node["id"] for node in cluster.nodes]
    assert cluster.storage_server("slow", *names, "--rate", "400kbit/s").code == 0
    try:
        yield cluster
    finally:
        cluster.storage_server("slow", *names, "--rate", "none")


def test_a_real_session_with_a_frozen_node_is_replayed_to_the_bit_and_explained(
    slowed: RealCluster, film: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    # The player is another process: the freeze comes from here while it runs.
    striker = threading.Timer(3.0, slowed.signal, (2, signal.SIGSTOP))
    striker.start()
    played = slowed.client(
        "play", film, "--player", "none", "--buffer", "6s", "--record", str(path)
    )
    striker.join()
    assert played.code == 0, played
    assert f"explain {path}" in played.err

    recording = Recording(path)
    try:
        steps = list(replay(new_session(recording.head), recording.steps()))
    finally:
        recording.close()
    assert len(steps) > 100
    assert recording.how_it_ended == "closed"

    told = run("smart_client", "explain", str(path), "--json").json
    victim = slowed.nodes[2]["id"]
    troubles = [f for f in told["findings"] if f["kind"] == "trouble" and f["node"] == victim]
    assert troubles, told["findings"]
    assert troubles[0]["reason"] == "silent"
    assert any(trouble["moved"] for trouble in troubles)
    assert told["recording"]["complete"]
    assert told["stalls_known"]
    text = run("smart_client", "explain", str(path))
    assert f"{victim} sent nothing for 0." in text.out
    again = run("smart_client", "dashboard", "--replay", str(path))
    assert "played to the end" in again.out
    assert again.err == ""


def test_a_killed_player_leaves_a_recording_up_to_its_last_second(
    slowed: RealCluster, film: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.jsonl"
    words = [sys.executable, "-m", "smart_client", "play", film, "--player", "none", "--json"]
    words += ["--record", str(path), "--coordinator", slowed.coordinator, "--scheduler", "all-n"]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline_s = time.monotonic() + 30
        while not path.exists() or path.read_bytes().count(b"\n") < 200:
            assert time.monotonic() < deadline_s
            assert process.poll() is None
            time.sleep(0.05)
        began_ts = json.loads(path.read_bytes().split(b"\n", 1)[0])["began_ts"]
        killed_ts = time.time()
    finally:
        process.kill()
        process.wait(10)
    told = run("smart_client", "explain", str(path), "--json")
    assert told.code == 0, told
    facts = told.json["recording"]
    assert not facts["complete"]
    assert facts["scheduler"] == "all-n"
    assert facts["seconds"] > killed_ts - began_ts - 1.0


def test_a_download_is_recorded_too_and_its_bytes_are_right(
    cluster: RealCluster, tmp_path: Path
) -> None:
    data = random.Random(3).randbytes(FILM_BYTES)
    source, target, path = tmp_path / "film", tmp_path / "copy", tmp_path / "run.jsonl"
    source.write_bytes(data)
    put = cluster.client("put", str(source), "--name", "bytes", "--redundancy", "rs:3+2")
    assert put.code == 0, put
    got = cluster.client("get", "bytes", "-o", str(target), "--record", str(path))
    assert got.code == 0, got
    assert target.read_bytes() == data
    told = run("smart_client", "explain", str(path), "--json").json
    assert told["recording"]["complete"]
    assert not told["stalls_known"]
    # A file that is no recording is not written over, and nothing is left of the download.
    refused = cluster.client("get", "bytes", "-o", str(tmp_path / "x"), "--record", str(source))
    assert refused.code == 8
    assert "is not a recording" in refused.err
    assert source.read_bytes() == data
    assert not list(tmp_path.glob("x*"))


def test_a_recording_that_cannot_be_written_costs_only_the_recording(
    cluster: RealCluster, film: str
) -> None:
    done = cluster.client(
        "play", film, "--player", "none", "--start", "10s", "--record", "/dev/full"
    )
    assert done.code == 3, done
    assert "no stall" in done.out
    assert "the recording is not whole" in done.err
