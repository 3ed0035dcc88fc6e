"""The pages as people use them: by keyboard, on a phone, in the dark, and when things are away."""

import hashlib
import os
import random
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.browser_pages import Gateway, Watched, gateway_of, page_of
from support.frame_clip import make_frame_clip
from support.real_cluster import RealCluster

pytestmark = [pytest.mark.real, pytest.mark.browser, pytest.mark.timeout(300)]

PAGES = ("library", "watch/ferry", "cluster", "storage", "agreement", "compare")


@pytest.fixture(scope="module", autouse=True)
def stored(running: RealCluster, film: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A film, and one that no browser plays."""
    old = tmp_path_factory.mktemp("old") / "reel.avi"
    make_frame_clip(old, 2.0)
    for path, name in ((film, "ferry"), (old, "reel")):
        done = running.client("put", str(path), "--name", name)
        assert done.code == 0, done


def focused(watched: Watched) -> str:
    return watched.page.evaluate(
        "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent)"
        ".trim()"
    )


def tab_to(watched: Watched, text: str) -> None:
    """Press Tab until something with this name has the focus, and see that it is marked."""
    for _ in range(40):
        watched.page.keyboard.press("Tab")
        if focused(watched).startswith(text):
            outline = "getComputedStyle(document.activeElement).outlineStyle"
            assert watched.page.evaluate(outline) != "none", f"nobody sees the focus on {text}"
            return
    raise AssertionError(f"Tab never reaches '{text}'")


def test_everything_can_be_done_with_the_keyboard(watched: Watched) -> None:
    page, press = watched.page, watched.page.keyboard.press
    watched.go()
    page.get_by_role("link", name="ferry").wait_for()
    press("Tab")
    assert focused(watched) == "Skip to content"
    tab_to(watched, "Cluster")
    press("Enter")
    page.get_by_role("heading", name="Cluster").wait_for()
    watched.wait_until("document.activeElement.textContent === 'Cluster'")
    page.go_back()
    page.get_by_role("link", name="ferry").wait_for()
    tab_to(watched, "Upload")
    press("Enter")
    assert focused(watched) == "Choose files"
    tab_to(watched, "Delete reel")
    press("Enter")
    assert focused(watched) == "Keep it", "the safe answer comes first"
    press("Escape")
    assert page.get_by_role("dialog").count() == 0
    page.get_by_role("link", name="reel").wait_for()
    page.get_by_role("link", name="ferry").focus()
    press("Enter")
    watched.wait_until("v && !v.paused && v.currentTime > 0.2")
    press("Space")
    watched.wait_until("v.paused")
    press("5")
    watched.wait_until("!v.seeking && Math.abs(v.currentTime - v.duration / 2) < 0.1")
    press("ArrowRight")
    watched.wait_until("Math.abs(v.currentTime - v.duration / 2 - 5) < 0.1")
    press("j")
    watched.wait_until("Math.abs(v.currentTime - v.duration / 2 + 5) < 0.1")
    press("?")
    page.get_by_text("play or pause").wait_for()
    assert watched.settle() == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone(browser: Any, gateway: Gateway, scheme: str) -> None:
    with page_of(browser, gateway.url, width=360, height=740, scheme=scheme) as watched:
        grounds = set()
        for where in PAGES:
            watched.go(where)
            watched.page.locator("main :is(.card, .notice):visible").first.wait_for()
            watched.page.wait_for_timeout(400)  # for figures to come and be drawn
            wide = "document.documentElement.scrollWidth"
            assert watched.page.evaluate(wide) <= 360, f"{where} is wider than the phone"
            ground = "getComputedStyle(document.documentElement).backgroundColor"
            grounds.add(watched.page.evaluate(ground))
            nav = watched.page.locator(".site-nav a").last.bounding_box()
            assert nav is not None
            assert nav["y"] > 600, "the pages are at the thumb"
        assert len(grounds) == 1
        red = int(grounds.pop().split("(")[1].split(",")[0])
        assert (red > 200) == (scheme == "light")
        assert watched.settle() == []


def test_a_film_no_browser_plays_is_told_with_its_address(
    watched: Watched, gateway: Gateway
) -> None:
    watched.go("watch/reel")
    notice = watched.page.locator(".cannot")
    notice.wait_for()
    assert "mpeg4" in notice.inner_text()
    assert f"mpv {gateway.url}/v/reel" in notice.inner_text()
    assert f"vlc {gateway.url}/v/reel" in notice.inner_text()


@pytest.mark.parametrize("engine", ["native", "hls.js"])
def test_a_ladder_is_played_and_its_quality_chosen(
    running: RealCluster, watched: Watched, clip: Path, engine: str
) -> None:
    done = running.client("put", str(clip), "--name", f"steps {engine}", "--ladder", "144,96")
    assert done.code == 0, done
    watched.go(f"watch/steps%20{engine}?engine={engine}")
    watched.wait_until("v && v.currentTime > 0.5 && [96, 144].includes(v.videoHeight)")
    quality = watched.page.get_by_label("Quality")
    for name, height in (("96p", 96), ("144p", 144), ("original", 360)):
        quality.select_option(name)
        watched.wait_until(f"v.videoHeight === {height} && v.readyState > 2 && v.currentTime > 0.4")
        watched.page.get_by_text(f"{height}p shown").wait_for()
        watched.wait_until("v.webkitAudioDecodedByteCount > 0")
    assert watched.settle() == []


def test_an_upload_goes_on_after_a_reload(
    watched: Watched, gateway: Gateway, tmp_path: Path
) -> None:
    """Any bytes will do: what is no video is kept as it is."""
    path = tmp_path / "long night.mp4"
    path.write_bytes(random.Random(7).randbytes(6_000_000))
    page = watched.page
    watched.go()
    page.locator(".verdict .word").wait_for()
    network = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 1_500_000}
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", slow)
    page.set_input_files("#files", str(path))
    line = page.locator(".upload-line").filter(has_text="long night")
    watched.wait_until("Number(document.querySelector('.bar')?.getAttribute('aria-valuenow')) > 20")
    page.on("dialog", lambda dialog: dialog.accept())
    page.reload()
    line.get_by_text("Choose the same file again").wait_for()
    here = page.request.get(f"{gateway.url}/api/v1/uploads").json()[0]["offset"]
    assert here > 0
    network.send("Network.emulateNetworkConditions", slow | {"uploadThroughput": -1})
    page.get_by_role("button", name="Upload", exact=True).click()
    page.set_input_files("#files", str(path))
    line.get_by_role("link", name="Play").wait_for()
    body = page.request.get(f"{gateway.url}/v/long%20night").body()
    assert hashlib.sha256(body).digest() == hashlib.sha256(path.read_bytes()).digest()


@pytest.fixture
def lonely(running: RealCluster, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway of its own, to be lost."""
    with gateway_of(running, tmp_path) as found:
        yield found


def test_every_page_says_when_nobody_answers(
    running: RealCluster, cluster: RealCluster, browser: Any, lonely: Gateway
) -> None:
    coordinator = running.storage_server("status").json["cluster"]["coordinator"]["pid"]
    with page_of(browser, lonely.url) as watched:
        page = watched.page
        watched.go("watch/ferry")
        watched.wait_until("v && v.currentTime > 0.3")
        cluster.is_whole = False
        os.kill(coordinator, signal.SIGKILL)
        for where in ("library", "cluster", "storage", "agreement"):
            page.evaluate(f"location.hash = '#/{where}'")
            page.locator("#banner .trouble").get_by_text("Since").wait_for()
            page.locator(f".view-{where}").wait_for()
            watched.wait_until(
                "!document.querySelector('main :is(table, .tiles, .verdict:not([hidden]))')"
            )
            assert "[object" not in page.inner_text("body"), where
        page.evaluate("location.hash = '#/library'")
        page.get_by_role("link", name="ferry").click()
        watched.wait_until("v && v.currentTime > 0.3"), "what was open plays on"
        lonely.stop()
        page.locator("#banner").get_by_text("The gateway does not answer").wait_for()
        page.evaluate("location.hash = '#/cluster'")
        watched.wait_until("!document.querySelector('main :is(table, .tiles)')")


def test_a_wait_is_told_while_it_lasts(
    running: RealCluster, browser: Any, film: Path, tmp_path: Path
) -> None:
    """Three of five nodes stand still, and three are needed: nothing can come."""
    name = "three are frozen"
    assert running.client("put", str(film), "--name", name, "--redundancy", "rs:3+2").code == 0
    nodes = [node["id"] for node in running.nodes]
    assert running.storage_server("slow", *nodes, "--rate", "1000kbit/s").code == 0
    # A gateway of its own: the other one has the same film in its cache.
    with gateway_of(running, tmp_path) as gateway, page_of(browser, gateway.url) as watched:
        try:
            watched.go("watch/three%20are%20frozen")
            watched.wait_until("v && v.currentTime > 0.3")
            for place in range(3):
                running.signal(place, signal.SIGSTOP)
            watched.page.evaluate("document.querySelector('video').currentTime = 50")
            told = re.compile(r"waiting for \d+ s: \d of 5 nodes answer")
            watched.page.get_by_text(told).wait_for()
            seek = watched.page.locator(".figures > div").filter(has_text="Last seek")
            assert "so far" in seek.inner_text()
        finally:
            running.mend()
            running.storage_server("slow", *nodes, "--rate", "none")
        watched.wait_until("!v.seeking && v.currentTime > 50.2")
        seek.filter(has_not_text="so far").wait_for()


def test_a_file_that_is_no_film_is_not_promised_to_other_players(
    running: RealCluster, watched: Watched, tmp_path: Path
) -> None:
    path = tmp_path / "a letter.mp4"
    path.write_text("Dear reader,\n" * 400)
    assert running.client("put", str(path)).code == 0
    watched.go("library")
    watched.page.get_by_role("row").filter(has_text="a letter").get_by_text("no film").wait_for()
    watched.go("watch/a%20letter")
    watched.page.get_by_role("heading", name="No picture or sound was found in it").wait_for()
