"""A node's full registration, sent to every coordinator once a second for ever."""

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from redundancy.errors import EvenflowError
from smart_client import wire
from smart_client.transport.coordinator import CoordinatorClient
from storage_server.node.heartbeat import HeartbeatFacts

log = logging.getLogger(__name__)

# A coordinator that does not answer in this is asked again the next second.
TIMEOUT_S = 2.0


class HeartbeatSender:
    """Responsible for telling every coordinator, each at its own pace.

    One that hangs holds up no other: while a beat to it is under way, the next ones skip it.
    """

    def __init__(self, coordinators: Sequence[str], *, token: str | None = None) -> None:
        self._clients = {
            url: CoordinatorClient([url], token=token, timeout_s=TIMEOUT_S) for url in coordinators
        }
        self._sending: dict[str, asyncio.Task[None]] = {}
        self._trouble: dict[str, str] = {}

    async def __call__(self, facts: HeartbeatFacts) -> None:
        """Begin to tell those who are not being told already; returns at once."""
        beat = beat_of(facts)
        for url, client in self._clients.items():
            task = self._sending.get(url)
            if task is None or task.done():
                self._sending[url] = asyncio.create_task(self._send(url, client, beat))

    async def close(self) -> None:
        """Stop telling."""
        for task in self._sending.values():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for client in self._clients.values():
            await client.close()

    async def _send(self, url: str, client: CoordinatorClient, beat: wire.Heartbeat) -> None:
        try:
            await client.heartbeat(beat)
            self._note(url, "")
        except EvenflowError as error:
            self._note(url, f"{error.message}; {error.hint}" if error.hint else error.message)
        except Exception:  # top of the task: the next beat may go better
            log.exception("a heartbeat to %s failed in an unforeseen way", url)

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
    )
