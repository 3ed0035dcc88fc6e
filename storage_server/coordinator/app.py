"""The coordinator's API: from a request to one call, and from its answer to a response."""

from collections.abc import Sequence

from aiohttp import web

from smart_client import wire
from smart_client.errors import InvalidRequest
from storage_server.coordinator.agreement_routes import AgreementRoutes
from storage_server.coordinator.description import get_description
from storage_server.coordinator.http_edge import (
    BODY_BYTES_MAX,
    Edge,
    Record,
    conditional_response,
    json_response,
    read_body,
)
from storage_server.coordinator.metrics import CoordinatorMetrics
from storage_server.coordinator.ring_routes import RingRoutes
from storage_server.coordinator.service import Coordinator
from storage_server.coordinator.storage_routes import StorageRoutes
from storage_server.coordinator.troubles import Between
from storage_server.coordinator.whereabouts_routes import WhereaboutsRoutes


def make_app(
    coordinator: Coordinator,
    *,
    token: str | None = None,
    signs_reads: bool = False,
    body_timeout_s: float = 30.0,
) -> web.Application:
    """Return the application that answers for a loaded coordinator.

    Args:
        token: what a request that changes something must show; None: nothing.
        signs_reads: whether asking for a manifest needs the token too.
    """
    metrics = CoordinatorMetrics()
    edge = Edge(
        metrics,
        token=token,
        signs_reads=signs_reads,
        on_denied=lambda request: _note_refused_beat(coordinator, request),
    )
    app = web.Application(middlewares=[edge.answer], client_max_size=BODY_BYTES_MAX)
    app.add_routes(Api(coordinator, metrics, body_timeout_s=body_timeout_s).routes())
    app.add_routes(RingRoutes(coordinator, body_timeout_s=body_timeout_s).routes())
    app.add_routes(WhereaboutsRoutes(coordinator).routes())
    app.add_routes(AgreementRoutes(coordinator).routes())
    app.add_routes(StorageRoutes(coordinator).routes())
    app.add_routes([web.get("/openapi.json", get_description)])
    return app


def _note_refused_beat(coordinator: Coordinator, request: web.Request) -> None:
    node = request.match_info.get("node", "")
    if request.path.endswith("/heartbeat") and node in coordinator.members.records:
        coordinator.members.troubles.note(
            node,
            Between.FROM_NODE,
            "its heartbeats are refused: it has another token (--token-file)",
        )


class Api:
    """Responsible for the routes that ``CoordinatorClient`` calls, and for those that watch."""

    def __init__(
        self, coordinator: Coordinator, metrics: CoordinatorMetrics, *, body_timeout_s: float
    ) -> None:
        self._coordinator = coordinator
        self._videos = coordinator.videos
        self._uploads = coordinator.uploads
        self._members = coordinator.members
        self._metrics = metrics
        self._body_timeout_s = body_timeout_s

    def routes(self) -> Sequence[web.RouteDef]:
        """Return every route."""
        video = "/v1/videos/{name}"
        node = "/v1/nodes/{node}"
        return [
            web.get("/v1/videos", self.list_videos),
            web.post("/v1/videos", self.create_video),
            web.get(video, self.get_video),
            web.delete(video, self.delete_video),
            web.get(f"{video}/manifest", self.get_manifest),
            web.get(f"{video}/groups", self.get_groups),
            web.put(f"{video}/groups/{{number:\\d{{1,6}}}}", self.store_group),
            web.post(f"{video}/placements", self.place),
            web.post(f"{video}/commit", self.commit_video),
            web.post(f"{video}/views", self.count_view),
            web.get("/v1/nodes", self.list_nodes),
            web.put(node, self.add_node),
            web.post(f"{node}/heartbeat", self.heartbeat),
            web.post(f"{node}/lost", self.declare_lost),
            web.post(f"{node}/drain", self.drain_node),
            web.get(f"{node}/plan", self.plan_node),
            web.delete(node, self.remove_node),
            web.put(f"{video}/layout", self.set_layout),
            web.get("/v1/keeper", self.get_keeper),
            web.get("/v1/keeper/plan/{what:repair|rebalance}", self.plan_keeper),
            web.post("/v1/keeper/run", self.run_keeper),
            web.post("/v1/keeper/rebalance", self.rebalance),
            web.get("/v1/status", self.get_status),
            web.get("/healthz", self.get_health),
            web.get("/readyz", self.get_readiness),
            web.get("/metrics", self.get_metrics),
        ]

    # -- videos ----------------------------------------------------------------------------------

    async def list_videos(self, _: web.Request) -> web.Response:
        """Return one line for every video, by name."""
        return json_response(await self._videos.summaries(self._coordinator.health()))

    async def get_video(self, request: web.Request) -> web.Response:
        """Return a video's register."""
        return json_response((await self._videos.find(_name(request))).record)

    async def get_manifest(self, request: web.Request) -> web.Response:
        """Return all that is needed to play a rendition."""
        manifest = await self._videos.manifest(_name(request), _rendition(request))
        return conditional_response(request, manifest.body, manifest.etag)

    async def get_groups(self, request: web.Request) -> web.Response:
        """Return the groups recorded so far."""
        return json_response(await self._videos.groups(_name(request), _rendition(request)))

    async def create_video(self, request: web.Request) -> web.Response:
        """Announce an upload, or find the unfinished one."""
        return json_response(
            await self._uploads.create(await self._read(request, wire.CreateVideo))
        )

    async def place(self, request: web.Request) -> web.Response:
        """Propose nodes for some chunks of one group."""
        wish = await self._read(request, wire.PlaceChunks)
        return json_response(await self._uploads.place(_name(request), wish))

    async def store_group(self, request: web.Request) -> web.Response:
        """Record where a group's chunks lie."""
        wish = await self._read(request, wire.StoreGroup)
        number = int(request.match_info["number"])
        version = await self._uploads.store_group(_name(request), number, wish)
        return json_response({"version": version})

    async def commit_video(self, request: web.Request) -> web.Response:
        """Make an upload visible."""
        wish = await self._read(request, wire.CommitVideo)
        return json_response(await self._uploads.commit(_name(request), wish))

    async def delete_video(self, request: web.Request) -> web.Response:
        """Free the name and drop the fragments by and by."""
        return json_response(await self._videos.delete(_name(request)))

    async def count_view(self, request: web.Request) -> web.Response:
        """Count a playback once."""
        view = await self._read(request, wire.CountView)
        is_new, views = await self._videos.count_view(_name(request), view)
        return json_response({"counted": int(is_new), "views": views})

    # -- nodes -----------------------------------------------------------------------------------

    async def list_nodes(self, _: web.Request) -> web.Response:
        """Return every node as it is now."""
        return json_response(self._members.statuses())

    async def add_node(self, request: web.Request) -> web.Response:
        """Register a node by hand."""
        record = await self._read(request, wire.NodeRecord)
        _require_same_node(request, record.id)
        holds = self._coordinator.library.holds_fragments(record.id)
        await self._members.add(record, holds)
        await self._coordinator.verdicts.settle()
        self._coordinator.pinger.ask_all()
        return json_response(self._members.status(record.id))

    async def heartbeat(self, request: web.Request) -> web.Response:
        """Take a node's full registration."""
        beat = await self._read(request, wire.Heartbeat)
        _require_same_node(request, beat.node)
        holds = self._coordinator.library.holds_fragments(beat.node)
        await self._members.hear_beat(beat, holds)
        return json_response({"state": self._members.state(beat.node)})

    async def declare_lost(self, request: web.Request) -> web.Response:
        """Take the operator's word that a node does not come back."""
        node = request.match_info["node"]
        self._members.declare_lost(node)
        await self._coordinator.verdicts.settle()
        return json_response(self._members.status(node))

    async def drain_node(self, request: web.Request) -> web.Response:
        """Have a node emptied by and by; it stays, takes nothing new, and serves meanwhile."""
        node = request.match_info["node"]
        planned = await self._coordinator.emptier.plan(node)
        self._members.set_drain(node, True)
        await self._coordinator.verdicts.settle()
        self._coordinator.keeper.wake()
        return json_response(planned)

    async def plan_node(self, request: web.Request) -> web.Response:
        """Return what it takes to empty a node."""
        return json_response(await self._coordinator.emptier.plan(request.match_info["node"]))

    async def remove_node(self, request: web.Request) -> web.Response:
        """Take a node out when everything it holds is elsewhere."""
        node = request.match_info["node"]
        await self._coordinator.require_no_catalogue_on(node)
        moved = await self._coordinator.emptier.remove(node)
        return json_response(wire.Removed(node=node, moved=moved))

    # -- keeping ---------------------------------------------------------------------------------

    async def set_layout(self, request: web.Request) -> web.Response:
        """Say how a stored video is to be stored from now on; the keeper sees to it."""
        wish = await self._read(request, wire.SetLayout)
        record = await self._uploads.set_layout(_name(request), wish.redundancy)
        self._coordinator.keeper.wake()
        return json_response(record)

    async def get_keeper(self, _: web.Request) -> web.Response:
        """Return what the keeper does."""
        return json_response(self._coordinator.keeper.status())

    async def plan_keeper(self, request: web.Request) -> web.Response:
        """Return what the keeper would do."""
        preview = self._coordinator.preview
        is_repair = request.match_info["what"] == "repair"
        return json_response(await (preview.repair() if is_repair else preview.rebalance()))

    async def run_keeper(self, _: web.Request) -> web.Response:
        """Compare what all nodes hold with what they should, and mend what can be mended now."""
        return json_response(await self._coordinator.keeper.run_now())

    async def rebalance(self, _: web.Request) -> web.Response:
        """Even the nodes out now."""
        return json_response(await self._coordinator.keeper.rebalance_now())

    # -- watching --------------------------------------------------------------------------------

    async def get_status(self, _: web.Request) -> web.Response:
        """Return the cluster at a glance."""
        return json_response(self._coordinator.status())

    async def get_health(self, _: web.Request) -> web.Response:
        """Say how the coordinator is; it answers, so it lives."""
        status = self._coordinator.status()
        away = [node.record.id for node in status.nodes if node.state != "up"]
        is_degraded = away or status.fragile or status.unplayable
        return json_response(
            {
                "status": "degraded" if is_degraded else "ok",
                "catalogue": status.catalogue,
                "uptime_s": status.uptime_s,
                "nodes": len(status.nodes),
                "nodes_away": away,
                "unplayable": status.unplayable,
                "fragile": status.fragile,
            }
        )

    async def get_readiness(self, _: web.Request) -> web.Response:
        """Say whether requests are welcome: the catalogue answers."""
        await self._coordinator.registers.catalogue.get("readiness")
        return json_response({"ready": True})

    async def get_metrics(self, _: web.Request) -> web.Response:
        """Return the counters as Prometheus text."""
        text = self._metrics.render(
            self._coordinator.status(), chunks_stuck=len(self._coordinator.keeper.stuck)
        )
        return web.Response(
            body=text.encode(),
            headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
        )

    async def _read(self, request: web.Request, kind: type[Record]) -> Record:
        return wire.decode(await read_body(request, self._body_timeout_s), kind)


def _name(request: web.Request) -> str:
    return request.match_info["name"]


def _rendition(request: web.Request) -> str:
    return request.query.get("rendition", "original")


def _require_same_node(request: web.Request, node: str) -> None:
    if request.match_info["node"] != node:
        raise InvalidRequest(f"the body is of node '{node}', the address is not")
