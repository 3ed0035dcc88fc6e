"""What every route of a coordinator takes and gives; the OpenAPI document is made of it.

``/openapi.json`` is put together from the router itself: a route that is not described here is an
error, so the document cannot fall behind.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from aiohttp import web

from redundancy import __version__
from smart_client import wire
from smart_client.agreement import Agreement, AgreementTrace
from smart_client.gateway.records import ErrorAnswer
from smart_client.openapi import Operation, Parameter, document
from smart_client.storage_report import ExposureReport, NodePlan, StorageReport
from smart_client.whereabouts import Whereabouts
from storage_server.coordinator.http_edge import json_response

JSON_OBJECT = dict[str, Any]
TEXT = "text/plain"

# Reads never ask for the token but manifests where reading is signed; every answer may be 503,
# while the catalogue is away.
_READ = (503,)
_WRITE = (400, 401, 503)

_NAME = Parameter("name", wire.Name, "the video's name", "path")
_NODE = Parameter("node", wire.NodeName, "the node's name", "path")
_SERVER = Parameter("name", wire.NodeName, "the node's name", "path")
_RENDITION = Parameter("rendition", wire.Name, "`original` where it is not given")
_NUMBER = Parameter(
    "number", Annotated[int, msgspec.Meta(ge=0, le=999_999)], "of 64 chunks each", "path"
)
_WHAT = Parameter("what", Literal["repair", "rebalance"], "of the keeper's work", "path")


class NewVersion(msgspec.Struct, frozen=True):
    """The version of a register that was just written."""

    version: int


class Counted(msgspec.Struct, frozen=True):
    """Whether a playback was new, and the views there are now."""

    counted: int
    views: int


class NodeState(msgspec.Struct, frozen=True):
    """What the coordinator thinks of a node."""

    state: str


class ReadyAnswer(msgspec.Struct, frozen=True):
    """Whether requests are welcome."""

    ready: bool


def _get(path: str, summary: str, answer: Any, *parameters: Parameter) -> Operation:
    refuses = (400, 404, 409, *_READ) if parameters else _READ
    return Operation("GET", path, summary, {200: answer}, refuses=refuses, parameters=parameters)


def _change(
    method: str, path: str, summary: str, answer: Any, *parameters: Parameter, takes: Any = None
) -> Operation:
    return Operation(
        method,
        path,
        summary,
        {200: answer},
        refuses=(*_WRITE, 404, 409, 507),
        takes=takes,
        parameters=parameters,
        security=True,
    )


_VIDEO = "/v1/videos/{name}"
_VIDEO_SET = tuple[wire.VideoSummary, ...]
_GROUPS = tuple[wire.StoredGroup, ...]
_MANIFEST = Operation(
    "GET",
    f"{_VIDEO}/manifest",
    "All that is needed to play a rendition",
    {200: wire.Manifest, 304: None},
    refuses=(400, 401, 404, 503),
    parameters=(_NAME, _RENDITION),
    security=True,
)

OPERATIONS = (
    _get("/v1/videos", "One line for every video, by name", _VIDEO_SET),
    _change("POST", "/v1/videos", "Announce an upload", wire.VideoRecord, takes=wire.CreateVideo),
    _get(_VIDEO, "A video's register", wire.VideoRecord, _NAME),
    _change("DELETE", _VIDEO, "Free the name, drop the fragments", wire.Deleted, _NAME),
    _MANIFEST,
    _get(f"{_VIDEO}/groups", "The groups recorded so far", _GROUPS, _NAME, _RENDITION),
    _change(
        *("PUT", f"{_VIDEO}/groups/{{number}}", "Record where a group's chunks lie", NewVersion),
        *(_NAME, _NUMBER),
        takes=wire.StoreGroup,
    ),
    _change(
        *("POST", f"{_VIDEO}/placements", "Propose nodes for chunks", wire.Placements, _NAME),
        takes=wire.PlaceChunks,
    ),
    _change(
        *("POST", f"{_VIDEO}/commit", "Make an upload visible", wire.VideoRecord, _NAME),
        takes=wire.CommitVideo,
    ),
    _change(
        *("POST", f"{_VIDEO}/views", "Count a playback once", Counted, _NAME),
        takes=wire.CountView,
    ),
    _change(
        *("PUT", f"{_VIDEO}/layout", "Store it in another layout", wire.VideoRecord, _NAME),
        takes=wire.SetLayout,
    ),
    _get("/v1/nodes", "Every node as it is now", tuple[wire.NodeStatus, ...]),
    _change(
        *("PUT", "/v1/nodes/{node}", "Register a node by hand", wire.NodeStatus, _NODE),
        takes=wire.NodeRecord,
    ),
    _change(
        *("POST", "/v1/nodes/{node}/heartbeat", "A node lives", NodeState, _NODE),
        takes=wire.Heartbeat,
    ),
    _change("POST", "/v1/nodes/{node}/lost", "It does not come back", wire.NodeStatus, _NODE),
    _get("/v1/nodes/{node}/plan", "What it takes to empty it", NodePlan, _NODE),
    _change("POST", "/v1/nodes/{node}/drain", "Empty it by and by", NodePlan, _NODE),
    _change("DELETE", "/v1/nodes/{node}", "Empty it and take it out", wire.Removed, _NODE),
    _get("/v1/keeper", "What the keeper does", wire.KeeperStatus),
    _change("POST", "/v1/keeper/run", "Look at everything now", wire.KeeperStatus),
    _change("POST", "/v1/keeper/rebalance", "Even the nodes out now", wire.KeeperStatus),
    _get("/v1/keeper/plan/{what}", "What the keeper would do", NodePlan, _WHAT),
    _get("/v1/status", "The cluster at a glance", wire.ClusterStatus),
    _get("/v1/whereabouts", "Where every chunk lies", Whereabouts),
    _get("/v1/storage", "What redundancy costs, and the policy's advice", StorageReport),
    _get("/v1/exposure", "Which nodes may go", ExposureReport),
    _get("/v1/consensus", "How decisions are agreed on", Agreement),
    _get(
        "/v1/consensus/trace",
        "The messages since the last question",
        AgreementTrace,
        Parameter("after", wire.Count, "the `next` of the answer before; none: from now on"),
        Parameter("wait", wire.Count, "seconds to wait for news, at most 25"),
        Parameter("limit", wire.Count, "messages in one answer"),
    ),
    _change(
        *("POST", "/server/{name}", "Register a node (ring API)", TEXT, _SERVER),
        Parameter("url", str, "where it answers"),
    ),
    _change("DELETE", "/server/{name}", "Take a node out (ring API)", TEXT, _SERVER),
    _change("POST", "/video/{name}", "Register a bare name (ring API)", TEXT, _NAME),
    _get("/video", "All names, or server -> names (ring API)", JSON_OBJECT | list[str]),
    _get("/healthz", "How the coordinator is", JSON_OBJECT),
    _get("/readyz", "Whether the catalogue answers", ReadyAnswer),
    _get("/metrics", "Counters for Prometheus", TEXT),
    _get("/openapi.json", "This description", JSON_OBJECT),
)


def describe(app: web.Application) -> dict[str, object]:
    """Return the OpenAPI document of the routes an application has.

    Raises: KeyError: a route is not described.
    """
    known: Mapping[tuple[str, str], Operation] = {
        (each.method, each.path): each for each in OPERATIONS
    }
    routes = list(routes_of(app))
    if missing := [key for key in routes if key not in known]:
        raise KeyError(f"add these routes to OPERATIONS: {missing}")
    found = [known[key] for key in routes]
    return document(
        "Evenflow coordinator",
        __version__,
        found,
        error=ErrorAnswer,
        description="Knows what is stored where; moves no video bytes.",
    )


def routes_of(app: web.Application) -> Iterable[tuple[str, str]]:
    """Yield method and path of every route; HEAD goes with GET."""
    for route in app.router.routes():
        if route.resource is not None and route.method != "HEAD":
            yield route.method, route.resource.canonical


async def get_description(request: web.Request) -> web.Response:
    """Answer with the document."""
    return json_response(describe(request.app))
