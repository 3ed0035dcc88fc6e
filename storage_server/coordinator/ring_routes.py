"""The routes of the consistent-hashing video store this grew from, with the same answers.

POST   /server/{name}[?url=]   DELETE /server/{name}
POST   /video/{name}           GET    /video[?details=true]
"""

from collections.abc import Sequence

import msgspec
from aiohttp import web

from smart_client import wire
from storage_server.coordinator.http_edge import json_response, read_body
from storage_server.coordinator.service import Coordinator
from storage_server.coordinator.videos import check_name


class _Address(msgspec.Struct, frozen=True):
    url: str = ""


class RingRoutes:
    """Responsible for servers and names of videos, without any bytes."""

    def __init__(self, coordinator: Coordinator, *, body_timeout_s: float) -> None:
        self._coordinator = coordinator
        self._body_timeout_s = body_timeout_s

    def routes(self) -> Sequence[web.RouteDef]:
        """Return every route."""
        return [
            web.post("/server/{name}", self.add_server),
            web.delete("/server/{name}", self.remove_server),
            web.post("/video/{name}", self.add_video),
            web.get("/video", self.list_videos),
        ]

    async def add_server(self, request: web.Request) -> web.Response:
        """Register a node; one that is there keeps all it has."""
        name = wire.decode(wire.encode(request.match_info["name"]), wire.NodeName)
        url = request.query.get("url") or await self._url_in_body(request)
        record = wire.decode(
            wire.encode({"id": name, "urls": [url] if url else []}), wire.NodeRecord
        )
        members = self._coordinator.members
        verb = "is here already" if name in members.records else "added"
        await members.add(record, self._coordinator.library.holds_fragments(name))
        self._coordinator.pinger.ask_all()
        return web.Response(text=f"server {name} {verb}\n")

    async def _url_in_body(self, request: web.Request) -> str:
        """Return the address in a body such as ``{"url": ...}``; nothing if there is no body."""
        body = await read_body(request, self._body_timeout_s)
        return wire.decode(body, _Address).url if body.strip() else ""

    async def remove_server(self, request: web.Request) -> web.Response:
        """Move what a node holds to others, then forget it."""
        name = request.match_info["name"]
        videos = self._coordinator.videos
        before = videos.bare_names_of(name)
        moved = await self._coordinator.emptier.remove(name)
        return web.Response(
            text=f"server {name} removed, {moved + before} migrated "
            f"({moved} fragments, {before} bare names)\n"
        )

    async def add_video(self, request: web.Request) -> web.Response:
        """Register a name; say which server the ring gives it."""
        name = check_name(request.match_info["name"])
        server = await self._coordinator.videos.register(name)
        return web.Response(text=f"video {name} is on server {server}\n")

    async def list_videos(self, request: web.Request) -> web.Response:
        """Return all names, or with ``details=true`` an object from server to names."""
        videos = self._coordinator.videos
        if request.query.get("details", "").lower() in ("true", "1", "yes"):
            return json_response(videos.names_by_server())
        return json_response(sorted(self._coordinator.library.videos))
