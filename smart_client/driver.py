"""Runs a session on sockets: commands become requests, what happens becomes events.

Decides nothing. The only place of the client that reads the clock for the core.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Final

from redundancy.errors import EvenflowError, InvalidFragment
from smart_client.chunk_buffers import ChunkBuffers
from smart_client.chunk_cache import ChunkCache
from smart_client.core import commands, events
from smart_client.core.commands import Command
from smart_client.core.events import Event, FailureKind
from smart_client.core.session import Session
from smart_client.piece_request import PieceRequest
from smart_client.placing import placement_events
from smart_client.spool import Spool
from smart_client.transport.errors import TransportFailure
from smart_client.transport.nodes import NodeTransport
from smart_client.wire import ChunkRecord, Manifest

log = logging.getLogger(__name__)

# A timer that fires later than this: the process did not run (a busy machine, a laptop's lid).
LATE_S: Final = 0.1

# Told after every step: the instant, what happened, and what the session commanded.
Observer = Callable[[float, Event, Sequence[Command]], None]

# Fetches the manifest anew. Raises: EvenflowError: nobody has it, for now.
FetchManifest = Callable[[], Awaitable[Manifest]]


class SessionDriver:
    """Responsible for one running session.

    ``executor`` decodes, writes and hashes; without one that happens in the loop (tests in virtual
    time). Readers are added through ``post``; ``wait_for_progress`` wakes them.
    """

    def __init__(
        self,
        manifest: Manifest,
        session: Session,
        transport: NodeTransport,
        spool: Spool,
        *,
        executor: Executor | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.manifest = manifest
        self.session = session
        self.spool = spool
        self.failure: EvenflowError | None = None  # why nothing can go on
        self.failures: dict[int, str] = {}  # node -> why it last gave nothing
        self.wire_bytes = 0  # everything that came from nodes, wasted or not
        self.fetch_manifest: FetchManifest | None = None  # None: what is known is all there is
        self.cache: ChunkCache | None = None  # where verified chunks are left, and looked for
        self._transport = transport
        self._executor = executor
        self._observers: list[Observer] = [] if observer is None else [observer]
        self._loop = asyncio.get_running_loop()
        self._origin_s = self._loop.time()
        self._buffers = [self._new_buffers(chunk) for chunk in manifest.chunks]
        self._keys = [{f.index: f.key for f in chunk.fragments} for chunk in manifest.chunks]
        self._requests: dict[int, PieceRequest] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: deque[Event] = deque()
        self._handling = False
        self._timer: asyncio.TimerHandle | None = None
        self._progress = asyncio.Event()
        self._closed = False

    # -- for readers and dashboards --------------------------------------------------------------

    def now_s(self) -> float:
        """Return the session's present instant."""
        return self._loop.time() - self._origin_s

    def observe(self, observer: Observer) -> None:
        """Tell ``observer`` every step from now on."""
        self._observers.append(observer)

    def post(self, event: Event) -> None:
        """Hand an event to the session and carry out what it commands, in order."""
        if not self._handling and self._timer is not None:
            late_s = self._loop.time() - self._timer.when()
            if late_s > LATE_S:
                self._queue.append(events.WokeLate(late_s))
                self._timer.cancel()
                self._timer = None
        self._queue.append(event)
        if self._handling or self._closed:
            return
        self._handling = True
        try:
            while self._queue:
                self._step(self._queue.popleft())
        finally:
            self._handling = False
        self._arm_timer()

    async def wait_for_progress(self) -> None:
        """Return after the next step that made rows ready or changed a reader.

        Raises: the error that stopped the session, if one did.
        """
        if self.failure is not None:
            raise self.failure
        await self._progress.wait()
        if self.failure is not None:
            raise self.failure

    async def close(self) -> None:
        """Cancel everything under way and wait for it. The transport is the caller's to close."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._wake()

    # -- the loop of the core --------------------------------------------------------------------

    def _step(self, event: Event) -> None:
        now_s = self.now_s()
        if isinstance(event, events.ChunkVerified):
            self._buffers[event.chunk].free_payloads()
        issued = self.session.handle(event, now_s)
        for observer in self._observers:
            observer(now_s, event, issued)
        for command in issued:
            self._carry_out(command)
        ready = events.RowsDecoded | events.ReaderMoved | events.ChunkRecalled
        if isinstance(event, ready) or any(
            isinstance(command, commands.Notice) for command in issued
        ):
            self._wake()

    def _wake(self) -> None:
        self._progress.set()
        self._progress = asyncio.Event()

    def _arm_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_s = self.session.next_wakeup_s()
        if wake_s < float("inf") and not self._closed:
            at_s = max(self._loop.time(), self._origin_s + wake_s)
            self._timer = self._loop.call_at(at_s, self._tick)

    def _tick(self) -> None:
        self.post(events.Tick())

    def _carry_out(self, command: Command) -> None:
        match command:
            case commands.Fetch() | commands.FetchFooter():
                self._start_request(command)
            case commands.Shorten():
                self._shorten(command)
            case commands.Cancel():
                self._cancel(command.piece)
            case commands.Probe():
                self.spawn(self._probe(command.node))
            case commands.Decode():
                buffers = self._buffers[command.chunk]
                at = self._spool_offset(command.chunk, command.first_row)
                self._work(command.chunk, partial(self._decode, command, buffers, at))
            case commands.VerifyChunk() | commands.Recall():
                job = self._verify if isinstance(command, commands.VerifyChunk) else self._recall
                self._work(command.chunk, partial(job, command.chunk))
            case commands.Discard():
                self._discard(command.chunk)
            case commands.AskPlacement() if self.fetch_manifest is not None:
                self.spawn(self._ask_placement(self.fetch_manifest))
            case commands.Relocate():
                self._relocate(command)
            case _:
                pass

    # -- requests --------------------------------------------------------------------------------

    def _start_request(self, command: commands.Fetch | commands.FetchFooter) -> None:
        request = PieceRequest(command, self._buffers[command.chunk], self.post)
        self._requests[command.piece] = request
        request.task = self.spawn(self._run(request))

    async def _run(self, request: PieceRequest) -> None:
        piece = request.piece
        key = self._keys[request.chunk][request.fragment]
        outcome: Event
        try:
            await self._transport.fetch(request.node, key, request.start, request.stop, request)
            outcome = self._finish(request)
        except TransportFailure as failure:
            log.debug("piece %d: %s", piece, failure)
            self.failures[request.node] = str(failure)
            outcome = events.PieceFailed(piece, failure.kind, request.good_bytes)
            if request.is_complete:
                outcome = events.PieceDone(piece)
        finally:
            self.wire_bytes += request.wire_bytes
            current = self._requests.get(piece) is request
            if current:
                del self._requests[piece]
        if current:
            self.post(outcome)

    def _finish(self, request: PieceRequest) -> Event:
        if request.stop is not None:
            return events.PieceDone(request.piece)
        try:
            bad = self._buffers[request.chunk].accept_footer(
                request.fragment, bytes(request.footer)
            )
        except InvalidFragment as error:
            log.debug("piece %d: %s", request.piece, error)
            return events.PieceFailed(request.piece, FailureKind.CORRUPT, 0)
        for fragment in bad:
            self._queue.append(events.BlocksRejected(request.chunk, fragment))
        return events.FooterKnown(request.piece, len(request.footer))

    def _shorten(self, command: commands.Shorten) -> None:
        request = self._requests.get(command.piece)
        if request is None:
            return
        request.stop = command.stop
        if request.is_complete and request.task is not None:
            del self._requests[command.piece]
            request.task.cancel()
            self._queue.append(events.PieceDone(command.piece))

    def _cancel(self, piece: int) -> None:
        request = self._requests.pop(piece, None)
        if request is not None and request.task is not None:
            request.task.cancel()

    async def _probe(self, node: int) -> None:
        outcome: Event
        try:
            outcome = events.ProbeAnswered(node, await self._transport.ping(node))
        except TransportFailure as failure:
            self.failures[node] = str(failure)
            outcome = events.ProbeFailed(node, failure.kind)
        self.post(outcome)

    # -- where fragments lie ---------------------------------------------------------------------

    async def _ask_placement(self, fetch_manifest: FetchManifest) -> None:
        try:
            newer = await fetch_manifest()
        except EvenflowError as error:
            log.info("where fragments lie now cannot be told: %s", error.message)
            self.post(events.PlacementUnknown())
            return
        if newer.video.id != self.manifest.video.id:
            log.info("another video has the name by now: '%s'", newer.video.name)
            self.post(events.PlacementUnknown())
            return
        node_ids = self._transport.use_nodes(newer.nodes)
        for event in placement_events(self.session.state.records, newer.chunks, node_ids):
            self.post(event)

    def _relocate(self, command: commands.Relocate) -> None:
        record = self.session.state.records[command.chunk]
        self._keys[command.chunk] = {f.index: f.key for f in record.fragments}
        if command.anew:
            self._buffers[command.chunk].clear()  # late results are of another life
            self._buffers[command.chunk] = self._new_buffers(record)

    def _new_buffers(self, record: ChunkRecord) -> ChunkBuffers:
        return ChunkBuffers(record, self.manifest.video.id, self.manifest.rendition.name)

    # -- decoding --------------------------------------------------------------------------------

    def _decode(self, command: commands.Decode, buffers: ChunkBuffers, at: int) -> Event:
        """Put rows together from these buffers, and into the spool at this offset."""
        data = buffers.assemble(command.first_row, command.rows, command.fragments)
        self.spool.write(at, data)
        return events.RowsDecoded(command.chunk, command.first_row, command.rows)

    def _spool_offset(self, index: int, row: int) -> int:
        state = self.session.state
        return state.timeline.offsets[index] + state.chunks[index].geometry.chunk_range(row, 1)[0]

    def _verify(self, index: int) -> Event:
        chunk = self.manifest.chunks[index]
        data = self.spool.read(chunk.offset, chunk.size)
        if hashlib.sha256(data).hexdigest() != chunk.sha256:
            return events.ChunkRejected(index)
        kept = self.cache is not None and self.cache.keep(chunk.sha256, data)
        return events.ChunkVerified(index, kept)

    def _recall(self, index: int) -> Event:
        """Copy a chunk from the cache, which checks it, into the spool."""
        chunk = self.manifest.chunks[index]
        data = None if self.cache is None else self.cache.load(chunk.sha256, chunk.size)
        if data is None:
            return events.RecallFailed(index)
        self.spool.write(chunk.offset, data)
        return events.ChunkRecalled(index)

    def _work(self, chunk: int, job: Callable[[], Event]) -> None:
        if self._executor is None:
            self._queue.append(job())
        else:
            buffers = self._buffers[chunk]
            self.spawn(self._in_thread(buffers, buffers.epoch, job))

    async def _in_thread(self, buffers: ChunkBuffers, epoch: int, job: Callable[[], Event]) -> None:
        """Do a job that was given in this epoch; if another has begun by then, it is nothing."""
        try:
            outcome = await self._loop.run_in_executor(self._executor, job)
        except EvenflowError as error:
            self._fail(error)
            return
        except KeyError:
            if buffers.epoch == epoch:
                raise
            return  # the chunk was thrown away while the job waited for its turn
        if buffers.epoch == epoch:
            self.post(outcome)

    def _discard(self, index: int) -> None:
        self._buffers[index].clear()
        chunk = self.manifest.chunks[index]
        self.spool.forget(chunk.offset, chunk.size)

    # -- tasks -----------------------------------------------------------------------------------

    def spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        """Run work that ends with the session."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_is_over)
        return task

    def _task_is_over(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a task of the session failed", exc_info=error)
            self._fail(EvenflowError(f"{type(error).__name__}: {error}", hint="this is a bug"))

    def _fail(self, error: EvenflowError) -> None:
        if self.failure is None:
            self.failure = error
        self._wake()
