"""One thread writes for everybody: what arrives while the disk syncs goes into the next sync.

    put_checked() -> [check a large body in a pool] -> queue: the loop is not woken in between
    put() -> queue -> [take all that wait] -> store.commit (write, sync, index) -> futures resolved
    run() -> queue -> [a job alone, between two commits] -> its future resolved

With a disk that takes 8 ms to sync, 16 writers of 64 KiB get 44.6 MB/s this way, 5.4 without.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from redundancy.errors import EvenflowError
from storage_server.node.errors import StoreReadOnly
from storage_server.node.store import ChunkStore, Delete, Outcome, Put, Write

log = logging.getLogger(__name__)

# Bounds how long the first of a batch waits for the last; the bytes are bounded by the store.
BATCH_WRITES_MAX = 256

# Of the time the last commit took: so long the next one waits for those who may write again.
_PATIENCE = 0.5
_PATIENCE_S_MAX = 0.01

# Up to this a body is checked by the writer: SHA-256 takes 40 to 70 us for 64 KiB here, and handing
# it to another thread and back as much again.
_CHECKED_LATE_BYTES_MAX = 96 * 1024

# At most 31 commits are left out before it is tried again whether waiting helps.
_IN_VAIN_MAX = 5

# So much is worth a sync of its own: while it is written, the next bodies come in.
_WORTH_A_SYNC_BYTES = 4 * 1024 * 1024

_Result = TypeVar("_Result")


class Gathering:
    """Responsible for how long a commit waits for writes that are about to come. Pure.

    Whoever was answered at the end of a commit may write again at once. If the next commit begins
    with the first of them, all others miss it: 16 writers get a sync for one, a sync for 15, and so
    on, which is half of what the disk could do. So it begins when as many wait as were there when
    the last one ended, or after a part of the time that one took. A lone writer never waits. Where
    writers take longer to come back (a slow network), waits are in vain: each one that was is
    followed by twice as many commits without one.
    """

    def __init__(self) -> None:
        self._expected = 1
        self._until_s = 0.0
        self._in_vain = 0
        self._left_out = 0  # commits still to come that do not wait

    def wanted(self, now_s: float) -> tuple[int, float]:
        """Return how many writes are worth waiting for, and for how long (s)."""
        left_s = self._until_s - now_s
        return (self._expected, left_s) if left_s > 0 and not self._left_out else (1, 0.0)

    def waited(self, *, is_enough: bool) -> None:
        """Note how a wait ended: with as many as were wanted, or in vain."""
        self._in_vain = 0 if is_enough else min(self._in_vain + 1, _IN_VAIN_MAX)
        # The commit that waited counts as one when it ends.
        self._left_out = 0 if is_enough else 1 << self._in_vain

    def ended(self, began_s: float, ended_s: float, *, done: int, waiting: int) -> None:
        """Note the end of a commit of ``done`` writes; ``waiting`` came meanwhile."""
        self._left_out = max(0, self._left_out - 1)
        self._expected = done + waiting
        self._until_s = ended_s + min(_PATIENCE * (ended_s - began_s), _PATIENCE_S_MAX)


@dataclass(frozen=True, slots=True)
class _Waiting:
    make: Callable[[], Write]  # checks first, where that was not done yet
    size_bytes: int
    done: "asyncio.Future[Outcome]"


@dataclass(frozen=True, slots=True)
class _Job:
    action: Callable[[], object]
    done: "asyncio.Future[Any]"  # gets the result, or the error: nobody may be left to hear it


class GroupCommit:
    """Responsible for the writer thread: the only one that calls the store's ``commit``."""

    def __init__(
        self, store: ChunkStore, *, on_commit: Callable[[int, float], None] = lambda *_: None
    ) -> None:
        """Start the thread. Must be made, used and closed in a running event loop.

        Args:
            on_commit: told, in the loop, how many writes a commit held and how long it took (s).
        """
        self._store = store
        self._on_commit = on_commit
        self._loop = asyncio.get_running_loop()
        self._gathering = Gathering()
        self._changed = threading.Condition()  # guards the queue and what is said of it
        self._queue: deque[_Waiting | _Job] = deque()
        self._queued_bytes = 0
        self._queued_jobs = 0
        self._wanted = 1  # the thread need not be woken for fewer
        self._is_closed = False
        self.failure = ""  # set when the store broke in a way nobody foresaw: nothing is written
        self._thread = threading.Thread(target=self._run, name="superblock-writer", daemon=True)
        self._thread.start()

    async def put(self, put: Put) -> bool:
        """Store a fragment; return whether it is new, once it would survive a power cut.

        Raises: StoreFull, StoreReadOnly.
        """
        return await self._submit(put, len(put.data))

    async def put_checked(
        self, checkers: Executor, check: Callable[[], Put], size_bytes: int
    ) -> bool:
        """Store what ``check`` returns, which runs in a thread; else as ``put``.

        Args: checkers: run the checks of large bodies; those of small ones cost less than a wake-up
            of one more thread.
        Raises: StoreFull, StoreReadOnly, and what ``check`` raises of ours.
        """
        return await _outcome(self.begin_checked(checkers, check, size_bytes))

    def begin_checked(
        self, checkers: Executor, check: Callable[[], Put], size_bytes: int
    ) -> "asyncio.Future[Outcome]":
        """Do as ``put_checked`` for one who does not wait; errors of ours are outcomes."""
        done: asyncio.Future[Outcome] = self._loop.create_future()

        def check_and_enqueue() -> None:
            try:
                put = check()
                self._enqueue(_Waiting(lambda: put, size_bytes, done))
            except Exception as error:  # noqa: BLE001 - top of the thread: who waits hears of it
                self._loop.call_soon_threadsafe(_settle, done, error)

        if size_bytes > _CHECKED_LATE_BYTES_MAX:
            checkers.submit(check_and_enqueue)
            return done
        try:
            self._enqueue(_Waiting(check, size_bytes, done))
        except EvenflowError as error:
            _settle(done, error)
        return done

    async def delete(self, key: bytes) -> bool:
        """Remove a fragment; return whether it was there, once that would survive a power cut.

        Raises: StoreFull, StoreReadOnly.
        """
        return await self._submit(Delete(key))

    async def run(self, action: Callable[[], _Result]) -> _Result:
        """Let the writer thread do something to the store between two commits.

        Raises: StoreReadOnly, and what ``action`` raises of ours.
        """
        done: asyncio.Future[_Result | EvenflowError] = self._loop.create_future()
        self._enqueue(_Job(action, done))
        result = await asyncio.shield(done)
        if isinstance(result, EvenflowError):
            raise result
        return result

    async def close(self) -> None:
        """Finish what waits, then stop the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    async def _submit(self, write: Write, size_bytes: int = 0) -> bool:
        done: asyncio.Future[Outcome] = self._loop.create_future()
        self._enqueue(_Waiting(lambda: write, size_bytes, done))
        return await _outcome(done)

    def _enqueue(self, item: _Waiting | _Job) -> None:
        """Let an item wait its turn; from any thread. Raises: StoreReadOnly: too late."""
        with self._changed:
            if self._is_closed:
                raise StoreReadOnly("the node is stopping", hint="ask another node")
            self._queue.append(item)
            if isinstance(item, _Waiting):
                self._queued_bytes += item.size_bytes
            else:
                self._queued_jobs += 1
            if self._is_enough():
                self._changed.notify()

    def _is_enough(self) -> bool:
        return (
            len(self._queue) >= self._wanted
            or self._queued_jobs > 0
            or self._queued_bytes >= _WORTH_A_SYNC_BYTES
        )

    def _run(self) -> None:
        while (work := self._take()) is not None:
            if isinstance(work, _Job):
                result = self._attempt(work.action)
                self._loop.call_soon_threadsafe(work.done.set_result, result)
                continue
            began_s = time.perf_counter()
            outcomes = self._commit(work)
            ended_s = time.perf_counter()
            self._gathering.ended(began_s, ended_s, done=len(work), waiting=len(self._queue))
            self._loop.call_soon_threadsafe(self._resolve, work, outcomes, ended_s - began_s)

    def _take(self) -> list[_Waiting] | _Job | None:
        """Return what is next: a job, or as many writes as wait before one; None: it is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_closed)
            if not self._queue:
                return None
            self._gather()
            first = self._queue[0]
            if isinstance(first, _Job):
                self._queue.popleft()
                self._queued_jobs -= 1
                return first
            batch: list[_Waiting] = []
            while self._queue and len(batch) < BATCH_WRITES_MAX:
                item = self._queue[0]
                if not isinstance(item, _Waiting):
                    break
                batch.append(item)
                self._queue.popleft()
                self._queued_bytes -= item.size_bytes
            return batch

    def _gather(self) -> None:
        """Wait for those who are about to write."""
        self._wanted, patience_s = self._gathering.wanted(time.perf_counter())
        if not self._is_closed and not self._is_enough():
            self._gathering.waited(is_enough=self._changed.wait(patience_s))
        self._wanted = 1

    def _commit(self, waiting: list[_Waiting]) -> list[Outcome | Exception]:
        """Return what becomes of each write; one that fails its check is none."""
        outcomes: list[Outcome | Exception] = [False] * len(waiting)
        writes: list[Write] = []
        places: list[int] = []
        for place, each in enumerate(waiting):
            try:
                writes.append(each.make())
                places.append(place)
            except Exception as error:  # noqa: BLE001 - who waits hears of it
                outcomes[place] = error
        result = self._attempt(lambda: self._store.commit(writes))
        for index, place in enumerate(places):
            outcomes[place] = result[index] if isinstance(result, list) else result
        return outcomes

    def _attempt(self, action: Callable[[], _Result]) -> _Result | EvenflowError:
        """Do something to the store, unless it broke before; return the error if it fails."""
        if not self.failure:
            try:
                return action()
            except EvenflowError as error:
                return error
            except Exception as error:  # top of the thread: nobody may wait for ever
                log.exception("the store failed in an unforeseen way; nothing more is written")
                self.failure = f"{type(error).__name__}: {error}"
        return StoreReadOnly(
            f"the node is read-only: {self.failure}",
            hint="the write may or may not be stored; ask another node",
        )

    def _resolve(
        self, waiting: list[_Waiting], outcomes: list[Outcome | Exception], took_s: float
    ) -> None:
        for each, outcome in zip(waiting, outcomes, strict=True):
            _settle(each.done, outcome)
        self._on_commit(len(waiting), took_s)


async def _outcome(done: "asyncio.Future[Outcome]") -> bool:
    # A client that goes away must not take the future from the thread that resolves it.
    outcome = await asyncio.shield(done)
    if isinstance(outcome, EvenflowError):
        raise outcome
    return outcome


def _settle(done: "asyncio.Future[Outcome]", outcome: Outcome | Exception) -> None:
    if done.done():
        return
    if isinstance(outcome, Exception) and not isinstance(outcome, EvenflowError):
        done.set_exception(outcome)
    else:
        done.set_result(outcome)
