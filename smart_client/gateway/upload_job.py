"""One upload: its bytes come in, then go to the nodes."""

import asyncio
import dataclasses
import logging
import os
import time
from collections.abc import AsyncIterable, Coroutine

from redundancy.errors import EvenflowError
from redundancy.quantities import counted
from smart_client.errors import Conflict, InvalidRequest, NameTaken, VideoNotFound
from smart_client.gateway.edge import TooLarge
from smart_client.gateway.rates import RateMeter
from smart_client.gateway.records import ErrorBody, UploadState, UploadStatus
from smart_client.gateway.upload_spool import SpoolRecord, UploadSpool
from smart_client.ingest.ladder.plan import LadderWish
from smart_client.ingest.ladder.storing import LadderOrder, is_stored_as, store_file
from smart_client.ingest.plan_runner import UploadProgress
from smart_client.library import Library

log = logging.getLogger(__name__)

# While the coordinator or too many nodes are away, storing is tried again after this, doubling.
RETRY_S = 1.0
RETRY_S_MAX = 30.0

# ... and given up after this long without a success.
RETRY_FOR_S = 6 * 3600.0

# A task that was cancelled writes down what it has; a slow disk takes its time.
STOP_S = 10.0


class UploadJob:
    """Responsible for one upload from its first byte to its last fragment."""

    def __init__(self, spool: UploadSpool, library: Library, room: asyncio.Semaphore) -> None:
        self.spool = spool
        self.offset = spool.length() if spool.record.state == "receiving" else 0
        if spool.record.state != "receiving":
            self.offset = spool.record.wish.size
        self._library = library
        self._room = room
        self._meter = RateMeter()
        self._progress = UploadProgress()
        self._stage = ""
        self._storing: asyncio.Task[None] | None = None
        self._receiving: asyncio.Task[object] | None = None
        self._last_byte_s = 0.0

    @property
    def record(self) -> SpoolRecord:
        """What is written down of it."""
        return self.spool.record

    @property
    def is_whole(self) -> bool:
        """Whether all bytes are here and none is stored yet."""
        return self.record.state == "receiving" and self.offset >= self.record.wish.size

    @property
    def is_busy(self) -> bool:
        """Whether something is under way."""
        return self._receiving is not None or (
            self._storing is not None and not self._storing.done()
        )

    @property
    def must_begin_anew(self) -> bool:
        """Whether it failed so that its bytes are of no use."""
        return self.record.state == "failed" and self.spool.length() < self.record.wish.size

    def status(self) -> UploadStatus:
        """Return how far it is."""
        record, progress = self.record, self._progress
        receiving = record.state == "receiving"
        done = record.state in ("done", "ladder")  # as far as the file itself is concerned
        working = record.state in ("storing", "ladder")
        total = record.wish.size
        rate = 0.0 if done else self._meter.bytes_per_s(time.monotonic())
        left = total - (self.offset if receiving else progress.durable_bytes)
        return UploadStatus(
            id=record.id,
            name=record.wish.name,
            size=total,
            offset=self.offset,
            state=record.state,
            stored_bytes=total if done else min(total, progress.durable_bytes),
            total_bytes=total,
            rate_bytes_per_s=round(rate, 1),
            eta_s=round(left / rate, 1) if rate > 0 and record.state != "failed" else None,
            stage=self._stage or progress.stage if working else record.state,
            layout=progress.layout,
            redundancy=record.wish.redundancy,
            ladder=record.wish.ladder,
            nodes={
                node: counted(count, "fragment") for node, count in sorted(progress.nodes.items())
            },
            created_ts=record.created_ts,
            sha256=record.sha256,
            error=record.error,
        )

    # -- receiving -------------------------------------------------------------------------------

    async def take_turn(self, takeover_s: float) -> None:
        """Be the one request that sends bytes; a silent older one is ended.

        Raises: Conflict: another request is sending.
        """
        if self._receiving is not None:
            if time.monotonic() - self._last_byte_s < takeover_s:
                raise Conflict(
                    "another request is sending this file now",
                    hint="wait a moment, then ask for the offset and send on",
                    detail={"offset": self.offset},
                )
            older = self._receiving
            older.cancel()
            await asyncio.wait({older}, timeout=STOP_S)
            if self._receiving is not None:
                raise Conflict("an older request is still sending this file")
        self._receiving = asyncio.current_task()
        self._last_byte_s = time.monotonic()

    def leave_turn(self) -> None:
        """Let the next request send."""
        self._receiving = None

    async def receive(
        self, parts: AsyncIterable[bytes], piece_bytes: int, silence_s: float
    ) -> None:
        """Write what comes; on any end what came is kept, made durable and counted.

        Raises: TooLarge: more came than the file was to have, so none of it is kept;
            InvalidRequest, NoSpace.
        Whoever ends it waits for that: the next sender's offset must not change under it, and a
        thread must not write to a file that is closed.
        """
        handle = await asyncio.to_thread(os.open, self.spool.data, os.O_WRONLY | os.O_CLOEXEC)
        pending = bytearray()
        began = self.offset
        try:
            async with asyncio.timeout(silence_s) as limit:
                async for part in parts:
                    self._last_byte_s = time.monotonic()
                    limit.reschedule(asyncio.get_running_loop().time() + silence_s)
                    pending += part
                    if self.offset + len(pending) > self.record.wish.size:
                        raise TooLarge(f"more than the {self.record.wish.size} bytes announced")
                    if len(pending) >= piece_bytes:
                        await self._write(handle, pending)
        except TimeoutError as error:
            raise InvalidRequest(f"no byte came for {silence_s:g} s; what came is kept") from error
        except TooLarge:
            pending.clear()
            os.ftruncate(handle, began)
            self.offset = began
            raise
        finally:
            try:
                await _to_the_end(self._finish(handle, pending))
            finally:
                os.close(handle)

    async def _write(self, handle: int, pending: bytearray) -> None:
        data = bytes(pending)
        pending.clear()
        await _to_the_end(self._append(handle, data))

    async def _append(self, handle: int, data: bytes) -> None:
        await asyncio.to_thread(self.spool.append, handle, self.offset, data)
        self.offset += len(data)
        self._meter.count(len(data), time.monotonic())

    async def _finish(self, handle: int, pending: bytearray) -> None:
        if pending:
            await self._write(handle, pending)
        self.record.changed_ts = time.time()
        await asyncio.to_thread(self.spool.sync, handle, self.offset)

    # -- storing ---------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Store again what had failed."""
        if self.record.state == "failed" and not self.is_busy:
            self.store()

    def store(self) -> None:
        """Send the file to the nodes, in the background."""
        self._storing = asyncio.create_task(self._store())

    async def stop(self) -> None:
        """Stop for now; the next gateway goes on."""
        for task in (self._receiving, self._storing):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=STOP_S)

    async def cancel(self) -> None:
        """Stop for good, and remove what it left here and on nodes."""
        was_storing = self.record.state in ("storing", "ladder", "failed")
        await self.stop()
        await asyncio.to_thread(self.spool.remove)
        if not was_storing:
            return
        name = self.record.wish.name
        try:
            video = await self._library.coordinator.video(name)
            if video.state == "uploading" and video.size == self.record.wish.size:
                await self._library.coordinator.delete_video(name)
        except VideoNotFound:
            pass
        except EvenflowError as error:
            log.info("the unfinished video '%s' stays for now: %s", name, error.message)

    async def _store(self) -> None:
        await self._turn("storing")
        self._meter = RateMeter()
        try:
            async with self._room:
                await self._put_until_stored()
        except EvenflowError as error:
            if self.record.state == "ladder":
                error.message = f"the video is stored, its ladder is not: {error.message}"
            self.record.error = ErrorBody(**error.to_json())  # type: ignore[arg-type]
            await self._turn("failed")
        except Exception:  # top of a task
            log.exception("an upload failed")
            self.record.error = ErrorBody(code="UNEXPECTED", exit=1, message="see the log")
            await self._turn("failed")
        else:
            await asyncio.to_thread(self.spool.drop_data)
            await self._turn("done")

    async def _put_until_stored(self) -> None:
        pause_s, began_s = RETRY_S, time.monotonic()
        while True:
            try:
                await self._put()
                return
            except EvenflowError as error:
                if not error.retryable or time.monotonic() - began_s > RETRY_FOR_S:
                    raise
                self._stage = f"waits, then tries again: {error.message}"
            await asyncio.sleep(pause_s)
            pause_s = min(RETRY_S_MAX, 2 * pause_s)

    async def _put(self) -> None:
        wish = self.record.wish
        self._progress = UploadProgress()
        order = None
        if wish.ladder:
            order = LadderOrder(LadderWish(wish.ladder), self.spool.directory / "ladder")
        try:
            stored = await store_file(
                self._library,
                self.spool.data,
                wish.name,
                redundancy=wish.redundancy,
                ladder=order,
                report=self._report,
            )
            video = stored.video
        except NameTaken:
            # Announced when no video had the name: one that is this file is this upload, made
            # visible a moment before the gateway was stopped.
            video = await self._library.coordinator.video(wish.name)
            if not await asyncio.to_thread(is_stored_as, self.spool.data, video):
                raise
        self.record.sha256 = video.rendition().sha256

    def _report(self, progress: UploadProgress) -> None:
        gained = progress.durable_bytes - self._progress.durable_bytes
        self._meter.count(max(0, gained), time.monotonic())
        self._stage = ""
        if progress.rendition != "original":
            self.record.state = "ladder"
        self._progress = dataclasses.replace(progress, nodes=dict(progress.nodes))

    async def _turn(self, state: UploadState) -> None:
        self.record.state = state
        self.record.changed_ts = time.time()
        if state in ("storing", "done"):
            self.record.error = None
        try:
            await asyncio.to_thread(self.spool.save)
        except EvenflowError as error:
            log.warning("upload %s: %s", self.record.id, error.message)


async def _to_the_end(work: Coroutine[None, None, None]) -> None:
    """Do it all, then heed a cancellation that came meanwhile."""
    task = asyncio.create_task(work)
    was_cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            was_cancelled = True
    if was_cancelled and not task.cancelled():
        task.exception()  # who cancelled does not ask for it
        raise asyncio.CancelledError
    task.result()
