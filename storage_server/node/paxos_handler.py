"""``/v1/paxos``: the node as an acceptor. Nothing is kept until somebody asks it to be one.

frames -> [take all that wait] -> AcceptorLog.commit (write, sync) in a thread -> answers
"""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from aiohttp import web

from redundancy.errors import EvenflowError
from storage_server.consensus.acceptor_log import AcceptorLog
from storage_server.consensus.frames import (
    FRAME_BYTES_MAX,
    InvalidFrame,
    ReplyFrame,
    RequestFrame,
    decode_requests,
    encode,
)
from storage_server.consensus.messages import Refused, Reply, Request
from storage_server.node.disk import RealDisk
from storage_server.node.node_state import NodeState
from storage_server.node.request_bodies import body_deadline
from storage_server.node.responses import HttpProblem

log = logging.getLogger(__name__)

FOLDER_NAME = "paxos"
MEDIA_TYPE = "application/msgpack"


@dataclass(frozen=True, slots=True)
class _Waiting:
    frame: RequestFrame
    done: "asyncio.Future[bytes]"


class PaxosHandler:
    """Responsible for one node's acceptor and the thread that writes its log."""

    def __init__(self, node: NodeState) -> None:
        self._node = node
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="acceptor")
        self._log: AcceptorLog | None = None
        self._waiting: list[_Waiting] = []
        self._committing: asyncio.Task[None] | None = None

    async def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer one frame, once all that the answer shows would survive a power cut."""
        length = request.content_length
        if length is None or length > FRAME_BYTES_MAX:
            raise HttpProblem(413, "TOO_LARGE", f"at most {FRAME_BYTES_MAX} bytes", closes=True)
        async with body_deadline(self._node):
            body = await request.content.read()
        try:
            frame = decode_requests(body)
        except InvalidFrame as error:
            raise HttpProblem(400, "BAD_REQUEST", error.message) from error
        waiting = _Waiting(frame, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all())
        # A proposer that goes away must not take the future from the one that resolves it.
        answer = await asyncio.shield(waiting.done)
        return web.Response(body=answer, content_type=MEDIA_TYPE)

    def close(self) -> None:
        """Let the thread and the file go; no request may be under way."""
        self._thread.shutdown()
        if self._log is not None:
            self._log.close()

    async def _commit_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                frames = [waiting.frame for waiting in batch]
                answers = await loop.run_in_executor(self._thread, self._commit, frames)
                for waiting, answer in zip(batch, answers, strict=True):
                    waiting.done.set_result(answer)
            except Exception as error:  # top of the task: nobody may wait for ever
                log.exception("the acceptor failed in an unforeseen way")
                for waiting in batch:
                    if not waiting.done.done():
                        waiting.done.set_exception(HttpProblem(500, "BUG", str(error)))
        self._committing = None

    def _commit(self, frames: Sequence[RequestFrame]) -> list[bytes]:
        """Answer frames in the thread."""
        try:
            acceptor_log = self._opened()
        except (EvenflowError, OSError) as error:
            log.warning("no acceptor here: %s", error)
            return [_refuse(frame, "", f"no acceptor here: {error}") for frame in frames]
        member = acceptor_log.member_id
        meant = [frame.to in ("", member) for frame in frames]
        batches: list[tuple[Request, ...]] = [
            frame.requests if is_meant else ()
            for frame, is_meant in zip(frames, meant, strict=True)
        ]
        answers = acceptor_log.commit(batches)
        return [
            encode(ReplyFrame(member, tuple(replies)))
            if is_meant
            else _refuse(frame, member, "the acceptor you mean is not here any more")
            for frame, is_meant, replies in zip(frames, meant, answers, strict=True)
        ]

    def _opened(self) -> AcceptorLog:
        if self._log is None:
            folder = self._node.config.data_dir / FOLDER_NAME
            folder.mkdir(mode=0o700, exist_ok=True)
            self._log = AcceptorLog(RealDisk(folder))
        return self._log


def _refuse(frame: RequestFrame, member: str, reason: str) -> bytes:
    replies: tuple[Reply, ...] = tuple(Refused(each.number, reason) for each in frame.requests)
    return encode(ReplyFrame(member, replies))
