"""From our errors to HTTP and back: bodies, refusals, who may ask. Knows no route."""

import asyncio
import ipaddress
import json
import logging
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec
from aiohttp import hdrs, web

from redundancy.errors import EvenflowError, ExitCode, NoSpace
from smart_client import wire
from smart_client.errors import AccessDenied, InvalidRequest

log = logging.getLogger(__name__)

SERVER_NAME = "evenflow-gateway"

# The largest JSON that a page sends is a player's report.
BODY_BYTES_MAX = 64 * 1024
BODY_TIMEOUT_S = 10.0

# What an answer is counted as that its client did not wait for.
CLIENT_LEFT = 499

_STATUS = {
    ExitCode.USAGE: 400,
    ExitCode.NOT_FOUND: 404,
    ExitCode.CONFLICT: 409,
    ExitCode.UNRECOVERABLE: 409,
    ExitCode.TEMPORARY: 503,
    ExitCode.CONFIG: 403,
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Record = TypeVar("Record")


class _Refused(EvenflowError):
    """A request that HTTP itself refuses."""

    code = "REFUSED"
    exit_code = ExitCode.USAGE


class TooLarge(EvenflowError):
    """A body with more bytes than were announced or are allowed."""

    code = "TOO_LARGE"
    exit_code = ExitCode.USAGE


def status_of(error: EvenflowError) -> int:
    """Return the HTTP status that goes with an error."""
    if isinstance(error, NoSpace):
        return 507
    if isinstance(error, TooLarge):
        return 413
    return _STATUS.get(error.exit_code, 500)


def json_response(content: object, *, status: int = 200) -> web.Response:
    """Return a record, or plain data, as JSON."""
    return web.Response(
        body=msgspec.json.encode(content),
        status=status,
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def error_response(error: EvenflowError, status: int | None = None) -> web.Response:
    """Return ``{"error": {"code", "exit", "message", "detail", "hint"}}``."""
    body = json.dumps({"error": error.to_json()}, default=str).encode()
    code = status or status_of(error)
    response = web.Response(body=body, status=code, content_type="application/json")
    response.headers["Cache-Control"] = "no-store"
    if code == 503 and error.retryable:
        response.headers["Retry-After"] = "1"
    return response


async def read_record(request: web.Request, kind: type[Record]) -> Record:
    """Return a request's JSON body. Raises: InvalidRequest, TooLarge."""
    parts, size = [], 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.content.iter_any():
                parts.append(part)
                size += len(part)
                if size > BODY_BYTES_MAX:
                    raise TooLarge(f"this body has at most {BODY_BYTES_MAX} bytes")
    except TimeoutError as error:
        raise InvalidRequest(f"the body did not come in {BODY_TIMEOUT_S:g} s") from error
    except (ConnectionError, web.RequestPayloadError) as error:
        raise InvalidRequest("the request broke off") from error  # nobody hears this
    return wire.decode(b"".join(parts), kind)


def peer_of(request: web.Request) -> str:
    """Return who asks, as far as that can be told: its address and what it calls itself."""
    return f"{request.remote} {request.headers.get('User-Agent', '')[:200]}"


def whole_number(request: web.Request, name: str, most: int) -> int | None:
    """Return a number in the query, ``most`` for larger ones; None: not given.

    Raises: InvalidRequest.
    """
    text = request.query.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 30:
        raise InvalidRequest(f"'{name}' is a whole number that is not negative")
    return min(int(text), most)


class Edge:
    """Responsible for every request being allowed, counted and answered, errors included.

    A page of another site must neither change anything here nor, by making its own name point to
    this machine (DNS rebinding), read anything: so names we do not know are refused.
    """

    def __init__(self, *, names: Collection[str] = ()) -> None:
        """Args: names: more host names under which this gateway is reached."""
        own = {"localhost", socket.gethostname().lower(), socket.getfqdn().lower(), ""}
        self._names = own | {name.lower() for name in names}
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.seconds = 0.0  # spent on requests other than media and events

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer one request; an error is an answer too."""
        began_s = time.perf_counter()
        response = await self._answer_somehow(request, handler)
        if not response.prepared:
            response.headers.setdefault("Server", SERVER_NAME)
            response.headers.setdefault("X-Content-Type-Options", "nosniff")
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unknown"
        method = request.method if resource is not None else "other"
        self.requests[method, route, response.status] += 1
        self.seconds += time.perf_counter() - began_s
        return response

    async def _answer_somehow(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._check_access(request)
            return await handler(request)
        except EvenflowError as error:
            status = status_of(error)
            log.log(logging.ERROR if status == 500 else logging.DEBUG, "%s", error.message)
            return error_response(error)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            response = error_response(_Refused(f"{error.status} {error.reason}"), error.status)
            if hdrs.ALLOW in error.headers:
                response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
            return response
        except Exception as error:  # top of the task
            if isinstance(error, ConnectionError) and _has_left(request):
                log.debug("%s left %s: %s", request.remote, request.path, error)
                return web.Response(status=CLIENT_LEFT)  # goes nowhere: for the counters alone
            log.exception("unforeseen error while answering %s %s", request.method, request.path)
            return error_response(EvenflowError("unforeseen error; see the gateway's log"), 500)

    def _check_access(self, request: web.Request) -> None:
        """Raises: AccessDenied."""
        if not self.knows(_name_in(request.host)):
            raise AccessDenied(
                f"this gateway does not know itself as '{request.host}'",
                hint="use its address, or add the name to `names` in the configuration",
            )
        if request.method in ("GET", "HEAD"):
            return
        origin = request.headers.get("Origin")
        foreign = origin is not None and _place_of(origin) != request.host
        if foreign or request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
            raise AccessDenied("requests from other web pages change nothing here")

    def knows(self, name: str) -> bool:
        """Return whether a host name is an address or one of ours: no other site can own it."""
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names or name.endswith(".localhost")
        return True


def _has_left(request: web.Request) -> bool:
    """Return whether nobody hears the answer any more: players leave at every seek."""
    return request.transport is None or request.transport.is_closing()


def _place_of(origin: str) -> str | None:
    """Return the host and port of an Origin header; None if it makes no sense."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return None


def _name_in(host: str) -> str:
    """Return the name in a Host header, without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return host
