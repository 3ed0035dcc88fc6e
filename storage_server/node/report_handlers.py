"""What a node says about itself and what it holds, and the limits an admin may change."""

from urllib.parse import parse_qsl

import msgspec
from aiohttp import web

from redundancy import __version__
from smart_client import wire
from storage_server.node.access import Access, Guard
from storage_server.node.chunk_handlers import parse_key
from storage_server.node.errors import FragmentMissing
from storage_server.node.limits import Shaping
from storage_server.node.node_state import NodeState
from storage_server.node.request_bodies import read_json
from storage_server.node.responses import HttpProblem, json_response

KEYS_PER_QUESTION_MAX = 4096
LIST_LIMIT_MAX = 10_000
_LIST_LIMIT = 1000

# 4096 keys of 64 digits with quotes and commas, and some white space.
_JSON_BYTES_MAX = 512 * 1024


class HaveQuestion(msgspec.Struct, frozen=True):
    """The body of ``POST /v1/have``."""

    keys: list[wire.Sha256Hex]


class Complaint(msgspec.Struct, frozen=True):
    """The body of ``POST /v1/suspect``."""

    key: wire.Sha256Hex


class LimitsOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of ``PUT /v1/admin/limits``; what is left out stays."""

    upload_bytes_per_s: float | msgspec.UnsetType | None = msgspec.UNSET
    delay_s: float | msgspec.UnsetType | None = msgspec.UNSET


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
                "bad": len(node.store.bad()),
                "read_only_reason": facts.read_only_reason,
                "reason": facts.reason,
                "read_keys": self._guard.read_key_prints,
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
            "bad": len(node.store.bad()),
            "scrubbed_bytes": node.caretaker.scrubbed_bytes,
            "scrub_passes": node.caretaker.scrub_passes,
            "superblocks_compacted": node.caretaker.superblocks_compacted,
        }
        text = node.metrics.render(node.facts(), gauges)
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return web.Response(body=text.encode(), headers=headers)

    async def have(self, request: web.BaseRequest) -> web.StreamResponse:
        """Say which of many keys are stored, and how large each is."""
        question = await read_json(self._node, request, HaveQuestion, bytes_max=_JSON_BYTES_MAX)
        if len(question.keys) > KEYS_PER_QUESTION_MAX:
            raise HttpProblem(413, "TOO_MANY", f"at most {KEYS_PER_QUESTION_MAX} keys at once")
        sizes: dict[str, int] = {}
        for name in question.keys:
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

    async def list_bad(self, _: web.BaseRequest) -> web.StreamResponse:
        """Return what was stored, is lost to damage and has not come back."""
        bad = self._node.store.bad()
        rows = [
            {"key": each.key.hex(), "file": each.file, "offset": each.offset, "kind": each.kind}
            for each in bad[:LIST_LIMIT_MAX]
        ]
        return json_response({"bad": rows, "count": len(bad)})

    async def suspect(self, request: web.BaseRequest) -> web.StreamResponse:
        """Look into a reader's complaint that a fragment's bytes are wrong."""
        complaint = await read_json(self._node, request, Complaint, bytes_max=_JSON_BYTES_MAX)
        condition = await self._node.caretaker.check(parse_key(complaint.key))
        return json_response({"key": complaint.key, "condition": condition.value})

    async def get_limits(self, _: web.BaseRequest) -> web.StreamResponse:
        """Return the limits in force."""
        shaping = self._node.pacer.shaping
        return json_response(
            {"upload_bytes_per_s": shaping.upload_bytes_per_s, "delay_s": shaping.delay_s}
        )

    async def put_limits(self, request: web.BaseRequest) -> web.StreamResponse:
        """Change the limits named in the body; the others stay."""
        order = await read_json(self._node, request, LimitsOrder, bytes_max=_JSON_BYTES_MAX)
        before = self._node.pacer.shaping
        cap, delay_s = order.upload_bytes_per_s, order.delay_s
        try:
            changed = Shaping(
                before.upload_bytes_per_s if cap is msgspec.UNSET else cap,
                before.delay_s if delay_s is msgspec.UNSET else delay_s or 0.0,
            )
        except ValueError as error:
            raise HttpProblem(400, "BAD_LIMITS", str(error)) from error
        self._node.pacer.reshape(changed)
        return await self.get_limits(request)
