"""The lab's client: stores a world's chunks, or plays them. A process of its own, in a namespace.

    python -m smart_client.lab.client

The first line on standard input says which. It plays with the product's own stream, driver and
transport; only the player is a clock.
"""

import asyncio
import hashlib
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from redundancy.backends import best_codec
from redundancy.fragment_format import ChunkLabel
from redundancy.fragments import Fragment, build_fragments
from smart_client.core.events import Event
from smart_client.core.playback_buffer import ReaderState
from smart_client.core.state import SessionConfig
from smart_client.lab import plan
from smart_client.lab.messages import Begin, Ready, tell
from smart_client.lab.punctuality import hurry, percentile_99, watch_loop
from smart_client.recording import Recorder, recording_head
from smart_client.simulator.scenario import ViewerPlan
from smart_client.simulator.simulate import Outcome, outcome_of, viewers_script
from smart_client.simulator.world import FOOTER_LABEL_BYTES
from smart_client.spool import Spool
from smart_client.stream import VideoStream
from smart_client.transport.nodes import NodeConnections
from smart_client.wire import (
    ChunkRecord,
    FragmentRecord,
    LayoutRecord,
    Manifest,
    NodeRecord,
    RenditionRecord,
    VideoRecord,
)

RENDITION = "original"
PUTS_AT_ONCE = 8


class Store(msgspec.Struct, frozen=True, tag="store"):
    """Fill these chunks with random bytes and put their fragments where they belong."""

    seed: int
    chunks: tuple[ChunkRecord, ...]
    nodes: int


class Stored(msgspec.Struct, frozen=True, tag="stored"):
    """The chunks are on the nodes; they are read through the fronts."""

    manifest: Manifest


class Play(msgspec.Struct, frozen=True, tag="play"):
    """Get ready to play; ``Begin`` follows."""

    manifest: Manifest
    viewers: tuple[ViewerPlan, ...]
    config: SessionConfig
    scheduler: str
    until_s: float
    recording: str = ""  # a file to write it to


class ClientReport(msgspec.Struct, frozen=True, tag="client"):
    """What came of a session as its client saw it; what crossed the wire the switch knows."""

    outcome: Outcome
    cpu_s: float
    late_p99_s: float  # of its timers: how busy the machine was


# -- store -----------------------------------------------------------------------------------


async def store(order: Store) -> Manifest:
    """Make the bytes of every chunk and store its fragments; return where everything is."""
    video_id = f"{order.seed:032x}"[-32:]
    whole, chunks = hashlib.sha256(), []
    nodes = [
        NodeConnections(NodeRecord(id=f"node-{index}", urls=(plan.node_url(index),)))
        for index in range(order.nodes)
    ]
    turn = asyncio.Semaphore(PUTS_AT_ONCE)

    async def put(record: FragmentRecord, fragment: Fragment) -> None:
        async with turn:
            connections = nodes[int(record.node.removeprefix("node-"))]
            await connections.put(fragment.key, fragment.parts, lambda _: None)

    try:
        for chunk in order.chunks:
            data = np.random.default_rng([order.seed, chunk.number]).bytes(chunk.size)
            whole.update(data)
            fragments = _code(chunk, data, bytes.fromhex(video_id))
            placed = tuple(
                msgspec.structs.replace(record, key=fragments[record.index].key)
                for record in chunk.fragments
            )
            await asyncio.gather(*(put(record, fragments[record.index]) for record in placed))
            sha256 = hashlib.sha256(data).hexdigest()
            chunks.append(msgspec.structs.replace(chunk, sha256=sha256, fragments=placed))
    finally:
        await asyncio.gather(*(each.close() for each in nodes))
    return _manifest(chunks, video_id, whole.hexdigest(), order.nodes)


def _code(chunk: ChunkRecord, data: bytes, video_id: bytes) -> list[Fragment]:
    layout = chunk.layout.to_layout()
    # As long as a real catalogue entry, so that footers have the size the simulator gives them.
    entry_bytes = FOOTER_LABEL_BYTES - len(RENDITION)
    descriptor = b'{"name":"' + b"x" * (entry_bytes - 11) + b'"}'
    label = ChunkLabel(
        video_id,
        RENDITION,
        chunk.number,
        offset_bytes=chunk.offset,
        start_us=round(chunk.start_s * 1e6),
        duration_us=round(chunk.duration_s * 1e6),
        descriptor=descriptor,
    )
    return build_fragments(data, layout, best_codec(layout.scheme), label)


def _manifest(chunks: list[ChunkRecord], video_id: str, sha256: str, nodes: int) -> Manifest:
    last = chunks[-1]
    rendition = RenditionRecord(
        name=RENDITION,
        size=last.offset + last.size,
        sha256=sha256,
        mime="application/octet-stream",
        duration_s=last.start_s + last.duration_s,
        chunk_count=len(chunks),
    )
    video = VideoRecord(
        id=video_id,
        name="lab",
        state="ready",
        created_at_s=0.0,
        layout=LayoutRecord.of(last.layout.to_layout()),
        size=rendition.size,
        renditions=(rendition,),
    )
    records = tuple(
        NodeRecord(id=f"node-{index}", urls=(plan.front_url(index),)) for index in range(nodes)
    )
    return Manifest(video=video, rendition=rendition, chunks=tuple(chunks), nodes=records)


# -- play ------------------------------------------------------------------------------------


async def play(order: Play, begin: Begin) -> ClientReport:
    """Play from the instant given to the end, or until the time is up."""
    stream = VideoStream(
        order.manifest, Spool.nameless(), scheduler=order.scheduler, config=order.config
    )
    recorder = None
    try:
        if order.recording:
            head = recording_head(stream.session, order.manifest.video.name, order.manifest.chunks)
            recorder = Recorder(Path(order.recording), head)
            stream.driver.observe(recorder.observe)
        script = viewers_script(order.viewers, stream.session)
        await _sleep_until(begin.at_s)
        cpu_s, began_s = time.process_time(), stream.driver.now_s()
        late_s: list[float] = []
        beside = (_follow(stream, script, begin.at_s), watch_loop(late_s))
        tasks = [stream.driver.spawn(work) for work in beside]
        await _play_out(stream, order, began_s + order.until_s)
        for task in tasks:
            task.cancel()
        now_s = stream.driver.now_s()
        nothing = [0.0] * len(order.manifest.nodes)
        outcome = outcome_of(stream.session, len(order.viewers), now_s, nothing)
        return ClientReport(outcome, time.process_time() - cpu_s, percentile_99(late_s))
    finally:
        await stream.close()
        if recorder is not None:
            await asyncio.to_thread(recorder.close)


async def _follow(stream: VideoStream, script: list[tuple[float, Event]], at_s: float) -> None:
    for after_s, event in script:
        await _sleep_until(at_s + after_s)
        stream.driver.post(event)


async def _play_out(stream: VideoStream, order: Play, until_s: float) -> None:
    """Return when every viewer has seen the end, or the time is up. Raises: EvenflowError."""
    readers = stream.session.state.buffer.readers
    while (left_s := until_s - stream.driver.now_s()) > 0:
        if len(readers) == len(order.viewers) and all(
            reader.state is ReaderState.ENDED for reader in readers.values()
        ):
            return
        try:
            await asyncio.wait_for(stream.driver.wait_for_progress(), left_s)
        except TimeoutError:
            return


async def _sleep_until(at_s: float) -> None:
    await asyncio.sleep(max(0.0, at_s - time.monotonic()))


async def _warm_up() -> None:
    """Load what the first request would load: 0.1 s of imports are no property of a network."""
    nobody = NodeConnections(NodeRecord(id="nobody", urls=("http://127.0.0.1:1",)))
    try:
        await nobody.have([])
    except Exception:  # noqa: BLE001 - it must fail, however it does
        pass
    finally:
        await nobody.close()


async def _play_when_told(order: Play) -> ClientReport:
    await _warm_up()
    tell(Ready())
    line = await asyncio.to_thread(sys.stdin.buffer.readline)
    return await play(order, msgspec.json.decode(line, type=Begin))


def main() -> None:
    """Do what the first line says."""
    hurry()
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Store | Play)
    match order:
        case Store():
            tell(Stored(asyncio.run(store(order))))
        case Play():
            tell(asyncio.run(_play_when_told(order)))


if __name__ == "__main__":
    main()
