"""The bytes of videos: ``/v/NAME`` and ``/r/NAME/RENDITION[.mp4]``, over Range, exactly as stored.

Once an answer has begun it is never cut short and never turns into an error: a player that meets
either stops for good (VLC silently, Chromium with PIPELINE_ERROR_READ), while every player waits on
a connection that is held. So while nodes are away the gateway holds, and goes on when they return.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence

from aiohttp import web

from redundancy.errors import EvenflowError
from redundancy.rows import BLOCK_BYTES
from smart_client import wire
from smart_client.byte_range import ByteRange, RangeNotSatisfiable, parse_range
from smart_client.gateway.edge import peer_of
from smart_client.gateway.routes import Route
from smart_client.gateway.streams import SharedStream, StreamPool
from smart_client.openapi import Operation, Parameter
from smart_client.stream import StreamReader

log = logging.getLogger(__name__)

NAME = Parameter("name", wire.Name, "the video's name", "path")
RENDITION = Parameter("rendition", wire.Name, "`original`, or one of its ladder", "path")
RANGE = Parameter("Range", str, "one range of bytes: bytes=A-B", "header")

SEND_BYTES = 256 * 1024

# Of a ladder, handed out at once: small enough that a player sees a steady stream of a slow link.
PACED_BYTES = 16 * 1024

# ... and at first, without delay: players (hls.js) take what passes before the first byte for the
# server's delay, and only what passes after it for the speed of the link.
FIRST_BYTES = 1024

# While a part is held back, so often the estimate is looked at again.
PAUSE_S = 0.25

# Time that an answer spent on waiting for bytes counts for those that came at last, up to so much.
CREDIT_S = 1.0

# A session that failed is opened again after this, doubling.
AGAIN_S = 1.0
AGAIN_S_MAX = 15.0

# While an answer is held, so often it is seen whether the player is still there.
LOOK_S = 1.0

# Fetched beyond a segment that is asked for: the next one, so that nodes which are through with
# this one have something to do. More is waste when the player changes the rendition, and it would
# take what comes out of the gateway's cache for the speed of its link.
READ_AHEAD_S = 2.0

# ... or two segments, up to so much that every node has a block to send and one to go on with. A
# segment of a small rendition is three blocks: fetched alone, two nodes of five would idle, and the
# player would believe its link to be half as fast as it is and never leave that rendition. Ten
# segments of sound, though, would keep the pictures waiting.
READ_AHEAD_BLOCKS = 2


class MediaApi:
    """Responsible for the routes that players read from."""

    def __init__(self, pool: StreamPool) -> None:
        self._pool = pool

    def routes(self) -> Sequence[Route]:
        """Return every route."""

        def get(path: str, summary: str, *parameters: Parameter) -> Route:
            heads = ("Accept-Ranges", "ETag")
            operation = Operation(
                "GET",
                path,
                summary,
                {200: "*/*", 206: "*/*", 304: None, 416: None},
                refuses=(400, 404, 409, 503),
                parameters=(*parameters, RANGE),
                headers={200: heads, 206: (*heads, "Content-Range"), 416: ("Content-Range",)},
                tag="media",
            )
            return Route(operation, self.serve)

        return [
            get("/v/{name}", "The original, byte for byte", NAME),
            # Players refuse segments whose address does not end like a media file's.
            get("/r/{name}/{rendition}.mp4", "One rendition of a ladder", NAME, RENDITION),
            get("/r/{name}/{rendition}", "One rendition", NAME, RENDITION),
        ]

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Send a rendition or a range of it, holding on for as long as bytes are away."""
        name = wire.decode(wire.encode(request.match_info["name"]), wire.Name)
        wished = request.match_info.get("rendition", "original")
        shared = await self._pool.get(name, wished)
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
            await self._send_all(shared, whole, response, request)
        await response.write_eof()
        return response

    async def _send_all(
        self,
        shared: SharedStream,
        part: ByteRange,
        response: web.StreamResponse,
        request: web.Request,
    ) -> None:
        """Send a range to its end. What stops the session only holds the answer up.

        A full disk, say, or a fault of ours: the stream is opened anew until it goes on. Holding is
        the kindest meanwhile: the player keeps what it has.

        Raises: ConnectionError: the player left.
        """
        sha256 = shared.stream.manifest.rendition.sha256
        position, pause_s = part.start, AGAIN_S
        while position < part.stop:
            if shared.stream.manifest.rendition.sha256 == sha256:
                rest = ByteRange(position, part.stop, part.size)
                position = await self._send(shared, rest, response, request)
            if position < part.stop:
                await asyncio.sleep(pause_s)
                _require_player(request)
                pause_s = min(2 * pause_s, AGAIN_S_MAX)
                with contextlib.suppress(EvenflowError):
                    shared = await self._pool.get(*shared.key)

    async def _send(
        self,
        shared: SharedStream,
        part: ByteRange,
        response: web.StreamResponse,
        request: web.Request,
    ) -> int:
        """Send what can be sent; return the position reached."""
        account, peer = shared.account, peer_of(request)
        time_at = shared.stream.session.state.timeline.time_at
        rendition = shared.stream.manifest.rendition
        ahead = read_ahead_bytes(shared, part.start)
        if ahead and self._pool.someone_waits_for_another(shared):
            ahead = 0
        stop = None if ahead is None else min(rendition.size, part.stop + ahead)
        reader = self._pool.open_reader(shared, part.start, stop=stop)
        close = self._pool.close_reader
        due_s = time.monotonic()
        account.views.opened(peer, due_s)
        try:
            while reader.position < part.stop:
                before_s = time_at(reader.position)
                await self._wait_for_bytes(shared, reader, request)
                wanted = min(SEND_BYTES, part.stop - reader.position)
                if rendition.kind:
                    is_first = reader.position == part.start
                    wanted = min(wanted, FIRST_BYTES if is_first else PACED_BYTES)
                    due_s = max(due_s, time.monotonic() - CREDIT_S)
                    due_s = await self._hold_back(shared, wanted, due_s, request)
                data = await reader.read(wanted)
                await response.write(data)
                account.player_bytes += len(data)
                account.views.sent(peer, time_at(reader.position) - before_s, time.monotonic())
            if stop is not None:
                close = self._pool.close_reader_soon
                shared.sent_to(part.stop)
        except EvenflowError as error:
            log.error("%s: %s", shared.key.video, error.message)
        finally:
            account.views.closed(peer, time.monotonic())
            close(shared, reader)
        return reader.position

    async def _wait_for_bytes(
        self, shared: SharedStream, reader: StreamReader, request: web.Request
    ) -> None:
        """Return when there is something to send; nothing else tells that a held player has left.

        Raises: ConnectionError: it left; EvenflowError: the session failed.
        """
        while True:
            try:
                with self._pool.somebody_waits(shared):
                    await asyncio.wait_for(reader.wait_until_ready(), LOOK_S)
            except TimeoutError:
                _require_player(request)
            else:
                return

    async def _hold_back(
        self, shared: SharedStream, size: int, since_s: float, request: web.Request
    ) -> float:
        """Return, when ``size`` bytes could have come since ``since_s``, that instant.

        Raises: ConnectionError: the player left.
        """
        floor = shared.stream.manifest.rendition.average_bits_per_s / 8
        while True:
            now_s = time.monotonic()
            # The estimate may have changed meanwhile, in both directions.
            due_s = since_s + self._pool.link.pace_s(size, now_s, floor_bytes_per_s=floor)
            if due_s <= now_s:
                return due_s
            await self._pool.pause(min(PAUSE_S, due_s - now_s))
            _require_player(request)


def _require_player(request: web.Request) -> None:
    if request.transport is None:
        raise ConnectionResetError("the player left")


def read_ahead_bytes(shared: SharedStream, start: int) -> int | None:
    """Return how far beyond a request from ``start`` on is fetched; None: as the session has it.

    Players ask for a ladder's segments one by one and may go on in another rendition. Nothing is
    fetched ahead for who does not go on where one stopped: it begins, or changes the rendition, and
    what it waits for next is of another one (its sound, say) that shares the same link.
    """
    manifest = shared.stream.manifest
    if not manifest.rendition.kind:
        return None
    if not shared.was_sent_to(start):
        return 0
    a_segment = segment_bytes(manifest.rendition)
    return max(a_segment, min(2 * a_segment, READ_AHEAD_BLOCKS * BLOCK_BYTES * len(manifest.nodes)))


def segment_bytes(rendition: wire.RenditionRecord) -> int:
    """Return about how large the next segment of a rendition is."""
    return int(READ_AHEAD_S * rendition.average_bits_per_s / 8)
