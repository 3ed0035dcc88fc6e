"""The one table of routes: the router is filled from it, and the OpenAPI document is made of it."""

from collections.abc import Iterable
from dataclasses import dataclass

from aiohttp import web

from smart_client.gateway.edge import Handler
from smart_client.openapi import Operation


@dataclass(frozen=True, slots=True)
class Route:
    """An operation and who answers it; ``pattern`` is aiohttp's where it differs from the path."""

    operation: Operation
    handler: Handler
    pattern: str = ""


def add_routes(app: web.Application, routes: Iterable[Route]) -> None:
    """Fill the router; a GET answers HEAD as well."""
    for route in routes:
        operation = route.operation
        path = route.pattern or operation.path
        app.router.add_route(operation.method, path, route.handler)
        if operation.method == "GET":
            app.router.add_route("HEAD", path, route.handler)
