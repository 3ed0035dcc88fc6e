"""The gateway: one local HTTP server for players, pages and programs."""

import asyncio
import contextlib
import dataclasses
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from smart_client.accepting import serving
from smart_client.chunk_cache import ChunkCache
from smart_client.config import ClientConfig
from smart_client.errors import VideoNotFound
from smart_client.gateway.cluster_api import ClusterApi
from smart_client.gateway.comparisons import ComparisonDesk
from smart_client.gateway.coordinator_watch import CoordinatorWatch
from smart_client.gateway.desk import Desk
from smart_client.gateway.edge import BODY_BYTES_MAX, Edge
from smart_client.gateway.health_api import HealthApi
from smart_client.gateway.ladder_api import LadderApi
from smart_client.gateway.library_api import LibraryApi
from smart_client.gateway.live import Live
from smart_client.gateway.manifest_shelf import ManifestShelf
from smart_client.gateway.media import MediaApi
from smart_client.gateway.pages import Pages
from smart_client.gateway.routes import Route, add_routes
from smart_client.gateway.session_account import SessionAccount
from smart_client.gateway.sessions_api import SessionsApi
from smart_client.gateway.storage_api import StorageApi
from smart_client.gateway.streams import StreamKey, StreamPool
from smart_client.gateway.uploads import UploadDesk
from smart_client.gateway.uploads_api import UploadsApi
from smart_client.library import Library, session_config
from smart_client.mpv_ipc import MpvSaid
from smart_client.stream import VideoStream

log = logging.getLogger(__name__)

# Beside the cache a stream's own spool needs little more than what is ahead of its readers.
SPOOL_BYTES_MAX = 512 * 1024 * 1024

CLOSE_IDLE_EVERY_S = 15.0


class Gateway:
    """Responsible for the server socket and everything behind it."""

    def __init__(self, config: ClientConfig, library: Library, *, only_plays: bool = False) -> None:
        """Args: only_plays: takes no uploads; for the gateway of one player."""
        self._config = config
        self._library = library
        self._only_plays = only_plays
        self._serving = contextlib.AsyncExitStack()
        self.pool = StreamPool(self._open_stream, self._current_id)
        watch = CoordinatorWatch()
        self.desk = Desk(
            config=config,
            library=library,
            watch=watch,
            pool=self.pool,
            uploads=UploadDesk(
                Path(config.cache_dir) / "uploads", library, watch, cluster=config.cluster
            ),
            comparisons=ComparisonDesk(state_home() / "comparisons"),
        )
        self.live = Live(self.desk)
        shelf = Path(config.cache_dir) / "manifests" / config.cluster
        self._shelf = ManifestShelf(shelf, library, self.desk.watch)
        self._idler: asyncio.Task[None] | None = None
        self.url = ""

    async def start(self, listen: str) -> str:
        """Listen on ``host:port`` (port 0: any free one); return the URL.

        Raises: OSError: the address is in use or not ours.
        """
        host, _, port = listen.rpartition(":")
        runner = web.AppRunner(
            make_app(self.desk, self.live), access_log=None, shutdown_timeout=1.0
        )
        runner.app.on_shutdown.append(self._end_events)
        listener = await self._serving.enter_async_context(
            serving(runner, host=host or "127.0.0.1", port=int(port))
        )
        self._library.cache = await asyncio.to_thread(self._open_cache)
        self._idler = asyncio.create_task(self._close_idle_for_ever())
        if not self._only_plays:
            await self.desk.uploads.start()
        bound = listener.sockets[0].getsockname()
        shown = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
        self.url = f"http://{shown}:{bound[1]}"
        return self.url

    def url_of(self, name: str, rendition: str = "original") -> str:
        """Return where a player finds a video."""
        if rendition == "original":
            return f"{self.url}/v/{quote(name)}"
        return f"{self.url}/r/{quote(name)}/{quote(rendition)}"

    async def first_session(self) -> SessionAccount:
        """Wait until a player has opened a video."""
        return await self.pool.first()

    def hear_mpv(self, said: MpvSaid) -> None:
        """Take what the mpv that plays the first session says of itself."""
        if self.pool.all:
            self.pool.all[0].account.hear_mpv(said)

    async def close(self) -> None:
        """Stop listening, drop every reader and every stream."""
        await self.live.close()
        await self._serving.aclose()
        await self.desk.uploads.close()
        await self.desk.comparisons.close()
        if self._idler is not None:
            self._idler.cancel()
            await asyncio.gather(self._idler, return_exceptions=True)
        await self.pool.close()
        if self._library.cache is not None:
            self._library.cache.close()
            self._library.cache = None

    async def _end_events(self, _: web.Application) -> None:
        await self.live.close()

    async def _open_stream(self, key: StreamKey) -> VideoStream:
        manifest = await self._shelf.get(key.video, key.rendition)
        session = session_config(self._config)
        cache = self._library.cache
        if cache is None or cache.writes:
            # What is dropped from the spool is still in the cache; without one, a little is kept
            # for those who seek back.
            session = dataclasses.replace(session, cache_bytes_max=SPOOL_BYTES_MAX)
        return await self._library.open_stream(
            key.video,
            self._config,
            rendition=key.rendition,
            session=session,
            manifest=manifest,
        )

    async def _current_id(self, name: str) -> str:
        try:
            return (await self._library.coordinator.video(name)).id
        except VideoNotFound:
            return ""

    def _open_cache(self) -> ChunkCache | None:
        if not self._config.cache_bytes:
            return None
        try:
            return ChunkCache(Path(self._config.cache_dir) / "chunks", self._config.cache_bytes)
        except OSError as error:
            log.warning("chunks are not kept across sessions: %s", error)
            return None

    async def _close_idle_for_ever(self) -> None:
        while True:
            await asyncio.sleep(CLOSE_IDLE_EVERY_S)
            await self.pool.close_idle()


def make_app(desk: Desk, live: Live) -> web.Application:
    """Return the application with every route."""
    edge = Edge(names=desk.config.names)
    app = web.Application(middlewares=[edge.answer], client_max_size=BODY_BYTES_MAX)
    health = HealthApi(desk, edge, live)
    routes = all_routes(desk, health)
    health.described = routes
    add_routes(app, routes)
    return app


def all_routes(desk: Desk, health: HealthApi) -> Sequence[Route]:
    """Return the table that router and OpenAPI document are made of."""
    return [
        *MediaApi(desk.pool).routes(),
        *LadderApi(desk).routes(),
        *LibraryApi(desk).routes(),
        *UploadsApi(desk).routes(),
        *SessionsApi(desk).routes(),
        *ClusterApi(desk).routes(),
        *StorageApi(desk).routes(),
        *health.routes(),
        *Pages().routes(),
    ]


def state_home() -> Path:
    """Return where results are kept."""
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "smart-client"
