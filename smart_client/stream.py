"""One video being read: a session, its driver, its connections and its spool, put together."""

import asyncio
import contextlib
import logging
import secrets
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from redundancy.errors import EvenflowError
from redundancy.popularity import VIEW_SECONDS, VIEW_SHARE, is_view
from redundancy.quantities import size_text
from smart_client import wire
from smart_client.chunk_cache import ChunkCache
from smart_client.core import events
from smart_client.core.ledger import Ledger
from smart_client.core.metrics import Snapshot, take_snapshot
from smart_client.core.playback_buffer import Reader
from smart_client.core.schedulers import make_scheduler
from smart_client.core.session import Session
from smart_client.core.state import SessionConfig
from smart_client.diagnosis import why_it_waits
from smart_client.driver import SessionDriver
from smart_client.granting import renew_for_ever
from smart_client.spool import Spool
from smart_client.transport.nodes import HttpNodeTransport

READ_BYTES_MAX = 256 * 1024

DECODE_THREADS = 2

# A window of decoded video fits in there: 30 s at 64 Mbit/s.
SPOOL_FREE_BYTES_MIN = 256 * 1024 * 1024

log = logging.getLogger(__name__)


class VideoStream:
    """Responsible for one rendition that is being read by any number of readers."""

    def __init__(
        self,
        manifest: wire.Manifest,
        spool: Spool,
        *,
        scheduler: str = "smart",
        config: SessionConfig | None = None,
        token: str | None = None,
        cache: ChunkCache | None = None,
    ) -> None:
        """Args: cache: where chunks of earlier sessions may be, and verified ones are left."""
        node_ids = [node.id for node in manifest.nodes]
        session = Session(manifest.chunks, node_ids, make_scheduler(scheduler), config)
        self.manifest = manifest
        self.session = session
        self.spool = spool
        self.ledger = Ledger()
        self.began_ts = time.time()
        self.on_view: Callable[[wire.CountView], None] = lambda _: None
        self._transport = HttpNodeTransport(manifest.nodes, token=token, grant=manifest.read_grant)
        self._executor = ThreadPoolExecutor(DECODE_THREADS, "decode")
        self.driver = SessionDriver(
            manifest,
            session,
            self._transport,
            spool,
            executor=self._executor,
            observer=self.ledger.observe,
        )
        self.driver.cache = cache
        self.counts_reads = True  # whether bytes that readers take count as watched
        self._next_reader = 0
        self._playback = secrets.token_hex(16)
        self._seen_s = 0.0
        self._view_counted = False

    def open_reader(
        self, offset: int = 0, *, paced: bool = False, stop: int | None = None
    ) -> "StreamReader":
        """Start reading at a byte offset. A paced reader plays in real time.

        Args: stop: nothing is fetched from there on for this reader; None: to the end.
        """
        number = self._next_reader
        self._next_reader += 1
        if number == 0:
            self._tell_what_is_kept()
        self.driver.post(events.ReaderOpened(number, offset, paced, stop))
        return StreamReader(self, number, offset)

    def _tell_what_is_kept(self) -> None:
        cache = self.driver.cache
        if cache is None:
            return
        chunks = self.manifest.chunks
        here = cache.has(chunk.sha256 for chunk in chunks)
        kept = tuple(n for n, chunk in enumerate(chunks) if chunk.sha256 in here)
        if kept:
            self.driver.post(events.ChunksKept(kept))

    def use_grant(self, grant: str) -> None:
        """Read with a newer grant from now on; what is under way is not disturbed."""
        self._transport.use_grant(grant)

    def keep_current(self, renew: Callable[[], Awaitable[wire.Manifest]]) -> None:
        """Stay able to read as long as the stream lives.

        A newer manifest is asked for when fragments are not where this one says, and, if a grant is
        needed, in good time before it ends. Playing goes on whether that works or not.
        """

        async def fetch_manifest() -> wire.Manifest:
            newer = await renew()
            if newer.read_grant and newer.video.id == self.manifest.video.id:
                self.use_grant(newer.read_grant)
            return newer

        self.driver.fetch_manifest = fetch_manifest
        if self.manifest.read_grant:
            self.driver.spawn(renew_for_ever(self, renew, self._transport.refused))

    def snapshot(self, reader: "StreamReader | None" = None) -> Snapshot:
        """Return the session's figures now."""
        state = self.session.state
        own = state.buffer.readers.get(reader.number) if reader else None
        return take_snapshot(state, self.driver.now_s(), own)

    def seen(self, seconds: float, reader_share: float = 0.0) -> None:
        """Count media that was really watched; report the view once it is one."""
        self._seen_s += seconds
        timeline = self.session.state.timeline
        a_quarter = reader_share >= VIEW_SHARE
        if not self._view_counted and (is_view(self._seen_s, timeline.end_s) or a_quarter):
            self._view_counted = True
            # A quarter of a film whose length nobody knows is a view too, and only seconds travel.
            least_s = 0.0 if timeline.has_time else VIEW_SECONDS
            view = wire.CountView(playback=self._playback, played_s=max(self._seen_s, least_s))
            self.on_view(view)

    async def close(self) -> None:
        """Stop everything and give the spool back."""
        await self.driver.close()
        await self._transport.close()
        self._executor.shutdown(wait=True, cancel_futures=True)
        self.spool.close()


class StreamReader:
    """Responsible for one reader's bytes."""

    def __init__(self, stream: VideoStream, number: int, offset: int) -> None:
        self.number = number
        self.position = offset
        self._stream = stream
        self._began = offset

    @property
    def core(self) -> Reader:
        """The session's own record of this reader."""
        return self._stream.session.state.buffer.readers[self.number]

    async def read(self, size: int = READ_BYTES_MAX, *, patience_s: float | None = None) -> bytes:
        """Return the next bytes, at most ``size``; empty at the end of the video.

        Args:
            size: upper bound of what is returned.
            patience_s: give up after so long without anything new; None waits for ever.
        Raises: EvenflowError: the bytes cannot be had, and why.
        """
        stream = self._stream
        total = stream.manifest.rendition.size
        if self.position >= total:
            return b""
        await self.wait_until_ready(patience_s=patience_s)
        take = min(size, self.core.frontier - self.position)
        offset = self.position
        data = await asyncio.to_thread(stream.spool.read, offset, take)
        self.move(offset + len(data))
        return data

    async def wait_until_ready(self, *, patience_s: float | None = None) -> None:
        """Return when at least one byte at the reader's position is ready."""
        stream = self._stream
        counters = stream.session.state.counters
        received, since_s = counters.received_bytes, stream.driver.now_s()
        while self.core.frontier <= self.position:
            if counters.received_bytes != received:
                received, since_s = counters.received_bytes, stream.driver.now_s()
            if stream.driver.failure is not None:
                raise stream.driver.failure
            chunk = stream.session.state.timeline.chunk_at(self.position)
            trouble = why_it_waits(stream.session.state, stream.manifest, chunk)
            if trouble is not None and patience_s is not None:
                raise trouble
            left_s = None
            if patience_s is not None:
                left_s = since_s + patience_s - stream.driver.now_s()
                if left_s <= 0:  # whatever else happened: no byte came
                    raise self._gave_up(chunk, patience_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stream.driver.wait_for_progress(), left_s)

    def move(self, position: int) -> None:
        """Say that everything before ``position`` was taken, or seek there."""
        timeline = self._stream.session.state.timeline
        before_s = timeline.time_at(self.position)
        ahead = position > self.position
        self.position = position
        self._stream.driver.post(events.ReaderMoved(self.number, position))
        if ahead and self._stream.counts_reads:
            share = (position - self._began) / max(1, timeline.size)
            self._stream.seen(timeline.time_at(position) - before_s, share)

    def close(self) -> None:
        """Stop reading."""
        self._stream.driver.post(events.ReaderClosed(self.number))

    def _gave_up(self, chunk: int, patience_s: float) -> EvenflowError:
        state, manifest = self._stream.session.state, self._stream.manifest
        error = why_it_waits(
            state,
            manifest,
            chunk,
            gave_up_after_s=patience_s,
            failures=self._stream.driver.failures,
        )
        assert error is not None
        return error


def default_spool(directory: str) -> Spool:
    """Return a nameless spool in the cache directory.

    Where that cannot be, or is about to be full, it is in the system's temporary directory if more
    is free there.
    """
    cache, temporary = Path(directory), Path(tempfile.gettempdir())
    try:
        cache.mkdir(parents=True, exist_ok=True)
        free_bytes = shutil.disk_usage(cache).free
        if free_bytes >= SPOOL_FREE_BYTES_MIN or free_bytes >= shutil.disk_usage(temporary).free:
            return Spool.nameless(cache)
        log.warning(
            "%s free in %s: decoded video goes to %s", size_text(free_bytes), cache, temporary
        )
    except OSError as error:
        log.info("no decoded video in %s: %s", cache, error)
    return Spool.nameless(temporary)
