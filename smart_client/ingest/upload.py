"""Stores a file: reads, encodes and sends chunks in a bounded window, records them, commits.

A group of chunks is recorded when all of them are durable; the video becomes visible when all
groups are. Fragments that a slow or absent node did not take are sent in a second pass, when the
video can be played already.
"""

import asyncio
import os
import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from redundancy.errors import EvenflowError
from redundancy.rows import RowGeometry
from redundancy.scheme import Layout
from smart_client import wire
from smart_client.errors import Conflict, InvalidRequest
from smart_client.ingest.chunk_source import ChunkSource, SourceChunk
from smart_client.ingest.plan_runner import PlanRunner, UploadProgress
from smart_client.ingest.probe import probe_file
from smart_client.ingest.segment import ByteClock, Cut, plan_cuts
from smart_client.ingest.upload_plan import ChunkUpload
from smart_client.transport.coordinator import CoordinatorClient

ORIGINAL = "original"

# Chunks being sent at once. 8 x 2 MiB x 5/3 is 28 MiB of buffers, enough to keep five nodes busy.
WINDOW_CHUNKS = 8

# A node that was away may be back for the second pass after this long, or after that ...
SECOND_PASS_PAUSES_S = (1.0, 2.0)

# ... which is tried if the first took less than this: the keeper makes good what is missing.
SECOND_PASSES_S = 3.0


@dataclass(frozen=True, slots=True)
class UploadResult:
    """What was stored."""

    video: wire.VideoRecord
    chunks: int
    stored_bytes: int
    missing_fragments: int
    resumed_chunks: int
    was_there: bool = False  # as this very file: nothing was sent


class Uploader:
    """Responsible for storing one file."""

    def __init__(
        self,
        coordinator: CoordinatorClient,
        *,
        token: str | None = None,
        report: Callable[[UploadProgress], None] = lambda _: None,
    ) -> None:
        self._coordinator = coordinator
        self._loop = asyncio.get_running_loop()
        self._executor = ThreadPoolExecutor(max(2, os.cpu_count() or 2), "encode")
        self._runner = PlanRunner(self._settled, token=token, report=report)
        self._records: dict[int, wire.ChunkRecord] = {}
        self._versions: dict[int, int] = {}  # of the group registers

    async def put(self, path: Path, name: str, redundancy: str = "auto") -> UploadResult:
        """Store ``path`` as ``name``. An interrupted upload of the same file goes on.

        Raises: EvenflowError: with the exit code and the next step.
        """
        try:
            probe = await self._loop.run_in_executor(self._executor, probe_file, path)
            wish = wire.CreateVideo(
                name=name, size=probe.size, redundancy=redundancy, media=probe.media
            )
            video = await self._coordinator.create_video(wish)
            clock = ByteClock(probe.size, probe.media.duration_s, probe.keyframes, probe.media_end)
            described = wire.RenditionRecord(
                name=ORIGINAL,
                size=probe.size,
                sha256="",
                mime=probe.mime,
                duration_s=probe.media.duration_s,
                chunk_count=0,
            )
            cuts = plan_cuts(probe.size, clock)
            source = ChunkSource(path, described, cuts, video=video, media=probe.media)
            try:
                return await self._store(source)
            except InvalidRequest:
                await self._clean_up(source)
                raise
            finally:
                source.close()
        finally:
            await self._runner.close()
            self._executor.shutdown(wait=True, cancel_futures=True)

    async def add_rendition(
        self,
        video: wire.VideoRecord,
        path: Path,
        described: wire.RenditionRecord,
        cuts: Sequence[Cut],
    ) -> UploadResult:
        """Store ``path`` as a further rendition of a ready video.

        Raises: EvenflowError; Conflict: somebody else added one meanwhile.
        """
        source = ChunkSource(path, described, cuts, video=video, media=video.media)
        try:
            return await self._store(source)
        finally:
            source.close()
            await self._runner.close()
            self._executor.shutdown(wait=True, cancel_futures=True)

    async def _store(self, source: ChunkSource) -> UploadResult:
        progress = self._runner.progress
        progress.name, progress.layout = source.video.name, str(source.layout)
        progress.total_bytes, progress.stage = source.size, "storing"
        progress.rendition = source.name
        resumed = await self._find_earlier_work(source)
        for first in range(0, len(source.cuts), wire.GROUP_CHUNKS):
            await self._store_group(source, first)
        commit = wire.CommitVideo(
            video_id=source.video.id,
            media=source.media,
            renditions=(*source.video.renditions, source.rendition()),
        )
        video = await self._coordinator.commit_video(source.video.name, commit)
        missing = await self._complete(source)
        progress.stage = "done"
        stored = sum(map(payload_bytes, self._records.values()))
        return UploadResult(video, len(source.cuts), stored, missing, resumed)

    async def _find_earlier_work(self, source: ChunkSource) -> int:
        """Learn which groups an interrupted upload of the same file has recorded."""
        for stored in await self._coordinator.groups(source.video.name, source.name):
            self._versions[stored.number] = stored.version
            for chunk in stored.group.chunks:
                self._records[chunk.number] = chunk
        return len(self._records)

    # -- first pass ------------------------------------------------------------------------------

    async def _store_group(self, source: ChunkSource, first: int) -> None:
        numbers = range(first, min(first + wire.GROUP_CHUNKS, len(source.cuts)))
        if all(number in self._records for number in numbers) and await self._is_this(
            source, numbers
        ):
            return
        placements = await self._place(source, first)
        for number, place in zip(numbers, placements, strict=True):
            await self._runner.wait_for_room(WINDOW_CHUNKS, patient=False)
            upload = ChunkUpload(
                number=number,
                needed=fragments_needed(source.layout),
                spares=list(place.spares),
                targets=dict(enumerate(place.nodes)),
            )
            self._runner.offer(await source.chunk(number, self._executor), upload)
        await self._runner.wait_for_room(1, patient=False)
        await self._record_group(source, first)

    async def _is_this(self, source: ChunkSource, numbers: Sequence[int]) -> bool:
        """Whether what was recorded earlier is this very file. Raises: Conflict: it must be."""
        for number in numbers:
            record, cut = self._records[number], source.cuts[number]
            sha256 = await source.chunk_hash(number, self._executor)
            if (sha256, cut.offset, cut.size) != (record.sha256, record.offset, record.size):
                if source.name != ORIGINAL:
                    return False  # another encoder made it; nobody has seen it yet
                name = source.video.name
                raise Conflict(
                    f"an unfinished upload of another file is named '{name}'",
                    hint=f"smart-client rm {shlex.quote(name)}, or choose another --name",
                )
        self._runner.progress.durable_bytes += sum(source.cuts[n].size for n in numbers)
        return True

    async def _place(self, source: ChunkSource, first: int) -> Sequence[wire.ChunkPlacement]:
        count = min(wire.GROUP_CHUNKS, len(source.cuts) - first)
        wish = wire.PlaceChunks(
            video_id=source.video.id,
            rendition=source.name,
            first_chunk=first,
            count=count,
            layout=wire.LayoutRecord.of(source.layout),
            size=sum(cut.size for cut in source.cuts[first : first + count]),
        )
        placements = await self._coordinator.place(source.video.name, wish)
        self._runner.connect(placements.nodes)
        return placements.chunks

    def _settled(self, chunk: SourceChunk, upload: ChunkUpload) -> None:
        stored = {index: chunk.fragments[index] for index in upload.stored}
        self._records[chunk.number] = wire.ChunkRecord(
            number=chunk.number,
            offset=chunk.cut.offset,
            size=chunk.cut.size,
            sha256=chunk.sha256,
            start_s=chunk.cut.start_s,
            duration_s=chunk.cut.duration_s,
            layout=wire.LayoutRecord.of(chunk.fragments[0].footer.layout),
            fragments=tuple(
                wire.FragmentRecord(index=index, node=node, key=stored[index].key)
                for index, node in sorted(upload.stored.items())
            ),
        )

    async def _record_group(self, source: ChunkSource, first: int) -> None:
        number = first // wire.GROUP_CHUNKS
        last = min(first + wire.GROUP_CHUNKS, len(source.cuts))
        chunks = tuple(self._records[n] for n in range(first, last))
        group = wire.StoreGroup(
            video_id=source.video.id,
            rendition=source.name,
            expected_version=self._versions.get(number, 0),
            group=wire.GroupRecord(chunks=chunks),
        )
        self._versions[number] = await self._coordinator.store_group(
            source.video.name, number, group
        )

    # -- second pass -----------------------------------------------------------------------------

    async def _complete(self, source: ChunkSource) -> int:
        """Send what is missing to whoever takes it now; return how many are still missing."""
        total = source.layout.fragments_total
        began_s = self._loop.time()
        for pause_s in SECOND_PASS_PAUSES_S:
            short = [n for n, record in self._records.items() if len(record.fragments) < total]
            if not short or self._loop.time() - began_s > SECOND_PASSES_S:
                break
            self._runner.progress.stage = "completing"
            await asyncio.sleep(pause_s)
            self._runner.begin_second_pass()
            for first in sorted({n - n % wire.GROUP_CHUNKS for n in short}):
                group = range(first, first + wire.GROUP_CHUNKS)
                await self._complete_group(source, first, [n for n in short if n in group])
        return sum(total - len(record.fragments) for record in self._records.values())

    async def _complete_group(
        self, source: ChunkSource, first: int, numbers: Sequence[int]
    ) -> None:
        try:
            placements = await self._place(source, first)
        except EvenflowError:
            return  # fewer nodes than the layout needs are up: nothing to be gained now
        before = {n: self._records[n] for n in numbers}
        for number in numbers:
            await self._runner.wait_for_room(WINDOW_CHUNKS, patient=True)
            await self._offer_missing(source, number, placements[number - first])
        await self._runner.wait_for_room(1, patient=True)
        if any(self._records[n] != before[n] for n in numbers):
            await self._record_group(source, first)

    async def _offer_missing(
        self, source: ChunkSource, number: int, place: wire.ChunkPlacement
    ) -> None:
        stored = {f.index: f.node for f in self._records[number].fragments}
        free = [n for n in (*place.nodes, *place.spares) if n not in stored.values()]
        missing = [i for i in range(source.layout.fragments_total) if i not in stored]
        upload = ChunkUpload(
            number=number,
            needed=len(stored),
            spares=free[len(missing) :],
            targets=stored | dict(zip(missing, free, strict=False)),
            stored=stored,
            is_durable=True,
        )
        self._runner.offer(await source.chunk(number, self._executor), upload)

    # -- failure ---------------------------------------------------------------------------------

    async def _clean_up(self, source: ChunkSource) -> None:
        """Nothing of this upload can ever be used: remove what it left."""
        recorded = {number * wire.GROUP_CHUNKS for number in self._versions}
        orphans = [
            (fragment.node, fragment.key)
            for number, record in self._records.items()
            if number - number % wire.GROUP_CHUNKS not in recorded
            for fragment in record.fragments
        ]
        await self._runner.delete(orphans)
        await self._coordinator.delete_video(source.video.name)


def fragments_needed(layout: Layout) -> int:
    """Return how many stored fragments make a chunk durable: one more than it takes to read it."""
    return min(layout.scheme.k + 1, layout.fragments_total)


def payload_bytes(chunk: wire.ChunkRecord) -> int:
    """Return what the fragments of a chunk take on disk, footers aside."""
    layout = chunk.layout.to_layout()
    geometry = RowGeometry(chunk.size, layout.scheme.k)
    return sum(
        geometry.copy_bytes if layout.is_copy(fragment.index) else geometry.payload_bytes
        for fragment in chunk.fragments
    )


def check_name(name: str) -> str:
    """Return a usable video name, or raise ``InvalidRequest`` saying what is allowed."""
    try:
        wire.decode(wire.encode(name), wire.Name)
    except InvalidRequest as error:
        raise InvalidRequest(
            f"'{name}' cannot name a video",
            hint="a letter or digit first, then letters, digits, spaces and .,@+()[]'!&=-_ only, "
            "200 at most: --name NAME",
        ) from error
    return name
