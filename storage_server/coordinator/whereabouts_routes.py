"""The route that tells where everything lies, for judging what the loss of nodes would do."""

from collections.abc import Sequence

from aiohttp import web

from smart_client.whereabouts import ShapeRecord, VideoShapes, Whereabouts
from storage_server.coordinator.http_edge import json_response
from storage_server.coordinator.layouts import ChunkShape
from storage_server.coordinator.library import Library
from storage_server.coordinator.membership import Membership
from storage_server.coordinator.service import Coordinator


class WhereaboutsRoutes:
    """Responsible for one answer about all videos."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the route."""
        return [web.get("/v1/whereabouts", self.tell)]

    async def tell(self, _: web.Request) -> web.Response:
        """Return the nodes, and where the chunks of every playable video lie."""
        return json_response(whereabouts(self._coordinator.library, self._coordinator.members))


def whereabouts(library: Library, members: Membership) -> Whereabouts:
    """Return where every chunk of every video that is ready lies."""
    statuses = members.statuses()
    names: dict[str, int] = {}
    for status in statuses:
        names.setdefault(status.record.id, len(names))
    shapes: dict[ChunkShape, int] = {}
    videos = []
    for name, video in sorted(library.videos.items()):
        if video.state == "ready":
            found = [shapes.setdefault(shape, len(shapes)) for shape in library.shapes(video.id)]
            videos.append(VideoShapes(name=name, shapes=tuple(sorted(found))))
    for shape in shapes:
        for node in shape.nodes:
            names.setdefault(node, len(names))
    return Whereabouts(
        names=tuple(names),
        nodes=statuses,
        shapes=tuple(
            ShapeRecord(
                k=shape.k,
                coded=tuple(names[node] for node in shape.coded),
                copies=tuple(names[node] for node in shape.copies),
            )
            for shape in shapes
        ),
        videos=tuple(videos),
    )
