"""One cluster, one gateway and one browser for all pages; every test finds them whole."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.browser_pages import CHROMIUM, Gateway, Watched, chromium, gateway_of, page_of
from support.frame_clip import make_frame_clip
from support.real_cluster import RealCluster

FILM = "Night ferry (take 2)"
FILM_S = 60.0


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    pytest.importorskip("playwright", reason="needs the extra 'browser'")
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(running: RealCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway_of(running, tmp_path_factory.mktemp("gateway"), "--buffer", "12") as found:
        yield found


@pytest.fixture
def watched(browser: Any, gateway: Gateway) -> Iterator[Watched]:
    with page_of(browser, gateway.url) as found:
        yield found


@pytest.fixture(scope="session")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 with a number in every frame."""
    pytest.importorskip("av", reason="making a clip needs PyAV (the extra 'video')")
    path = tmp_path_factory.mktemp("film") / f"{FILM}.mp4"
    make_frame_clip(path, FILM_S)
    return path
