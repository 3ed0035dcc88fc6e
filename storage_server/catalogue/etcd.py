"""The catalogue in an etcd cluster, by its JSON gateway.

A register is one etcd key under ``evenflow/``; its version is etcd's revision. Values carry the id
of the write before the payload, so a write whose answer was lost can be recognised afterwards.
Many compare-and-sets go into one transaction of nested transactions: each succeeds on its own.
"""

import asyncio
import base64
import binascii
import uuid
from collections.abc import Sequence
from itertools import count
from typing import Any, ClassVar

import httpx

from redundancy.errors import ConfigError
from smart_client.agreement import Agreement
from smart_client.transport.tls import tls_context
from storage_server.catalogue.contract import (
    Catalogue,
    Conflict,
    Entry,
    Outcome,
    Unknown,
    Version,
    Write,
    check_key,
)
from storage_server.catalogue.errors import (
    CatalogueDamaged,
    CatalogueError,
    CatalogueFull,
    CatalogueUnavailable,
)
from storage_server.catalogue.etcd_members import agreement_of

_PREFIX = b"evenflow/register/"
# Written along with a delete: deleting what is not there would make no new revision.
_MARKER = b"evenflow/deletes/"
_ID_BYTES = 16

# Etcd takes 128 operations and 1.5 MiB in one request; base64 makes a value a third longer.
_WRITES_PER_REQUEST_MAX = 64
_BYTES_PER_REQUEST_MAX = 768 * 1024

# A handful of connections carries all; more small requests at once make httpx slower, not faster.
REQUESTS_AT_ONCE_MAX = 4
REQUEST_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 1.0

_RESOURCE_EXHAUSTED = 8  # gRPC's number: no room left


class _NotSent(Exception):
    """Nobody received the request."""


class _Doubtful(Exception):
    """The request may have been carried out."""


class EtcdCatalogue(Catalogue):
    """Responsible for the connections to one etcd cluster."""

    kind: ClassVar[str] = "etcd"

    def __init__(self, endpoints: Sequence[str], *, timeout_s: float = REQUEST_TIMEOUT_S) -> None:
        """Name the members' client URLs; nothing is sent before the first request."""
        if not endpoints:
            raise ConfigError("name at least one etcd endpoint")
        self._endpoints = [endpoint.rstrip("/") for endpoint in endpoints]
        self._current = 0  # the endpoint that answered last
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(REQUESTS_AT_ONCE_MAX)
        self._is_closed = False
        self._client: httpx.AsyncClient | None = None

    async def get(self, key: str) -> Entry | None:
        """Return the register, or None if it is not there."""
        encoded = check_key(key)
        answer = await self._read({"key": _base64(_PREFIX + encoded)})
        return _found(answer)

    async def scan(self, prefix: str) -> list[Entry]:
        """Return the registers whose keys start with ``prefix``, in order, as of one revision."""
        low = _PREFIX + prefix.encode()
        answer = await self._read({"key": _base64(low), "range_end": _base64(_first_above(low))})
        return [_entry(item) for item in answer.get("kvs", [])]

    async def batch(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do the writes in order, each answered on its own, many in one request."""
        self._require_open()
        outcomes: list[Outcome] = []
        for part in _parts(writes):
            try:
                outcomes += await self._write(part)
            except CatalogueError as error:
                if not outcomes:
                    raise
                outcomes += [Unknown(error.message)] * (len(writes) - len(outcomes))
                break
        return outcomes

    async def agreement(self) -> Agreement:
        """Return who leads, and which members answer now."""
        return await agreement_of(self._opened(), self._endpoints)

    async def close(self) -> None:
        """Let go of the connections. May be called twice."""
        self._is_closed = True
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    # -- writing ---------------------------------------------------------------------------------

    async def _write(self, writes: Sequence[Write]) -> list[Outcome]:
        """Do writes of different registers in one request."""
        ids = [uuid.uuid4().bytes for _ in writes]
        steps = [
            {"requestTxn": _step(write, identity, number)}
            for write, identity, number in zip(writes, ids, count(), strict=False)
        ]
        try:
            answer = await self._ask("/v3/kv/txn", {"success": steps})
        except _NotSent as error:
            raise CatalogueUnavailable(f"no etcd member answers: {error}") from error
        except _Doubtful as error:
            return [
                await self._resolve(write, identity, str(error))
                for write, identity in zip(writes, ids, strict=True)
            ]
        version = int(answer["header"]["revision"])
        return [
            _outcome(response["response_txn"], version) for response in answer.get("responses", [])
        ]

    async def _resolve(self, write: Write, identity: bytes, reason: str) -> Outcome:
        """Look whether a write happened whose answer was lost."""
        try:
            answer = await self._read({"key": _base64(_PREFIX + write.key.encode())})
        except CatalogueError:
            return Unknown(reason)
        for item in answer.get("kvs", []):
            if _decode(item["value"]).startswith(identity):
                return Version(int(item["mod_revision"]))
        return Unknown(reason)

    # -- requests --------------------------------------------------------------------------------

    async def _read(self, request: dict[str, Any]) -> dict[str, Any]:
        self._require_open()
        reason = ""
        for _ in self._endpoints:
            try:
                return await self._ask("/v3/kv/range", request)
            except (_NotSent, _Doubtful) as error:
                reason = str(error)
                self._current += 1  # reading is harmless: ask another
        raise CatalogueUnavailable(f"no etcd member answers: {reason}")

    async def _ask(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        """Ask one member after the other until one has received the request."""
        reason = ""
        for _ in self._endpoints:
            endpoint = self._endpoints[self._current % len(self._endpoints)]
            try:
                async with self._slots:
                    response = await self._opened().post(endpoint + path, json=request)
                return _checked(response)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                self._current += 1
                reason = f"{endpoint}: {type(error).__name__}"
            except httpx.HTTPError as error:
                self._current += 1
                raise _Doubtful(f"{endpoint}: {type(error).__name__}") from error
        raise _NotSent(reason)

    def _opened(self) -> httpx.AsyncClient:
        self._require_open()
        if self._client is None:
            self._client = httpx.AsyncClient(
                timeout=httpx.Timeout(self._timeout_s, connect=CONNECT_TIMEOUT_S),
                limits=httpx.Limits(
                    max_connections=2 * REQUESTS_AT_ONCE_MAX,
                    max_keepalive_connections=2 * REQUESTS_AT_ONCE_MAX,
                ),
                trust_env=False,
                verify=tls_context(self._endpoints),
            )
        return self._client

    def _require_open(self) -> None:
        if self._is_closed:
            raise CatalogueUnavailable("the catalogue is closed")


def _checked(response: httpx.Response) -> dict[str, Any]:
    if response.status_code == httpx.codes.OK:
        found: dict[str, Any] = response.json()
        return found
    text = response.text[:200]
    if f'"code":{_RESOURCE_EXHAUSTED}' in text.replace(" ", "") and "space" in text:
        raise CatalogueFull(
            "etcd has no room left", hint="compact and defragment it, then disarm the alarm"
        )
    raise _Doubtful(f"etcd answered {response.status_code}: {text}")


def _step(write: Write, identity: bytes, number: int) -> dict[str, Any]:
    """Return the transaction that is one compare-and-set."""
    key = _base64(_PREFIX + write.key.encode())
    compare = {
        "key": key,
        "target": "MOD",
        "result": "EQUAL",
        "mod_revision": str(write.expected_version),
    }
    if write.value is None:
        marker = {"key": _base64(_MARKER + b"%d" % number), "value": ""}
        success = [{"requestDeleteRange": {"key": key}}, {"requestPut": marker}]
    else:
        success = [{"requestPut": {"key": key, "value": _base64(identity + write.value)}}]
    return {
        "compare": [compare],
        "success": success,
        "failure": [{"requestRange": {"key": key}}],
    }


def _outcome(answer: dict[str, Any], version: int) -> Outcome:
    if answer.get("succeeded"):
        return Version(version)
    return Conflict(_found(answer["responses"][0]["response_range"]))


def _found(answer: dict[str, Any]) -> Entry | None:
    items = answer.get("kvs", [])
    return _entry(items[0]) if items else None


def _entry(item: dict[str, Any]) -> Entry:
    value = _decode(item.get("value", ""))
    if len(value) < _ID_BYTES:
        raise CatalogueDamaged("a register in etcd was not written by this program")
    key = _decode(item["key"]).removeprefix(_PREFIX).decode()
    return Entry(key, value[_ID_BYTES:], int(item["mod_revision"]))


def _parts(writes: Sequence[Write]) -> list[list[Write]]:
    """Cut a batch so that each part fits a request and names no register twice."""
    parts: list[list[Write]] = []
    size = 0
    for write in writes:
        more = len(write.value or b"") + 2 * len(write.key)
        is_open = bool(parts) and len(parts[-1]) < _WRITES_PER_REQUEST_MAX
        fits = is_open and size + more <= _BYTES_PER_REQUEST_MAX
        if not fits or any(write.key == other.key for other in parts[-1]):
            parts.append([])
            size = 0
        parts[-1].append(write)
        size += more
    return parts


def _first_above(prefix: bytes) -> bytes:
    """Return the first key after all that start with ``prefix``, which ends below 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise CatalogueDamaged(f"etcd answered what is not base64: {error}") from error
