"""HLS and DASH: ``/hls/NAME/...`` and ``/dash/NAME/manifest.mpd`` over ``/r/NAME/RENDITION``."""

from collections.abc import Sequence

from aiohttp import web

from smart_client import wire
from smart_client.cmaf.index import Segment, read_index
from smart_client.errors import CoordinatorUnreachable, InvalidMedia, RenditionNotFound
from smart_client.gateway import dash, hls
from smart_client.gateway.desk import Desk
from smart_client.gateway.media import NAME, segment_bytes
from smart_client.gateway.routes import Route
from smart_client.gateway.streams import SharedStream
from smart_client.openapi import Operation, Parameter

# Indexes that are kept: of so many renditions, 12 bytes on disk and some 100 in memory a segment.
_INDEXES_MAX = 64

LISTED = Parameter("rendition", wire.Name, "one of the ladder", "path")
ONLY = Parameter("only", wire.Name, "the one rendition of the picture to offer")


class LadderApi:
    """Responsible for what players need to find the segments of a ladder."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._indexes: dict[str, Sequence[Segment]] = {}  # by the object's checksum

    def routes(self) -> Sequence[Route]:
        """Return every route."""

        def get(path: str, summary: str, mime: str, *parameters: Parameter) -> Operation:
            return Operation(
                "GET",
                path,
                summary,
                {200: mime},
                refuses=(400, 404, 409, 503),
                parameters=(NAME, *parameters),
                tag="media",
            )

        return [
            Route(
                get("/hls/{name}/master.m3u8", "HLS: the renditions of a ladder", hls.MIME, ONLY),
                self.master,
            ),
            Route(
                get("/hls/{name}/{rendition}.m3u8", "HLS: one rendition", hls.MIME, LISTED),
                self.media,
            ),
            Route(
                get("/dash/{name}/manifest.mpd", "MPEG-DASH: the whole ladder", dash.MIME),
                self.mpd,
            ),
        ]

    async def master(self, request: web.Request) -> web.Response:
        """Answer with the list of renditions."""
        only = request.query.get("only")
        return _text(request, hls.master_playlist(await self._video(request), only), hls.MIME)

    async def mpd(self, request: web.Request) -> web.Response:
        """Answer with the MPD."""
        return _text(request, dash.manifest(await self._video(request)), dash.MIME)

    async def media(self, request: web.Request) -> web.Response:
        """Answer with the segments of one rendition."""
        name = _name(request)
        wished = request.match_info["rendition"]
        shared = await self._desk.pool.get(name, wished)
        rendition = shared.stream.manifest.rendition
        if not rendition.kind:
            raise RenditionNotFound(
                f"'{wished}' of '{name}' is a whole file, no rendition of a ladder",
                hint=f"it is at /v/{name}",
            )
        segments = self._indexes.get(rendition.sha256)
        if segments is None:
            segments = await self._read_index(shared)
        return _text(request, hls.media_playlist(name, rendition, segments), hls.MIME)

    async def _video(self, request: web.Request) -> wire.VideoRecord:
        """Return a video's record; without a coordinator, as it was when it was opened."""
        name = _name(request)
        try:
            return await self._desk.watch.ask(self._desk.library.video(name))
        except CoordinatorUnreachable:
            for shared in self._desk.pool.all:
                if shared.key.video == name:
                    return shared.stream.manifest.video
            raise

    async def _read_index(self, shared: SharedStream) -> Sequence[Segment]:
        """Read the index like any other bytes of the object: checked. Raises: InvalidMedia.

        Who begins to play asks for the first segment next, so that is on its way too; who changes
        the rendition goes on elsewhere.
        """
        rendition = shared.stream.manifest.rendition
        wanted = rendition.init_bytes + rendition.index_bytes
        begins = not self._desk.pool.is_played_otherwise(shared)
        stop = min(rendition.size, wanted + (segment_bytes(rendition) if begins else 0))
        data = bytearray()
        reader = self._desk.pool.open_reader(shared, 0, stop=stop)
        try:
            while len(data) < wanted:
                patience_s = self._desk.config.patience_s
                with self._desk.pool.somebody_waits(shared):
                    part = await reader.read(wanted - len(data), patience_s=patience_s)
                if not part:
                    raise InvalidMedia(f"'{rendition.name}' is shorter than its index")
                data += part
        finally:
            self._desk.pool.close_reader_soon(shared, reader)
        segments = read_index(bytes(data), rendition.init_bytes)
        while len(self._indexes) >= _INDEXES_MAX:
            del self._indexes[next(iter(self._indexes))]
        self._indexes[rendition.sha256] = segments
        return segments


def _name(request: web.Request) -> str:
    return wire.decode(wire.encode(request.match_info["name"]), wire.Name)


def _text(request: web.Request, text: str, mime: str) -> web.Response:
    response = web.Response(
        body=text.encode(), content_type=mime, headers={"Cache-Control": "no-cache"}
    )
    if len(text) > 1024 and "gzip" in request.headers.get("Accept-Encoding", "").lower():
        response.enable_compression(web.ContentCoding.gzip)
        response.headers["Vary"] = "Accept-Encoding"
    return response
