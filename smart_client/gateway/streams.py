"""The videos the gateway is reading: one shared stream each, kept while somebody may come back."""

import asyncio
import contextlib
import dataclasses
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple
from weakref import WeakValueDictionary

from redundancy.errors import EvenflowError
from smart_client.core.events import NodesRemembered
from smart_client.gateway.audience import Audience
from smart_client.gateway.link_speed import LinkSpeed
from smart_client.gateway.session_account import SessionAccount
from smart_client.stream import StreamReader, VideoStream

log = logging.getLogger(__name__)

# A player that seeks closes its request and opens another; a paused one comes back after minutes.
# Until then the decoded bytes stay in the spool, so nothing is fetched twice.
IDLE_S = 300.0

# So many renditions are kept open at once, the ones used last: four players on ladders of six.
STREAMS_MAX = 24

# Where players stopped: several may be at different places of one rendition.
ENDS_MAX = 16

# A player asks for the next segment as soon as it has one, or seconds later if it has enough.
NEXT_REQUEST_S = 1.0


# A stream that was idle for so long may be of a video that was replaced meanwhile.
RECENT_S = 3.0

# ... and nobody waits longer for the answer to that.
ANSWER_S = 1.0


class StreamKey(NamedTuple):
    """What a stream is of."""

    video: str
    rendition: str = "original"


class SharedStream:
    """Responsible for one open rendition and its number of readers."""

    def __init__(
        self, key: StreamKey, stream: VideoStream, audience: Audience, opened_at_s: float
    ) -> None:
        self.key = key
        self.stream = stream
        self.account = SessionAccount(stream, audience)
        self.readers = 0
        self.used_at_s = opened_at_s
        self.has_tail = False
        self.was_read = False
        self.waiting = 0  # requests that wait for bytes
        self._ends: deque[int] = deque(maxlen=ENDS_MAX)

    def sent_to(self, stop: int) -> None:
        """Note that a player got all it asked for, up to ``stop``."""
        if stop not in self._ends:
            self._ends.append(stop)

    def was_sent_to(self, start: int) -> bool:
        """Whether one of the last requests ended here."""
        return start in self._ends


@dataclasses.dataclass(slots=True)
class Totals:
    """Bytes of all streams, closed ones included."""

    node_bytes: int = 0
    player_bytes: int = 0
    cached_bytes: int = 0

    @property
    def amplification(self) -> float | None:
        """Bytes from nodes for each byte sent to a player; None before the first."""
        return round(self.node_bytes / self.player_bytes, 4) if self.player_bytes else None

    def add(self, shared: SharedStream) -> None:
        """Take a stream's bytes in."""
        self.node_bytes += shared.stream.driver.wire_bytes
        self.player_bytes += shared.account.player_bytes
        self.cached_bytes += shared.stream.session.state.counters.recalled_bytes


class StreamPool:
    """Responsible for opening, sharing and closing streams: one for each rendition of a video."""

    def __init__(
        self,
        open_stream: Callable[[StreamKey], Awaitable[VideoStream]],
        current_id: Callable[[str], Awaitable[str]],
    ) -> None:
        """Args: current_id: asks which video a name means now; empty: none."""
        self._open_stream = open_stream
        self._current_id = current_id
        self._streams: dict[StreamKey, SharedStream] = {}
        # Gone as soon as nobody opens that stream: names that lead nowhere leave nothing behind.
        self._locks: WeakValueDictionary[StreamKey, asyncio.Lock] = WeakValueDictionary()
        self._loop = asyncio.get_running_loop()
        self._closed = Totals()
        self._ending: list[SharedStream] = []
        self.link = LinkSpeed()
        self._audiences: dict[str, Audience] = {}
        self._waiting: list[asyncio.Future[SessionAccount]] = []

    def totals(self) -> Totals:
        """Return the bytes of all streams so far."""
        sums = dataclasses.replace(self._closed)
        for shared in (*self._streams.values(), *self._ending):
            sums.add(shared)
        return sums

    @property
    def all(self) -> tuple[SharedStream, ...]:
        """Every open stream, the oldest first."""
        return tuple(self._streams.values())

    async def get(self, name: str, rendition: str = "original") -> SharedStream:
        """Return the open stream of a video's rendition, opening it if needed.

        Raises: EvenflowError: there is no such video or rendition, or no coordinator to ask.
        """
        key = StreamKey(name, rendition)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            shared = self._streams.get(key)
            if shared is not None and not await self._is_current(shared):
                await self._end(shared)
                shared = None
            if shared is None or shared.stream.driver.failure is not None:
                if shared is not None:
                    await self._end(shared)
                stream = await self._open_stream(key)
                shared = SharedStream(key, stream, self._audience(stream), self._loop.time())
                self._streams[key] = shared
                self._tell_who_waits(shared)
            shared.used_at_s = self._loop.time()
        await self.close_idle(keep=key)
        return shared

    def _audience(self, stream: VideoStream) -> Audience:
        """Return the audience of a video, the same for all its renditions."""
        video = stream.manifest.video.id
        open_ids = {each.stream.manifest.video.id for each in self._streams.values()}
        for gone in self._audiences.keys() - open_ids - {video}:
            del self._audiences[gone]
        audience = self._audiences.setdefault(video, Audience(stream))
        audience.report = stream.on_view
        return audience

    def open_reader(
        self, shared: SharedStream, offset: int, *, stop: int | None = None
    ) -> StreamReader:
        """Add a reader.

        The first one of an original also fetches the file's tail, where many keep their index. One
        that finds its stream idle begins with what the stream used last knows of the nodes: a
        player that changes the rendition does not start cold.
        """
        if shared.readers == 0:
            self._remember_nodes(shared)
        shared.readers += 1
        reader = shared.stream.open_reader(offset, stop=stop)
        if not shared.has_tail and shared.key.rendition == "original":
            shared.has_tail = True
            self._fetch_tail(shared)
        return reader

    def someone_waits_for_another(self, shared: SharedStream) -> bool:
        """Whether a request for another rendition or video waits for bytes."""
        return any(each.waiting for each in self._streams.values() if each is not shared)

    def is_played_otherwise(self, shared: SharedStream) -> bool:
        """Whether players have had bytes of another rendition of this video."""
        return any(
            each.account.player_bytes
            for each in self._streams.values()
            if each is not shared and each.key.video == shared.key.video
        )

    @contextlib.contextmanager
    def somebody_waits(self, shared: SharedStream) -> Iterator[None]:
        """Measure the link while a player waits for bytes of a stream."""
        began_s, before = self._loop.time(), self.totals().node_bytes
        shared.waiting += 1
        try:
            yield
        finally:
            shared.waiting -= 1
            self._measure(began_s, before)

    def _measure(self, began_s: float, before: int) -> None:
        now_s = self._loop.time()
        self.link.waited(self.totals().node_bytes - before, now_s - began_s, now_s)

    async def pause(self, pause_s: float) -> None:
        """Sleep; if nodes were sending all the while, that says how fast the link is, too.

        Else an estimate that was too low at first would stay: who is handed little needs little,
        finds it all fetched ahead, and never waits.
        """
        began_s, before, was_busy = self._loop.time(), self.totals().node_bytes, self._is_fetching()
        await asyncio.sleep(pause_s)
        if was_busy and self._is_fetching():
            self._measure(began_s, before)

    def _is_fetching(self) -> bool:
        return any(
            node.pieces
            for each in self._streams.values()
            for node in each.stream.session.state.nodes.nodes
        )

    def close_reader_soon(self, shared: SharedStream, reader: StreamReader) -> None:
        """Take a reader away when the player's next request had time to come.

        Until then what was asked for ahead of it goes on; given up, it would be asked for again.
        """
        self._loop.call_later(NEXT_REQUEST_S, self.close_reader, shared, reader)

    def _remember_nodes(self, shared: SharedStream) -> None:
        others = [each for each in self._streams.values() if each is not shared and each.was_read]
        if others:
            latest = max(others, key=lambda each: (each.readers > 0, each.used_at_s))
            if latest.used_at_s > shared.used_at_s or latest.readers or not shared.was_read:
                table = latest.stream.session.state.nodes
                facts = tuple(node.facts() for node in table.nodes if node.bytes_received)
                shared.stream.driver.post(NodesRemembered(facts))
        shared.was_read = True

    def close_reader(self, shared: SharedStream, reader: StreamReader) -> None:
        """Take a reader away; its stream stays for a while."""
        reader.close()
        shared.readers -= 1
        shared.used_at_s = self._loop.time()

    async def close_idle(self, *, keep: StreamKey | None = None) -> None:
        """Close streams that nobody has read for long, and the least used beyond the limit."""
        now_s = self._loop.time()
        idle = sorted(
            (shared.used_at_s, key)
            for key, shared in self._streams.items()
            if shared.readers == 0 and key != keep and not self._is_wanted(key)
        )
        surplus = len(self._streams) - STREAMS_MAX
        for position, (used_at_s, key) in enumerate(idle):
            if now_s - used_at_s > IDLE_S or position < surplus:
                await self._close(key)

    def _is_wanted(self, key: StreamKey) -> bool:
        """Whether somebody is about to read it, and only waits for the coordinator's word."""
        return key in self._locks

    async def _is_current(self, shared: SharedStream) -> bool:
        """Whether the name still means this video, asked when it was not in use for a while."""
        if shared.readers or self._loop.time() - shared.used_at_s < RECENT_S:
            return True
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await self._current_id(shared.key.video)
        except (EvenflowError, TimeoutError):
            return True  # nobody can say; who wants another video waits for the coordinator anyway
        return found == shared.stream.manifest.video.id

    async def first(self) -> SessionAccount:
        """Wait until a player has opened a video."""
        future: asyncio.Future[SessionAccount] = self._loop.create_future()
        self._waiting.append(future)
        return await future

    def _tell_who_waits(self, shared: SharedStream) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(shared.account)
        self._waiting.clear()

    async def forget(self, name: str) -> None:
        """Close what nobody reads of a video that was removed."""
        for key, shared in list(self._streams.items()):
            if key.video == name and shared.readers == 0 and not self._is_wanted(key):
                await self._close(key)

    async def _close(self, key: StreamKey) -> None:
        shared = self._streams.get(key)
        if shared is not None:
            await self._end(shared)

    async def _end(self, shared: SharedStream) -> None:
        self._streams.pop(shared.key, None)
        self._ending.append(shared)  # its bytes are never missing from the totals
        try:
            await shared.stream.close()
        finally:
            self._ending.remove(shared)
            self._closed.add(shared)

    async def close(self) -> None:
        """Close everything."""
        for key in list(self._streams):
            await self._close(key)

    def _fetch_tail(self, shared: SharedStream) -> None:
        stream = shared.stream
        chunks = stream.manifest.chunks
        if len(chunks) < 2:
            return
        tail = stream.open_reader(chunks[-1].offset)

        async def fetch() -> None:
            try:
                await asyncio.wait_for(tail.wait_until_ready(), IDLE_S)
            except Exception as error:  # noqa: BLE001 - top of a task; the tail is only a head start
                log.debug("the tail was not fetched: %s", error)
            finally:
                tail.close()

        stream.driver.spawn(fetch())
