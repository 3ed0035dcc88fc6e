"""The gateway: every video as one seekable URL, ``/v/NAME``, byte for byte the original.

Once an answer has begun it is never cut short and never turns into an error: a player that meets
either stops for good (VLC silently, Chromium with PIPELINE_ERROR_READ), while every player waits on
a connection that is held. So while nodes are away the gateway holds, and goes on when they return.
"""

import asyncio
import logging
from urllib.parse import quote, unquote

import msgspec
from aiohttp import web

from redundancy.errors import EvenflowError, ExitCode
from smart_client.byte_range import ByteRange, RangeNotSatisfiable, parse_range
from smart_client.config import ClientConfig
from smart_client.gateway.streams import SharedStream, StreamKey, StreamPool
from smart_client.library import Library
from smart_client.stream import VideoStream

log = logging.getLogger(__name__)

_STATUS = {
    ExitCode.NOT_FOUND: 404,
    ExitCode.TEMPORARY: 503,
    ExitCode.USAGE: 400,
    ExitCode.CONFIG: 403,
}

LIBRARY: web.AppKey[Library] = web.AppKey("library", Library)
POOL: web.AppKey[StreamPool] = web.AppKey("pool", StreamPool)


class Gateway:
    """Responsible for the server socket and everything behind it."""

    def __init__(self, config: ClientConfig, library: Library) -> None:
        self._config = config
        self._library = library
        self._runner: web.AppRunner | None = None
        self.pool = StreamPool(self._open_stream)
        self.on_stream: list[asyncio.Future[VideoStream]] = []
        self.url = ""

    async def start(self, listen: str) -> str:
        """Listen on ``host:port`` (port 0: any free one); return the URL.

        Raises: OSError: the address is in use or not ours.
        """
        host, _, port = listen.rpartition(":")
        self._runner = web.AppRunner(
            make_app(self._library, self.pool), access_log=None, shutdown_timeout=1.0
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host or "127.0.0.1", int(port))
        await site.start()
        bound = self._runner.addresses[0]
        self.url = f"http://{bound[0]}:{bound[1]}"
        return self.url

    def url_of(self, name: str) -> str:
        """Return where a player finds a video."""
        return f"{self.url}/v/{quote(name)}"

    async def first_stream(self) -> VideoStream:
        """Wait until a player has opened a video."""
        future: asyncio.Future[VideoStream] = asyncio.get_running_loop().create_future()
        self.on_stream.append(future)
        return await future

    async def close(self) -> None:
        """Stop listening, drop every reader and every stream."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self.pool.close()

    async def _open_stream(self, key: StreamKey) -> VideoStream:
        stream = await self._library.open_stream(key.video, self._config, rendition=key.rendition)
        for future in self.on_stream:
            if not future.done():
                future.set_result(stream)
        self.on_stream.clear()
        return stream


def make_app(library: Library, pool: StreamPool) -> web.Application:
    """Return the gateway's routes."""
    app = web.Application()
    app[LIBRARY] = library
    app[POOL] = pool
    app.router.add_get("/v/{name}", serve_video)
    app.router.add_get("/r/{name}/{rendition}", serve_video)
    app.router.add_get("/api/v1/videos", list_videos)
    app.router.add_get("/healthz", lambda _: _answer({"status": "ok"}))
    return app


async def _answer(body: object, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body), status=status, content_type="application/json"
    )


async def _error(error: EvenflowError) -> web.Response:
    return await _answer({"error": error.to_json()}, _STATUS.get(error.exit_code, 500))


async def list_videos(request: web.Request) -> web.Response:
    """Answer with the library."""
    try:
        return await _answer(await request.app[LIBRARY].coordinator.list_videos())
    except EvenflowError as error:
        return await _error(error)


async def serve_video(request: web.Request) -> web.StreamResponse:
    """Send a rendition or a range of it, holding the connection for as long as bytes are away."""
    name = unquote(request.match_info["name"])
    wished = unquote(request.match_info.get("rendition", "original"))
    try:
        shared = await request.app[POOL].get(name, wished)
    except EvenflowError as error:
        return await _error(error)
    rendition = shared.stream.manifest.rendition
    etag = f'"{rendition.sha256}"'
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": etag,
        "Content-Type": rendition.mime,
        "Cache-Control": "no-cache",
    }
    if request.headers.get("If-None-Match") == etag:
        return web.Response(status=304, headers=headers)
    wanted = request.headers.get("Range")
    if request.headers.get("If-Range") not in (None, etag):
        wanted = None  # the player's copy is of another file
    try:
        part = parse_range(wanted, rendition.size)
    except RangeNotSatisfiable:
        headers["Content-Range"] = f"bytes */{rendition.size}"
        return web.Response(status=416, headers=headers)
    response = web.StreamResponse(status=206 if part else 200, headers=headers)
    if part:
        response.headers["Content-Range"] = part.content_range
    whole = part or ByteRange(0, rendition.size, rendition.size)
    response.content_length = whole.stop - whole.start
    await response.prepare(request)
    if request.method == "GET":
        await _send(request.app[POOL], shared, whole, response)
    await response.write_eof()
    return response


async def _send(
    pool: StreamPool, shared: SharedStream, part: ByteRange, response: web.StreamResponse
) -> None:
    if part.stop == part.start:
        return
    reader = pool.open_reader(shared, part.start)
    try:
        while reader.position < part.stop:
            await response.write(await reader.read(min(256 * 1024, part.stop - reader.position)))
    except EvenflowError as error:
        # Nothing more can come. Holding is still the kindest: the player keeps what it has.
        log.error("%s: %s", shared.stream.manifest.video.name, error.message)
        await asyncio.Event().wait()
    finally:
        pool.close_reader(shared, reader)
