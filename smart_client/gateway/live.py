"""``/events``: what changes, as it changes. A snapshot first, so who comes late misses nothing.

One loop looks at everything four times a second while somebody listens and keeps the latest value
of each topic. A listener is sent the newest values it has not had; what it was too slow for is
skipped, and one that takes nothing at all for ``STUCK_S`` is dropped. So nothing piles up.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from redundancy.errors import EvenflowError
from smart_client.errors import GatewayBusy
from smart_client.gateway.desk import Desk
from smart_client.gateway.edge import SERVER_NAME
from smart_client.gateway.library_api import library_videos
from smart_client.gateway.records import ErrorBody, LiveCluster, LiveSnapshot, SessionFigures
from smart_client.gateway.sessions_api import session_figures

log = logging.getLogger(__name__)

SESSIONS_EVERY_S = 0.25
OTHERS_EVERY_S = 1.0
HEARTBEAT_S = 10.0
STUCK_S = 10.0
LISTENERS_MAX = 64

# A coordinator that does not answer must not hold figures of sessions back.
ANSWER_S = 4.0

Look = Callable[[], Awaitable[object]]


class _Listener:
    """Responsible for what one client has not had yet."""

    def __init__(self) -> None:
        self.owed: dict[str, bytes] = {}
        self.changed = asyncio.Event()

    def owe(self, topic: str, value: bytes) -> None:
        self.owed[topic] = value
        self.changed.set()


class Live:
    """Responsible for all listeners and the loop that serves them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._listeners: set[_Listener] = set()
        self._latest: dict[str, bytes] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}  # by what they look at
        self._closing = asyncio.Event()
        self._next_id = 0
        self.dropped = 0

    @property
    def listeners(self) -> int:
        """How many clients listen."""
        return len(self._listeners)

    def is_resting(self, topic: str) -> bool:
        """Whether the loop that begins with this topic is not running, as nobody listened."""
        return topic not in self._tasks or self._tasks[topic].done()

    async def close(self) -> None:
        """End every stream of events and the loop."""
        self._closing.set()
        for listener in self._listeners:
            listener.changed.set()
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Send events until the client leaves, is too slow, or the gateway closes."""
        if len(self._listeners) >= LISTENERS_MAX or self._closing.is_set():
            raise GatewayBusy(f"{LISTENERS_MAX} clients listen already", hint="close some pages")
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # nginx would hold events back
                "X-Content-Type-Options": "nosniff",
                "Server": SERVER_NAME,
            }
        )
        listener = _Listener()
        listener.owe("snapshot", msgspec.json.encode(await self._snapshot()))
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        self._listeners.add(listener)
        self._look_while_needed()
        try:
            await self._send_to(listener, response)
        except TimeoutError:
            self.dropped += 1
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # it left
        finally:
            self._listeners.discard(listener)
        return response

    async def _send_to(self, listener: _Listener, response: web.StreamResponse) -> None:
        while not self._closing.is_set():
            owed, listener.owed = listener.owed, {}
            listener.changed.clear()
            for topic, value in owed.items():
                self._next_id += 1
                line = b"id: %d\nevent: %s\ndata: %s\n\n" % (self._next_id, topic.encode(), value)
                await self._write(response, line)
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await listener.changed.wait()
            except TimeoutError:
                await self._write(response, b": still here\n\n")
        await self._write(response, b": the gateway is closing\n\n")

    async def _write(self, response: web.StreamResponse, data: bytes) -> None:
        """Raises: TimeoutError: the client takes nothing."""
        async with asyncio.timeout(STUCK_S):
            await response.write(data)

    # -- looking ---------------------------------------------------------------------------------

    def _look_while_needed(self) -> None:
        """Start the loops that are not running: each ends by itself when nobody listens.

        A page that is loaded again comes back while some have ended and some have not noticed yet.
        """
        if all(task.done() for task in self._tasks.values()):
            self._latest = {}
        loops: tuple[tuple[float, dict[str, Look]], ...] = (
            (SESSIONS_EVERY_S, {"sessions": self._sessions}),
            (OTHERS_EVERY_S, {"uploads": self._uploads}),
            (OTHERS_EVERY_S, {"cluster": self._cluster, "videos": self._videos}),
        )
        for every_s, topics in loops:
            first = next(iter(topics))
            if self.is_resting(first):
                self._tasks[first] = asyncio.create_task(self._look(every_s, topics))

    async def _look(self, every_s: float, topics: dict[str, Look]) -> None:
        failing: set[str] = set()
        while self._listeners:
            for topic, look in topics.items():
                try:
                    value = msgspec.json.encode(await look())
                except Exception:  # top of the task: the next look may go better
                    if topic not in failing:
                        log.exception("looking for '%s' failed in an unforeseen way", topic)
                    failing.add(topic)
                    continue
                failing.discard(topic)
                if value != self._latest.get(topic):
                    self._latest[topic] = value
                    for listener in self._listeners:
                        listener.owe(topic, value)
            await asyncio.sleep(every_s)

    async def _sessions(self) -> object:
        """Return all sessions; of one that nobody reads, what only time changes stands still."""
        return tuple(
            each if each.readers else _at_rest(each)
            for each in session_figures(self._desk.pool.all)
        )

    async def _uploads(self) -> object:
        return self._desk.uploads.all()

    async def _videos(self) -> object:
        try:
            return await library_videos(self._desk)
        except EvenflowError:
            return None

    async def _cluster(self) -> LiveCluster:
        error: EvenflowError | None = None
        status = None
        question = self._desk.library.coordinator.status()
        try:
            status = await self._desk.watch.ask(question, patience_s=ANSWER_S)
        except EvenflowError as caught:
            error = caught
        body = ErrorBody(**error.to_json()) if error else None  # type: ignore[arg-type]
        away_ts = self._desk.watch.away_since_ts
        return LiveCluster(
            status=status, error=body, away_since_ts=away_ts, as_of_ts=round(time.time(), 3)
        )

    async def _snapshot(self) -> LiveSnapshot:
        cluster = await self._cluster()
        videos = None
        if cluster.status is not None:
            with contextlib.suppress(EvenflowError):
                videos = await library_videos(self._desk)
        return LiveSnapshot(
            videos=videos,
            uploads=self._desk.uploads.all(),
            sessions=session_figures(self._desk.pool.all),
            cluster=cluster,
        )


def _at_rest(session: SessionFigures) -> SessionFigures:
    shot = session.snapshot
    nodes = tuple(msgspec.structs.replace(node, quiet_s=0.0) for node in shot.nodes)
    shot = msgspec.structs.replace(shot, t_s=0.0, nodes=nodes)
    players = tuple(msgspec.structs.replace(each, report_age_s=0.0) for each in session.players)
    return msgspec.structs.replace(session, snapshot=shot, players=players)
