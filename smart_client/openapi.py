"""OpenAPI 3.1 documents from tables of routes and msgspec records, for gateway and coordinator.

The table is the one that the server's own router is filled from, so neither can drift.
"""

import http
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

OPENAPI_VERSION = "3.1.0"

JSON = "application/json"
_REF = "#/components/schemas/{name}"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value in the address or the query; ``kind`` is a type msgspec knows."""

    name: str
    kind: Any
    summary: str
    where: str = "query"  # query, path or header
    required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """What one route takes and gives.

    ``answers``: status -> record, or a media type such as ``video/*`` where no JSON is sent, or
    None for an answer without a body. ``refuses``: statuses whose body is the error record.
    """

    method: str
    path: str  # {name} stands for one segment
    summary: str
    answers: Mapping[int, Any]
    refuses: Sequence[int] = ()
    takes: Any = None  # the record of the body; a media type for raw bytes
    parameters: Sequence[Parameter] = ()
    tag: str = ""
    security: bool = False  # needs the token, where one is set
    headers: Mapping[int, Sequence[str]] = field(default_factory=dict)


def document(
    title: str,
    version: str,
    operations: Iterable[Operation],
    *,
    error: Any,
    description: str = "",
) -> dict[str, object]:
    """Return the OpenAPI document of all operations.

    Args:
        error: the record in the body of every refusal.
    """
    known = list(operations)
    kinds = _kinds(known, error)
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_REF)
    by_kind = {_key(kind): _plain(schema) for kind, schema in zip(kinds, schemas, strict=True)}
    paths: dict[str, dict[str, object]] = {}
    for operation in known:
        described = _describe(operation, by_kind, error)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": title, "version": version, "description": description},
        "paths": paths,
        "components": {
            "schemas": _plain(components),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _kinds(operations: Sequence[Operation], error: Any) -> list[Any]:
    """Return every type a schema is needed for, each once."""
    found: dict[object, Any] = {_key(error): error}
    for operation in operations:
        wanted = [*operation.answers.values(), operation.takes]
        wanted += [parameter.kind for parameter in operation.parameters]
        for kind in wanted:
            if kind is not None and not isinstance(kind, str):
                found.setdefault(_key(kind), kind)
    return list(found.values())


def _key(kind: Any) -> str:
    return repr(kind)


def _describe(operation: Operation, schemas: Mapping[str, object], error: Any) -> dict[str, object]:
    responses: dict[str, object] = {}
    for status, kind in operation.answers.items():
        responses[str(status)] = _answer(status, kind, schemas, operation.headers.get(status, ()))
    for status in operation.refuses:
        responses[str(status)] = _answer(status, error, schemas, ())
    out: dict[str, object] = {
        "summary": operation.summary,
        "operationId": _operation_id(operation),
        "responses": responses,
    }
    if operation.tag:
        out["tags"] = [operation.tag]
    if operation.security:
        out["security"] = [{"token": []}, {}]
    if operation.parameters:
        out["parameters"] = [
            {
                "name": parameter.name,
                "in": parameter.where,
                "required": parameter.required or parameter.where == "path",
                "description": parameter.summary,
                "schema": schemas[_key(parameter.kind)],
            }
            for parameter in operation.parameters
        ]
    if operation.takes is not None:
        out["requestBody"] = {"required": True, "content": _content(operation.takes, schemas)}
    return out


def _answer(
    status: int, kind: Any, schemas: Mapping[str, object], headers: Sequence[str]
) -> dict[str, object]:
    out: dict[str, object] = {"description": http.HTTPStatus(status).phrase}
    if kind is not None:
        out["content"] = _content(kind, schemas)
    if headers:
        out["headers"] = {name: {"schema": {"type": "string"}} for name in headers}
    return out


def _content(kind: Any, schemas: Mapping[str, object]) -> dict[str, object]:
    if isinstance(kind, str):
        return {kind: {}}
    return {JSON: {"schema": schemas[_key(kind)]}}


def _operation_id(operation: Operation) -> str:
    words = re.findall(r"[a-z0-9]+", operation.path.lower())
    return "_".join([operation.method.lower(), *words])


def _plain(schema: Any) -> Any:
    r"""Return a schema with patterns as JSON Schema means them: ``\Z`` and ``\A`` are Python's."""
    if isinstance(schema, dict):
        out = {key: _plain(value) for key, value in schema.items()}
        if isinstance(out.get("pattern"), str):
            out["pattern"] = out["pattern"].replace(r"\Z", "$").replace(r"\A", "^")
        return out
    if isinstance(schema, list | tuple):
        return [_plain(each) for each in schema]
    return schema
