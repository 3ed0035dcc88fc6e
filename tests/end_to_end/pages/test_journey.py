"""From an empty library to a film that plays while nodes freeze and die, by the page alone."""

import signal
from pathlib import Path
from typing import Any

import pytest

from support.browser_pages import Gateway, Watched
from support.frame_clip import FRAMES_PER_S, READ_FRAME
from support.real_cluster import RealCluster

pytestmark = [pytest.mark.real, pytest.mark.browser, pytest.mark.timeout(300)]

FILM = "Night ferry (take 2)"

# What each node may send. Without a cap loopback would bring the whole film before anything fails.
RATE = "2000kbit/s"


def test_a_film_is_uploaded_and_plays_while_nodes_freeze_and_die(
    running: RealCluster, gateway: Gateway, watched: Watched, film: Path
) -> None:
    page = watched.page
    watched.go()
    page.get_by_role("heading", name="How this works").wait_for()
    page.get_by_role("button", name="Choose files").wait_for()
    page.set_input_files("#files", str(film))
    page.locator(".upload-text", has_text="Stored as rs:3+2").wait_for()
    ticks = page.locator(".upload-line .tick").all_inner_texts()
    assert len(ticks) == len(running.nodes)
    assert all("fragments" in tick for tick in ticks)
    page.get_by_role("row").filter(has_text="any 2 nodes may fail").get_by_role("link").click()
    page.get_by_role("heading", name=FILM).wait_for()
    nodes = [node["id"] for node in running.nodes]
    assert running.storage_server("slow", *nodes, "--rate", RATE).code == 0
    try:
        seek_through_failures(running, watched)
        player = the_only_player(page, gateway)
    finally:
        running.mend()
        running.storage_server("slow", *nodes, "--rate", "none")
    assert page.locator(".figures dd").nth(1).inner_text() == "none", "stalls, says the page"
    assert player["stalls"] == 0, player
    assert player["seeks"] == 10, player
    kinds = {notice["kind"] for notice in session_of(page, gateway)["notices"]}
    assert "trouble" in kinds, "the failures were felt, and told"
    assert watched.settle() == []


def seek_through_failures(running: RealCluster, watched: Watched) -> None:
    page = watched.page
    watched.wait_until("v.currentTime > 0.5")
    for turn, target_s in enumerate((40.0, 8.0, 52.0, 19.5, 30.2, 1.0, 46.4, 13.7, 56.1, 25.3)):
        if turn == 2:
            running.signal(1, signal.SIGSTOP)
        if turn == 5:
            running.signal(3, signal.SIGKILL)
        page.evaluate(f"document.querySelector('video').currentTime = {target_s}")
        watched.wait_until(f"!v.seeking && v.currentTime > {target_s} + 0.2")
        number, at_s = page.evaluate(READ_FRAME)
        assert target_s <= at_s < target_s + 3.0
        assert number == round(at_s * FRAMES_PER_S), "the frame on the screen is the right one"


def session_of(page: Any, gateway: Gateway) -> Any:
    path = f"{gateway.url}/api/v1/sessions/by-video/{FILM}"
    return page.request.get(path).json()


def the_only_player(page: Any, gateway: Gateway) -> Any:
    (player,) = session_of(page, gateway)["players"]
    assert player["source"] == "video-element"
    return player
