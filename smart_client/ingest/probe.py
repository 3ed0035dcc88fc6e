"""What a file is: container facts and keyframes, by PyAV or ffprobe where they are there.

Never refuses a file: what cannot be read is stored as bytes without times.
"""

import importlib.util
import json
import mimetypes
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smart_client.ingest.containers import AV_OPTIONS, TOOL_WORDS
from smart_client.ingest.segment import Keyframe
from smart_client.wire import NO_MEDIA, MediaFacts

if TYPE_CHECKING:
    from av.container import InputContainer

# A Matroska file has no index that libav shows before it is read through. Above this size reading
# it all just for times is not worth it; the duration alone serves.
DEMUX_BYTES_MAX = 2 * 1024**3

FFPROBE_TIMEOUT_S = 30.0

_MIME_BY_CONTAINER = {
    "mov,mp4,m4a,3gp,3g2,mj2": "video/mp4",
    "matroska,webm": "video/x-matroska",
    "avi": "video/x-msvideo",
    "flv": "video/x-flv",
    "mpegts": "video/mp2t",
    "ogg": "video/ogg",
}
_MIME_BY_SUFFIX = {
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".mov": "video/quicktime",
    ".m4v": "video/mp4",
    ".flv": "video/x-flv",
}


@dataclass(frozen=True, slots=True)
class Probe:
    """What is known of a file before it is stored."""

    size: int
    mime: str
    media: MediaFacts
    keyframes: tuple[Keyframe, ...] = ()
    media_end: int | None = None  # offset after the last sample, where known


def can_probe() -> bool:
    """Whether there is anything here that reads containers."""
    return importlib.util.find_spec("av") is not None or shutil.which("ffprobe") is not None


def probe_file(path: Path) -> Probe:
    """Look at a file. Raises: OSError if it cannot be read at all."""
    size = path.stat().st_size
    with path.open("rb"):
        pass  # the permission error of our own open is clearer than libav's
    found: Probe | None = None
    if size:
        has_av = importlib.util.find_spec("av") is not None
        found = _probe_with_av(path, size) if has_av else _probe_with_ffprobe(path, size)
    if found is not None:
        return found
    mime = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    media = MediaFacts(container=NO_MEDIA if size and can_probe() else "")
    return Probe(size, _MIME_BY_SUFFIX.get(path.suffix.lower(), mime), media)


def _mime(path: Path, container: str) -> str:
    by_suffix = _MIME_BY_SUFFIX.get(path.suffix.lower())
    known = _MIME_BY_CONTAINER.get(container)
    if by_suffix and known:
        return by_suffix
    return known or mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def _probe_with_av(path: Path, size: int) -> Probe | None:
    import av  # noqa: PLC0415 - an optional extra, and 0.1 s to import

    try:
        with av.open(str(path), metadata_errors="ignore", options={**AV_OPTIONS}) as container:
            if not container.streams.video and not container.streams.audio:
                return None
            if _is_no_film(container.format.name):
                return None
            return _facts_from_av(path, size, container)
    except (av.error.FFmpegError, UnicodeError, ValueError):
        return None  # not media, or damaged beyond reading: stored as bytes


def _is_no_film(container: str) -> bool:
    """Whether it is text that libav takes for terminal art, or a still picture."""
    return container in ("tty", "image2") or container.endswith("_pipe")


def _facts_from_av(path: Path, size: int, container: "InputContainer") -> Probe:
    video = container.streams.video[0] if container.streams.video else None
    audio = container.streams.audio[0] if container.streams.audio else None
    duration_s = (container.duration or 0) / 1_000_000
    name = container.format.name
    media = MediaFacts(
        container=name,
        video_codec=video.codec_context.name if video else "",
        audio_codec=audio.codec_context.name if audio else "",
        width=video.codec_context.width if video else 0,
        height=video.codec_context.height if video else 0,
        duration_s=max(0.0, duration_s),
    )
    keyframes, end = _keyframes(container, video or audio, size) if duration_s else ([], 0)
    return Probe(size, _mime(path, name), media, tuple(keyframes), end or None)


def _keyframes(container: "InputContainer", stream: Any, size: int) -> tuple[list[Keyframe], int]:
    """Return keyframes from the container's index, else by reading it through; and the end."""
    base_s = (container.start_time or 0) / 1_000_000
    unit_s = float(stream.time_base or 0)
    entries = [e for e in stream.index_entries if e.pos is not None and e.pos >= 0]
    if len(entries) > 1:
        ends = [
            entry.pos + (entry.size or 0)
            for each in container.streams
            for entry in getattr(each, "index_entries", ())
            if entry.pos is not None
        ]
        keys = [
            Keyframe(e.pos, max(0.0, e.timestamp * unit_s - base_s))
            for e in entries
            if e.is_keyframe
        ]
        return keys, max(ends)
    if size > DEMUX_BYTES_MAX:
        return [], 0
    keys, end = [], 0
    for packet in container.demux(stream):
        if packet.pos is None or packet.pos < 0 or packet.pts is None:
            continue
        end = max(end, packet.pos + packet.size)
        if packet.is_keyframe:
            keys.append(Keyframe(packet.pos, max(0.0, packet.pts * unit_s - base_s)))
    return keys, 0


def _probe_with_ffprobe(path: Path, size: int) -> Probe | None:
    tool = shutil.which("ffprobe")
    if tool is None:
        return None
    words = [tool, "-v", "error", "-of", "json", "-show_format", "-show_streams"]
    words += [*TOOL_WORDS, f"file:{path}"]
    try:
        done = subprocess.run(words, capture_output=True, timeout=FFPROBE_TIMEOUT_S, check=True)
        facts: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.SubprocessError, OSError, ValueError):
        return None
    streams: Sequence[dict[str, Any]] = facts.get("streams", [])
    found = facts.get("format", {})
    video = next((s for s in streams if s.get("codec_type") == "video"), {})
    audio = next((s for s in streams if s.get("codec_type") == "audio"), {})
    if not video and not audio:
        return None
    name = str(found.get("format_name", ""))
    if _is_no_film(name):
        return None
    try:
        duration_s = float(found.get("duration") or 0)
    except ValueError:
        duration_s = 0.0
    media = MediaFacts(
        container=name,
        video_codec=str(video.get("codec_name", "")),
        audio_codec=str(audio.get("codec_name", "")),
        width=int(video.get("width") or 0),
        height=int(video.get("height") or 0),
        duration_s=max(0.0, duration_s),
    )
    return Probe(size, _mime(path, name), media)
