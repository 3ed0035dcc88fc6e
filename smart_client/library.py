"""The stored videos as a user of Python sees them: list, open, read, remove."""

import asyncio
import contextlib
import difflib
import logging
from types import TracebackType
from typing import Self

from redundancy.errors import EvenflowError
from smart_client import wire
from smart_client.chunk_cache import ChunkCache
from smart_client.config import ClientConfig
from smart_client.core.state import SessionConfig
from smart_client.errors import VideoNotFound
from smart_client.spool import Spool
from smart_client.stream import VideoStream, default_spool
from smart_client.transport.coordinator import CoordinatorClient

log = logging.getLogger(__name__)

# A view is told again after these pauses: a playback counts once however often it is told.
VIEW_PAUSES_S = (0.0, 2.0, 10.0, 60.0)


class Library:
    """Responsible for everything that starts at a coordinator."""

    def __init__(self, config: ClientConfig) -> None:
        self.config = config
        self.token = config.token()
        self.coordinator = CoordinatorClient(
            config.coordinator, token=self.token, timeout_s=config.timeout_s
        )
        self.cache: ChunkCache | None = None  # chunks of earlier sessions; None: none are kept
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.config.timeout_s)
        await self.coordinator.close()

    async def manifest(self, name: str, rendition: str = "original") -> wire.Manifest:
        """Return the manifest of one rendition of a video.

        Raises: VideoNotFound, with the nearest name; RenditionNotFound.
        """
        try:
            return await self.coordinator.manifest(name, rendition)
        except VideoNotFound as error:
            raise await self._suggest(name, error) from error

    async def video(self, name: str) -> wire.VideoRecord:
        """Return a video's register. Raises: VideoNotFound, with the nearest name."""
        try:
            return await self.coordinator.video(name)
        except VideoNotFound as error:
            raise await self._suggest(name, error) from error

    async def remove(self, name: str) -> wire.Deleted:
        """Remove a video. Raises: VideoNotFound, with the nearest name."""
        try:
            return await self.coordinator.delete_video(name)
        except VideoNotFound as error:
            raise await self._suggest(name, error) from error

    async def open_stream(
        self,
        name: str,
        config: ClientConfig,
        *,
        rendition: str = "original",
        spool: Spool | None = None,
        session: SessionConfig | None = None,
        manifest: wire.Manifest | None = None,
    ) -> VideoStream:
        """Open one rendition of a video for reading.

        Args:
            manifest: of that rendition, where the caller has it.
        Raises: VideoNotFound, RenditionNotFound, CoordinatorUnreachable.
        """
        if manifest is None:
            manifest = await self.manifest(name, rendition)
        if spool is None:
            spool = await asyncio.to_thread(default_spool, config.cache_dir)
        stream = VideoStream(
            manifest,
            spool,
            scheduler=config.scheduler,
            config=session or session_config(config),
            token=self.token,
            cache=self.cache,
        )
        stream.on_view = lambda view: self._count_view(name, view)
        stream.keep_current(lambda: self.coordinator.manifest(name, rendition))
        return stream

    async def _suggest(self, name: str, error: VideoNotFound) -> VideoNotFound:
        try:
            names = [video.name for video in await self.coordinator.list_videos()]
        except EvenflowError:
            return error
        if name in names:
            return error  # it is there, and cannot be played: the coordinator says why
        near = difflib.get_close_matches(name, names, n=1)
        text = f"no video '{name}'." + (f" Did you mean '{near[0]}'?" if near else "")
        return VideoNotFound(text, hint="`smart-client ls` lists them all")

    def _count_view(self, name: str, view: wire.CountView) -> None:
        """Report a view in the background; a coordinator that is away must not disturb playback."""

        async def report() -> None:
            for pause_s in VIEW_PAUSES_S:
                if await self._closes_within(pause_s):
                    return
                try:
                    await self.coordinator.count_view(name, view)
                except EvenflowError as error:
                    log.info("the view was not counted: %s", error.message)
                else:
                    return

        task = asyncio.get_running_loop().create_task(report())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _closes_within(self, pause_s: float) -> bool:
        if pause_s == 0:
            return False
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._closing.wait(), pause_s)
        return self._closing.is_set()


def session_config(config: ClientConfig) -> SessionConfig:
    """Return what a viewing session is allowed, from the user's settings."""
    return SessionConfig(
        window_s=config.buffer_s,
        start_buffer_s=config.start_buffer_s,
        resume_buffer_s=config.start_buffer_s,
        cache_bytes_max=config.cache_bytes,
    )
