"""One real cluster for all end-to-end tests of a module; every test finds it whole."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from smart_client.ingest.clip import make_clip
from support.real_cluster import RealCluster


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    cluster = RealCluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.down()


@pytest.fixture
def cluster(running: RealCluster) -> Iterator[RealCluster]:
    yield running
    running.mend()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real MP4 of twelve seconds."""
    pytest.importorskip("av", reason="making a clip needs PyAV (the extra 'video')")
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    make_clip(path, 12.0)
    return path
