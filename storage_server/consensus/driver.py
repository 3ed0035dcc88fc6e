"""Runs a proposer over HTTP: the clock, the sockets, the random numbers. Decides nothing.

    operations -> proposer -> queue per member -> frame (all that waits) -> exchange -> replies

At most two frames are under way to each member: while they are, what comes next gathers.
"""

import asyncio
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from redundancy.errors import EvenflowError
from storage_server.agreement_trace import Trace
from storage_server.consensus.events import Command, Done, Received, Send, Settings, Submit, Tick
from storage_server.consensus.frames import RequestFrame
from storage_server.consensus.messages import (
    Accept,
    Config,
    Learn,
    Member,
    MemberId,
    Refused,
    Reply,
    Request,
)
from storage_server.consensus.proposer import Proposer
from storage_server.consensus.switch import Switch
from storage_server.consensus.telling import told_reply, told_request
from storage_server.consensus.values import Operation, Outcome, Written

FRAMES_IN_FLIGHT_MAX = 2

# A frame with more than this is sent before more is added; an acceptor syncs it in one go.
_FRAME_BYTES_WANTED = 1024 * 1024
_FRAME_REQUESTS_MAX = 512

# What a member that hangs may let pile up; its requests are repeated by their operations anyway.
_QUEUE_MAX = 8192

_SETTINGS = Settings()


class Exchange(Protocol):
    """How a frame reaches a member and its replies come back."""

    async def __call__(self, member: Member, frame: RequestFrame) -> Sequence[Reply]:
        """Send a frame; return the replies. Raises: EvenflowError, OSError, TimeoutError."""


@dataclass(slots=True)
class Counts:
    """What a driver did since it was made."""

    requests: int = 0  # also of reads
    frames: int = 0
    fast_rounds: int = 0  # writes decided in one round trip
    slow_rounds: int = 0
    write_requests: int = 0  # for the writes that were decided
    attempts_failed: int = 0


# For a change of members that somebody asked for: all registers go over in it.
SWITCH_S = 30.0


class Driver:
    """Responsible for one proposer in the running event loop."""

    def __init__(
        self,
        config: Config,
        exchange: Exchange,
        *,
        settings: Settings = _SETTINGS,
        trace: Trace | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._exchange = exchange
        self._trace = trace or Trace()
        self.numbers: Iterator[int] = count(1)
        self.proposer = Proposer(
            uuid.uuid4().bytes,
            config,
            random.Random().random,
            settings=settings,
            numbers=self.numbers,
        )
        self._ids = count()
        self._futures: dict[int, asyncio.Future[Outcome]] = {}
        self._lines: dict[MemberId, _Line] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.counts = Counts()

    async def run(self, operation: Operation) -> Outcome:
        """Do one operation; every outcome comes within the settings' ``give_up_s``, about."""
        number = next(self._ids)
        future: asyncio.Future[Outcome] = self._loop.create_future()
        self._futures[number] = future
        self._do(self.proposer.handle(Submit(number, operation), self._loop.time()))
        return await future

    async def switch(self, successor: Config, patience_s: float = SWITCH_S) -> None:
        """Go over to a decided successor, or finish doing so; return when a majority serves it.

        Raises: TimeoutError: not yet; it may be tried again.
        """
        switch = Switch(successor, self.numbers)
        members = {member.id: member for member in (*successor.previous, *successor.members)}

        async def ask(send: Send) -> list[Send]:
            frame = RequestFrame(send.member, (send.request,))
            replies = await self._try(members[send.member], frame)
            found: list[Send] = []
            for reply in replies:
                found += switch.handle(send.member, reply, self._loop.time())
            return found

        async with asyncio.timeout(patience_s):
            sends = switch.begin(self._loop.time())
            while sends:
                answers = await asyncio.gather(*(ask(send) for send in sends))
                sends = [send for found in answers for send in found]
                if switch.is_done and not sends:
                    break
                if not sends:
                    wake_s = switch.next_wakeup_s()
                    await asyncio.sleep(max(0.0, min(wake_s - self._loop.time(), 1.0)))
                    sends = switch.tick(self._loop.time() + 1.0)
        self._do(self.proposer.adopt(successor, self._loop.time()))

    async def close(self) -> None:
        """Stop; operations under way are cancelled."""
        if self._timer is not None:
            self._timer.cancel()
        tasks = [task for line in self._lines.values() for task in line.tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for future in self._futures.values():
            future.cancel()

    async def _try(self, member: Member, frame: RequestFrame) -> Sequence[Reply]:
        """Return a member's replies; if there are none, refusals in their place."""
        self.counts.frames += 1
        self.counts.requests += len(frame.requests)
        if self._trace.is_wanted:
            for request in frame.requests:
                self._trace.note("request", member=member.url, **told_request(request))
        replies: Sequence[Reply]
        try:
            replies = await self._exchange(member, frame)
        except (EvenflowError, OSError, TimeoutError) as error:
            reason = type(error).__name__
            replies = [Refused(each.number, reason) for each in frame.requests]
        if self._trace.is_wanted:
            self._tell(member, frame, replies)
        return replies

    def _tell(self, member: Member, frame: RequestFrame, replies: Sequence[Reply]) -> None:
        """Note replies, each with the key its request was about."""
        asked = {request.number: told_request(request).get("key", "") for request in frame.requests}
        for reply in replies:
            key = asked.get(reply.number, "")
            self._trace.note("reply", member=member.url, key=key, **told_reply(reply))

    def _do(self, commands: list[Command]) -> None:
        for command in commands:
            if isinstance(command, Send):
                self._line(command.member).add(command.request)
            else:
                self._resolve(command)
        self._set_timer()

    def _resolve(self, done: Done) -> None:
        future = self._futures.pop(done.id)
        self.counts.attempts_failed += done.attempts_failed
        if isinstance(done.outcome, Written):
            self.counts.write_requests += done.requests
            is_fast = done.round_trips == 1
            self.counts.fast_rounds += is_fast
            self.counts.slow_rounds += not is_fast
        if not future.done():  # else the caller went away
            future.set_result(done.outcome)

    def _set_timer(self) -> None:
        wake_s = self.proposer.next_wakeup_s()
        if self._timer is not None:
            if self._timer.when() <= wake_s and not self._timer.cancelled():
                return  # it will look again when it rings
            self._timer.cancel()
            self._timer = None
        if wake_s < float("inf"):
            self._timer = self._loop.call_at(wake_s, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._do(self.proposer.handle(Tick(), self._loop.time()))

    def _line(self, member: MemberId) -> "_Line":
        line = self._lines.get(member)
        if line is None:
            found = {each.id: each for each in self.proposer.config.members}
            line = self._lines[member] = _Line(self, found[member])
        return line

    async def deliver(self, member: Member, frame: RequestFrame) -> None:
        """Send a frame and take its replies in."""
        for reply in await self._try(member, frame):
            event = Received(member.id, reply)
            self._do(self.proposer.handle(event, self._loop.time()))


class _Line:
    """Responsible for what waits for one member."""

    def __init__(self, driver: Driver, member: Member) -> None:
        self._driver = driver
        self._member = member
        self._waiting: list[Request] = []
        self._is_called = False
        self.tasks: set[asyncio.Task[None]] = set()

    def add(self, request: Request) -> None:
        """Send this soon, together with what else comes in this turn of the loop."""
        if len(self._waiting) >= _QUEUE_MAX:
            return  # lost, as on any network
        self._waiting.append(request)
        if not isinstance(request, Learn):  # which waits for the next frame
            self._call()

    def _call(self) -> None:
        if not self._is_called and len(self.tasks) < FRAMES_IN_FLIGHT_MAX:
            self._is_called = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_called = False
        if not self._waiting or len(self.tasks) >= FRAMES_IN_FLIGHT_MAX:
            return
        size = taken = 0
        for request in self._waiting[:_FRAME_REQUESTS_MAX]:
            taken += 1
            if isinstance(request, Accept):
                size += len(request.value.payload or b"")
            if size > _FRAME_BYTES_WANTED:
                break
        frame = RequestFrame(self._member.id, tuple(self._waiting[:taken]))
        del self._waiting[:taken]
        task = asyncio.create_task(self._driver.deliver(self._member, frame))
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self.tasks.discard(task)
        if not task.cancelled():
            task.result()  # an unforeseen error must not pass unseen
            if any(not isinstance(each, Learn) for each in self._waiting):
                self._call()
