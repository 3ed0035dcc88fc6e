"""A whole stored video in memory, served through the network model: the driver in virtual time."""

import asyncio
import hashlib
import random
import selectors
from collections.abc import Callable

from redundancy.backends import best_codec
from redundancy.fragment_format import ChunkLabel
from redundancy.fragments import build_fragments
from redundancy.scheme import Layout
from smart_client import wire
from smart_client.core.events import FailureKind
from smart_client.driver import SessionDriver
from smart_client.simulator.network import Happening, Network
from smart_client.transport.errors import TransportFailure
from smart_client.transport.nodes import PieceSink


class StoredVideo:
    """A video of random bytes: its manifest and every fragment by key."""

    def __init__(self, sizes: list[int], layout: Layout, *, nodes: int = 5, seed: int = 1) -> None:
        rng = random.Random(seed)
        self.data = rng.randbytes(sum(sizes))
        self.fragments: dict[str, bytes] = {}
        video_id = "ab" * 16
        chunks = []
        offset = 0
        for number, size in enumerate(sizes):
            body = self.data[offset : offset + size]
            label = ChunkLabel(bytes.fromhex(video_id), "original", number, offset_bytes=offset)
            places = []
            for fragment in build_fragments(body, layout, best_codec(layout.scheme), label):
                self.fragments[fragment.key] = b"".join(fragment.parts)
                node = f"node-{(number + fragment.index) % nodes}"
                places.append(
                    wire.FragmentRecord(index=fragment.index, node=node, key=fragment.key)
                )
            chunks.append(
                wire.ChunkRecord(
                    number=number,
                    offset=offset,
                    size=size,
                    sha256=hashlib.sha256(body).hexdigest(),
                    start_s=number * 4.0,
                    duration_s=4.0,
                    layout=wire.LayoutRecord.of(layout),
                    fragments=tuple(places),
                )
            )
            offset += size
        rendition = wire.RenditionRecord(
            name="original",
            size=len(self.data),
            sha256=hashlib.sha256(self.data).hexdigest(),
            mime="video/mp4",
            duration_s=4.0 * len(sizes),
            chunk_count=len(sizes),
        )
        self.manifest = wire.Manifest(
            video=wire.VideoRecord(
                id=video_id,
                name="film",
                state="ready",
                created_at_s=0.0,
                layout=wire.LayoutRecord.of(layout),
                size=len(self.data),
                renditions=(rendition,),
            ),
            rendition=rendition,
            chunks=tuple(chunks),
            nodes=tuple(
                wire.NodeRecord(id=f"node-{index}", urls=("http://127.0.0.1:1",))
                for index in range(nodes)
            ),
        )


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is turned by hand."""

    def __init__(self) -> None:
        super().__init__(selectors.SelectSelector())
        self.virtual_s = 0.0

    def time(self) -> float:
        return self.virtual_s


_KINDS = {
    Happening.REFUSED: FailureKind.REFUSED,
    Happening.RESET: FailureKind.RESET,
    Happening.GARBAGE: FailureKind.CORRUPT,
}


class _Call:
    def __init__(self, sink: PieceSink | None, body: bytes) -> None:
        self.sink = sink
        self.body = body
        self.given = 0
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class VirtualTransport:
    """A ``NodeTransport`` over the network model. Numbers requests as the session does."""

    def __init__(self, video: StoredVideo, network: Network) -> None:
        self.video = video
        self.network = network
        self.calls: dict[int, _Call] = {}
        self._next_probe = -1

    async def fetch(
        self, node: int, key: str, start: int, stop: int | None, sink: PieceSink
    ) -> None:
        body = self.video.fragments[key][start:stop]
        piece = sink.piece  # type: ignore[attr-defined]
        await self._call(piece, node, _Call(sink, body))

    async def ping(self, node: int) -> float:
        began_s = self.network.now_s
        number, self._next_probe = self._next_probe, self._next_probe - 1
        await self._call(number, node, _Call(None, b"x"))
        return self.network.now_s - began_s

    async def _call(self, number: int, node: int, call: _Call) -> None:
        self.calls[number] = call
        self.network.request(number, node, len(call.body))
        try:
            await call.over
        finally:
            del self.calls[number]
            self.network.cancel(number)

    async def close(self) -> None:
        pass

    def follow_shortened(self) -> None:
        """A shortened request is read up to its new end only, however long its answer would be."""
        for number, call in self.calls.items():
            stop = getattr(call.sink, "stop", None)
            if stop is not None and stop - call.sink.start < len(call.body):  # type: ignore[union-attr]
                call.body = call.body[: stop - call.sink.start]  # type: ignore[union-attr]
                self.network.shorten(number, len(call.body))

    def deliver(self, what: Happening, number: int, received: int, rtt_s: float) -> None:
        """Tell the one who waits for a request what happened to it."""
        call = self.calls.get(number)
        if call is None or call.over.done():
            return
        try:
            if what is Happening.CONNECTED and call.sink:
                call.sink.connected(rtt_s)
            elif what is Happening.FIRST_BYTE and call.sink:
                call.sink.first_byte()
            elif what in (Happening.BYTES, Happening.DONE):
                body, call.given = call.body[call.given : received], received
                if call.sink and body:
                    call.sink.data(body)
                if what is Happening.DONE:
                    call.over.set_result(None)
            elif what in _KINDS:
                raise TransportFailure(_KINDS[what])
        except TransportFailure as failure:
            if not call.over.done():
                call.over.set_exception(failure)


class HandCranked(SessionDriver):
    """The driver without a timer of its own: the test turns the clock."""

    def _arm_timer(self) -> None:
        pass


def run_driver(
    video: StoredVideo,
    network: Network,
    make_driver: Callable[[VirtualTransport], HandCranked],
    *,
    first: Callable[[SessionDriver], None],
    until: Callable[[SessionDriver], bool],
    limit_s: float = 600.0,
) -> SessionDriver:
    """Run the real driver over the network model in virtual time, as the engine does."""
    loop = VirtualLoop()

    def run_until_idle() -> None:
        for _ in range(8):  # enough turns for any chain of callbacks of one instant
            loop.call_soon(loop.stop)
            loop.run_forever()

    async def start() -> HandCranked:
        return make_driver(VirtualTransport(video, network))

    try:
        driver = loop.run_until_complete(start())
        transport: VirtualTransport = driver._transport  # type: ignore[assignment]
        first(driver)
        run_until_idle()
        while not until(driver) and network.now_s < limit_s:
            transport.follow_shortened()
            wake_s = driver.session.next_wakeup_s()
            next_s = max(network.now_s, min(network.next_event_s(), wake_s, limit_s))
            loop.virtual_s = next_s
            happened = network.advance(next_s)
            for what, flow in happened:
                received = int(flow.received) if what is Happening.DONE else flow.reported
                if what is Happening.DONE and flow.number in transport.calls:
                    received = len(transport.calls[flow.number].body)
                transport.deliver(what, flow.number, received, flow.rtt_s)
                run_until_idle()
            if not happened:
                driver._tick()
                run_until_idle()
        loop.run_until_complete(driver.close())
        return driver
    finally:
        loop.close()
