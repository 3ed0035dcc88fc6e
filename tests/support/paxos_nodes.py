"""Catalogues kept by acceptors: real nodes in threads of the test, or logs without a network."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from smart_client.agreement import Agreement
from storage_server.catalogue.paxos import PaxosCatalogue
from storage_server.consensus.acceptor_log import AcceptorLog
from storage_server.consensus.frames import (
    ReplyFrame,
    RequestFrame,
    decode_replies,
    decode_requests,
    encode,
)
from storage_server.consensus.http_exchange import HttpExchange
from storage_server.node.disk import RealDisk
from support.node_in_thread import NodeInThread


async def told(
    ask: Callable[[], Awaitable[Agreement]], wanted: Callable[[Agreement], bool]
) -> Agreement:
    """Ask until it is so: answers are half a second old, and members have half a second."""
    async with asyncio.timeout(20):
        while not wanted(found := await ask()):
            await asyncio.sleep(0.1)
    return found


class StoppableNode(NodeInThread):
    """A node that may be stopped before its time."""

    def __enter__(self):
        self._life = contextlib.ExitStack()
        super().__enter__()
        self._life.push(super().__exit__)
        return self

    def stop(self) -> None:
        self._life.close()

    def __exit__(self, *_):
        self.stop()


@contextlib.contextmanager
def running_nodes(directory: Path, count: int = 3) -> Iterator[list[StoppableNode]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(StoppableNode(directory / f"node{i}", capacity_bytes=1 << 26))
            for i in range(count)
        ]


class DirectExchange(HttpExchange):
    """Acceptors in this process, by address; frames are packed and unpacked as on a wire."""

    def __init__(self, logs: dict[str, AcceptorLog]) -> None:
        self.addresses = {}
        self.logs = logs
        self.frames: list[RequestFrame] = []

    async def ask(self, url: str, frame: RequestFrame) -> ReplyFrame:
        await asyncio.sleep(0)
        log = self.logs.get(url)
        if log is None:
            raise ConnectionRefusedError(url)
        self.frames.append(frame)
        parsed = decode_requests(encode(frame))
        (replies,) = log.commit([parsed.requests])
        return decode_replies(encode(ReplyFrame(log.member_id, tuple(replies))))

    async def close(self) -> None:
        pass


class OwnPaxosCatalogue(PaxosCatalogue):
    """A catalogue that brings its three acceptors along; made again on their logs, it finds it."""

    def __init__(self, directory: Path) -> None:
        self.logs = {}
        for i in range(3):
            folder = directory / f"acceptor{i}"
            folder.mkdir(exist_ok=True)
            self.logs[f"acceptor:{i}"] = AcceptorLog(RealDisk(folder))
        super().__init__(list(self.logs), make_exchange=lambda: DirectExchange(self.logs))

    async def close(self) -> None:
        await super().close()
        for log in self.logs.values():
            log.close()
