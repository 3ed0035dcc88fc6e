"""The pages in headless Chromium, on a real gateway and cluster, and watched closely."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from support.real_cluster import RealCluster

CHROMIUM = shutil.which("chromium")

FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    "--autoplay-policy=no-user-gesture-required",
)

# Forbidden things are told to the page as events; they are collected where tests can ask for them.
_WATCH_POLICY = """
window.violations = [];
addEventListener('securitypolicyviolation',
  (event) => window.violations.push(event.violatedDirective + ' ' + event.blockedURI));
"""


@dataclass
class Gateway:
    """A running ``smart-client serve``."""

    url: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@contextlib.contextmanager
def gateway_of(cluster: RealCluster, place: Path, *options: str) -> Iterator[Gateway]:
    """Run a gateway whose uploads and cache are below ``place``."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("SMART_CLIENT", "STORAGE_"))}
    clean |= {"XDG_STATE_HOME": str(place / "state"), "XDG_CACHE_HOME": str(place / "cache")}
    words = ["serve", "--listen", "127.0.0.1:0", "--coordinator", cluster.coordinator, "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "smart_client", *words, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=clean,
    )
    try:
        assert process.stdout is not None
        yield Gateway(json.loads(process.stdout.readline())["url"], process)
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@dataclass
class Watched:
    """A page and everything it did that it should not do."""

    page: Any
    url: str
    troubles: list[str] = field(default_factory=list)

    def go(self, where: str = "library") -> None:
        """Open one of the pages."""
        self.page.goto(f"{self.url}/ui/#/{where}")

    def wait_until(self, condition: str, limit_s: float = 60.0) -> None:
        """Wait until a JavaScript expression holds; ``v`` in it is the page's video.

        (``wait_for_function`` would use eval in the page, which the content policy forbids.)
        """
        deadline_s = time.monotonic() + limit_s
        script = (
            f"() => {{ const v = document.querySelector('video'); return Boolean({condition}) }}"
        )
        while not self.page.evaluate(script):
            assert time.monotonic() < deadline_s, f"waited {limit_s:g} s for: {condition}"
            self.page.wait_for_timeout(50)

    def settle(self) -> list[str]:
        """Return all troubles so far, also what the content policy forbade."""
        return self.troubles + list(self.page.evaluate("window.violations"))


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """Run headless Chromium."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - an optional extra

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def page_of(
    browser: Any, url: str, *, width: int = 1280, height: int = 900, scheme: str = "light"
) -> Iterator[Watched]:
    """Open a page of its own; requests that would leave the gateway are refused and noted."""
    viewport = {"width": width, "height": height}
    context = browser.new_context(viewport=viewport, color_scheme=scheme)
    context.add_init_script(_WATCH_POLICY)
    page = context.new_page()
    page.set_default_timeout(60_000)
    watched = Watched(page, url)
    here = urlsplit(url).netloc

    def judge(route: Any) -> None:
        if urlsplit(route.request.url).netloc == here:
            route.continue_()
        else:
            watched.troubles.append(f"external request: {route.request.url}")
            route.abort()

    context.route(lambda address: urlsplit(address).netloc != here, judge)
    page.on("console", lambda message: _note(watched, message))
    page.on("pageerror", lambda error: watched.troubles.append(f"error: {error}"))
    try:
        yield watched
    finally:
        context.close()


def _note(watched: Watched, message: Any) -> None:
    if message.type in ("error", "warning"):
        watched.troubles.append(f"{message.type}: {message.text} ({message.location.get('url')})")
