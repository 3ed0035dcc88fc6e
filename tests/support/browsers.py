"""Headless Chromium on pages of the gateway's own origin, and what its <video> says."""

import contextlib
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

CHROMIUM = shutil.which("chromium")

VENDORED_HLS = Path("smart_client/ui/vendor/hls.min.js")

# Stalls are counted as UX does: waiting, once it has played and is not seeking, until it plays.
PAGE = """<!doctype html><video id=v playsinline></video><script>
const v = document.getElementById('v');
window.log = []; window.stalls = []; window.started = null; window.began = performance.now();
let waits = null;
v.addEventListener('playing', () => {
  const now = performance.now();
  if (window.started === null) window.started = (now - window.began) / 1000;
  if (waits !== null) { window.stalls.push((now - waits) / 1000); waits = null; }
});
v.addEventListener('waiting', () => {
  if (window.started !== null && !v.seeking && waits === null) waits = performance.now();
});
v.addEventListener('seeking', () => { waits = null; });
for (const kind of ['playing', 'waiting', 'seeked', 'ended', 'error'])
  v.addEventListener(kind, () => window.log.push([kind, v.currentTime]));
window.opened = () => { window.began = performance.now(); v.play(); };
</script>"""

NATIVE = "v.src = url;"
# As the player page sets it up.
HLS_JS = """const hls = window.hls = new Hls({
  enableWorker: false, startLevel: 0, testBandwidth: false, startFragPrefetch: true});
hls.on(Hls.Events.ERROR, (_, data) => data.fatal && window.log.push(['error', data.details]));
hls.loadSource(url); hls.attachMedia(v);"""
DASH_JS = """const dash = window.dash = dashjs.MediaPlayer().create();
dash.on('error', (event) => window.log.push(['error', String(event.error && event.error.message)]));
dash.initialize(v, url, false);"""


@contextlib.asynccontextmanager
async def page_at(origin: str, script: Path | None = None) -> AsyncIterator:
    """Open the page in Chromium as if the gateway had it, with a player's library loaded."""
    from playwright.async_api import async_playwright  # noqa: PLC0415 - an extra

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                *("--no-sandbox", "--autoplay-policy=no-user-gesture-required"),
                *("--disable-background-networking", "--disable-component-update", "--mute-audio"),
            ],
        )
        try:
            page = await browser.new_page()
            page.set_default_timeout(60_000)

            async def answer(route) -> None:
                await route.fulfill(body=PAGE, content_type="text/html")

            await page.route(f"{origin}/test.html", answer)
            await page.goto(f"{origin}/test.html")
            if script is not None:
                await page.add_script_tag(path=str(script))
            yield page
        finally:
            await browser.close()


async def start(page, setup: str, url: str) -> None:
    """Load a video by one of the players above and begin to play."""
    await page.evaluate(f"(url) => {{ {setup} window.opened(); }}", url)


async def errors(page) -> list:
    return [each for each in await page.evaluate("window.log") if each[0] == "error"]


def npm_file(package: str, inside: str, directory: Path) -> Path | None:
    """Fetch one file of an npm release; None where npm or the registry is not to be had."""
    npm = shutil.which("npm")
    if npm is None:
        return None
    try:
        packed = subprocess.run(
            [npm, "pack", package, "--silent"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )
        archive = packed.stdout.split()[-1]
        subprocess.run(
            ["tar", "xzf", archive, f"package/{inside}"], cwd=directory, timeout=30, check=True
        )
    except (subprocess.SubprocessError, OSError, IndexError):
        return None
    return directory / "package" / inside
