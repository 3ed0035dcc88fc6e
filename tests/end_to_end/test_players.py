"""Real players on the gateway: they play and seek the original, and what that costs the nodes."""

import asyncio
import hashlib
import json
import shutil
import signal
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.long_clip import looped
from support.mpv import Mpv
from support.real_cluster import RealCluster, serving

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

CHROMIUM = shutil.which("chromium")
needs_mpv = pytest.mark.skipif(shutil.which("mpv") is None, reason="mpv is not installed")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def url(running: RealCluster, clip: Path) -> Iterator[str]:
    """The gateway's URL of a stored clip."""
    done = running.client("put", str(clip), "--name", "clip", "--redundancy", "rs:3+2")
    assert done.code == 0, done
    with serving(running) as gateway:
        yield f"{gateway}/v/clip"


CLIP_S = 12.0


def fetch(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def test_the_gateway_serves_ranges_of_the_original(url: str, clip: Path) -> None:
    whole = clip.read_bytes()
    status, headers, body = fetch(url)
    assert (status, body) == (200, whole)
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["Content-Type"] == "video/mp4"
    etag = headers["ETag"]
    assert etag == f'"{hashlib.sha256(whole).hexdigest()}"'
    size = len(whole)
    for asked, start, stop in (
        ("bytes=0-0", 0, 1),
        ("bytes=100-299999", 100, 300_000),
        (f"bytes={size - 7}-", size - 7, size),
        ("bytes=-500", size - 500, size),
        (f"bytes=5-{size * 9}", 5, size),
    ):
        status, headers, body = fetch(url, Range=asked)
        assert status == 206
        assert headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
        assert body == whole[start:stop]
    status, headers, _ = fetch(url, Range=f"bytes={size}-")
    assert status == 416
    assert headers["Content-Range"] == f"bytes */{size}"
    assert fetch(url, Range="bytes=9-3")[0] == 200, "nonsense is ignored"
    assert fetch(url, Range="bytes=0-1,5-6")[0] == 200, "several ranges are not served"
    assert fetch(url, **{"If-None-Match": etag})[0] == 304
    assert fetch(url, **{"If-Range": etag, "Range": "bytes=0-9"})[0] == 206
    assert fetch(url, **{"If-Range": '"other"', "Range": "bytes=0-9"})[0] == 200
    status, _, body = fetch(url.replace("/clip", "/clop"))
    assert status == 404
    assert "clip" in json.loads(body)["error"]["message"]


def test_a_rendition_has_a_url_of_its_own(url: str, clip: Path) -> None:
    of_rendition = url.replace("/v/clip", "/r/clip/")
    assert fetch(of_rendition + "original")[2] == clip.read_bytes()
    status, _, body = fetch(of_rendition + "720p")
    assert status == 404
    assert json.loads(body)["error"]["code"] == "RENDITION_NOT_FOUND"


def test_head_tells_the_size_without_a_body(url: str, clip: Path) -> None:
    request = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert int(answer.headers["Content-Length"]) == clip.stat().st_size
        assert answer.read() == b""


@needs_mpv
@pytest.mark.player
def test_mpv_plays_and_seeks(url: str, tmp_path: Path) -> None:
    mpv = Mpv(url, tmp_path)
    try:
        mpv.wait_for_position(0.3, CLIP_S)
        for target_s in (8.0, 2.0, 10.0):
            # Paused meanwhile, so that a busy machine does not look after it has gone by.
            mpv.ask("set_property", "pause", True)
            mpv.ask("seek", target_s, "absolute+exact")
            at_s = mpv.wait_for_position(target_s - 0.05, target_s + 0.1)
            mpv.ask("set_property", "pause", False)
            mpv.wait_for_position(at_s + 0.3, CLIP_S)  # and it plays on from there
        mpv.ask("set_property", "speed", 8)
        limit_s = time.monotonic() + 60
        while not mpv.ask("get_property", "eof-reached"):
            assert time.monotonic() < limit_s
            time.sleep(0.1)
    finally:
        mpv.close()


@needs_mpv
@pytest.mark.player
def test_of_a_film_that_is_left_early_only_what_was_shown_counts(
    cluster: RealCluster, url: str
) -> None:
    command = "mpv --no-config --vo=null --ao=null --really-quiet --start=5 --length=3 {url}"
    done = cluster.client("play", "clip", "--player", command, "--json")
    assert done.code == 0, done
    assert 2.0 <= done.json["session"]["played_s"] <= 4.0, "of the twelve of the clip"


@needs_mpv
@pytest.mark.player
def test_play_opens_mpv_by_itself_and_ends_with_it(cluster: RealCluster, url: str) -> None:
    command = "mpv --no-config --vo=null --ao=null --really-quiet --speed=4 {url}"
    done = cluster.client("play", "clip", "--player", command, "--json")
    assert done.code == 0, done
    session = done.json["session"]
    assert session["qoe_source"] == "mpv-ipc"
    assert 0 < session["startup_s"] < 20
    assert session["rebuffers"] == 0
    assert session["played_s"] > 10
    assert session["delivered_bytes"] + session["cached_bytes"] > 0


def test_a_player_that_fails_or_is_missing_ends_with_code_eleven(
    cluster: RealCluster, url: str
) -> None:
    for player, text in (("nosuchplayer", "not installed"), ("false", "without playing")):
        done = cluster.client("play", "clip", "--player", player, "--json")
        assert done.code == 11, done
        assert text in done.json["error"]["message"]


PAGE = """<!doctype html><video id=v muted playsinline src="{url}"></video><script>
const v = document.getElementById('v'); window.log = [];
for (const kind of ['playing', 'waiting', 'seeked', 'ended', 'error', 'stalled'])
  v.addEventListener(kind, () => window.log.push([kind, v.currentTime]));
</script>"""


@needs_chromium
@pytest.mark.browser
def test_chromium_plays_and_seeks_while_nodes_freeze_and_die(
    cluster: RealCluster, url: str, tmp_path: Path
) -> None:
    pytest.importorskip("playwright", reason="needs the extra 'browser'")
    page_file = tmp_path / "page.html"
    page_file.write_text(PAGE.format(url=url))
    asyncio.run(_drive_chromium(cluster, page_file))


async def _drive_chromium(cluster: RealCluster, page_file: Path) -> None:
    from playwright.async_api import async_playwright  # noqa: PLC0415

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                *("--no-sandbox", "--autoplay-policy=no-user-gesture-required"),
                *("--disable-background-networking", "--disable-component-update"),
            ],
        )
        page = await browser.new_page()
        await page.goto(page_file.as_uri())
        await page.evaluate("document.getElementById('v').play()")
        await page.wait_for_function("document.getElementById('v').currentTime > 0.5")
        cluster.signal(0, signal.SIGSTOP)
        for target_s in (9.0, 3.0, 7.0):
            await page.evaluate(f"document.getElementById('v').currentTime = {target_s}")
            await page.wait_for_function(
                f"!v.seeking && v.currentTime > {target_s} + 0.3 && v.currentTime < {target_s} + 3"
            )
        cluster.signal(3, signal.SIGKILL)
        await page.evaluate("document.getElementById('v').currentTime = 10.5")
        await page.wait_for_function("window.log.some(([kind]) => kind === 'ended')")
        log = await page.evaluate("window.log")
        assert not [entry for entry in log if entry[0] == "error"]
        assert await page.evaluate("document.getElementById('v').videoWidth") == 640
        await browser.close()


def test_a_gateway_on_a_taken_port_says_so(cluster: RealCluster, url: str) -> None:
    taken = url.split("/")[2]
    done = cluster.client("serve", "--listen", taken, "--json")
    assert done.code != 0
    assert "cannot listen" in done.json["error"]["message"]


# -- what players cost the nodes --------------------------------------------------------------

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
def thrifty(running: RealCluster, film: Path) -> Iterator[str]:
    options = ("--read-ahead", f"{READ_AHEAD_S:g}s", "--cache", "0")
    with serving(running, *options) as url:
        yield url


def figures(gateway: str) -> dict:
    with urllib.request.urlopen(f"{gateway}/healthz", timeout=20) as answer:
        return json.load(answer)


@needs_mpv
@pytest.mark.player
def test_a_viewer_who_seeks_costs_what_is_shown_and_a_window_a_seek(
    thrifty: str, film: Path, tmp_path: Path
) -> None:
    mpv = Mpv(f"{thrifty}/v/film", tmp_path)
    seeks = (70.0, 20.0, 85.0, 40.0)
    try:
        mpv.wait_for_position(0.3, 5.0)
        for target_s in seeks:
            mpv.ask("seek", target_s, "absolute+exact")
            mpv.wait_for_position(target_s, target_s + 5.0)
    finally:
        mpv.close()
    told = figures(thrifty)
    print("seeks", told["node_bytes"], told["player_bytes"], told["amplification"])
    window = (READ_AHEAD_S + CHUNK_S) / (12.0 * TIMES) * film.stat().st_size
    allowed = MARGIN * told["player_bytes"] + (len(seeks) + 1) * window
    assert 0 < told["node_bytes"] <= allowed, told
    assert told["node_bytes"] <= MARGIN * film.stat().st_size, "nothing is fetched twice"


@needs_mpv
@pytest.mark.player
def test_a_player_that_swallows_the_whole_film_costs_the_film(
    thrifty: str, film: Path, tmp_path: Path
) -> None:
    size = film.stat().st_size
    mpv = Mpv(f"{thrifty}/v/film", tmp_path, "--demuxer-max-bytes=150MiB", "--cache=yes")
    try:
        limit_s = time.monotonic() + 60
        while (told := figures(thrifty))["player_bytes"] < size:
            assert time.monotonic() < limit_s, told
            time.sleep(0.1)
    finally:
        mpv.close()
    print("swallowed", told["node_bytes"], told["player_bytes"], told["amplification"])
    assert told["amplification"] <= MARGIN
    assert told["node_bytes"] <= MARGIN * size


@needs_mpv
@pytest.mark.player
def test_a_second_viewing_of_another_process_costs_nothing(
    running: RealCluster, url: str, clip: Path, tmp_path: Path
) -> None:
    command = "mpv --no-config --vo=null --ao=null --really-quiet --speed=20 {url}"
    words = ("play", "clip", "--player", command, "--cache-dir", str(tmp_path), "--json")
    sessions = [running.client(*words).json["session"] for _ in range(2)]
    assert sessions[0]["qoe_source"] == "mpv-ipc"
    assert sessions[0]["cached_bytes"] == 0
    assert sessions[1]["cached_bytes"] == clip.stat().st_size
    assert sessions[1]["wire_bytes"] < 10_000
