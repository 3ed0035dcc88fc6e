"""Routes of what a coordinator reports on the whole library, and of comparisons' own pages."""

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
from aiohttp import web

from smart_client.errors import InvalidRequest
from smart_client.gateway.comparisons import PAGE_FILE
from smart_client.gateway.desk import Desk
from smart_client.gateway.edge import json_response
from smart_client.gateway.routes import Route
from smart_client.openapi import Operation, Parameter
from smart_client.storage_report import ExposureReport, StorageReport

_RESULT = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,80}\Z"
RESULT = Parameter(
    "id", Annotated[str, msgspec.Meta(pattern=_RESULT)], "of a result in the list", "path"
)

# The page of a comparison carries its own style and nothing else.
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class StorageApi:
    """Responsible for ``/api/v1/storage``, ``/api/v1/exposure`` and reports of comparisons."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> Sequence[Route]:
        """Return every route."""
        storage = Operation(
            "GET",
            "/api/v1/storage",
            "How efficiently everything is stored, and what the policy would have",
            {200: StorageReport},
            refuses=(503,),
            tag="cluster",
        )
        exposure = Operation(
            "GET",
            "/api/v1/exposure",
            "Which nodes may go, and which videos would stop or be lost",
            {200: ExposureReport},
            refuses=(503,),
            tag="cluster",
        )
        report = Operation(
            "GET",
            "/api/v1/comparisons/{id}/report.html",
            "A comparison's own page",
            {200: "text/html"},
            refuses=(400, 404),
            parameters=(RESULT,),
            tag="cluster",
        )
        return [
            Route(storage, self.get_storage),
            Route(exposure, self.get_exposure),
            Route(report, self.get_report),
        ]

    async def get_storage(self, _: web.Request) -> web.Response:
        """Answer with what each video takes, and why."""
        return json_response(await self._desk.watch.ask(self._desk.library.coordinator.storage()))

    async def get_exposure(self, _: web.Request) -> web.Response:
        """Answer with what the loss of nodes would do."""
        return json_response(await self._desk.watch.ask(self._desk.library.coordinator.exposure()))

    async def get_report(self, request: web.Request) -> web.Response:
        """Send the page that ``smart-client compare`` made."""
        number = request.match_info["id"]
        if not re.match(_RESULT, number):
            raise InvalidRequest("a result's number is made of letters, digits, dots and dashes")
        path = self._desk.comparisons.directory / number / PAGE_FILE
        body = await asyncio.to_thread(_read, path)
        if body is None:
            raise web.HTTPNotFound
        headers = {
            "Content-Security-Policy": REPORT_POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-cache",
        }
        return web.Response(body=body, headers=headers, content_type="text/html", charset="utf-8")


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None
