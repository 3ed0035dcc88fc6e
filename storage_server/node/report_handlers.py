"""What a node says about itself and what it holds, and the limits an admin may change."""

import asyncio
import json
from urllib.parse import parse_qsl

from aiohttp import web

from redundancy import __version__
from storage_server.node.access import Access, Guard
from storage_server.node.chunk_handlers import parse_key
from storage_server.node.errors import FragmentMissing
from storage_server.node.limits import Shaping
from storage_server.node.node_state import NodeState
from storage_server.node.responses import HttpProblem, json_response

KEYS_PER_QUESTION_MAX = 4096
LIST_LIMIT_MAX = 10_000
_LIST_LIMIT = 1000

# 4096 keys of 64 digits with quotes and commas, and some white space.
_JSON_BYTES_MAX = 512 * 1024


class ReportHandlers:
    """Responsible for all that is not about one fragment."""

    def __init__(self, node: NodeState, guard: Guard) -> None:
        self._node = node
        self._guard = guard

    async def ping(self, _: web.BaseRequest) -> web.StreamResponse:
        """Answer at once: the time this takes is the network's."""
        node = self._node
        headers = {
            "X-Evenflow-Node": node.identity.node_id,
            "X-Evenflow-Load": str(node.load - 1),  # without this request
            "X-Evenflow-Free-Bytes": str(node.facts().free_bytes),
        }
        return web.Response(status=204, headers=headers)

    async def health(self, request: web.BaseRequest) -> web.StreamResponse:
        """Say how the node is; strangers hear the status only."""
        node = self._node
        facts = node.facts()
        content: dict[str, object] = {"status": facts.status}
        if self._guard.allows(Access.FACTS, request):
            content |= {
                "node": node.identity.node_id,
                "store": node.identity.store_uuid.hex(),
                "zone": node.config.zone,
                "used_bytes": facts.used_bytes,
                "free_bytes": facts.free_bytes,
                "capacity_bytes": facts.capacity_bytes,
                "fullness": round(facts.fullness, 4),
                "fragments": facts.fragments,
                "damaged": facts.damaged,
                "read_only_reason": facts.read_only_reason,
                "uptime_s": round(node.clock() - node.started_s, 3),
                "version": __version__,
            }
        return json_response(content)

    async def ready(self, _: web.BaseRequest) -> web.StreamResponse:
        """Say whether new requests are welcome: not while the node stops."""
        is_ready = not self._node.is_draining
        return json_response({"ready": is_ready}, status=200 if is_ready else 503)

    async def metrics(self, _: web.BaseRequest) -> web.StreamResponse:
        """Return the counters as Prometheus text."""
        node = self._node
        gauges = {
            "load": node.load - 1,
            "put_bytes_in_flight": node.put_budget.taken_bytes,
            "uptime_seconds": node.clock() - node.started_s,
        }
        text = node.metrics.render(node.facts(), gauges)
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=text.encode(), headers=headers)

    async def have(self, request: web.BaseRequest) -> web.StreamResponse:
        """Say which of many keys are stored, and how large each is."""
        question = await self._read_json(request)
        keys = question.get("keys")
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise HttpProblem(400, "BAD_REQUEST", 'send {"keys": ["...", ...]}')
        if len(keys) > KEYS_PER_QUESTION_MAX:
            raise HttpProblem(413, "TOO_MANY", f"at most {KEYS_PER_QUESTION_MAX} keys at once")
        sizes: dict[str, int] = {}
        for name in keys:
            try:
                sizes[name] = self._node.store.find(parse_key(name)).length_bytes
            except FragmentMissing:
                continue
        return json_response({"have": sizes})

    async def list_keys(self, request: web.BaseRequest) -> web.StreamResponse:
        """Return a page of keys with their sizes, in order."""
        query = dict(parse_qsl(request.rel_url.raw_query_string))
        after = parse_key(query["after"]) if query.get("after") else b""
        text = query.get("limit", str(_LIST_LIMIT))
        limit = int(text) if text.isascii() and text.isdecimal() and len(text) <= 6 else 0
        if not 1 <= limit <= LIST_LIMIT_MAX:
            raise HttpProblem(400, "BAD_REQUEST", f"limit is from 1 to {LIST_LIMIT_MAX}")
        page = self._node.store.page(after, limit)
        content = {
            "keys": [{"key": key.hex(), "size": size} for key, size in page],
            "next": page[-1][0].hex() if len(page) == limit else None,
        }
        return json_response(content)

    async def get_limits(self, _: web.BaseRequest) -> web.StreamResponse:
        """Return the limits in force."""
        shaping = self._node.pacer.shaping
        return json_response(
            {"upload_bytes_per_s": shaping.upload_bytes_per_s, "delay_s": shaping.delay_s}
        )

    async def put_limits(self, request: web.BaseRequest) -> web.StreamResponse:
        """Change the limits named in the body; the others stay."""
        wanted = await self._read_json(request)
        shaping = self._node.pacer.shaping
        unknown = wanted.keys() - {"upload_bytes_per_s", "delay_s"}
        try:
            if unknown:
                raise ValueError("known limits: upload_bytes_per_s, delay_s")
            changed = Shaping(
                _number_or_none(wanted.get("upload_bytes_per_s", shaping.upload_bytes_per_s)),
                _number_or_none(wanted.get("delay_s", shaping.delay_s)) or 0.0,
            )
        except ValueError as error:
            raise HttpProblem(400, "BAD_LIMITS", str(error)) from error
        self._node.pacer.reshape(changed)
        return await self.get_limits(request)

    async def _read_json(self, request: web.BaseRequest) -> dict[str, object]:
        length = request.content_length
        if length is None:
            raise HttpProblem(411, "LENGTH_REQUIRED", "send a Content-Length", closes=True)
        if length > _JSON_BYTES_MAX:
            raise HttpProblem(413, "TOO_LARGE", f"at most {_JSON_BYTES_MAX} bytes", closes=True)
        try:
            async with asyncio.timeout(self._node.config.limits.body_timeout_s):
                content = json.loads(await request.content.read())
        except TimeoutError as error:
            raise HttpProblem(
                408, "TOO_SLOW", "the body did not come in time", closes=True
            ) from error
        except (ValueError, RecursionError) as error:
            raise HttpProblem(400, "BAD_JSON", "the body is not JSON") from error
        if not isinstance(content, dict):
            raise HttpProblem(400, "BAD_JSON", "the body is not a JSON object")
        return content


def _number_or_none(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("limits are numbers or null")
    return float(value)
