"""What real players cost the nodes: never much more than the players are given."""

import json
import shutil
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.long_clip import looped
from support.mpv import Mpv
from support.real_cluster import RealCluster, serving

pytestmark = [
    pytest.mark.real,
    pytest.mark.player,
    pytest.mark.skipif(shutil.which("mpv") is None, reason="mpv is not installed"),
]

TIMES = 8
READ_AHEAD_S = 5.0
CHUNK_S = 10.0  # a window ends with the chunk in which its time ends

MARGIN = 1.2


@pytest.fixture(scope="module")
def film(running: RealCluster, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of a minute and a half, stored."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    looped(clip, path, TIMES)
    done = running.client("put", str(path), "--name", "film", "--redundancy", "rs:3+2")
    assert done.code == 0, done
    return path


@pytest.fixture
def gateway(running: RealCluster, film: Path) -> Iterator[str]:
    options = ("--read-ahead", f"{READ_AHEAD_S:g}s", "--cache", "0")
    with serving(running, *options) as url:
        yield url


def figures(gateway: str) -> dict:
    with urllib.request.urlopen(f"{gateway}/healthz", timeout=20) as answer:
        return json.load(answer)


def test_a_viewer_who_seeks_costs_what_is_shown_and_a_window_a_seek(
    gateway: str, film: Path, tmp_path: Path
) -> None:
    mpv = Mpv(f"{gateway}/v/film", tmp_path)
    seeks = (70.0, 20.0, 85.0, 40.0)
    try:
        mpv.wait_for_position(0.3, 5.0)
        for target_s in seeks:
            mpv.ask("seek", target_s, "absolute+exact")
            mpv.wait_for_position(target_s, target_s + 5.0)
    finally:
        mpv.close()
    told = figures(gateway)
    window = (READ_AHEAD_S + CHUNK_S) / (12.0 * TIMES) * film.stat().st_size
    allowed = MARGIN * told["player_bytes"] + (len(seeks) + 1) * window
    assert 0 < told["node_bytes"] <= allowed, told
    assert told["node_bytes"] <= MARGIN * film.stat().st_size, "nothing is fetched twice"


def test_a_player_that_swallows_the_whole_film_costs_the_film(
    gateway: str, film: Path, tmp_path: Path
) -> None:
    size = film.stat().st_size
    mpv = Mpv(f"{gateway}/v/film", tmp_path, "--demuxer-max-bytes=150MiB", "--cache=yes")
    try:
        limit_s = time.monotonic() + 60
        while (told := figures(gateway))["player_bytes"] < size:
            assert time.monotonic() < limit_s, told
            time.sleep(0.1)
    finally:
        mpv.close()
    assert told["amplification"] <= MARGIN
    assert told["node_bytes"] <= MARGIN * size


def test_a_second_viewing_of_another_process_costs_nothing(
    running: RealCluster, film: Path
) -> None:
    command = "mpv --no-config --vo=null --ao=null --really-quiet --speed=30 {url}"
    sessions = [
        running.client("play", "film", "--player", command, "--json").json["session"]
        for _ in range(2)
    ]
    assert sessions[0]["qoe_source"] == "mpv-ipc"
    assert sessions[0]["cached_bytes"] == 0
    assert sessions[1]["cached_bytes"] == film.stat().st_size
    assert sessions[1]["wire_bytes"] < 10_000
