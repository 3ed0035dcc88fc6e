"""Makes a ladder: encodes each rendition that is not there yet, and stores it.

    look at the file -> plan -> for each rendition, the smallest first: encode -> package -> store

Every rendition is committed by itself, so it can be played while the next is encoded, and a ladder
that was interrupted goes on with the first rendition that is missing. What was encoded and not yet
stored lies in ``directory``.
"""

import asyncio
import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from redundancy.errors import EvenflowError, FileProblem, NoSpace
from smart_client import wire
from smart_client.errors import InvalidMedia
from smart_client.ingest.ladder.encode import AvEncoder, EncodingJob, Stopped
from smart_client.ingest.ladder.packaging import Packaged, package, read_object
from smart_client.ingest.ladder.plan import (
    AUDIO,
    LadderPlan,
    LadderWish,
    Rung,
    SourceFacts,
    plan_ladder,
)
from smart_client.ingest.ladder.system_ffmpeg import FfmpegEncoder
from smart_client.ingest.plan_runner import UploadProgress
from smart_client.ingest.segment import plan_segment_cuts
from smart_client.ingest.upload import Uploader
from smart_client.transport.coordinator import CoordinatorClient

Answer = TypeVar("Answer")

# Often enough for a progress line.
TELL_EVERY_S = 0.25

# Grows when renditions are encoded otherwise: then what lies about of an earlier run is not used.
RECIPE = 1


class Encoder(Protocol):
    """What encodes. Its methods block; ``stop`` may be called from another thread."""

    name: str

    def look(self, path: Path) -> SourceFacts:
        """Return what has to be known of a source. Raises: InvalidMedia."""

    def stop(self) -> None:
        """Make what is under way raise ``Stopped`` soon."""

    def encode_video(self, job: EncodingJob, rung: Rung) -> None:
        """Write a rung's pictures as a fragmented MP4. Raises: InvalidMedia, Stopped."""

    def encode_audio(self, job: EncodingJob) -> None:
        """Write the sound as a fragmented MP4. Raises: InvalidMedia, Stopped."""


def make_encoder(name: str) -> Encoder:
    """Return the encoder ``av`` or ``ffmpeg``. Raises: ConfigError: it is not installed."""
    return FfmpegEncoder() if name == "ffmpeg" else AvEncoder()


@dataclass(slots=True)
class LadderResult:
    """What a ladder became."""

    video: wire.VideoRecord
    notes: tuple[str, ...] = ()
    stored: list[wire.RenditionRecord] = field(default_factory=list)  # now
    stored_bytes: int = 0
    missing_fragments: int = 0


class LadderMaker:
    """Responsible for one video's ladder."""

    def __init__(
        self,
        coordinator: CoordinatorClient,
        encoder: Encoder,
        directory: Path,
        *,
        token: str | None = None,
        report: Callable[[UploadProgress], None] = lambda _: None,
    ) -> None:
        self._coordinator = coordinator
        self._encoder = encoder
        self._directory = directory
        self._token = token
        self._report = report
        self._loop = asyncio.get_running_loop()

    async def make(self, path: Path, video: wire.VideoRecord, wish: LadderWish) -> LadderResult:
        """Store the wished renditions of a ready video; those it has already are left alone.

        Raises: EvenflowError: InvalidMedia, UsageError, NoSpace, whatever storing raises.
        """
        facts = await self._in_thread(lambda: self._encoder.look(path))
        plan = plan_ladder(wish, facts)
        result = LadderResult(video, plan.notes)
        place = self._directory / f"{video.id}-{RECIPE}"
        place.mkdir(parents=True, exist_ok=True)
        sound = (AUDIO,) if plan.audio_channels else ()
        for each in (*sound, *plan.rungs):
            name = each if isinstance(each, str) else each.name
            if result.video.layout_of(name) is None:
                self._say(result.video, name, 0.0, facts)
                job = EncodingJob(
                    path, place / f"{name}.part", plan, facts, self._progress(video, name, facts)
                )
                rung = None if isinstance(each, str) else each
                packaged = await self._in_thread(partial(self._encoded, job, rung))
                await self._store(result, job.target.with_suffix(".mp4"), packaged, rung, plan)
        shutil.rmtree(place, ignore_errors=True)
        return result

    def _encoded(self, job: EncodingJob, rung: Rung | None) -> Packaged:
        """Encode a rendition unless that was done before. None: the sound."""
        whole = job.target.with_suffix(".mp4")
        if whole.exists():
            with contextlib.suppress(InvalidMedia):
                return read_object(whole)
        try:
            if rung is None:
                self._encoder.encode_audio(job)
            else:
                self._encoder.encode_video(job, rung)
            unfinished = whole.with_suffix(".new")
            packaged = package(job.target, unfinished, job.plan.segment_s)
            os.replace(unfinished, whole)
        except OSError as error:
            raise _no_space(job.target, error) from error
        finally:
            job.target.unlink(missing_ok=True)
        return packaged

    async def _store(
        self,
        result: LadderResult,
        path: Path,
        packaged: Packaged,
        rung: Rung | None,
        plan: LadderPlan,
    ) -> None:
        described = _described(result.video, packaged, rung, plan)
        header_bytes = packaged.init_bytes + packaged.index_bytes
        uploader = Uploader(self._coordinator, token=self._token, report=self._report)
        cuts = plan_segment_cuts(header_bytes, packaged.segments)
        stored = await uploader.add_rendition(result.video, path, described, cuts)
        result.video = stored.video
        result.stored.append(stored.video.rendition(described.name))
        result.stored_bytes += stored.stored_bytes
        result.missing_fragments += stored.missing_fragments
        await asyncio.to_thread(path.unlink, missing_ok=True)

    # -- threads and progress --------------------------------------------------------------------

    async def _in_thread(self, work: Callable[[], Answer]) -> Answer:
        """Run blocking work; when this is cancelled, make the work end first."""
        running = self._loop.run_in_executor(None, work)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            self._encoder.stop()
            with contextlib.suppress(Stopped, EvenflowError):
                await running
            raise

    def _progress(
        self, video: wire.VideoRecord, name: str, facts: SourceFacts
    ) -> Callable[[float], None]:
        heard_s = 0.0

        def hear(done_s: float) -> None:  # in the encoder's thread
            nonlocal heard_s
            now_s = time.monotonic()
            if now_s - heard_s >= TELL_EVERY_S:
                heard_s = now_s
                self._loop.call_soon_threadsafe(self._say, video, name, done_s, facts)

        return hear

    def _say(self, video: wire.VideoRecord, name: str, done_s: float, facts: SourceFacts) -> None:
        share = min(1.0, done_s / facts.duration_s) if facts.duration_s else 0.0
        stage = f"ladder {name}" + (f" {100 * share:.0f} %" if facts.duration_s else "")
        self._report(
            UploadProgress(name=video.name, stage=stage, rendition=name, encoded_share=share)
        )


def _described(
    video: wire.VideoRecord, packaged: Packaged, rung: Rung | None, plan: LadderPlan
) -> wire.RenditionRecord:
    """Return a rendition's record; its checksum and chunks are known when it is stored."""
    is_lifeboat = plan.audio_is_lifeboat if rung is None else rung.is_lifeboat
    total = video.layout.to_layout().fragments_total
    return wire.RenditionRecord(
        name=AUDIO if rung is None else rung.name,
        size=packaged.size,
        sha256="",
        mime="audio/mp4" if rung is None else "video/mp4",
        duration_s=packaged.duration_s,
        chunk_count=0,
        kind="audio" if rung is None else "video",
        codecs=packaged.codecs,
        width=packaged.width,
        height=packaged.height,
        frame_rate=0.0 if rung is None else float(plan.rate),
        channels=plan.audio_channels if rung is None else 0,
        peak_bits_per_s=packaged.peak_bits_per_s,
        average_bits_per_s=packaged.average_bits_per_s,
        init_bytes=packaged.init_bytes,
        index_bytes=packaged.index_bytes,
        segment_s=float(plan.segment_s),
        layout=wire.LayoutRecord(k=1, n=total) if is_lifeboat else None,
    )


def _no_space(path: Path, error: OSError) -> EvenflowError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(
            f"no space left in {path.parent} to encode in",
            hint="free some space, or name another place in the settings: cache_dir",
        )
    return FileProblem(f"{path.parent}: {error.strerror or error}")
