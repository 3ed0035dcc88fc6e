"""A file that names other files is bytes to us: nothing that it names is opened."""

import shutil

import pytest

from smart_client.errors import InvalidMedia
from smart_client.ingest import probe
from smart_client.ingest.clip import make_clip
from smart_client.ingest.ladder.source import look_with_av, look_with_ffprobe
from smart_client.wire import MediaFacts

pytest.importorskip("av", reason="the extra 'video'")

FFPROBE = shutil.which("ffprobe")

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"
SDP = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 26\n"
LISTS = {
    "ffconcat": "ffconcat version 1.0\nfile private.mp4\n",
    "hls": HLS,
    "sdp": SDP,
    "itself": "ffconcat version 1.0\nfile film.mp4\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("films")
    make_clip(made / "private.mp4", 1.0)
    return made


@pytest.mark.real
@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize("suffix", [".mp4", ".m3u8"])
@pytest.mark.parametrize("tool", ["av", "ffprobe"])
def test_a_list_of_files_is_stored_as_bytes_and_has_no_ladder(
    folder, kind, suffix, tool, monkeypatch
):
    if tool == "ffprobe":
        if FFPROBE is None:
            pytest.skip("ffprobe is not installed")
        monkeypatch.setattr(probe.importlib.util, "find_spec", lambda _: None)
    path = folder / f"film{suffix}"
    path.write_text(LISTS[kind].format(folder / "private.mp4"))
    assert probe.probe_file(path).media == MediaFacts(container="none")
    with pytest.raises(InvalidMedia):
        look_with_av(path) if tool == "av" else look_with_ffprobe(path, FFPROBE)


@pytest.mark.real
def test_a_film_is_read_all_the_same(folder):
    clip = folder / "private.mp4"
    assert probe.probe_file(clip).media.video_codec
    assert look_with_av(clip).picture is not None
    if FFPROBE is not None:
        assert look_with_ffprobe(clip, FFPROBE).picture is not None
