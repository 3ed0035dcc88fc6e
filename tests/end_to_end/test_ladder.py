"""A ladder from the command to players: hls.js, dash.js, Chromium by itself, mpv, ffmpeg."""

import asyncio
import gzip
import io
import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.browsers import (
    CHROMIUM,
    DASH_JS,
    HLS_JS,
    NATIVE,
    VENDORED_HLS,
    errors,
    npm_file,
    page_at,
    start,
)
from support.real_cluster import RealCluster, serving

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
needs_mpv = pytest.mark.skipif(shutil.which("mpv") is None, reason="mpv is not installed")
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")

NAMESPACE = {"": "urn:mpeg:dash:schema:mpd:2011"}


@pytest.fixture(scope="module")
def gateway(running: RealCluster, clip: Path) -> Iterator[str]:
    """The URL of a gateway; the clip is stored with a ladder, in two goes."""
    words = ("put", str(clip), "--name", "clip", "--redundancy", "rs:3+2")
    done = running.client(*words, "--ladder", "720,360")
    assert done.code == 0, done
    assert "no 720p: the source has 360 lines only" in done.err
    done = running.client(*words, "--ladder", "360,180", "--lifeboat", "--json")
    assert done.code == 0, done
    facts = done.json["videos"][0]["ladder"]
    assert facts["made"] == ["lifeboat", "180p"], "what is there is not made again"
    assert [each["name"] for each in facts["renditions"]] == ["lifeboat", "180p", "360p", "audio"]
    with serving(running) as url:
        yield url


def fetch(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def frames_of(data: bytes) -> list:
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(data)) as container:
        return list(container.decode(0))


def attributes(line: str) -> dict[str, str]:
    """An attribute list of RFC 8216, 4.2, read strictly."""
    text = line.partition(":")[2]
    pattern = r'([A-Z0-9-]+)=("[^"\r\n]*"|0[xX][0-9A-F]+|[0-9.]+|[0-9]+x[0-9]+|[A-Z0-9-]+)(?:,|$)'
    found = re.findall(pattern, text)
    assert "".join(f"{name}={value}," for name, value in found) == text + ",", line
    return {name: value.strip('"') for name, value in found}


def test_the_master_playlist_says_what_there_is(gateway: str) -> None:
    status, headers, body = fetch(f"{gateway}/hls/clip/master.m3u8")
    assert status == 200
    assert headers["Content-Type"] == "application/vnd.apple.mpegurl"
    assert "Access-Control-Allow-Origin" not in headers
    lines = body.decode().splitlines()
    assert lines[0] == "#EXTM3U"
    assert "#EXT-X-INDEPENDENT-SEGMENTS" in lines
    sound = attributes(next(line for line in lines if line.startswith("#EXT-X-MEDIA:")))
    assert (sound["TYPE"], sound["URI"]) == ("AUDIO", "audio.m3u8")
    variants = [
        (attributes(line), lines[at + 1])
        for at, line in enumerate(lines)
        if line.startswith("#EXT-X-STREAM-INF:")
    ]
    assert [uri for _, uri in variants] == ["lifeboat.m3u8", "180p.m3u8", "360p.m3u8"]
    assert [each["RESOLUTION"] for each, _ in variants] == ["256x144", "320x180", "640x360"]
    for each, _ in variants:
        assert int(each["BANDWIDTH"]) >= int(each["AVERAGE-BANDWIDTH"]) > 0
        assert re.fullmatch(r"avc1\.[0-9A-F]{6},mp4a\.40\.2", each["CODECS"])
        assert each["FRAME-RATE"] == "24.000"
        assert each["AUDIO"] == sound["GROUP-ID"]


@pytest.mark.parametrize("rendition", ["lifeboat", "180p", "360p", "audio"])
def test_every_segment_of_a_media_playlist_plays_by_itself(gateway: str, rendition: str) -> None:
    url = f"{gateway}/hls/clip/{rendition}.m3u8"
    status, _, body = fetch(url)
    assert status == 200
    lines = body.decode().splitlines()
    assert lines[-1] == "#EXT-X-ENDLIST"
    target_s = int(next(each for each in lines if "TARGETDURATION" in each).partition(":")[2])
    head = attributes(next(each for each in lines if each.startswith("#EXT-X-MAP:")))
    length, _, offset = head["BYTERANGE"].partition("@")
    media = urllib.parse.urljoin(url, head["URI"])
    _, _, whole = fetch(media)
    header = whole[int(offset) : int(offset) + int(length)]
    position_s, end = 0.0, 0
    for at, line in enumerate(lines):
        if not line.startswith("#EXTINF:"):
            continue
        duration_s = float(line[8:].rstrip(","))
        size, begin = map(int, lines[at + 1].partition(":")[2].split("@"))
        assert lines[at + 2] == head["URI"]
        assert round(duration_s) <= target_s
        assert end in (0, begin), "segments follow each other"
        status, answered, segment = fetch(media, Range=f"bytes={begin}-{begin + size - 1}")
        assert (status, len(segment)) == (206, size)
        assert answered["Content-Range"] == f"bytes {begin}-{begin + size - 1}/{len(whole)}"
        frames = frames_of(header + segment)
        assert float(frames[0].time) == pytest.approx(position_s, abs=0.025)
        assert getattr(frames[0], "key_frame", True)
        position_s += duration_s
        end = begin + size
    assert end == len(whole)
    assert position_s == pytest.approx(12.0, abs=0.05)
    assert len(frames_of(whole)) == (288 if rendition != "audio" else len(frames_of(whole)))


def test_the_mpd_is_of_the_on_demand_profile(gateway: str) -> None:
    """Structural rules of ISO/IEC 23009-1, 8.3; the schema itself is not to be had offline."""
    url = f"{gateway}/dash/clip/manifest.mpd"
    status, headers, body = fetch(url)
    assert (status, headers["Content-Type"]) == (200, "application/dash+xml")
    mpd = ET.fromstring(body)
    assert mpd.tag == "{urn:mpeg:dash:schema:mpd:2011}MPD"
    assert mpd.get("type") == "static"
    assert "isoff-on-demand" in str(mpd.get("profiles"))
    assert re.fullmatch(r"PT[0-9.]+S", str(mpd.get("mediaPresentationDuration")))
    assert re.fullmatch(r"PT[0-9.]+S", str(mpd.get("minBufferTime")))
    sets = mpd.findall("Period/AdaptationSet", NAMESPACE)
    assert [each.get("contentType") for each in sets] == ["video", "audio"]
    seen = set()
    for each in sets:
        assert each.get("subsegmentAlignment") == "true"
        assert each.get("subsegmentStartsWithSAP") == "1"
        for one in each.findall("Representation", NAMESPACE):
            assert one.get("id") not in seen
            seen.add(one.get("id"))
            assert int(str(one.get("bandwidth"))) > 0
            base = one.find("SegmentBase", NAMESPACE)
            assert base is not None
            first = base.find("Initialization", NAMESPACE)
            assert first is not None
            media = urllib.parse.urljoin(url, str(one.findtext("BaseURL", None, NAMESPACE)))
            _, _, index = fetch(media, Range=f"bytes={base.get('indexRange')}")
            assert index[4:8] == b"sidx"
            assert int.from_bytes(index[:4]) == len(index), "exactly the index"
            _, _, header = fetch(media, Range=f"bytes={first.get('range')}")
            assert header[4:8] == b"ftyp"
            assert int(str(base.get("indexRange")).split("-")[0]) == len(header)
    assert seen == {"lifeboat", "180p", "360p", "audio"}


def test_what_is_not_there_is_told(gateway: str, cluster: RealCluster, tmp_path: Path) -> None:
    plain = tmp_path / "plain.bin"
    plain.write_bytes(b"x" * 1000)
    assert cluster.client("put", str(plain)).code == 0
    for path in ("hls/plain/master.m3u8", "dash/plain/manifest.mpd"):
        status, _, body = fetch(f"{gateway}/{path}")
        assert status == 404
        assert "--ladder" in json.loads(body)["error"]["hint"]
    assert fetch(f"{gateway}/hls/clip/original.m3u8")[0] == 404
    assert fetch(f"{gateway}/hls/clip/720p.m3u8")[0] == 404
    assert fetch(f"{gateway}/hls/nosuch/master.m3u8")[0] == 404
    done = cluster.client("put", str(plain), "--name", "again", "--ladder", "360", "--json")
    assert done.code == 7, done
    assert "cannot be decoded" in done.json["error"]["message"]
    assert "again" not in cluster.client("ls").out, "refused before anything was stored"
    packed = fetch(f"{gateway}/hls/clip/360p.m3u8", **{"Accept-Encoding": "gzip"})
    if packed[1].get("Content-Encoding") == "gzip":
        assert gzip.decompress(packed[2]) == fetch(f"{gateway}/hls/clip/360p.m3u8")[2]


def test_renditions_are_listed_and_fetched(
    gateway: str, cluster: RealCluster, tmp_path: Path
) -> None:
    shown = cluster.client("info", "clip").out
    assert re.search(r"360p\s+640x360 24/s\s+avc1", shown)
    assert re.search(r"lifeboat\s.*rep:5", shown)
    target = tmp_path / "rung.mp4"
    assert cluster.client("get", "clip", "--rendition", "180p", "-o", str(target)).code == 0
    assert target.read_bytes() == fetch(f"{gateway}/r/clip/180p.mp4")[2]
    done = cluster.client("get", "clip", "--rendition", "99p", "-o", str(target), "--force")
    assert done.code == 4
    assert "it has: original, " in done.err


def segments_of(gateway: str, rendition: str) -> list[tuple[int, int]]:
    lines = fetch(f"{gateway}/hls/clip/{rendition}.m3u8")[2].decode().splitlines()
    ranges = [line.partition(":")[2] for line in lines if line.startswith("#EXT-X-BYTERANGE:")]
    return [(int(size), int(begin)) for size, begin in (each.split("@") for each in ranges)]


def watch(gateway: str, *renditions: str) -> int:
    """Take segments one after the other, going round the renditions; return their bytes."""
    taken = 0
    lists = [segments_of(gateway, each) for each in renditions]
    for number in range(len(lists[0])):
        at = number % len(renditions)
        size, begin = lists[at][number]
        media = f"{gateway}/r/clip/{renditions[at]}.mp4"
        taken += len(fetch(media, Range=f"bytes={begin}-{begin + size - 1}")[2])
    return taken


def node_bytes(gateway: str) -> int:
    figures = fetch(f"{gateway}/metrics")[2].decode()
    return int(float(re.search(r"^evenflow_gateway_node_bytes_total (\S+)", figures, re.M)[1]))


def test_segments_cost_nodes_little_more_than_they_bring(
    gateway: str, cluster: RealCluster
) -> None:
    with serving(cluster, "--cache", "0") as fresh:
        taken = watch(fresh, "360p")
        once = node_bytes(fresh)
        assert once <= 1.2 * taken
        with ThreadPoolExecutor(3) as others:
            assert set(others.map(watch, [fresh] * 3, ["360p"] * 3)) == {taken}
        assert node_bytes(fresh) <= 1.1 * once, "four viewers cost what one does"
    with serving(cluster, "--cache", "0") as fresh:
        taken = watch(fresh, "360p", "180p", "lifeboat")  # another rendition at every segment
        # The price of a change is what was read ahead: two seconds, or two blocks of each node.
        assert node_bytes(fresh) <= 1.2 * taken + 5 * 220_000


@needs_ffmpeg
@pytest.mark.parametrize("path", ["hls/clip/master.m3u8", "dash/clip/manifest.mpd"])
def test_ffmpeg_decodes_every_frame_without_a_word(gateway: str, path: str) -> None:
    words = ["ffmpeg", "-v", "warning", "-i", f"{gateway}/{path}", "-map", "0:v", "-map", "0:a"]
    done = subprocess.run(
        [*words, "-f", "null", "-"], capture_output=True, text=True, timeout=90, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@needs_mpv
@pytest.mark.player
@pytest.mark.parametrize(
    "path", ["hls/clip/master.m3u8", "dash/clip/manifest.mpd", "r/clip/360p.mp4"]
)
def test_mpv_plays_to_the_end(gateway: str, path: str) -> None:
    words = ["mpv", "--no-config", "--vo=null", "--ao=null", "--speed=8", "--msg-level=all=warn"]
    done = subprocess.run(
        [*words, "--term-status-msg=", f"{gateway}/{path}"],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done
    assert not re.search("error|failed|invalid", done.stdout + done.stderr, re.IGNORECASE), done


@pytest.mark.skipif(shutil.which("vlc") is None, reason="vlc is not installed")
@pytest.mark.player
@pytest.mark.parametrize("path", ["hls/clip/master.m3u8", "dash/clip/manifest.mpd"])
@pytest.mark.parametrize("from_s", [0, 9])
def test_vlc_reads_all_of_it(gateway: str, path: str, from_s: int) -> None:
    place = Path(tempfile.mkdtemp(prefix="vlc-"))
    place.chmod(0o777)
    target = place / "out.mkv"
    out = f"#std{{access=file,mux=avformat{{mux=matroska}},dst={target}}}"
    words = ["vlc", "-I", "dummy", "--no-plugins-cache", f"--start-time={from_s}", "--sout", out]
    try:
        subprocess.run(
            [*words, f"{gateway}/{path}", "vlc://quit"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=90,
            check=True,
            env={"PATH": "/usr/bin:/bin", "HOME": str(place)},
            user="nobody" if os.geteuid() == 0 else None,  # it refuses to run as root
        )
        av = pytest.importorskip("av")
        with av.open(str(target)) as container:
            heard = sum(bool(packet.size) for packet in container.demux(audio=0))
    finally:
        shutil.rmtree(place)
    seconds = heard * 1024 / 48_000
    # Its DASH reads the first segment again once it has found the index.
    assert 12 - from_s - 0.1 <= seconds <= 12 - from_s + 2.1


async def play_and_seek(gateway: str, setup: str, path: str, script: Path | None) -> None:
    async with page_at(gateway, script) as page:
        await start(page, setup, path)
        await page.wait_for_function("v.currentTime > 0.5")
        for target_s in (8.0, 3.0):
            await page.evaluate(f"v.currentTime = {target_s}")
            await page.wait_for_function(
                f"!v.seeking && v.currentTime > {target_s} + 0.3 && v.currentTime < {target_s} + 3"
            )
        await page.evaluate("v.currentTime = 10.5")
        await page.wait_for_function("window.log.some(([kind]) => kind === 'ended')")
        assert await errors(page) == []
        assert await page.evaluate("v.duration") == pytest.approx(12.0, abs=0.1)
        assert await page.evaluate("v.videoWidth") > 0
        assert await page.evaluate("v.webkitAudioDecodedByteCount") > 0, "and it is heard"


@needs_chromium
@pytest.mark.browser
def test_chromium_plays_hls_by_itself(gateway: str) -> None:
    pytest.importorskip("playwright", reason="needs the extra 'browser'")
    asyncio.run(play_and_seek(gateway, NATIVE, "/hls/clip/master.m3u8", None))


@needs_chromium
@pytest.mark.browser
def test_hls_js_plays_the_playlist(gateway: str) -> None:
    pytest.importorskip("playwright", reason="needs the extra 'browser'")
    script = Path(__file__).parents[2] / VENDORED_HLS
    asyncio.run(play_and_seek(gateway, HLS_JS, "/hls/clip/master.m3u8", script))


VALIDATE_HLS = """async ([names]) => {
  HLS.setOptions({strictMode: true});  // what the RFC forbids is thrown
  const found = {};
  for (const name of names) {
    const list = HLS.parse(await (await fetch(`/hls/clip/${name}.m3u8`)).text());
    found[name] = list.isMasterPlaylist ? list.variants.length : list.segments.length;
  }
  let refused = '';
  try { HLS.parse('#EXTM3U\\n#EXT-X-VERSION:3\\n#EXT-X-TARGETDURATION:2\\n#EXTINF:9,\\na\\n'); }
  catch (error) { refused = error.message; }
  return [found, refused];
}"""

READ_MPD = """async () => {
  const text = await (await fetch('/dash/clip/manifest.mpd')).text();
  const warnings = [];
  const {playlists, mediaGroups, duration} = mpdParser.parse(
    text, {manifestUri: location.href, eventHandler: ({message}) => warnings.push(message)});
  return [playlists.length, Object.keys(mediaGroups.AUDIO.audio ?? {}).length, duration, warnings];
}"""


def npm_script(package: str, inside: str, directory: Path) -> Path:
    """Return a file of an npm release to load into a page; without it the test is skipped."""
    pytest.importorskip("playwright", reason="needs the extra 'browser'")
    script = npm_file(package, inside, directory)
    if script is None:
        pytest.skip(f"{package} is not to be had: no npm, or no registry")
    return script


async def in_a_page(gateway: str, script: Path, what: str, *about: object) -> object:
    async with page_at(gateway, script) as page:
        return await page.evaluate(what, list(about))


@needs_chromium
@pytest.mark.browser
def test_a_validating_parser_has_nothing_against_the_playlists(
    gateway: str, tmp_path: Path
) -> None:
    script = npm_script("hls-parser@0.16.1", "dist/hls-parser.min.js", tmp_path)
    names = ["master", "lifeboat", "180p", "360p", "audio"]
    found, refused = asyncio.run(in_a_page(gateway, script, VALIDATE_HLS, names))
    assert found == {"master": 3, "lifeboat": 6, "180p": 6, "360p": 6, "audio": 6}
    assert "target duration" in refused, "it does validate"


@needs_chromium
@pytest.mark.browser
def test_another_parser_reads_the_mpd_without_a_warning(gateway: str, tmp_path: Path) -> None:
    script = npm_script("mpd-parser@1.4.0", "dist/mpd-parser.min.js", tmp_path)
    pictures, sounds, duration_s, warnings = asyncio.run(in_a_page(gateway, script, READ_MPD))
    assert (pictures, sounds, warnings) == (3, 1, [])
    assert duration_s == pytest.approx(12.0, abs=0.1)


@needs_chromium
@pytest.mark.browser
def test_dash_js_plays_the_mpd(gateway: str, tmp_path: Path) -> None:
    script = npm_script("dashjs@5.2.1", "dist/modern/umd/dash.all.min.js", tmp_path)
    asyncio.run(play_and_seek(gateway, DASH_JS, "/dash/clip/manifest.mpd", script))
