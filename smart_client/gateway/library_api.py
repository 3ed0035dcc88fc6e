"""Routes of the library: what is stored, and where to play it."""

from collections.abc import Sequence
from urllib.parse import quote

import msgspec
from aiohttp import web

from smart_client import wire
from smart_client.errors import VideoNotFound
from smart_client.gateway.desk import Desk
from smart_client.gateway.edge import json_response
from smart_client.gateway.records import LibraryVideo, VideoDetails, VideoUrls
from smart_client.gateway.routes import Route
from smart_client.openapi import Operation, Parameter

# What a browser's own decoder plays, by the containers and codecs that Chromium and Firefox share.
# MKV plays in Chromium and not elsewhere, so it is not promised.
_BROWSER_MIMES = frozenset({"video/mp4", "video/webm", "video/quicktime", "audio/mpeg"})
_BROWSER_VIDEO = frozenset({"", "h264", "vp8", "vp9", "av1"})
_BROWSER_AUDIO = frozenset({"", "aac", "mp3", "opus", "vorbis", "flac"})

NAME = Parameter("name", wire.Name, "the video's name", "path")


class LibraryApi:
    """Responsible for the routes below ``/api/v1/videos``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> Sequence[Route]:
        """Return every route."""
        one = "/api/v1/videos/{name}"
        return [
            Route(
                Operation(
                    "GET",
                    "/api/v1/videos",
                    "List the library",
                    {200: tuple[LibraryVideo, ...]},
                    refuses=(503,),
                    tag="library",
                ),
                self.list_videos,
            ),
            Route(
                Operation(
                    "GET",
                    one,
                    "Show one video with its register",
                    {200: VideoDetails},
                    refuses=(400, 404, 503),
                    parameters=(NAME,),
                    tag="library",
                ),
                self.get_video,
            ),
            Route(
                Operation(
                    "DELETE",
                    one,
                    "Remove a video and free its space",
                    {200: wire.Deleted},
                    refuses=(400, 403, 404, 409, 503),
                    parameters=(NAME,),
                    tag="library",
                ),
                self.delete_video,
            ),
        ]

    async def list_videos(self, _: web.Request) -> web.Response:
        """Answer with the library."""
        return json_response(await library_videos(self._desk))

    async def get_video(self, request: web.Request) -> web.Response:
        """Answer with one video."""
        name = wanted_name(request)
        ask = self._desk.watch.ask
        record = await ask(self._desk.library.video(name))
        summaries = await ask(self._desk.library.coordinator.list_videos())
        summary = next((each for each in summaries if each.id == record.id), None)
        if summary is None:  # removed between the two questions
            raise VideoNotFound(f"no video '{name}' any more")
        return json_response(VideoDetails(video=library_video(summary), record=record))

    async def delete_video(self, request: web.Request) -> web.Response:
        """Remove a video."""
        name = wanted_name(request)
        deleted = await self._desk.watch.ask(self._desk.library.remove(name))
        await self._desk.pool.forget(name)
        return json_response(deleted)


async def library_videos(desk: Desk) -> tuple[LibraryVideo, ...]:
    """Return all videos with where to play them. Raises: CoordinatorUnreachable."""
    summaries = await desk.watch.ask(desk.library.coordinator.list_videos())
    return tuple(library_video(summary) for summary in summaries)


def library_video(summary: wire.VideoSummary) -> LibraryVideo:
    """Return a summary with where to play the video."""
    has_ladder = len(summary.renditions) > 1
    part = quote(summary.name)
    urls = VideoUrls(
        original=f"/v/{part}",
        hls=f"/hls/{part}/master.m3u8" if has_ladder else "",
        dash=f"/dash/{part}/manifest.mpd" if has_ladder else "",
    )
    return LibraryVideo(
        **msgspec.structs.asdict(summary),
        urls=urls,
        playable_in_browser=summary.state == "ready" and _plays(summary.mime, summary.media),
    )


def _plays(mime: str, media: wire.MediaFacts) -> bool:
    return (
        media.container != wire.NO_MEDIA
        and mime in _BROWSER_MIMES
        and media.video_codec in _BROWSER_VIDEO
        and media.audio_codec in _BROWSER_AUDIO
    )


def wanted_name(request: web.Request) -> str:
    """Return the video's name in the address. Raises: InvalidRequest: nothing has such a name."""
    return wire.decode(wire.encode(request.match_info["name"]), wire.Name)
