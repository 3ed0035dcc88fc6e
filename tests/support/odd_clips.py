"""Small clips of kinds that ladders meet: made by PyAV, a second or two of encoding in all."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_clip(
    path: Path,
    seconds: float,
    *,
    codec: str = "libx264",
    size: tuple[int, int] = (160, 120),
    rate: int = 25,
    times: Sequence[Fraction] | None = None,
    turn: int = 0,
    sound: str = "",
    sound_from_s: float = 0.0,
    interlaced: bool = False,
) -> None:
    """Write pictures whose grey is their time, and a tone. No size: no pictures."""
    with av.open(str(path), "w") as out:
        video = None
        if size[0]:
            video = out.add_stream(codec, rate=rate)
            video.width, video.height, video.pix_fmt = *size, "yuv420p"
            video.codec_context.time_base = Fraction(1, 1000)
            if interlaced:
                video.options = {"flags": "+ildct+ilme", "x264-params": "tff=1"}
            if turn:
                video.set_display_rotation(-turn)
        audio = out.add_stream(sound, rate=44_100) if sound else None
        if audio is not None:
            audio.layout = "stereo"
        if video is not None:
            for time_s in times or [Fraction(n, rate) for n in range(round(seconds * rate))]:
                grey = int(16 + 200 * float(time_s) / seconds)
                picture = np.full((size[1], size[0], 3), grey, dtype=np.uint8)
                picture[: size[1] // 4] = 255  # what is up stays seen after turning
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
                out.mux(video.encode(frame))
            out.mux(video.encode(None))
        if audio is not None:
            step = 1024
            begin = round(sound_from_s * 44_100)
            for at in range(begin, round(seconds * 44_100), step):
                wave = np.sin(np.arange(at, at + step) * 0.06).astype(np.float32) / 4
                frame = av.AudioFrame.from_ndarray(
                    np.stack([wave, wave]), format="fltp", layout="stereo"
                )
                frame.sample_rate, frame.pts, frame.time_base = 44_100, at, Fraction(1, 44_100)
                out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
