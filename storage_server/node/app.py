"""From a request to an answer: routes, access, the order of refusals. Decides nothing else."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import web

from redundancy.errors import EvenflowError
from storage_server.node.access import Access, Guard
from storage_server.node.chunk_handlers import CHUNK_PREFIX, ChunkHandlers
from storage_server.node.http_server import HEADER_BYTES_MAX
from storage_server.node.node_state import NodeState
from storage_server.node.paxos_handler import PaxosHandler
from storage_server.node.plain_puts import PlainPuts
from storage_server.node.report_handlers import ReportHandlers
from storage_server.node.responses import SERVER_NAME, HttpProblem, problem_response, unforeseen

log = logging.getLogger(__name__)

CHUNK_ROUTE = CHUNK_PREFIX + "{key}"  # what reads and writes of fragments are counted as
_METHODS = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"})

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class _Route:
    """What a path can do, and who may do it."""

    name: str
    methods: Mapping[str, tuple[Access, Handler]]
    is_shaped: bool = False  # held back by the cap and the delay an admin set, as on a slow line


class _LateHandler:
    """Responsible for a handler whose imports take memory that many nodes never need."""

    def __init__(self, load: Callable[[NodeState], Handler], node: NodeState) -> None:
        self._load = load
        self._node = node
        self._handler: Handler | None = None
        self._loading = asyncio.Lock()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer, after loading what is needed in a thread."""
        async with self._loading:
            if self._handler is None:
                self._handler = await asyncio.to_thread(self._load, self._node)
        return await self._handler(request)


def _load_pull(node: NodeState) -> Handler:
    from storage_server.node.pull import PullHandler  # noqa: PLC0415 - httpx, 6 MB

    return PullHandler(node).pull


def _load_rebuild(node: NodeState) -> Handler:
    from storage_server.node.rebuild import RebuildHandler  # noqa: PLC0415 - numpy, 13 MB

    return RebuildHandler(node).rebuild


class NodeApp:
    """Responsible for every request getting exactly one answer, in JSON where it is an error."""

    def __init__(self, node: NodeState) -> None:
        self._node = node
        self.guard = Guard(node.config)
        self._chunks = ChunkHandlers(node, self.guard)
        self.plain_puts = PlainPuts(node, self.guard, self._chunks.hashers, CHUNK_ROUTE)
        pull = _Route("/v1/pull", {"POST": (Access.WRITE, _LateHandler(_load_pull, node))})
        rebuild = _Route("/v1/rebuild", {"POST": (Access.WRITE, _LateHandler(_load_rebuild, node))})
        self._paxos = PaxosHandler(node)
        paxos = _Route("/v1/paxos", {"POST": (Access.WRITE, self._paxos.answer)})
        self._routes = {
            **_make_routes(self._chunks, ReportHandlers(node, self.guard)),
            pull.name: pull,
            rebuild.name: rebuild,
            paxos.name: paxos,
        }

    def close(self) -> None:
        """Let the threads go; no request may be under way."""
        self._chunks.close()
        self._paxos.close()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. The entry point of the server."""
        with self._node.one_request():
            route, response = await self._answer_somehow(request)
        if not response.prepared:
            self._finish(response)
        method = request.method if request.method in _METHODS else "other"
        self._node.metrics.count_request(method, route, response.status)
        return response

    async def _answer_somehow(self, request: web.BaseRequest) -> tuple[str, web.StreamResponse]:
        """Return the route's name and an answer; an error is an answer too."""
        name = "unknown"
        try:
            route = self._find_route(request)
            name = route.name
            return name, await self._answer(request, route)
        except HttpProblem as problem:
            return name, problem_response(problem)
        except EvenflowError as error:
            return name, problem_response(HttpProblem.from_error(error))
        except (ConnectionError, web.RequestPayloadError):
            # The peer left in the middle of its request: nobody hears the answer.
            return name, problem_response(HttpProblem(400, "GONE", "incomplete", closes=True))
        except Exception:  # top of the task
            log.exception("unforeseen error while answering %s", name)
            return name, problem_response(unforeseen())

    async def _answer(self, request: web.BaseRequest, route: _Route) -> web.StreamResponse:
        if request.method not in route.methods:
            allowed = ", ".join(sorted(route.methods))
            raise HttpProblem(405, "METHOD", f"use {allowed}", headers={"Allow": allowed})
        header_bytes = sum(len(name) + len(value) + 4 for name, value in request.raw_headers)
        if header_bytes > HEADER_BYTES_MAX:
            raise HttpProblem(431, "HEADER_TOO_LARGE", "at most 8 KiB of header", closes=True)
        access, handler = route.methods[request.method]
        self.guard.check(access, request)
        if not route.is_shaped:
            return await handler(request)
        await self._node.pacer.wait_for_first_byte()
        response = await handler(request)
        if request.method == "HEAD":
            return response
        return await self._node.sender.hold_back(request, response)

    def _finish(self, response: web.StreamResponse) -> None:
        response.headers["Server"] = SERVER_NAME
        if self._node.is_draining:
            response.force_close()
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            self._node.metrics.bytes_out += len(response.body)

    def _find_route(self, request: web.BaseRequest) -> _Route:
        path = request.rel_url.raw_path
        route = self._routes.get(CHUNK_ROUTE if path.startswith(CHUNK_PREFIX) else path)
        if route is None:
            raise HttpProblem(404, "NO_ROUTE", "no such route")
        return route


def _make_routes(chunks: ChunkHandlers, reports: ReportHandlers) -> dict[str, _Route]:
    def reading(access: Access, handler: Handler) -> dict[str, tuple[Access, Handler]]:
        return {"GET": (access, handler), "HEAD": (access, handler)}

    routes = [
        _Route(
            CHUNK_ROUTE,
            {
                "GET": (Access.READ, chunks.get),
                "HEAD": (Access.READ, chunks.head),
                "PUT": (Access.WRITE, chunks.put),
                "DELETE": (Access.WRITE, chunks.delete),
            },
            is_shaped=True,
        ),
        _Route("/ping", reading(Access.OPEN, reports.ping), is_shaped=True),
        _Route("/healthz", reading(Access.OPEN, reports.health)),
        _Route("/readyz", reading(Access.OPEN, reports.ready)),
        _Route("/metrics", reading(Access.FACTS, reports.metrics)),
        _Route("/v1/list", reading(Access.FACTS, reports.list_keys), is_shaped=True),
        _Route("/v1/bad", reading(Access.FACTS, reports.list_bad)),
        _Route("/v1/suspect", {"POST": (Access.OPEN, reports.suspect)}),
        _Route("/v1/have", {"POST": (Access.OPEN, reports.have)}, is_shaped=True),
        _Route(
            "/v1/admin/limits",
            {
                "GET": (Access.ADMIN, reports.get_limits),
                "PUT": (Access.ADMIN, reports.put_limits),
            },
        ),
    ]
    return {route.name: route for route in routes}
