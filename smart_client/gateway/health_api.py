"""Routes for those that watch the gateway itself: health, readiness, metrics, its description."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from aiohttp import web

from redundancy import __version__
from smart_client.gateway.desk import Desk
from smart_client.gateway.edge import Edge, Handler, json_response
from smart_client.gateway.live import Live
from smart_client.gateway.records import ErrorAnswer, Health, Ready
from smart_client.gateway.routes import Route
from smart_client.openapi import Operation, document

_PREFIX = "evenflow_gateway"


class HealthApi:
    """Responsible for ``/healthz``, ``/readyz``, ``/metrics``, ``/events``, ``/openapi.json``."""

    def __init__(self, desk: Desk, edge: Edge, live: Live) -> None:
        self._desk = desk
        self._edge = edge
        self._live = live
        self.described: Sequence[Route] = ()  # all routes of the gateway, these included

    def routes(self) -> Sequence[Route]:
        """Return every route."""

        def get(path: str, summary: str, answer: object, handler: Handler) -> Route:
            refuses = (503,) if path in ("/readyz", "/events") else ()
            operation = Operation(
                "GET", path, summary, {200: answer}, refuses=refuses, tag="watching"
            )
            return Route(operation, handler)

        return [
            get("/healthz", "How the gateway is", Health, self.get_health),
            get("/readyz", "Whether a coordinator answers", Ready, self.get_readiness),
            get("/metrics", "Counters for Prometheus", "text/plain", self.get_metrics),
            get("/events", "What changes, as it changes", "text/event-stream", self._live.serve),
            get("/openapi.json", "This description", dict[str, Any], self.get_description),
        ]

    async def get_health(self, _: web.Request) -> web.Response:
        """Answer with how the gateway is; it answers, so it lives."""
        return json_response(self.health())

    def health(self) -> Health:
        """Return how the gateway is."""
        desk = self._desk
        streams = desk.pool.all
        totals = desk.pool.totals()
        away_ts = desk.watch.away_since_ts
        return Health(
            status="ok" if away_ts is None else "degraded",
            version=__version__,
            uptime_s=round(time.monotonic() - desk.began_s, 3),
            sessions=len(streams),
            readers=sum(shared.readers for shared in streams),
            uploads=desk.uploads.under_way,
            node_bytes=totals.node_bytes,
            player_bytes=totals.player_bytes,
            amplification=totals.amplification,
            coordinator_away_since_ts=away_ts,
        )

    async def get_readiness(self, _: web.Request) -> web.Response:
        """Say whether requests for new videos are welcome: a coordinator answers."""
        await self._desk.watch.ask(self._desk.library.coordinator.status())
        return json_response(Ready(ready=True))

    async def get_metrics(self, _: web.Request) -> web.Response:
        """Answer with the counters as Prometheus text."""
        return web.Response(
            body=("\n".join(self._lines()) + "\n").encode(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def get_description(self, _: web.Request) -> web.Response:
        """Answer with the OpenAPI document of this gateway."""
        return json_response(
            document(
                "Evenflow gateway",
                __version__,
                (route.operation for route in self.described),
                error=ErrorAnswer,
                description="Plays, lists, takes and shows what an Evenflow cluster stores.",
            )
        )

    def _lines(self) -> Iterable[str]:
        health = self.health()
        yield f"# TYPE {_PREFIX}_requests_total counter"
        for (method, route, status), count in sorted(self._edge.requests.items()):
            labels = f'method="{method}",route="{route}",status="{status}"'
            yield f"{_PREFIX}_requests_total{{{labels}}} {count}"
        for name, value in (
            ("node_bytes", health.node_bytes),
            ("player_bytes", health.player_bytes),
            ("cached_bytes", self._desk.pool.totals().cached_bytes),
            ("listeners_dropped", self._live.dropped),
        ):
            yield f"# TYPE {_PREFIX}_{name}_total counter"
            yield f"{_PREFIX}_{name}_total {value}"
        gauges: list[tuple[str, float]] = [
            ("sessions", health.sessions),
            ("readers", health.readers),
            ("uploads", health.uploads),
            ("listeners", self._live.listeners),
            ("uptime_seconds", health.uptime_s),
            ("coordinator_up", health.coordinator_away_since_ts is None),
        ]
        cache = self._desk.library.cache
        if cache is not None:
            gauges.append(("cache_size_bytes", cache.total_bytes))
        players = {
            id(each): each
            for shared in self._desk.pool.all
            for each in shared.account.audience.players.values()
        }
        gauges.append(("players_reporting", len(players)))
        gauges.append(("player_stalls", sum(each.clock.stalls for each in players.values())))
        stalled_s = sum(each.clock.stalled_s() for each in players.values())
        gauges.append(("player_stalled_seconds", stalled_s))
        if health.amplification is not None:
            gauges.append(("amplification_ratio", health.amplification))
        for name, gauge in gauges:
            yield f"# TYPE {_PREFIX}_{name} gauge"
            yield f"{_PREFIX}_{name} {gauge:.12g}"
