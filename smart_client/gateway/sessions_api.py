"""Routes of open videos: their figures, and what players report of themselves."""

from collections.abc import Sequence

from aiohttp import web

from smart_client import wire
from smart_client.errors import SessionNotFound
from smart_client.gateway.desk import Desk
from smart_client.gateway.edge import Handler, json_response, peer_of, read_record
from smart_client.gateway.records import (
    PlayerFigures,
    PlayerReport,
    SessionDetails,
    SessionFigures,
)
from smart_client.gateway.routes import Route
from smart_client.gateway.session_account import player_figures
from smart_client.gateway.streams import SharedStream
from smart_client.openapi import Operation, Parameter

NUMBER = Parameter("id", str, "the session's number", "path")
VIDEO = Parameter("name", wire.Name, "of the video that is open", "path")

VIDEO_ELEMENT = "video-element"


class SessionsApi:
    """Responsible for the routes below ``/api/v1/sessions``."""

    def __init__(self, desk: Desk) -> None:
        self._pool = desk.pool

    def routes(self) -> Sequence[Route]:
        """Return every route."""
        base = "/api/v1/sessions"
        return [
            Route(
                Operation(
                    "GET",
                    base,
                    "List open videos",
                    {200: tuple[SessionFigures, ...]},
                    tag="sessions",
                ),
                self.list_sessions,
            ),
            *self._both("GET", "", "Show an open video: matrix, notices", self.get_session),
            *self._both("POST", "/player", "Report what a <video> element does", self.report),
        ]

    def _both(self, method: str, tail: str, summary: str, handler: Handler) -> Sequence[Route]:
        """Return a route by the session's number, and one by its video's name."""
        routes = []
        for path, parameter in (
            (f"/api/v1/sessions/by-video/{{name}}{tail}", VIDEO),
            (f"/api/v1/sessions/{{id}}{tail}", NUMBER),
        ):
            operation = Operation(
                method,
                path,
                summary,
                {200: SessionDetails if method == "GET" else PlayerFigures},
                refuses=(404,) if method == "GET" else (400, 403, 404, 413),
                takes=PlayerReport if method == "POST" else None,
                parameters=(parameter,),
                tag="sessions",
            )
            routes.append(Route(operation, handler))
        return routes

    async def list_sessions(self, _: web.Request) -> web.Response:
        """Answer with all open videos."""
        return json_response(session_figures(self._pool.all))

    async def get_session(self, request: web.Request) -> web.Response:
        """Answer with one open video."""
        shared = self._find(request)
        return json_response(shared.account.details(shared.readers))

    async def report(self, request: web.Request) -> web.Response:
        """Take a player's report."""
        shared = self._find(request)
        report = await read_record(request, PlayerReport)
        shared.account.hear(report, VIDEO_ELEMENT, peer_of(request))
        return json_response(player_figures(report.player, shared.account))

    def _find(self, request: web.Request) -> SharedStream:
        """Return the session in the address. Raises: SessionNotFound."""
        name, number = request.match_info.get("name"), request.match_info.get("id")
        found = [
            shared
            for shared in self._pool.all
            if shared.account.id == number or shared.key.video == name
        ]
        if not found:
            raise SessionNotFound(
                f"nobody has '{name}' open" if name else f"no open session '{number}'",
                hint="a session begins with the first request for the video's bytes",
            )
        return max(found, key=_on_screen)


def _on_screen(shared: SharedStream) -> tuple[bool, bool, float]:
    """Order the renditions of a ladder: the picture used last is what is on the screen.

    Sound that lies by itself comes with every picture, and is often asked for last.
    """
    has_picture = shared.stream.manifest.rendition.kind != "audio"
    return has_picture, shared.readers > 0, shared.used_at_s


def session_figures(streams: Sequence[SharedStream]) -> tuple[SessionFigures, ...]:
    """Return all open videos."""
    return tuple(shared.account.figures(shared.readers) for shared in streams)
