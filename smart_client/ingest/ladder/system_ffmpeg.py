"""Encodes one rendition by the system's ffmpeg, for who has no PyAV or wants that ffmpeg."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from redundancy.errors import ConfigError
from smart_client.errors import InvalidMedia
from smart_client.ingest.containers import TOOL_WORDS
from smart_client.ingest.ladder.encode import EncodingJob, Stopped
from smart_client.ingest.ladder.plan import (
    AUDIO_BITS_PER_S,
    Rung,
    SourceFacts,
)
from smart_client.ingest.ladder.recipes import (
    Filter,
    picture_filters,
    sound_filters,
    x264_options,
)
from smart_client.ingest.ladder.source import look_with_ffprobe

_ERROR_CHARS_MAX = 400


class FfmpegEncoder:
    """Responsible for encoding by processes of ffmpeg."""

    name = "ffmpeg"

    def __init__(self) -> None:
        """Raises: ConfigError: ffmpeg or ffprobe is not installed."""
        tools = {name: shutil.which(name) for name in ("ffmpeg", "ffprobe")}
        self._ffmpeg, self._ffprobe = tools["ffmpeg"] or "", tools["ffprobe"] or ""
        for name, found in tools.items():
            if not found:
                raise ConfigError(
                    f"{name} is not installed",
                    hint="apt install ffmpeg, or leave --encoder away and use PyAV: "
                    "pip install 'evenflow[video]'",
                )
        self._process: subprocess.Popen[str] | None = None
        self._is_stopped = False

    def look(self, path: Path) -> SourceFacts:
        """Return what has to be known of a source. Raises: InvalidMedia."""
        return look_with_ffprobe(path, self._ffprobe)

    def stop(self) -> None:
        """Make what is under way raise ``Stopped`` soon."""
        self._is_stopped = True
        if self._process is not None:
            self._process.terminate()

    def encode_video(self, job: EncodingJob, rung: Rung) -> None:
        """Write the rung's pictures. Raises: InvalidMedia, Stopped."""
        plan, picture = job.plan, job.facts.picture
        assert picture is not None
        filters = picture_filters(picture, rung, plan.rate, turns=False)  # it turns by itself
        words = ["-map", "0:V:0", "-an", "-sn", "-dn", "-vf", _chain(filters), "-c:v", "libx264"]
        for name, value in x264_options(rung, plan).items():
            words += [f"-{name}", value]
        every = f"expr:eq(mod(n,{plan.segment_pictures}),0)"
        self._run(job, [*words, "-force_key_frames", every])

    def encode_audio(self, job: EncodingJob) -> None:
        """Write the sound as AAC. Raises: InvalidMedia, Stopped."""
        channels = job.plan.audio_channels
        words = ["-map", "0:a:0", "-vn", "-sn", "-dn", "-af", _chain(sound_filters(channels))]
        words += ["-c:a", "aac", "-b:a", str(AUDIO_BITS_PER_S[channels])]
        self._run(job, [*words, "-frag_duration", "2000000"])

    def _run(self, job: EncodingJob, words: Sequence[str]) -> None:
        command = [
            *(self._ffmpeg, "-v", "error", "-nostdin", "-y", "-progress", "pipe:1"),
            *(
                *TOOL_WORDS,
                "-i",
                f"file:{job.source}",
                *words,
                "-map_metadata",
                "-1",
                "-use_editlist",
                "0",
            ),
            *("-movflags", "frag_keyframe+empty_moov+default_base_moof", "-f", "mp4"),
            f"file:{job.target}",
        ]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            self._process = process
            said: list[str] = []
            try:
                if self._is_stopped:  # told while the process was started
                    process.terminate()
                assert process.stdout is not None
                for line in process.stdout:
                    name, _, value = line.strip().partition("=")
                    if name == "out_time_us" and value.isdecimal():
                        job.progress(int(value) / 1e6)
                    elif " " in name:
                        said.append(line.strip())
                status = process.wait()
            finally:
                process.kill()
                self._process = None
        if self._is_stopped:
            raise Stopped
        if status:
            text = "; ".join(said)[:_ERROR_CHARS_MAX]
            raise InvalidMedia(f"ffmpeg cannot encode {job.source.name}: {text or status}")


def _chain(filters: Sequence[Filter]) -> str:
    return ",".join(f"{name}={words}" if words else name for name, words in filters)
