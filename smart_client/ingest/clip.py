"""A clip made on the spot: a test picture with a running clock and a tone, by PyAV.

The same bytes on every run of one PyAV version, so tests can pin it; nothing of it is kept in git.
"""

import heapq
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from redundancy.errors import ConfigError

FRAMES_PER_S = 24
SAMPLES_PER_S = 48_000

# What a slow laptop encodes in a few seconds and still looks like a video.
WIDTH, HEIGHT = 640, 360
VIDEO_BITS_PER_S = 1_500_000

# A keyframe every two seconds: seeking is quick, and cuts find one near.
KEYFRAME_S = 2


def make_clip(path: Path, seconds: float, size: tuple[int, int] = (WIDTH, HEIGHT)) -> None:
    """Write an MP4 (H.264, AAC) of a moving test picture. Takes about a tenth of its duration.

    Raises: ConfigError: PyAV is not installed.
    """
    try:
        import av  # noqa: PLC0415 - an optional extra
    except ImportError as error:
        raise ConfigError(
            "making a clip needs PyAV",
            hint="pip install 'evenflow[video]', or give a video file of yours",
        ) from error
    with av.open(str(path), "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=FRAMES_PER_S)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.bit_rate = VIDEO_BITS_PER_S * size[0] * size[1] // (WIDTH * HEIGHT)
        video.codec_context.gop_size = KEYFRAME_S * FRAMES_PER_S
        video.codec_context.thread_count = 1  # threads would make the bytes depend on the machine
        video.options = {"preset": "ultrafast", "tune": "zerolatency"}
        audio = out.add_stream("aac", rate=SAMPLES_PER_S)
        audio.layout = "mono"
        # Noise keeps the bitrate up, as film grain does.
        picture = _frames(
            ("testsrc2", f"size={size[0]}x{size[1]}:rate={FRAMES_PER_S}:duration={seconds}"),
            ("noise", "alls=12:allf=t:all_seed=7"),
            ("format", "pix_fmts=yuv420p"),
            ("buffersink", ""),
        )
        tone = _frames(
            ("sine", f"frequency=440:beep_factor=4:sample_rate={SAMPLES_PER_S}:duration={seconds}"),
            ("aformat", "sample_fmts=fltp:channel_layouts=mono"),
            ("abuffersink", ""),
        )
        shown = ((frame.time, video.encode, frame) for frame in picture)
        heard = ((frame.time, audio.encode, frame) for frame in tone)
        merged: Iterator[tuple[float, Any, Any]] = heapq.merge(shown, heard, key=lambda e: e[0])
        for _, encode, frame in merged:
            out.mux(encode(frame))
        out.mux(video.encode(None))
        out.mux(audio.encode(None))


def _frames(*filters: tuple[str, str]) -> Iterator[Any]:
    """Yield the frames that come out of a chain of libavfilter's filters."""
    import av.error  # noqa: PLC0415
    from av.filter import Graph  # noqa: PLC0415

    graph = Graph()
    chain = [
        graph.add(name, settings) if settings else graph.add(name) for name, settings in filters
    ]
    for left, right in pairwise(chain):
        left.link_to(right)
    graph.configure()
    while True:
        try:
            frame = chain[-1].pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        if hasattr(frame, "pict_type"):
            frame.pict_type = 0  # leave the choice of frame types to the encoder
        yield frame
