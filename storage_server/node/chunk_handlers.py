"""``/v1/chunks/{key}``: store, read, check and remove one fragment."""

import contextlib
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from aiohttp import web

from redundancy.errors import EvenflowError
from smart_client.byte_range import RangeNotSatisfiable, matches_etag, parse_range
from storage_server.node.access import OTHER_SCOPE, Guard
from storage_server.node.errors import ReadFailed
from storage_server.node.node_state import NodeState
from storage_server.node.request_bodies import body_deadline
from storage_server.node.responses import SMALL_BYTES, HttpProblem, json_response
from storage_server.node.store import Put, StoredFragment
from storage_server.node.superblock_format import FRAGMENT_BYTES_MAX

if TYPE_CHECKING:
    from storage_server.node.fragment_videos import FragmentVideos

CHUNK_PREFIX = "/v1/chunks/"

_KEY_PATTERN = re.compile(r"[0-9a-f]{64}", re.ASCII)

# SHA-256 is 5 to 10 times slower where the processor does not help: never in the loop.
_HASHERS = 2

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class ChunkHandlers:
    """Responsible for one fragment's requests. Reads never wait for writes."""

    def __init__(self, node: NodeState, guard: Guard) -> None:
        self._node = node
        self._guard = guard
        self.hashers = ThreadPoolExecutor(_HASHERS, thread_name_prefix="hash")
        self._videos = _make_videos(node)

    def close(self) -> None:
        """Let the threads go; no request may be under way."""
        self.hashers.shutdown()

    async def get(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send the fragment, or one range of it."""
        fragment, response, (start, stop) = await self._open(request)
        if response.status == 304:
            return response
        sender = self._node.sender
        try:
            if stop - start <= SMALL_BYTES:
                data = await sender.read_small(fragment, start=start, stop=stop)
                return web.Response(body=data, status=response.status, headers=response.headers)
            await sender.send(request, response, fragment, start=start, stop=stop)
        except BaseException as error:
            if response.prepared and request.transport is not None:
                # The head is out: cut, so that nobody takes what follows for the fragment.
                request.transport.abort()
            if not _is_failed_read(error):
                raise
            with contextlib.suppress(EvenflowError):  # it is found by the scrub as well
                await self._node.caretaker.check(parse_key(_name_in(request)))
            raise ReadFailed(f"the disk did not give the bytes: {error}") from error
        return response

    async def head(self, request: web.BaseRequest) -> web.StreamResponse:
        """Say what ``get`` would send."""
        _, response, (start, stop) = await self._open(request)
        if response.status != 304:
            response.content_length = stop - start
        return response

    async def put(self, request: web.BaseRequest) -> web.StreamResponse:
        """Store the body under its SHA-256; answer when it would survive a power cut."""
        key = _key_in(request)
        length = self._admitted_length(request)
        node = self._node
        if not node.put_budget.take(length):
            raise HttpProblem(
                503,
                "BUSY",
                "too many uploads at once",
                headers={"Retry-After": "1"},
                closes=True,
            )
        try:
            started_s = node.clock()
            self._say_continue(request)
            body = await self._read_body(request, length)
            check = partial(Put.verified, key, body)
            is_new = await node.writer.put_checked(self.hashers, check, length)
        finally:
            node.put_budget.give_back(length)
        node.metrics.observe_put(node.clock() - started_s)
        content = {"key": key.hex(), "size": length}
        headers = {"ETag": _etag(key)}
        return json_response(content, status=201 if is_new else 200, headers=headers)

    async def delete(self, request: web.BaseRequest) -> web.StreamResponse:
        """Remove the fragment; answer when that would survive a power cut."""
        if not await self._node.writer.delete(_key_in(request)):
            raise HttpProblem(404, "NOT_FOUND", "no such fragment here")
        return web.Response(status=204)

    async def _open(
        self, request: web.BaseRequest
    ) -> tuple[StoredFragment, web.StreamResponse, tuple[int, int]]:
        """Return the fragment, the head of the answer, and what part of the fragment it is."""
        granted = self._guard.granted_video(request)
        key = parse_key(_name_in(request))
        fragment = self._node.store.find(key)
        if granted is not None and await self._video_of(key, fragment) != granted:
            raise HttpProblem(403, "GRANT_REFUSED", OTHER_SCOPE)
        length, etag = fragment.length_bytes, _etag(key)
        headers = {
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "Cache-Control": f"{self._caching}, max-age=31536000, immutable",
        }
        if matches_etag(request.headers.get("If-None-Match"), etag):
            return fragment, web.Response(status=304, headers=headers), (0, 0)
        wanted = request.headers.get("Range")
        if request.headers.get("If-Range", etag) != etag:
            wanted = None  # the reader holds a part of something else
        try:
            part = parse_range(wanted, length, is_strict=True)
        except RangeNotSatisfiable as error:
            headers["Content-Range"] = f"bytes */{length}"
            raise HttpProblem(
                416, "RANGE", "one range of bytes within the fragment", headers=headers
            ) from error
        headers["Content-Type"] = "application/octet-stream"
        if part is None:
            return fragment, web.StreamResponse(headers=headers), (0, length)
        headers["Content-Range"] = part.content_range
        response = web.StreamResponse(status=206, headers=headers)
        return fragment, response, (part.start, part.stop)

    async def _video_of(self, key: bytes, fragment: StoredFragment) -> bytes:
        assert self._videos is not None, "only signed reads have a scope"
        return await self._videos.video_of(key, fragment)

    @property
    def _caching(self) -> str:
        """Who may keep an answer: where reading is signed, nobody for others."""
        return "public" if self._node.config.read_keys is None else "private"

    def _admitted_length(self, request: web.BaseRequest) -> int:
        """Return the body's length if it may be read at all; nothing of it has been read yet."""
        length = request.content_length
        if length is None or "Transfer-Encoding" in request.headers:
            raise HttpProblem(411, "LENGTH_REQUIRED", "send a Content-Length", closes=True)
        if length == 0:
            raise HttpProblem(400, "EMPTY", "a fragment has at least one byte")
        if length > FRAGMENT_BYTES_MAX:
            raise HttpProblem(413, "TOO_LARGE", f"at most {FRAGMENT_BYTES_MAX} bytes", closes=True)
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise HttpProblem(415, "ENCODING", "send the bytes as they are", closes=True)
        facts = self._node.facts()
        if facts.read_only_reason:
            message = f"the node is read-only: {facts.read_only_reason}"
            raise HttpProblem(503, "READ_ONLY", message, closes=True)
        if self._node.refuses_more(facts):
            raise HttpProblem(507, "NODE_FULL", "the node is full; ask another node", closes=True)
        return length

    def _say_continue(self, request: web.BaseRequest) -> None:
        """Ask for the body of a client that waits to be asked."""
        if request.headers.get("Expect", "").lower() != "100-continue":
            return
        if request.transport is None:
            raise ConnectionResetError("the writer is gone")
        request.transport.write(_CONTINUE)

    async def _read_body(self, request: web.BaseRequest, length: int) -> bytes:
        parts: list[bytes] = []
        async with body_deadline(self._node):
            while part := await request.content.readany():
                parts.append(part)
                self._node.metrics.bytes_in += len(part)
        body = b"".join(parts)
        assert len(body) == length  # the parser gives neither more nor less
        return body


def _make_videos(node: NodeState) -> "FragmentVideos | None":
    """Return who knows footers, where that is needed: they come with numpy, which takes 13 MB."""
    if node.config.read_keys is None:
        return None
    from storage_server.node.fragment_videos import FragmentVideos  # noqa: PLC0415

    return FragmentVideos(node.sender)


def _is_failed_read(error: BaseException) -> bool:
    """Whether the disk failed, rather than the reader or the node."""
    is_disk_error = isinstance(error, OSError) and not isinstance(error, ConnectionError)
    return is_disk_error or isinstance(error, ReadFailed)


def parse_key(name: str) -> bytes:
    """Return the 32 bytes of a key written as 64 lower-case hex digits. Raises: HttpProblem."""
    if not _KEY_PATTERN.fullmatch(name):
        raise HttpProblem(400, "BAD_KEY", "a key is 64 hex digits in lower case")
    return bytes.fromhex(name)


def _key_in(request: web.BaseRequest) -> bytes:
    """Return the key in a request's address, which must hold nothing else."""
    if request.rel_url.raw_query_string:
        raise HttpProblem(400, "BAD_KEY", "a fragment's address has no query")
    return parse_key(_name_in(request))


def _name_in(request: web.BaseRequest) -> str:
    return request.rel_url.raw_path.removeprefix(CHUNK_PREFIX)


def _etag(key: bytes) -> str:
    return f'"{key.hex()}"'
