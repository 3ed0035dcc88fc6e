"""A node's full registration, sent to every coordinator once a second for ever.

With aiohttp, which the node has loaded for its server: httpx would be 7 MB more in every node.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from urllib.parse import quote

import aiohttp

from redundancy.errors import EvenflowError
from smart_client import wire
from smart_client.errors import CoordinatorUnreachable
from smart_client.transport.answers import error_from_answer
from smart_client.transport.tls import not_http, tls_context, tls_hint, tls_trouble
from storage_server.node.heartbeat import HeartbeatFacts

log = logging.getLogger(__name__)

# A coordinator that does not answer in this is asked again the next second.
TIMEOUT_S = 2.0

# More of an answer is not read: it is a few hundred bytes.
_ANSWER_BYTES_MAX = 64 * 1024


class HeartbeatSender:
    """Responsible for telling every coordinator, each at its own pace.

    One that hangs holds up no other: while a beat to it is under way, the next ones skip it.
    """

    def __init__(self, coordinators: Sequence[str], *, token: str | None = None) -> None:
        self._urls = [url.rstrip("/") for url in coordinators]
        self._headers = {"Content-Type": "application/json", "Accept": "*/*"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._http: aiohttp.ClientSession | None = None
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._trouble: dict[str, str] = {}

    async def __call__(self, facts: HeartbeatFacts) -> None:
        """Begin to tell those who are not being told already; returns at once."""
        beat = beat_of(facts)
        for url in self._urls:
            task = self._sending.get(url)
            if task is None or task.done():
                self._sending[url] = asyncio.create_task(self._send(url, beat))

    async def close(self) -> None:
        """Stop telling."""
        for task in self._sending.values():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._http is not None:
            await self._http.close()

    async def _send(self, url: str, beat: wire.Heartbeat) -> None:
        try:
            await self._post(f"{url}/v1/nodes/{quote(beat.node)}/heartbeat", wire.encode(beat))
            self._note(url, "")
        except EvenflowError as error:
            self._note(url, f"{error.message}; {error.hint}" if error.hint else error.message)
        except Exception:  # top of the task: the next beat may go better
            log.exception("a heartbeat to %s failed in an unforeseen way", url)

    async def _post(self, url: str, body: bytes) -> None:
        """Raises: CoordinatorUnreachable, and what the coordinator answers."""
        if self._http is None:
            self._http = aiohttp.ClientSession(
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(TIMEOUT_S),
                connector=aiohttp.TCPConnector(ssl=tls_context(self._urls)),
            )
        try:
            async with self._http.post(url, data=body, allow_redirects=False) as answer:
                said = await answer.content.read(_ANSWER_BYTES_MAX)
                if not answer.ok:
                    raise error_from_answer(answer.status, said, url)
        except (aiohttp.ClientError, TimeoutError) as error:
            trouble = tls_trouble(error)
            why = not_http(error, url) or type(error).__name__
            raise CoordinatorUnreachable(
                trouble or f"it cannot be reached: {why}",
                hint=tls_hint(trouble) if trouble else "is it running?",
            ) from error

    def _note(self, url: str, trouble: str) -> None:
        """Log what is wrong when it begins, when it changes and when it ends."""
        if trouble == self._trouble.get(url):
            return
        if trouble:
            log.warning("coordinator %s does not take heartbeats: %s", url, trouble)
        else:
            log.info("coordinator %s takes heartbeats", url)
        self._trouble[url] = trouble


def beat_of(facts: HeartbeatFacts) -> wire.Heartbeat:
    """Return what a node says of itself in the form that travels."""
    return wire.Heartbeat(
        node=facts.node,
        store=facts.store_uuid,
        urls=facts.urls,
        zone=facts.zone,
        capacity_bytes=facts.capacity_bytes,
        used_bytes=facts.used_bytes,
        free_bytes=facts.free_bytes,
        fragments=facts.fragments,
        requests_in_flight=facts.load,
        status=facts.status,
        reason=facts.reason,
        read_keys=facts.read_keys,
    )
