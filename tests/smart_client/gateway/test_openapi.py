"""Gateway and coordinator do what their OpenAPI documents say, whatever they are sent.

Schemathesis makes requests from the documents, the same on every run: no 5xx but those described,
no status, type or body that the document does not know. ``EVENFLOW_API_EXAMPLES=100`` asks more.
"""

import asyncio
import os

import hypothesis
import pytest
import schemathesis
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from smart_client.gateway.records import ErrorAnswer
from smart_client.openapi import Operation, document
from support.gateways import Running, in_a_gateway

pytestmark = pytest.mark.real

EXAMPLES = int(os.environ.get("EVENFLOW_API_EXAMPLES", "3"))

CHECKS = [content_type_conformance, response_schema_conformance, status_code_conformance]

# /events never ends; a comparison would take a minute of a core; the keeper looks at everything.
SKIPPED = r"^(/events|/api/v1/comparisons|/v1/keeper/(run|rebalance))$"

# The only reasons for a 5xx: these tests ask for impossible sizes and layouts, nothing is away.
EXPECTED_5XX = {"NO_SPACE", "TOO_FEW_NODES"}

SETTINGS = hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)


def load(url: str, content: dict) -> schemathesis.BaseSchema:
    schema = schemathesis.openapi.from_dict(content)
    schema.validate()
    schema.config.base_url = url
    return schema.exclude(path_regex=SKIPPED)


def ask_everything(schema: schemathesis.BaseSchema, known: dict[str, str]) -> int:
    """Send a few requests to every operation; return how many operations there are.

    Half of them ask for what is there (``known``), unless they would remove it.
    """

    def ask(case: schemathesis.Case) -> None:
        if case.query and "wait" in case.query:
            case.query["wait"] = 0
        if case.method != "DELETE" and len(str(case.path_parameters)) % 2:
            for name in known.keys() & case.path_parameters.keys():
                case.path_parameters[name] = known[name]
        response = case.call(timeout=30)
        case.validate_response(response, checks=CHECKS)
        if response.status_code >= 500:
            assert response.json()["error"]["code"] in EXPECTED_5XX, response.text

    count = 0
    for found in schema.get_all_operations():
        SETTINGS(hypothesis.given(case=found.ok().as_strategy())(ask))()
        count += 1
    return count


def test_gateway_and_coordinator_do_what_their_documents_say(tmp_path):
    async def use(running: Running) -> None:
        await running.put("known", os.urandom(100_000))
        await running.http.get("/v/known")
        body = {"name": "coming", "size": 1000}
        number = (await running.http.post("/api/v1/uploads", json=body)).json()["id"]
        known = {"name": "known", "rendition": "original", "id": number, "node": "node-1"}
        async with running.cluster.link() as link:
            described = (await link.get("/openapi.json")).json()
        of_gateway = load(running.gateway.url, await running.json("/openapi.json"))
        assert await asyncio.to_thread(ask_everything, of_gateway, known) >= 25
        of_coordinator = load(running.cluster.url, described)
        assert await asyncio.to_thread(ask_everything, of_coordinator, known) >= 30

    in_a_gateway(tmp_path, use)


def test_an_answer_that_is_not_described_is_noticed(tmp_path):
    async def use(running: Running) -> None:
        wrong = Operation("GET", "/api/v1/uploads", "wrong on purpose", {200: int})
        schema = load(running.gateway.url, document("x", "1", [wrong], error=ErrorAnswer))
        with pytest.raises(BaseExceptionGroup) as caught:
            await asyncio.to_thread(ask_everything, schema, {})
        assert "violates schema" in str(caught.value.exceptions[0])
        missing = Operation("GET", "/api/v1/uploads/{id}", "no 404", {200: str})
        schema = load(running.gateway.url, document("x", "1", [missing], error=ErrorAnswer))
        with pytest.raises(BaseExceptionGroup) as caught:
            await asyncio.to_thread(ask_everything, schema, {})
        assert "Undocumented status code" in str(caught.value.exceptions[0])

    in_a_gateway(tmp_path, use, nodes=0)
