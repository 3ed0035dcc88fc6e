"""Real files of every kind become objects whose every segment plays by itself."""

import io
import shutil
import subprocess
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest

from redundancy.errors import ConfigError
from smart_client.errors import InvalidMedia
from smart_client.ingest.ladder.encode import AvEncoder, EncodingJob, Stopped
from smart_client.ingest.ladder.make import make_encoder
from smart_client.ingest.ladder.packaging import Packaged, package, read_object
from smart_client.ingest.ladder.plan import LadderPlan, LadderWish, plan_ladder

av = pytest.importorskip("av", reason="a ladder needs PyAV (the extra 'video')")

from support.odd_clips import write_clip  # noqa: E402 - needs PyAV

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")


def make(path: Path, wish: LadderWish, encoder=None) -> tuple[LadderPlan, dict[str, Packaged]]:
    """Encode a whole ladder beside the file."""
    encoder = encoder or AvEncoder()
    facts = encoder.look(path)
    plan = plan_ladder(wish, facts)
    made = {}
    for rung in (*plan.rungs, *([None] if plan.audio_channels else [])):
        name = rung.name if rung else "audio"
        job = EncodingJob(path, path.with_name("encoded"), plan, facts, lambda _: None)
        if rung is None:
            encoder.encode_audio(job)
        else:
            encoder.encode_video(job, rung)
        made[name] = package(job.target, path.with_name(f"{name}.mp4"), plan.segment_s)
        assert read_object(path.with_name(f"{name}.mp4")) == made[name]
    return plan, made


def frames_of(data: bytes) -> list:
    with av.open(io.BytesIO(data)) as container:
        return list(container.decode(0))


def check_segments(path: Path, made: Packaged) -> list:
    """Header and one segment alone decode, from a keyframe on, at the instants the index says."""
    data = path.read_bytes()
    whole = frames_of(data)
    header = data[: made.init_bytes]
    alone = []
    for segment in made.segments:
        frames = frames_of(header + data[segment.offset : segment.offset + segment.size])
        assert float(frames[0].time) == pytest.approx(segment.start_s, abs=1e-3)
        assert getattr(frames[0], "key_frame", True)
        alone += frames
    times = [frame.time for frame in alone]
    assert times == [frame.time for frame in whole], "continuous, nothing twice, nothing missing"
    assert all(before < after for before, after in pairwise(times))
    return whole


def test_all_renditions_are_cut_at_the_same_instants(tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    write_clip(source, 5.0, size=(320, 180), sound="aac")
    plan, made = make(source, LadderWish((180, 120), lifeboat=True))
    assert sorted(made) == ["120p", "180p", "audio", "lifeboat"]
    for name in ("lifeboat", "120p", "180p"):
        whole = check_segments(tmp_path / f"{name}.mp4", made[name])
        assert len(whole) == 125
        assert [each.start_s for each in made[name].segments] == [0.0, 2.0, 4.0]
        assert made[name].codecs.startswith("avc1.64")
    sound = check_segments(tmp_path / "audio.mp4", made["audio"])
    assert sound[0].time == 0
    assert [each.start_s for each in made["audio"].segments] == pytest.approx([0, 2, 4], abs=0.02)
    assert made["audio"].codecs == "mp4a.40.2"
    assert plan.segment_s == 2
    assert made["180p"].peak_bits_per_s >= made["180p"].average_bits_per_s


def test_pictures_that_come_unevenly_are_shown_when_they_should_be(tmp_path: Path) -> None:
    source = tmp_path / "uneven.mkv"
    times = [Fraction(n * n, 100) for n in range(1, 23)]  # 0.01 s .. 4.84 s
    write_clip(source, 5.0, times=times)
    _, made = make(source, LadderWish((120,)))
    whole = check_segments(tmp_path / "120p.mp4", made["120p"])
    steps = {after.time - before.time for before, after in pairwise(whole)}
    assert max(steps) - min(steps) < 1e-3, "at one rate"
    for frame in whole[10:]:
        shown = max(time for time in times if float(time) <= float(frame.time) + 0.11)
        grey = int(frame.to_ndarray(format="gray")[100, 80])
        assert abs(grey - (16 + 200 * float(shown) / 5.0)) < 25


@pytest.mark.parametrize(
    ("turn", "shown"), [(90, (120, 160)), (180, (160, 120)), (270, (120, 160))]
)
def test_turned_pictures_stand_upright(tmp_path: Path, turn: int, shown: tuple[int, int]) -> None:
    source = tmp_path / "turned.mov"
    write_clip(source, 1.0, turn=turn)
    _, made = make(source, LadderWish((120,)))
    assert (made["120p"].width, made["120p"].height) == shown
    picture = frames_of((tmp_path / "120p.mp4").read_bytes())[0].to_ndarray(format="gray")
    bright = {
        90: picture[:, -20:],
        180: picture[-20:],
        270: picture[:, :20],
    }[turn]  # the white edge, which was up before it was turned clockwise
    assert bright.mean() > 200


def test_interlaced_pictures_are_woven_into_whole_ones(tmp_path: Path) -> None:
    source = tmp_path / "old.avi"
    write_clip(source, 2.0, codec="mpeg4", interlaced=True, sound="mp3")
    _, made = make(source, LadderWish((120,)))
    check_segments(tmp_path / "120p.mp4", made["120p"])
    assert made["audio"].duration_s == pytest.approx(2.0, abs=0.1)


def test_sound_that_begins_late_stays_in_time(tmp_path: Path) -> None:
    source = tmp_path / "late.mkv"
    write_clip(source, 3.0, sound="aac", sound_from_s=1.0)
    make(source, LadderWish((120,)))
    sound = frames_of((tmp_path / "audio.mp4").read_bytes())
    loud = [abs(frame.to_ndarray()).max() > 0.05 for frame in sound]
    assert loud.index(True) * 1024 / 48_000 == pytest.approx(1.0, abs=0.05)


def test_sound_alone_and_pictures_alone(tmp_path: Path) -> None:
    song = tmp_path / "song.m4a"
    write_clip(song, 3.0, size=(0, 0), sound="aac")
    assert sorted(make(song, LadderWish(None))[1]) == ["audio"]
    silent = tmp_path / "silent.webm"
    write_clip(silent, 1.0, codec="libvpx", size=(161, 121))
    assert sorted(make(silent, LadderWish((720,)))[1]) == ["120p"]


def test_a_tail_of_a_few_pictures_is_no_segment(tmp_path: Path) -> None:
    source = tmp_path / "tail.flv"
    write_clip(source, 4.2, codec="flv1", sound="mp3")
    _, made = make(source, LadderWish((120,)))
    assert len(made["120p"].segments) == 2
    assert len(made["audio"].segments) == 2
    check_segments(tmp_path / "120p.mp4", made["120p"])


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(bytes(range(256)) * 40)
    with pytest.raises(InvalidMedia, match="cannot be decoded"):
        AvEncoder().look(noise)
    with pytest.raises(InvalidMedia):
        package(noise, tmp_path / "out.mp4", Fraction(2))


def test_encoding_can_be_called_off(tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    write_clip(source, 2.0)
    encoder = AvEncoder()
    encoder.stop()
    with pytest.raises(Stopped):
        make(source, LadderWish((120,)), encoder)


@needs_ffmpeg
def test_the_systems_ffmpeg_makes_the_same_segments(tmp_path: Path) -> None:
    source = tmp_path / "turned.mov"
    write_clip(source, 5.0, turn=90, sound="aac")
    plan, made = make(source, LadderWish((120,)), make_encoder("ffmpeg"))
    assert plan == plan_ladder(LadderWish((120,)), AvEncoder().look(source))
    assert (made["120p"].width, made["120p"].height) == (120, 160)
    assert [each.start_s for each in made["120p"].segments] == [0.0, 2.0, 4.0]
    check_segments(tmp_path / "120p.mp4", made["120p"])
    check_segments(tmp_path / "audio.mp4", made["audio"])


@needs_ffmpeg
def test_who_is_stopped_while_ffmpeg_is_started_does_not_encode_to_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "film.mp4"
    write_clip(source, 3.0)
    encoder = make_encoder("ffmpeg")
    facts = encoder.look(source)
    plan = plan_ladder(LadderWish((120,)), facts)
    job = EncodingJob(source, tmp_path / "encoded", plan, facts, lambda _: None)
    popen, ended = subprocess.Popen, []

    def started_and_stopped(*words, **how):
        process = popen(*words, **how)
        encoder.stop()
        ended.append(process)
        return process

    monkeypatch.setattr(subprocess, "Popen", started_and_stopped)
    with pytest.raises(Stopped):
        encoder.encode_video(job, plan.rungs[0])
    assert ended[0].returncode != 0


@needs_ffmpeg
def test_ffprobe_reads_every_object_without_a_word(tmp_path: Path) -> None:
    source = tmp_path / "film.mp4"
    write_clip(source, 3.0, sound="aac")
    make(source, LadderWish((120,)))
    for name in ("120p", "audio"):
        words = ["ffprobe", "-v", "warning", "-count_frames", "-show_streams", f"{name}.mp4"]
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")


def test_without_an_encoder_it_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(ConfigError) as caught:
        make_encoder("av")
    assert "pip install 'evenflow[video]'" in caught.value.hint
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="not installed"):
        make_encoder("ffmpeg")
