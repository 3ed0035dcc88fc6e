"""The routes that tell how efficiently and how safely everything is stored."""

import asyncio
from collections.abc import Sequence

from aiohttp import web

from smart_client.storage_report import ExposureReport
from storage_server.coordinator.http_edge import json_response
from storage_server.coordinator.service import Coordinator
from storage_server.coordinator.whereabouts_routes import whereabouts
from storage_server.exposure_report import summary


class StorageRoutes:
    """Responsible for two answers about all videos."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._one = asyncio.Lock()
        self._judged: tuple[tuple[int, int], ExposureReport] | None = None

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/v1/storage", self.tell_storage),
            web.get("/v1/exposure", self.tell_exposure),
        ]

    async def tell_storage(self, _: web.Request) -> web.Response:
        """Return layouts, costs, durability and advice of every video, and their sums."""
        reporter = self._coordinator.reporter
        return json_response(await reporter.report(self._coordinator.health()))

    async def tell_exposure(self, _: web.Request) -> web.Response:
        """Return which nodes may go; judged anew only when something changed."""
        async with self._one:
            library, members = self._coordinator.library, self._coordinator.members
            members.advance()
            versions = (library.version, members.state_version)
            if self._judged is None or self._judged[0] != versions:
                told = whereabouts(library, members)
                # With 14 nodes every state of them is weighed, which takes a second or so.
                self._judged = (versions, await asyncio.to_thread(summary, told))
            return json_response(self._judged[1])
