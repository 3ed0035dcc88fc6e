"""Carries an ``UploadPlan`` out: puts fragments to nodes and tells the plan what became of them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf

from redundancy.errors import EvenflowError, NoSpace
from smart_client import wire
from smart_client.errors import AccessDenied, TooFewNodesUp
from smart_client.ingest.chunk_source import SourceChunk
from smart_client.ingest.upload_plan import (
    Abort,
    ChunkUpload,
    Durable,
    PlanCommand,
    Put,
    Settled,
    UploadPlan,
)
from smart_client.transport.errors import TransportFailure
from smart_client.transport.nodes import NodeConnections

log = logging.getLogger(__name__)

# Without a single fragment stored for this long, too few nodes are there to go on.
GIVE_UP_S = 20.0

# A node that is slow but moving may hold the next step up for this long.
STRAGGLER_S = 3.0

# A chunk that found too few takers is offered again after this.
OFFER_AGAIN_S = 0.2


@dataclass(slots=True)
class UploadProgress:
    """How far an upload has come, for progress lines."""

    name: str = ""
    layout: str = ""
    total_bytes: int = 0
    durable_bytes: int = 0
    stored_bytes: int = 0
    nodes: dict[str, int] = field(default_factory=dict)  # fragments stored by each
    stage: str = "probing"  # probing, storing, completing, done, or "ladder 480p 34 %"
    rendition: str = "original"
    encoded_share: float | None = None  # of a rendition of a ladder; None: nothing is encoded now


class PlanRunner:
    """Responsible for the puts of one upload.

    ``settled`` is called with each chunk that is durable and has nothing under way any more.
    """

    def __init__(
        self,
        settled: Callable[[SourceChunk, ChunkUpload], None],
        *,
        token: str | None = None,
        report: Callable[[UploadProgress], None] = lambda _: None,
    ) -> None:
        self.progress = UploadProgress()
        self._settled = settled
        self._token = token
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._plan = UploadPlan()
        self._connections: dict[str, NodeConnections] = {}
        self._chunks: dict[int, SourceChunk] = {}
        self._to_offer_again = 0
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._stored_at_s = self._loop.time()
        self._trouble: EvenflowError | None = None
        self._refused: dict[str, str] = {}  # node -> why its last put failed
        self._is_denied = False  # a node refused the token
        self._bug: BaseException | None = None

    @property
    def under_way(self) -> int:
        """How many chunks are not settled."""
        return len(self._plan.chunks) + self._to_offer_again

    def connect(self, nodes: Sequence[wire.NodeRecord]) -> None:
        """Make connections to nodes that have none yet."""
        for record in nodes:
            if record.id not in self._connections:
                self._connections[record.id] = NodeConnections(record, token=self._token)

    def offer(self, chunk: SourceChunk, upload: ChunkUpload) -> None:
        """Store a chunk's fragments as ``upload`` says."""
        self._chunks[chunk.number] = chunk
        sizes = [fragment.size_bytes for fragment in chunk.fragments]
        self._apply(self._plan.offer(upload, sizes, self._loop.time()))

    def begin_second_pass(self) -> None:
        """Ask every node again, and no longer wait long for one that is silent: nobody has to."""
        self._plan.silence_alone_s = STRAGGLER_S
        self._plan.ask_all_again(self._loop.time())

    async def wait_for_room(self, chunks_max: int, *, patient: bool) -> None:
        """Return when fewer than ``chunks_max`` chunks are under way.

        Unless ``patient``, slow nodes are not waited for: what is missing of durable chunks is left
        for later. Raises: TooFewNodesUp, or what the nodes said.
        """
        began_s = self._loop.time()
        while self.under_way >= chunks_max:
            if not patient:
                self._hurry(at_once=self._loop.time() - began_s > STRAGGLER_S)
                if self.under_way < chunks_max:
                    break
            if self._bug is not None:
                raise self._bug
            is_hopeless = self._is_denied and not self.progress.nodes and not self._tasks
            if is_hopeless or self._loop.time() - self._stored_at_s > GIVE_UP_S:
                raise self._too_few_nodes()
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), 0.25)
            except TimeoutError:
                self._apply(self._plan.tick(self._loop.time()))
            self._report(self.progress)
        self._report(self.progress)

    def _hurry(self, *, at_once: bool) -> None:
        for number in list(self._plan.chunks):
            if number in self._plan.chunks:
                self._apply(self._plan.hurry(number, self._loop.time(), at_once=at_once))

    async def delete(self, places: Sequence[tuple[str, str]]) -> None:
        """Drop fragments (node, key) that nothing will ever name, as far as nodes answer."""
        for node, key in places:
            connection = self._connections.get(node)
            if connection is not None:
                try:
                    await asyncio.wait_for(connection.delete(key), 2.0)
                except (TransportFailure, EvenflowError, TimeoutError) as error:
                    log.debug("%s keeps %s: %s", node, key[:12], error)

    async def close(self) -> None:
        """Stop all puts and drop the connections."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(each.close() for each in self._connections.values()))

    # -- commands --------------------------------------------------------------------------------

    def _apply(self, issued: Sequence[PlanCommand]) -> None:
        for command in issued:
            match command:
                case Put():
                    task = self._loop.create_task(self._send(command))
                    self._tasks[command.put] = task
                    task.add_done_callback(self._put_is_over)
                case Abort():
                    aborted = self._tasks.pop(command.put, None)
                    if aborted is not None:
                        aborted.cancel()
                case Durable():
                    self.progress.durable_bytes += self._chunks[command.chunk].cut.size
                case Settled():
                    self._settle(command.chunk)
        self._arm()
        self._changed.set()

    async def _send(self, command: Put) -> None:
        fragment = self._chunks[command.chunk].fragments[command.fragment]
        plan, loop, put = self._plan, self._loop, command.put
        issued: Sequence[PlanCommand]
        try:
            await self._connections[command.node].put(
                fragment.key,
                fragment.parts,
                lambda count: self._apply(plan.progress(put, count, loop.time())),
            )
            self._stored_at_s = loop.time()
            self._refused.pop(command.node, None)
            self.progress.stored_bytes += fragment.size_bytes
            self.progress.nodes[command.node] = self.progress.nodes.get(command.node, 0) + 1
            issued = plan.done(put, loop.time())
        except NoSpace:
            self._trouble = NoSpace(
                f"node {command.node} is full, and too few others have room",
                hint="delete videos or add nodes, then run the same command again to go on",
            )
            issued = plan.full(put, loop.time())
        except TransportFailure as error:
            self._refused[command.node] = str(error)
            issued = plan.failed(put, loop.time())
        except AccessDenied as error:
            self._is_denied = True
            self._trouble = AccessDenied(
                f"node {command.node} refuses this token: {error.message}",
                hint="coordinator, nodes and clients need the same secret (--token-file); then run "
                "the same command again to go on",
            )
            issued = plan.failed(put, loop.time())
        except EvenflowError as error:
            self._trouble = error
            issued = plan.failed(put, loop.time())
        self._tasks.pop(put, None)
        self._apply(issued)

    def _put_is_over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._bug = task.exception()
            self._changed.set()

    def _settle(self, number: int) -> None:
        chunk = self._chunks.pop(number)
        upload = self._plan.forget(number)
        if upload.is_durable:
            self._settled(chunk, upload)
            return
        self._to_offer_again += 1
        self._loop.call_later(OFFER_AGAIN_S, self._offer_again, chunk, upload)

    def _offer_again(self, chunk: SourceChunk, upload: ChunkUpload) -> None:
        self._to_offer_again -= 1
        upload.missing.clear()
        self.offer(chunk, upload)

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        wake_s = self._plan.next_wakeup_s()
        if wake_s < inf:
            self._timer = self._loop.call_at(
                wake_s, lambda: self._apply(self._plan.tick(self._loop.time()))
            )

    def _too_few_nodes(self) -> EvenflowError:
        return self._trouble or TooFewNodesUp(
            f"no node has taken a fragment for {GIVE_UP_S:g} s",
            hint="bring nodes back (`smart-client doctor` asks each) and run the same command to "
            "go on",
            detail=dict(sorted(self._refused.items())),
        )
