"""Reading the small JSON bodies of requests, and the deadline for bodies of all kinds."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TypeVar

from aiohttp import web

from smart_client import wire
from smart_client.errors import InvalidRequest
from storage_server.node.node_state import NodeState
from storage_server.node.responses import HttpProblem, too_slow

_Body = TypeVar("_Body")


@contextlib.asynccontextmanager
async def body_deadline(node: NodeState) -> AsyncIterator[None]:
    """Bound how long a body may take. Raises: HttpProblem 408."""
    try:
        async with asyncio.timeout(node.config.limits.body_timeout_s):
            yield
    except TimeoutError as error:
        raise too_slow() from error


async def read_json(
    node: NodeState, request: web.BaseRequest, kind: type[_Body], *, bytes_max: int
) -> _Body:
    """Return a request's JSON body as a value of ``kind``.

    Raises: HttpProblem: no length (411), too long (413), too slow (408), not what it must be (400).
    """
    length = request.content_length
    if length is None:
        raise HttpProblem(411, "LENGTH_REQUIRED", "send a Content-Length", closes=True)
    if length > bytes_max:
        raise HttpProblem(413, "TOO_LARGE", f"at most {bytes_max} bytes", closes=True)
    async with body_deadline(node):
        body = await request.content.read()
    try:
        return wire.decode(body, kind)
    except InvalidRequest as error:
        raise HttpProblem(400, "BAD_REQUEST", error.message) from error
