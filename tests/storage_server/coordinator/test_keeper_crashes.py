"""A keeper that dies between any two steps, of the catalogue's or of a node's, loses nothing."""

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from redundancy.backends import best_codec
from redundancy.errors import EvenflowError
from redundancy.fragment_format import ChunkLabel, read_footer_at_end
from redundancy.fragments import Fragment, build_fragments, decode_chunk
from redundancy.scheme import Layout
from smart_client import wire
from smart_client.errors import NodeUnreachable
from storage_server.catalogue.contract import Entry
from storage_server.coordinator.errors import NodeRemoved
from storage_server.coordinator.links import NodeLinks
from storage_server.coordinator.registers import group_key, video_key
from storage_server.coordinator.service import Coordinator
from storage_server.heartbeats import beat_of
from storage_server.node.config import NodeConfig
from storage_server.node.service import RunningNode, running_node
from storage_server.node.store import Delete
from support.coded_chunks import VIDEO_ID, chunk_bytes, put_of
from support.faulty_catalogue import FaultyCatalogue
from support.kept_videos import COLLECTING

pytestmark = pytest.mark.real

NAMES = [f"node-{i}" for i in range(1, 8)]
DEAD = "node-1"
CHUNKS = 2
SIZE = 20_000

# Every how manieth order to a node is tried; EVENFLOW_KEEPER_STEP=1 tries them all.
STEP = int(os.environ.get("EVENFLOW_KEEPER_STEP", "12"))


class CutLinks(NodeLinks):
    """Reaches nodes until the power is cut: then nobody, ever."""

    def __init__(self, real: NodeLinks, catalogue: FaultyCatalogue, calls_left: int) -> None:
        self._real, self._catalogue, self.calls_left = real, catalogue, calls_left
        self.calls = 0
        self.grants = real.grants

    async def call(self, node, ask, **how):
        if self._catalogue.is_cut:
            raise NodeUnreachable("cut")
        answer = await self._real.call(node, ask, **how)
        self.calls += 1
        if self.calls == self.calls_left:
            self._catalogue.writes_left = 0
            raise NodeUnreachable("cut before the answer was heard")
        return answer

    async def close(self):
        await self._real.close()


def first_fragments() -> list[list[Fragment]]:
    layout = Layout.parse("rs:3+2")
    return [
        build_fragments(
            chunk_bytes(SIZE, number),
            layout,
            best_codec(layout.scheme),
            ChunkLabel(bytes.fromhex(VIDEO_ID), "original", number, offset_bytes=number * SIZE),
        )
        for number in range(CHUNKS)
    ]


def first_entries(nodes: Sequence[RunningNode]) -> list[Entry]:
    """What the catalogue holds before the story, with every fragment where it says."""
    for node in nodes:
        store = node.node.store
        store.commit([Delete(key) for key, _ in store.page(b"", 1000)])
    stores = {node.node_id: node.node.store for node in nodes}
    layout = wire.LayoutRecord(k=3, n=5)
    chunks = []
    for number, fragments in enumerate(first_fragments()):
        for fragment, name in zip(fragments, NAMES[:5], strict=True):
            stores[name].put(put_of(fragment))
        chunks.append(
            wire.ChunkRecord(
                number=number,
                offset=number * SIZE,
                size=SIZE,
                sha256=fragments[0].footer.chunk_sha256.hex(),
                start_s=0,
                duration_s=0,
                layout=layout,
                fragments=tuple(
                    wire.FragmentRecord(index=f.index, node=name, key=f.key)
                    for f, name in zip(fragments, NAMES[:5], strict=True)
                ),
            )
        )
    rendition = wire.RenditionRecord(
        name="original",
        size=CHUNKS * SIZE,
        sha256="0" * 64,
        mime="",
        duration_s=0,
        chunk_count=CHUNKS,
    )
    video = wire.VideoRecord(
        id=VIDEO_ID,
        name="kino",
        state="ready",
        created_at_s=0,
        layout=layout,
        size=CHUNKS * SIZE,
        renditions=(rendition,),
    )
    group = wire.GroupRecord(chunks=tuple(chunks))
    return [
        Entry(group_key(VIDEO_ID, "original", 0), wire.encode(group), 1),
        Entry(video_key("kino"), wire.encode(video), 2),
    ]


async def awaken(catalogue: FaultyCatalogue, nodes: Sequence[RunningNode]) -> Coordinator:
    coordinator = Coordinator(catalogue, keeper=COLLECTING)
    await coordinator.load()
    for node in nodes:
        with contextlib.suppress(NodeRemoved):
            await coordinator.members.hear_beat(beat_of(node.facts()), holds_fragments=True)
    coordinator.members.declare_lost(DEAD)
    return coordinator


async def tell(coordinator: Coordinator) -> None:
    """A node dies; the film is repaired, laid out anew, narrowed, and an old node leaves."""
    keeper = coordinator.keeper
    for layout in ("rs:3+2", "rs:2+1+1copy", "rep:2"):
        await coordinator.uploads.set_layout("kino", layout)
        for _ in range(2):
            await keeper.lease.hold()
            await keeper.round(audits=True)
        await keeper.worker.drop_due()
    await coordinator.emptier.remove("node-2")


def read_by_record(group: wire.GroupRecord, nodes: Sequence[RunningNode]) -> bytes:
    """Read the film by its record, without the dead node."""
    stores = {node.node_id: node.node.store for node in nodes if node.node_id != DEAD}
    film = b""
    for chunk in group.chunks:
        payloads, footer = {}, None
        for each in chunk.fragments:
            store = stores.get(each.node)
            if store is None or not store.has(bytes.fromhex(each.key)):
                continue
            found = store.find(bytes.fromhex(each.key))
            body = found.read(0, found.length_bytes)
            one = read_footer_at_end(body)
            payloads[each.index] = body[: one.payload_bytes]
            footer = one if footer is None or footer.is_copy else footer
        film += bytes(decode_chunk(footer, payloads, best_codec(footer.layout.scheme)))
    return film


async def check_after_restart(entries: list[Entry], nodes: Sequence[RunningNode]) -> None:
    """What the disks hold is enough at once; a new keeper finishes it and leaves no litter."""
    film = b"".join(chunk_bytes(SIZE, number) for number in range(CHUNKS))
    catalogue = FaultyCatalogue(entries)
    coordinator = await awaken(catalogue, nodes)
    key = group_key(VIDEO_ID, "original", 0)
    stored = await coordinator.registers.get(key, wire.GroupRecord)
    assert read_by_record(stored.record, nodes) == film
    keeper = coordinator.keeper
    keeper.lease._lease_s = 0.0  # the dead one's lease has run out
    for _ in range(6):
        await keeper.lease.hold()
        found = await keeper.round(audits=True)
        if not found.done:
            break
    await keeper.round(audits=True)
    stored = await coordinator.registers.get(key, wire.GroupRecord)
    assert read_by_record(stored.record, nodes) == film
    video = coordinator.library.videos["kino"]
    named = {}
    for chunk in stored.record.chunks:
        assert len(chunk.fragments) == video.layout.n + video.layout.copies
        named |= {(f.node, f.key): 1 for f in chunk.fragments}
    # A node that was taken out is nobody's to look at any more.
    known = coordinator.members.records.keys() - {DEAD}
    held = {
        (node.node_id, key.hex())
        for node in nodes
        for key, _ in node.node.store.page(b"", 1000)
        if node.node_id in known
    }
    assert held == named.keys(), "litter is left, or something is missing"
    await coordinator.links.close()


async def with_nodes(directory: Path, use) -> None:
    async with contextlib.AsyncExitStack() as stack:
        nodes = [
            await stack.enter_async_context(
                running_node(NodeConfig(directory / name, node_id=name))
            )
            for name in NAMES
        ]
        await use(nodes)


async def live(nodes: Sequence[RunningNode], *, calls_left: int = -1, **settings) -> CutLinks:
    """Tell the story until the power is cut; then look at what is left."""
    catalogue = FaultyCatalogue(first_entries(nodes))
    coordinator = await awaken(catalogue, nodes)
    del catalogue.keys_written[:]
    links = CutLinks(coordinator.links, catalogue, calls_left)
    keeper = coordinator.keeper
    for part in (keeper.worker, keeper.audit):
        part._links = links
    catalogue.writes_left = settings.get("writes_left")
    catalogue.loses_last_answer = settings.get("loses_last_answer", False)
    with contextlib.suppress(EvenflowError):
        await tell(coordinator)
    links.writes = len(catalogue.keys_written)
    await links.close()
    await check_after_restart(catalogue.entries, nodes)
    return links


@pytest.mark.parametrize("loses_last_answer", [False, True], ids=["between", "answer lost"])
def test_a_power_cut_after_any_write_loses_nothing(tmp_path, loses_last_answer):
    async def use(nodes):
        calm = await live(nodes)
        assert calm.writes >= 10
        step = min(STEP, 2) if loses_last_answer else 1
        for cut_after in range(1, calm.writes, step):
            await live(nodes, writes_left=cut_after, loses_last_answer=loses_last_answer)

    asyncio.run(with_nodes(tmp_path, use))


def test_a_power_cut_after_any_order_to_a_node_loses_nothing(tmp_path):
    async def use(nodes):
        calm = await live(nodes)
        assert calm.calls >= 40
        for cut_after in range(STEP // 2 + 1, calm.calls, STEP):
            await live(nodes, calls_left=cut_after)

    asyncio.run(with_nodes(tmp_path, use))
