"""Uploads by browser: received into a spool on disk, then stored as ``smart-client put`` does.

    receiving ──all bytes are here──▶ storing ──▶ done
        │  ▲ (any number of requests,    │ ▲
        ▼  │  after any interruption)    ▼ │ coordinator or nodes away: tried again
      cancelled                        failed

Nothing of an upload is held in memory but one piece of ``PIECE_BYTES``; what was received survives
the browser, the gateway and the machine.
"""

import asyncio
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterable
from pathlib import Path

from redundancy.errors import NoSpace
from redundancy.quantities import size_text
from smart_client.errors import (
    Conflict,
    GatewayBusy,
    NameTaken,
    UploadNotFound,
    VideoNotFound,
    WrongOffset,
)
from smart_client.gateway.coordinator_watch import CoordinatorWatch
from smart_client.gateway.edge import TooLarge
from smart_client.gateway.records import CreateUpload, UploadStatus
from smart_client.gateway.upload_job import UploadJob
from smart_client.gateway.upload_spool import (
    SpoolRecord,
    UploadSpool,
    free_bytes,
    lock_directory,
)
from smart_client.library import Library

log = logging.getLogger(__name__)

# Written at once; 64 KiB pieces as they come from the network would cost a thread switch each.
PIECE_BYTES = 1024 * 1024

# A sender that says nothing for so long is gone; what it sent is kept.
SILENCE_S = 30.0

# A new request for the same upload may take over from one that has been silent this long: the page
# was loaded again, and the old connection is not known to be dead yet.
TAKEOVER_S = 3.0

# Stored at once; each has its own window of chunks on the way to the nodes.
STORING_MAX = 2

# So much of the disk is left to others.
SPARE_BYTES = 128 * 1024 * 1024

UPLOADS_MAX = 64

# Unfinished uploads are kept this long after their last byte, finished ones are listed this long.
UNFINISHED_S = 7 * 24 * 3600.0
FINISHED_S = 24 * 3600.0
SWEEP_S = 600.0

_OWN_NAME = re.compile(r"[0-9a-f]{16}")


class UploadDesk:
    """Responsible for all uploads of one gateway."""

    def __init__(
        self, directory: Path, library: Library, watch: CoordinatorWatch, *, cluster: str = ""
    ) -> None:
        """Args: cluster: where uploads go; those to another one wait for a gateway of that."""
        self.directory = directory
        self._cluster = cluster
        self._library = library
        self._watch = watch
        self._jobs: dict[str, UploadJob] = {}
        self._room = asyncio.Semaphore(STORING_MAX)
        self._creating = asyncio.Lock()
        self._lock: int | None = None
        self._why_not = "this gateway only plays; use the one of `smart-client serve`"
        self._what_then = ""
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take the directory, and go on with what an earlier gateway left in it."""
        try:
            self._lock = await asyncio.to_thread(lock_directory, self.directory)
        except OSError as error:
            self._why_not = f"{self.directory} cannot be used: {error.strerror}"
            return
        if self._lock is None:
            self._why_not = f"another gateway takes uploads into {self.directory}"
            self._what_then = "use that one, or start this one with --cache-dir DIR"
            log.warning("no uploads here: %s; %s", self._why_not, self._what_then)
            return
        self._why_not = ""
        for spool in await asyncio.to_thread(self._found):
            job = self._add(spool)
            if spool.record.state in ("storing", "ladder") or job.is_whole:
                job.store()
        self._sweeper = asyncio.create_task(self._sweep_for_ever())

    async def close(self) -> None:
        """Stop; what is unfinished goes on with the next gateway."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        await asyncio.gather(*(job.stop() for job in self._jobs.values()))
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
            self._why_not = "the gateway is closing"

    # -- looking ---------------------------------------------------------------------------------

    def all(self) -> tuple[UploadStatus, ...]:
        """Return every upload, the latest first."""
        jobs = sorted(self._jobs.values(), key=lambda job: -job.record.created_ts)
        return tuple(job.status() for job in jobs)

    def status(self, number: str) -> UploadStatus:
        """Return one upload. Raises: UploadNotFound."""
        return self._find(number).status()

    @property
    def under_way(self) -> int:
        """How many uploads are not over."""
        return sum(job.record.state not in ("done", "failed") for job in self._jobs.values())

    # -- changing --------------------------------------------------------------------------------

    async def create(self, wish: CreateUpload) -> tuple[UploadStatus, bool]:
        """Announce an upload, or find the unfinished one; return it and whether it is new.

        Raises: NameTaken: a video, or another file's upload, has the name; NoSpace; GatewayBusy;
            CoordinatorUnreachable.
        """
        self._require_open()
        # Asked before the lock is taken: a coordinator that hangs holds everybody up but once.
        if self._unfinished(wish) is None:
            await self._require_free_name(wish)
        async with self._creating:
            job = self._unfinished(wish)
            if job is not None:
                job.go_on()
                return job.status(), False
            if len(self._jobs) >= UPLOADS_MAX and not self._drop_finished():
                raise GatewayBusy(f"{UPLOADS_MAX} uploads are unfinished", hint="cancel some")
            await asyncio.to_thread(self._require_space, wish.size)
            now_ts = time.time()
            record = SpoolRecord(
                id=secrets.token_hex(8),
                wish=wish,
                created_ts=now_ts,
                changed_ts=now_ts,
                cluster=self._cluster,
            )
            spool = await asyncio.to_thread(UploadSpool.create, self.directory, record)
            job = self._add(spool)
            if job.is_whole:  # an empty file has nothing to send
                job.store()
            return job.status(), True

    async def receive(
        self, number: str, offset: int, length: int | None, parts: AsyncIterable[bytes]
    ) -> UploadStatus:
        """Take bytes from ``offset`` on; whatever ends the request, what came is kept.

        But for a request with more bytes than the file was to have: that is another file, and
        nothing of it is kept.

        Args:
            length: how many bytes were announced; None: unknown.
        Raises: UploadNotFound, WrongOffset, Conflict, TooLarge, NoSpace, InvalidRequest.
        """
        self._require_open()
        job = self._find(number)
        if job.record.state != "receiving":
            raise Conflict(
                f"this upload is {job.record.state}: it takes no bytes",
                detail={"state": job.record.state, "offset": job.offset},
            )
        await job.take_turn(TAKEOVER_S)
        try:
            if offset != job.offset:
                raise WrongOffset(
                    f"{job.offset} bytes are here, so send on from there, not from {offset}",
                    hint="ask for the upload's state, then send the file from its offset on",
                    detail={"offset": job.offset},
                )
            left = job.record.wish.size - offset
            if length is not None and length > left:
                raise TooLarge(f"{length} bytes were announced, {left} are left of this file")
            await job.receive(parts, PIECE_BYTES, SILENCE_S)
        finally:
            job.leave_turn()
        if job.is_whole:
            job.store()
        return job.status()

    async def cancel(self, number: str) -> None:
        """Forget an upload, and what it has left on nodes. Raises: UploadNotFound."""
        job = self._find(number)
        del self._jobs[number]
        await job.cancel()

    # -- helpers ---------------------------------------------------------------------------------

    def _add(self, spool: UploadSpool) -> UploadJob:
        job = UploadJob(spool, self._library, self._room)
        self._jobs[spool.record.id] = job
        return job

    def _find(self, number: str) -> UploadJob:
        job = self._jobs.get(number)
        if job is None:
            raise UploadNotFound(f"no upload '{number}'", hint="announce the file again")
        return job

    def _unfinished(self, wish: CreateUpload) -> UploadJob | None:
        for job in self._jobs.values():
            mine = job.record
            if mine.wish.name != wish.name or mine.state == "done":
                continue
            if mine.wish.size == wish.size and not job.must_begin_anew:
                return job
            if mine.state != "failed":
                raise NameTaken(
                    f"another file is being uploaded as '{wish.name}'",
                    hint="wait for it, cancel it, or choose another name",
                    detail={"id": mine.id, "size": mine.wish.size},
                )
        return None

    async def _require_free_name(self, wish: CreateUpload) -> None:
        try:
            video = await self._watch.ask(self._library.coordinator.video(wish.name))
        except VideoNotFound:
            return
        if video.state == "ready":
            raise NameTaken(
                f"a video named '{wish.name}' exists", hint="choose another name, or remove it"
            )

    def _require_space(self, size: int) -> None:
        owed = sum(
            job.record.wish.size - job.offset
            for job in self._jobs.values()
            if job.record.state == "receiving"
        )
        free = free_bytes(self.directory) - SPARE_BYTES - owed
        if size > free:
            raise NoSpace(
                f"{size_text(size)} do not fit: {size_text(max(0, free))} are free for uploads",
                hint=f"free some space in {self.directory}, or use `smart-client put`",
            )

    def _require_open(self) -> None:
        if self._why_not:
            raise GatewayBusy(self._why_not, hint=self._what_then)

    def _found(self) -> list[UploadSpool]:
        found = []
        for place in sorted(self.directory.iterdir()):
            spool = UploadSpool.load(place) if place.is_dir() else None
            if spool is not None and not _is_old(spool.record, time.time()):
                if spool.record.cluster in ("", self._cluster):
                    found.append(spool)
                else:
                    log.info("an upload of '%s' to another cluster waits", spool.record.wish.name)
            elif _OWN_NAME.fullmatch(place.name):
                shutil.rmtree(place, ignore_errors=True)
        return found

    def _drop_finished(self) -> bool:
        over = [n for n, job in self._jobs.items() if job.record.state == "done"]
        for number in over:
            self._jobs.pop(number).spool.remove()
        return bool(over)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            now_ts = time.time()
            for number, job in list(self._jobs.items()):
                if _is_old(job.record, now_ts) and not job.is_busy:
                    del self._jobs[number]
                    await asyncio.to_thread(job.spool.remove)


def _is_old(record: SpoolRecord, now_ts: float) -> bool:
    keep_s = FINISHED_S if record.state == "done" else UNFINISHED_S
    return now_ts - record.changed_ts > keep_s
