"""The videos the gateway is reading: one shared stream each, kept while somebody may come back."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from smart_client.stream import StreamReader, VideoStream

log = logging.getLogger(__name__)

# A player that seeks closes its request and opens another; a paused one comes back after minutes.
# Until then the decoded bytes stay in the spool, so nothing is fetched twice.
IDLE_S = 300.0

# So many videos are kept open at once, the ones used last.
STREAMS_MAX = 8


class SharedStream:
    """Responsible for one open video and its number of readers."""

    def __init__(self, stream: VideoStream, opened_at_s: float) -> None:
        self.stream = stream
        self.readers = 0
        self.used_at_s = opened_at_s
        self.has_tail = False


class StreamPool:
    """Responsible for opening, sharing and closing streams."""

    def __init__(self, open_stream: Callable[[str], Awaitable[VideoStream]]) -> None:
        self._open_stream = open_stream
        self._streams: dict[str, SharedStream] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._loop = asyncio.get_running_loop()

    @property
    def streams(self) -> dict[str, VideoStream]:
        """Every open stream by its video's name."""
        return {name: shared.stream for name, shared in self._streams.items()}

    async def get(self, name: str) -> SharedStream:
        """Return the open stream of a video, opening it if needed.

        Raises: EvenflowError: there is no such video, or no coordinator to ask.
        """
        async with self._locks.setdefault(name, asyncio.Lock()):
            shared = self._streams.get(name)
            if shared is None or shared.stream.driver.failure is not None:
                if shared is not None:
                    await shared.stream.close()
                shared = SharedStream(await self._open_stream(name), self._loop.time())
                self._streams[name] = shared
            shared.used_at_s = self._loop.time()
        await self.close_idle(keep=name)
        return shared

    def open_reader(self, shared: SharedStream, offset: int) -> StreamReader:
        """Add a reader. The first one also fetches the file's tail, where many keep their index."""
        shared.readers += 1
        reader = shared.stream.open_reader(offset)
        if not shared.has_tail:
            shared.has_tail = True
            self._fetch_tail(shared)
        return reader

    def close_reader(self, shared: SharedStream, reader: StreamReader) -> None:
        """Take a reader away; its stream stays for a while."""
        reader.close()
        shared.readers -= 1
        shared.used_at_s = self._loop.time()

    async def close_idle(self, *, keep: str = "") -> None:
        """Close streams that nobody has read for long, and the least used beyond the limit."""
        now_s = self._loop.time()
        idle = sorted(
            (shared.used_at_s, name)
            for name, shared in self._streams.items()
            if shared.readers == 0 and name != keep
        )
        surplus = len(self._streams) - STREAMS_MAX
        for position, (used_at_s, name) in enumerate(idle):
            if now_s - used_at_s > IDLE_S or position < surplus:
                shared = self._streams.pop(name)
                self._locks.pop(name, None)
                await shared.stream.close()

    async def close(self) -> None:
        """Close everything."""
        for shared in self._streams.values():
            await shared.stream.close()
        self._streams.clear()

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
