"""Routes of the cluster: health, agreement, comparisons. Never old data as present."""

from collections.abc import Sequence

from aiohttp import web

from smart_client import wire
from smart_client.agreement import Agreement, AgreementTrace
from smart_client.errors import Conflict
from smart_client.gateway.comparisons import AlreadyComparing
from smart_client.gateway.desk import Desk
from smart_client.gateway.edge import Handler, json_response, read_record, whole_number
from smart_client.gateway.records import (
    Comparison,
    StartComparison,
)
from smart_client.gateway.routes import Route
from smart_client.openapi import Operation, Parameter
from smart_client.wire import Count

# Less than the client's own patience with a coordinator.
TRACE_WAIT_S_MAX = 2

AFTER = Parameter("after", Count, "the `next` of the answer before; none: from now on")
WAIT = Parameter("wait", Count, f"seconds to wait for news, at most {TRACE_WAIT_S_MAX}")


class ClusterApi:
    """Responsible for ``/api/v1/cluster``, ``consensus`` and ``comparisons``."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> Sequence[Route]:
        """Return every route."""

        def get(path: str, summary: str, answer: object, handler: Handler) -> Route:
            refuses = () if path.endswith("comparisons") else (503,)
            operation = Operation(
                "GET", path, summary, {200: answer}, refuses=refuses, tag="cluster"
            )
            return Route(operation, handler)

        base = "/api/v1"
        return [
            get(f"{base}/cluster", "The cluster now", wire.ClusterStatus, self.get_cluster),
            get(f"{base}/consensus", "How coordinators agree", Agreement, self.get_consensus),
            Route(
                Operation(
                    "GET",
                    f"{base}/consensus/trace",
                    "The messages by which coordinators agree, since the last question",
                    {200: AgreementTrace},
                    refuses=(400, 503),
                    parameters=(AFTER, WAIT),
                    tag="cluster",
                ),
                self.get_trace,
            ),
            get(
                f"{base}/comparisons",
                "Results of smart-client compare",
                tuple[Comparison, ...],
                self.list_comparisons,
            ),
            Route(
                Operation(
                    "POST",
                    f"{base}/comparisons",
                    "Compare schedulers in a few simulated worlds",
                    {202: Comparison},
                    refuses=(400, 403, 409, 413),
                    takes=StartComparison,
                    tag="cluster",
                ),
                self.start_comparison,
            ),
        ]

    async def get_cluster(self, _: web.Request) -> web.Response:
        """Answer with the cluster as the coordinator sees it now."""
        return json_response(await self._desk.watch.ask(self._desk.library.coordinator.status()))

    async def get_consensus(self, _: web.Request) -> web.Response:
        """Answer with how agreement is reached."""
        return json_response(await self._desk.watch.ask(self._desk.library.coordinator.agreement()))

    async def get_trace(self, request: web.Request) -> web.Response:
        """Answer with what was said since ``after``."""
        after = whole_number(request, "after", 2**62)
        wait_s = whole_number(request, "wait", TRACE_WAIT_S_MAX) or 0
        question = self._desk.library.coordinator.agreement_trace(after, wait_s=wait_s)
        return json_response(await self._desk.watch.ask(question))

    async def list_comparisons(self, _: web.Request) -> web.Response:
        """Answer with results on this disk."""
        return json_response(await self._desk.comparisons.all())

    async def start_comparison(self, request: web.Request) -> web.Response:
        """Begin a comparison."""
        wish = await read_record(request, StartComparison)
        try:
            return json_response(self._desk.comparisons.start(wish), status=202)
        except AlreadyComparing as error:
            raise Conflict("a comparison is running", hint="wait for it") from error
