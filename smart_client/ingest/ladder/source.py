"""What a ladder has to know of a file: by PyAV, else by ffprobe."""

import json
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

from smart_client.errors import InvalidMedia
from smart_client.ingest.containers import AV_OPTIONS, TOOL_WORDS
from smart_client.ingest.ladder.plan import PictureFacts, SourceFacts

# So many pictures are looked at for being interlaced: some encoders mark the first ones wrongly.
_LOOKED_AT = 12

_HDR_TRANSFERS = {16: "smpte2084", 18: "arib-std-b67"}

FFPROBE_TIMEOUT_S = 60.0


def look_with_av(path: Path) -> SourceFacts:
    """Return the facts of a file by PyAV. Raises: InvalidMedia: it cannot be decoded."""
    import av  # noqa: PLC0415 - an optional extra
    import av.error  # noqa: PLC0415

    try:
        with av.open(str(path), metadata_errors="ignore", options={**AV_OPTIONS}) as container:
            sounds = container.streams.audio
            picture = None
            stream = picture_stream(container)
            if stream is not None:
                picture = _picture_facts(container, stream)
            return SourceFacts(
                duration_s=max(0.0, (container.duration or 0) / 1e6),
                start_s=(container.start_time or 0) / 1e6,
                picture=picture,
                channels=sounds[0].codec_context.channels if sounds else 0,
                sounds=len(sounds),
            )
    except (av.error.FFmpegError, ValueError, UnicodeError) as error:
        raise InvalidMedia(f"{path} cannot be decoded: {error}", hint=_HINT) from error


_HINT = "put it without --ladder: any file can be stored as it is"


def picture_stream(container: Any) -> Any:
    """Return the video stream to encode; None: there is none (a cover picture is none)."""
    from av.stream import Disposition  # noqa: PLC0415

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            return stream
    return None


def _picture_facts(container: Any, stream: Any) -> PictureFacts:
    frames = []
    for frame in container.decode(stream):
        frames.append(frame)
        if len(frames) == _LOOKED_AT:
            break
    if not frames:
        raise InvalidMedia("not one picture of it can be decoded", hint=_HINT)
    aspect = stream.sample_aspect_ratio or Fraction(1)
    return make_picture_facts(
        (frames[0].width, frames[0].height),
        aspect,
        stream.average_rate or stream.guessed_rate or stream.base_rate or Fraction(25),
        turn=-frames[0].rotation,
        is_interlaced=any(frame.interlaced_frame for frame in frames),
        is_hdr=stream.codec_context.color_trc in _HDR_TRANSFERS,
    )


def make_picture_facts(
    coded: tuple[int, int],
    aspect: Fraction,
    rate: Fraction,
    *,
    turn: int,
    is_interlaced: bool,
    is_hdr: bool,
) -> PictureFacts:
    """Return the facts of pictures as they are shown: with square pixels, and upright.

    Args: turn: degrees clockwise.
    """
    width, height = coded
    if aspect > 0:
        width = round(width * aspect)
    turn = round(turn / 90) * 90 % 360
    if turn in (90, 270):
        width, height = height, width
    return PictureFacts(width, height, rate, turn, is_interlaced, is_hdr)


def look_with_ffprobe(path: Path, tool: str) -> SourceFacts:
    """Return the facts of a file by ffprobe. Raises: InvalidMedia."""
    words = [
        *(tool, "-v", "error", "-of", "json", "-show_format", "-show_streams"),
        *(
            "-show_frames",
            "-read_intervals",
            "%+#12",
            "-select_streams",
            "v:0",
            *TOOL_WORDS,
            f"file:{path}",
        ),
    ]
    sound_words = [
        *(tool, "-v", "error", "-of", "json", "-show_format", "-show_streams"),
        *("-select_streams", "a", *TOOL_WORDS, f"file:{path}"),
    ]
    seen, heard = _ask(words, path), _ask(sound_words, path)
    sounds = heard.get("streams", [])
    facts = heard.get("format", {})
    videos = [
        each
        for each in seen.get("streams", [])
        if not each.get("disposition", {}).get("attached_pic")
    ]
    frames = [each for each in seen.get("frames", []) if each.get("media_type") == "video"]
    picture = None
    if videos:
        video = videos[0]
        turns = [side.get("rotation", 0) for side in video.get("side_data_list", [])]
        picture = make_picture_facts(
            (int(video["width"]), int(video["height"])),
            _fraction(video.get("sample_aspect_ratio", "1:1").replace(":", "/"), Fraction(1)),
            _fraction(video.get("avg_frame_rate"), Fraction(25)),
            turn=-int(next((turn for turn in turns if turn), 0)),
            is_interlaced=any(each.get("interlaced_frame") for each in frames),
            is_hdr=video.get("color_transfer") in _HDR_TRANSFERS.values(),
        )
    return SourceFacts(
        duration_s=_number(facts.get("duration")),
        start_s=_number(facts.get("start_time")),
        picture=picture,
        channels=int(sounds[0].get("channels") or 0) if sounds else 0,
        sounds=len(sounds),
    )


def _ask(words: list[str], path: Path) -> dict[str, Any]:
    try:
        done = subprocess.run(words, capture_output=True, timeout=FFPROBE_TIMEOUT_S, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.SubprocessError, OSError, ValueError) as error:
        raise InvalidMedia(f"{path} cannot be read by ffprobe", hint=_HINT) from error
    return found


def _fraction(text: str | None, otherwise: Fraction) -> Fraction:
    try:
        found = Fraction(text or "0")
    except (ValueError, ZeroDivisionError):
        return otherwise
    return found if found > 0 else otherwise


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
