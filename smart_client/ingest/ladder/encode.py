"""Encodes one rendition by PyAV, in process, into a fragmented MP4 for ``packaging``."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from redundancy.errors import ConfigError
from smart_client.errors import InvalidMedia
from smart_client.ingest.containers import AV_OPTIONS
from smart_client.ingest.ladder.plan import (
    AUDIO_BITS_PER_S,
    AUDIO_RATE_HZ,
    LadderPlan,
    Rung,
    SourceFacts,
)
from smart_client.ingest.ladder.recipes import (
    Filter,
    picture_filters,
    sound_filters,
    x264_options,
)
from smart_client.ingest.ladder.source import look_with_av, picture_stream

# No edit list, headers first: what was written can be read whenever the encoder stops.
_MUXER = {
    "movflags": "frag_keyframe+empty_moov+default_base_moof",
    "use_editlist": "0",
}

Progress = Callable[[float], None]  # seconds of media encoded
Filters = tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class EncodingJob:
    """One rendition to encode."""

    source: Path
    target: Path  # becomes a fragmented MP4 with one track
    plan: LadderPlan
    facts: SourceFacts
    progress: Progress


class Stopped(Exception):  # internal: that somebody gave up is no error
    """The work was called off."""


class AvEncoder:
    """Responsible for encoding by libav in this process."""

    name = "av"

    def __init__(self) -> None:
        """Raises: ConfigError: PyAV is not installed."""
        try:
            import av  # noqa: F401, PLC0415 - an optional extra
        except ImportError as error:
            raise ConfigError(
                "a ladder is encoded by PyAV, which is not installed",
                hint="pip install 'evenflow[video]', or use ffmpeg: --encoder ffmpeg",
            ) from error
        self._stop = threading.Event()

    def look(self, path: Path) -> SourceFacts:
        """Return what has to be known of a source. Raises: InvalidMedia."""
        return look_with_av(path)

    def stop(self) -> None:
        """Make what is under way raise ``Stopped`` soon."""
        self._stop.set()

    def encode_video(self, job: EncodingJob, rung: Rung) -> None:
        """Write the rung's pictures. Raises: InvalidMedia, Stopped."""
        import av  # noqa: PLC0415

        plan, facts = job.plan, job.facts
        assert facts.picture is not None
        filters = picture_filters(facts.picture, rung, plan.rate)
        try:
            with (
                _opened(job.source) as container,
                av.open(str(job.target), "w", format="mp4", options=_MUXER) as out,
            ):
                stream = out.add_stream("libx264", rate=plan.rate)
                stream.width, stream.height, stream.pix_fmt = rung.width, rung.height, "yuv420p"
                stream.codec_context.time_base = 1 / plan.rate
                stream.options = {**x264_options(rung, plan)}
                frames = self._decode(container, picture_stream(container), facts.start_s)
                for number, frame in enumerate(_pictures(frames, filters)):
                    frame.pts, frame.time_base = number, 1 / plan.rate
                    frame.pict_type = 1 if number % plan.segment_pictures == 0 else 0
                    out.mux(stream.encode(frame))
                    job.progress(float(number / plan.rate))
                out.mux(stream.encode(None))
        except (av.error.FFmpegError, ValueError) as error:
            raise InvalidMedia(f"{job.source.name} cannot be encoded: {error}") from error

    def encode_audio(self, job: EncodingJob) -> None:
        """Write the sound as AAC. Raises: InvalidMedia, Stopped."""
        import av  # noqa: PLC0415

        channels = job.plan.audio_channels
        options = _MUXER | {"frag_duration": "2000000"}
        try:
            with (
                _opened(job.source) as container,
                av.open(str(job.target), "w", format="mp4", options=options) as out,
            ):
                stream = out.add_stream("aac", rate=AUDIO_RATE_HZ)
                stream.layout = "mono" if channels == 1 else "stereo"
                stream.bit_rate = AUDIO_BITS_PER_S[channels]
                frames = self._decode(container, container.streams.audio[0], job.facts.start_s)
                for frame in _sound(frames, channels):
                    out.mux(stream.encode(frame))
                    job.progress(float(frame.time or 0))
                out.mux(stream.encode(None))
        except (av.error.FFmpegError, ValueError) as error:
            raise InvalidMedia(
                f"the sound of {job.source.name} cannot be encoded: {error}"
            ) from error

    def _decode(self, container: Any, stream: Any, start_s: float) -> Iterator[Any]:
        """Yield a stream's frames, their times counted from the file's first instant.

        What is damaged is left out: the frames around it stand in for it.
        """
        import av.error  # noqa: PLC0415

        stream.thread_type = "AUTO"
        shift = round(Fraction(start_s).limit_denominator(1_000_000) / stream.time_base)
        last = -1
        for packet in container.demux(stream):
            if self._stop.is_set():
                raise Stopped
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                continue
            for frame in frames:
                if frame.pts is None:
                    frame.pts = last + 1
                frame.pts = max(last + 1, frame.pts - shift)
                last = frame.pts
                frame.time_base = stream.time_base
                yield frame


def _opened(source: Path) -> Any:
    import av  # noqa: PLC0415

    return av.open(str(source), metadata_errors="ignore", options={**AV_OPTIONS})


def _pictures(frames: Iterator[Any], filters: Filters) -> Iterator[Any]:
    """Yield what a chain of filters makes of pictures; it scales whatever size they come in."""
    graph: Any = None
    for frame in frames:
        if graph is None:
            graph = _graph(frame, filters, "buffer")
        graph.push(frame)
        yield from _ready(graph)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph)


def _sound(frames: Iterator[Any], channels: int) -> Iterator[Any]:
    """Yield sound as it is to be encoded; another form of it gets another chain."""
    graph: Any = None
    form: Any = None
    for frame in frames:
        now = frame.sample_rate, frame.format.name, frame.layout.name
        if graph is not None and now != form:
            graph.push(None)
            yield from _ready(graph)
        if now != form:
            filters = sound_filters(channels, is_first=form is None)
            graph, form = _graph(frame, filters, "abuffer"), now
        graph.push(frame)
        yield from _ready(graph)
    if graph is not None:
        graph.push(None)
        yield from _ready(graph)


def _ready(graph: Any) -> Iterator[Any]:
    import av.error  # noqa: PLC0415

    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _graph(frame: Any, filters: Filters, kind: str) -> Any:
    from av.filter import Graph  # noqa: PLC0415

    graph = Graph()
    if kind == "buffer":
        size = {"width": frame.width, "height": frame.height}
        first = graph.add_buffer(format=frame.format, time_base=frame.time_base, **size)
    else:
        first = graph.add_abuffer(
            sample_rate=frame.sample_rate,
            format=frame.format.name,
            layout=frame.layout.name,
            time_base=frame.time_base,
        )
    chain = [first]
    chain += [graph.add(name, words) if words else graph.add(name) for name, words in filters]
    chain.append(graph.add(f"{kind}sink"))
    for left, right in pairwise(chain):
        left.link_to(right)
    graph.configure()
    return graph
