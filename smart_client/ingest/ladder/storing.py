"""Stores a file and, if wished, its ladder; run again, it goes on where it was interrupted."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from smart_client import wire
from smart_client.errors import NameTaken
from smart_client.ingest.ladder.make import LadderMaker, LadderResult, make_encoder
from smart_client.ingest.ladder.plan import LadderWish, plan_ladder
from smart_client.ingest.plan_runner import UploadProgress
from smart_client.ingest.upload import Uploader, UploadResult
from smart_client.library import Library


@dataclass(frozen=True, slots=True)
class LadderOrder:
    """A ladder that goes with a file."""

    wish: LadderWish
    directory: Path  # for what is encoded and not yet stored
    encoder: str = "av"


@dataclass(frozen=True, slots=True)
class Stored:
    """What was stored."""

    original: UploadResult
    ladder: LadderResult | None = None

    @property
    def video(self) -> wire.VideoRecord:
        """The video as it is now."""
        return self.ladder.video if self.ladder else self.original.video

    @property
    def missing_fragments(self) -> int:
        """How many fragments found no node."""
        return self.original.missing_fragments + (
            self.ladder.missing_fragments if self.ladder else 0
        )


async def store_file(
    library: Library,
    path: Path,
    name: str,
    *,
    redundancy: str = "auto",
    ladder: LadderOrder | None = None,
    report: Callable[[UploadProgress], None] = lambda _: None,
) -> Stored:
    """Store ``path`` as ``name``, then its ladder.

    A video that is there already is no error if it is this very file; with a ladder those
    renditions are made that it lacks.
    Raises: EvenflowError: with the exit code and the next step.
    """
    # Told before anything is sent: a ladder that cannot be encoded here.
    encoder = make_encoder(ladder.encoder) if ladder else None
    if ladder is not None and encoder is not None:
        plan_ladder(ladder.wish, await asyncio.to_thread(encoder.look, path))
    uploader = Uploader(library.coordinator, token=library.token, report=report)
    try:
        original = await uploader.put(path, name, redundancy)
    except NameTaken:
        video = await library.coordinator.video(name)
        if not await asyncio.to_thread(is_stored_as, path, video):
            raise
        original = UploadResult(video, video.rendition().chunk_count, 0, 0, 0, was_there=True)
    if ladder is None or encoder is None:
        return Stored(original)
    maker = LadderMaker(
        library.coordinator, encoder, ladder.directory, token=library.token, report=report
    )
    return Stored(original, await maker.make(path, original.video, ladder.wish))


def is_stored_as(path: Path, video: wire.VideoRecord) -> bool:
    """Whether a video is ready and is this file, byte for byte. Blocking."""
    if video.state != "ready" or path.stat().st_size != video.size:
        return False
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == video.rendition().sha256
