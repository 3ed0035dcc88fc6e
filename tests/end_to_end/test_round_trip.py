"""What goes in comes out, byte for byte, through real processes."""

import hashlib
import random
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from support.real_cluster import RealCluster

pytestmark = pytest.mark.real

KIB = 1024
ROW = 3 * 16 * KIB
SAMPLES = Path(__file__).parents[3] / "shared" / "data" / "video"


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def there_and_back(cluster: RealCluster, path: Path, name: str) -> dict:
    put = cluster.client("put", str(path), "--name", name, "--redundancy", "rs:3+2", "--json")
    assert put.code == 0, put
    stored = put.json["videos"][0]
    back = path.parent / f"back-{name}"
    get = cluster.client("get", name, "-o", str(back), "--json")
    assert get.code == 0, get
    assert sha256(back) == sha256(path) == stored["sha256"]
    assert stored["size"] == path.stat().st_size
    assert not list(path.parent.glob("*.part"))
    return stored


@pytest.mark.parametrize(
    "size",
    [0, 1, 16 * KIB - 1, 16 * KIB, 16 * KIB + 1, ROW - 1, ROW, ROW + 1, 4 * 1024 * KIB + 1],
)
def test_a_file_of_any_size_comes_back(cluster: RealCluster, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(size).randbytes(size))
    there_and_back(cluster, path, f"size-{size}")


def test_a_file_that_is_no_video_comes_back(cluster: RealCluster, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no video at all\n" * 5000)
    assert there_and_back(cluster, path, "notes")["duration_s"] == 0


def test_a_film_of_twenty_megabits_a_second_comes_back_with_short_chunks(
    cluster: RealCluster, tmp_path: Path
) -> None:
    av = pytest.importorskip("av")
    path = tmp_path / "film.mkv"
    rng = np.random.default_rng(1)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuvj420p"
        stream.options = {"qmin": "2", "qmax": "4"}
        for _ in range(150):
            picture = rng.integers(0, 255, (360, 640, 3), dtype=np.uint8)
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                out.mux(packet)
        out.mux(stream.encode(None))
    stored = there_and_back(cluster, path, "film")
    assert 8 * stored["size"] / stored["duration_s"] > 20e6
    info = cluster.client("info", "film", "--json").json["manifest"]
    assert all(chunk["size"] <= 4 * 1024 * KIB for chunk in info["chunks"])
    assert all(chunk["duration_s"] < 2 for chunk in info["chunks"])


def test_a_clip_comes_back_and_its_chunks_have_times(cluster: RealCluster, clip: Path) -> None:
    stored = there_and_back(cluster, clip, "clip")
    assert stored["duration_s"] == pytest.approx(12.0, abs=0.1)
    chunks = cluster.client("info", "clip", "--json").json["manifest"]["chunks"]
    assert sum(chunk["duration_s"] for chunk in chunks) == pytest.approx(12.0, abs=0.1)


@pytest.mark.parametrize("name", ["bbb_480p_30s.mp4", "bbb_720p_30s.webm"])
def test_the_sample_videos_come_back(cluster: RealCluster, tmp_path: Path, name: str) -> None:
    if not (SAMPLES / name).exists():
        pytest.skip("the sample videos are not on this machine")
    path = tmp_path / name
    path.write_bytes((SAMPLES / name).read_bytes())
    assert there_and_back(cluster, path, name)["duration_s"] == pytest.approx(30.0, abs=0.1)


def test_a_range_is_that_range(cluster: RealCluster, clip: Path, tmp_path: Path) -> None:
    cluster.client("put", str(clip), "--name", "ranged")
    whole = clip.read_bytes()
    out = tmp_path / "part"
    for first, last in ((0, 0), (100_000, 300_000), (len(whole) - 10, len(whole) - 1)):
        done = cluster.client(
            "get", "ranged", "--range", f"{first}-{last}", "-o", str(out), "--force"
        )
        assert done.code == 0, done
        assert out.read_bytes() == whole[first : last + 1]


def test_rm_frees_the_space_on_every_node(cluster: RealCluster, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(random.Random(7).randbytes(3 * 1024 * KIB))
    there_and_back(cluster, path, "gone")
    before = fragments_on(cluster)
    assert cluster.client("rm", "gone", "--yes").code == 0
    assert cluster.client("get", "gone", "-o", str(tmp_path / "x")).code == 4
    until_s = time.monotonic() + 40
    while any(fragments_on(cluster)[name] >= before[name] for name in before):
        assert time.monotonic() < until_s, f"fragments stayed: {before}"
        time.sleep(0.1)


def fragments_on(cluster: RealCluster) -> dict[str, int]:
    """Ask the nodes themselves: what the coordinator tells is a heartbeat old."""
    return {
        node["id"]: httpx.get(f"{node['url']}/healthz", trust_env=False).json()["fragments"]
        for node in cluster.nodes
    }
