"""From our errors to HTTP and back: bodies, access, refusals. Knows no route."""

import asyncio
import hmac
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from aiohttp import web

from redundancy.errors import EvenflowError, ExitCode, NoSpace
from smart_client import wire
from smart_client.errors import AccessDenied, InvalidRequest
from storage_server.coordinator.metrics import CoordinatorMetrics

log = logging.getLogger(__name__)

SERVER_NAME = "evenflow-coordinator"

# The largest request is a group of 64 chunks of 64 fragments.
BODY_BYTES_MAX = 2 * 1024 * 1024

# Below this, compressing costs more than it saves.
_COMPRESSED_FROM_BYTES = 1024

_STATUS_BY_EXIT = {
    ExitCode.USAGE: 400,
    ExitCode.NOT_FOUND: 404,
    ExitCode.CONFLICT: 409,
    ExitCode.UNRECOVERABLE: 409,
    ExitCode.TEMPORARY: 503,
    ExitCode.CONFIG: 503,
}

_MANIFEST_PATH_END = "/manifest"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]
Record = TypeVar("Record")


class _Refused(EvenflowError):
    """A request that HTTP itself refuses."""

    code = "REFUSED"


def status_of(error: EvenflowError) -> int:
    """Return the HTTP status that goes with an error."""
    if isinstance(error, AccessDenied):
        return 401
    if isinstance(error, NoSpace):
        return 507
    return _STATUS_BY_EXIT.get(error.exit_code, 500)


def json_response(content: object, *, status: int = 200) -> web.Response:
    """Return a record, or plain data, as JSON."""
    return web.Response(body=wire.encode(content), status=status, content_type="application/json")


def error_response(
    error: EvenflowError, status: int, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return ``{"error": {"code", "exit", "message", "detail", "hint"}}``."""
    body = json.dumps({"error": error.to_json()}, default=str).encode()
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


async def read_body(request: web.Request, timeout_s: float) -> bytes:
    """Return a request's body. Raises: InvalidRequest: too slow, too large or broken off."""
    try:
        async with asyncio.timeout(timeout_s):
            return await request.read()
    except TimeoutError as error:
        raise InvalidRequest(f"the body did not come in {timeout_s:g} s") from error
    except (ConnectionError, web.RequestPayloadError) as error:
        raise InvalidRequest("the request broke off") from error  # nobody hears this
    except web.HTTPRequestEntityTooLarge as error:
        raise InvalidRequest(f"a body has at most {BODY_BYTES_MAX} bytes") from error


def conditional_response(request: web.Request, body: bytes, etag: str) -> web.Response:
    """Return a JSON body, compressed if welcome, or 304 if the client has it."""
    tag = f'W/"{etag}"'  # weak: the same for the compressed and the plain form
    known = {each.value for each in request.if_none_match or ()}
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if etag in known or "*" in known:
        return web.Response(status=304, headers=headers)
    response = web.Response(body=body, headers=headers, content_type="application/json")
    accepted = request.headers.get("Accept-Encoding", "").lower()
    if len(body) >= _COMPRESSED_FROM_BYTES and "gzip" in accepted:
        response.enable_compression(web.ContentCoding.gzip)
    return response


class Edge:
    """Responsible for every request being allowed, counted and answered, errors included."""

    def __init__(
        self,
        metrics: CoordinatorMetrics,
        *,
        token: str | None,
        signs_reads: bool = False,
        on_denied: Callable[[web.Request], None] = lambda _: None,
    ) -> None:
        """Args:
        signs_reads: manifests carry a grant, so they are for those with the token.
        on_denied: told of each request that showed a wrong token or none.
        """
        self._on_denied = on_denied
        self._metrics = metrics
        self._signs_reads = signs_reads
        self._token = token.encode() if token is not None else None

    @web.middleware
    async def answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer one request; an error is an answer too."""
        began_s = time.perf_counter()
        response = await self._answer_somehow(request, handler)
        response.headers["Server"] = SERVER_NAME
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unknown"
        self._metrics.count_request(
            request.method if resource is not None else "other",
            route,
            response.status,
            took_s=time.perf_counter() - began_s,
        )
        return response

    async def _answer_somehow(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            self._check_access(request)
            return await handler(request)
        except EvenflowError as error:
            if isinstance(error, AccessDenied):
                self._on_denied(request)
            status = status_of(error)
            log.log(logging.ERROR if status == 500 else logging.DEBUG, "%s", error.message)
            return error_response(error, status, _headers_for(status, error))
        except web.HTTPException as error:
            refused = _Refused(f"{error.status} {error.reason}")
            allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return error_response(refused, error.status, allowed)
        except Exception:  # top of the task
            log.exception("unforeseen error while answering %s %s", request.method, request.path)
            bug = EvenflowError("unforeseen error; see the coordinator's log")
            return error_response(bug, 500)

    def _check_access(self, request: web.Request) -> None:
        """Raises: AccessDenied."""
        if request.method in ("GET", "HEAD"):
            if self._signs_reads and request.path.endswith(_MANIFEST_PATH_END):
                self._require_token(request, "this lets you read, so it needs")
            return
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != request.host:
            # A page from elsewhere in the user's own browser reaches loopback without a token.
            raise AccessDenied("requests from other web pages change nothing here")
        self._require_token(request, "this changes something, so it needs")

    def _require_token(self, request: web.Request, because: str) -> None:
        if self._token is None:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        given_bytes = given.strip().encode("utf-8", "replace")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given_bytes, self._token):
            if given:
                raise AccessDenied(
                    f"{because} the coordinator's token, and the one given is another",
                    hint="give the file the coordinator was started with: --token-file FILE",
                )
            raise AccessDenied(
                f"{because} the coordinator's token", hint="give it with --token-file FILE"
            )


def _headers_for(status: int, error: EvenflowError) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": "1"} if status == 503 and error.retryable else {}
