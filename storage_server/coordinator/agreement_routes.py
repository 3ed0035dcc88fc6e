"""How this coordinator's decisions are agreed on, for pages and people that watch."""

from collections.abc import Sequence

from aiohttp import web
from msgspec import structs

from smart_client.agreement import TRACE_EVENTS_MAX, Agreement
from smart_client.errors import InvalidRequest
from storage_server.coordinator.http_edge import json_response
from storage_server.coordinator.service import Coordinator

# A question waits no longer for news: proxies end what is silent for a minute.
WAIT_S_MAX = 25.0


class AgreementRoutes:
    """Responsible for two answers: the facts, and the messages since the last question."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator
        self._catalogue = coordinator.catalogue

    def routes(self) -> Sequence[web.RouteDef]:
        """Return the routes."""
        return [web.get("/v1/consensus", self.tell), web.get("/v1/consensus/trace", self.trace)]

    async def tell(self, _: web.Request) -> web.Response:
        """Return who decides, how they are, and what was counted and measured."""
        found = await self._catalogue.agreement()
        return json_response(self._with_names(found))

    async def trace(self, request: web.Request) -> web.Response:
        """Return what happened since ``after``; wait up to ``wait`` seconds for something."""
        after = _number(request, "after")
        limit = _number(request, "limit")
        wait_s = _number(request, "wait") or 0
        found = await self._catalogue.trace.read(
            after,
            wait_s=min(wait_s, WAIT_S_MAX),
            limit=TRACE_EVENTS_MAX if limit is None else max(1, limit),
        )
        names = self._names()
        events = tuple(
            structs.replace(event, member=names.get(event.member, event.member))
            for event in found.events
        )
        return json_response(
            structs.replace(
                found,
                events=events,
                coordinator=self._coordinator.url,
                catalogue=self._catalogue.kind,
            )
        )

    def _with_names(self, found: Agreement) -> Agreement:
        names = self._names()
        members = tuple(
            structs.replace(each, name=names.get(each.url, each.name)) for each in found.members
        )
        return structs.replace(found, members=members, coordinator=self._coordinator.url)

    def _names(self) -> dict[str, str]:
        """Return what the nodes are called, by their addresses."""
        records = self._coordinator.members.records.values()
        return {url.rstrip("/"): record.id for record in records for url in record.urls}


def _number(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    try:
        found = int(text)
    except ValueError as error:
        raise InvalidRequest(f"'{name}' is a whole number") from error
    if found < 0:
        raise InvalidRequest(f"'{name}' is not negative")
    return found
