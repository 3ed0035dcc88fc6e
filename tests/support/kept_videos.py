"""Videos with real fragments in a running cluster, and reading them back by their manifest."""

import dataclasses
import hashlib
import random

import httpx

from redundancy.backends import best_codec
from redundancy.errors import EvenflowError
from redundancy.fragment_format import ChunkLabel, read_footer_at_end
from redundancy.fragments import build_fragments, decode_chunk
from smart_client import wire
from storage_server.coordinator.keeper.limits import KeeperLimits
from support.running_cluster import Cluster

# No waiting for anything but uploads: what they have not recorded yet would be collected.
AT_ONCE = KeeperLimits(
    settle_s=0.0,
    drop_after_s=0.0,
    bad_every_s=0.0,
    round_every_s=3600.0,
    balance_every_s=float("inf"),
)

# Where nobody uploads.
COLLECTING = dataclasses.replace(AT_ONCE, orphan_after_s=0.0)

CHUNK = 50_000


def content(name: str, chunks: int, size: int = CHUNK) -> bytes:
    return random.Random(name).randbytes(chunks * size)


async def store_video(
    made: Cluster, name: str = "kino", chunks: int = 3, redundancy: str = "rs:3+2"
) -> wire.VideoRecord:
    """Store a video as an uploader does, every fragment of it."""
    data = content(name, chunks)
    client = made.client
    video = await client.create_video(
        wire.CreateVideo(name=name, size=len(data), redundancy=redundancy)
    )
    placed = await client.place(
        name, wire.PlaceChunks(video_id=video.id, first_chunk=0, count=chunks)
    )
    whole = wire.RenditionRecord(
        name="original",
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        mime="video/mp4",
        duration_s=chunks * 10.0,
        chunk_count=chunks,
    )
    records = [
        await _store_chunk(made, video, number, data, nodes.nodes, whole)
        for number, nodes in enumerate(placed.chunks)
    ]
    group = wire.GroupRecord(chunks=tuple(records))
    await client.store_group(name, 0, wire.StoreGroup(video_id=video.id, group=group))
    return await client.commit_video(name, wire.CommitVideo(video_id=video.id, renditions=(whole,)))


async def _store_chunk(made, video, number, data, nodes, whole) -> wire.ChunkRecord:
    layout = video.layout.to_layout()
    body = data[number * CHUNK : (number + 1) * CHUNK]
    facts: dict[str, object] = {"name": video.name, "last": number == whole.chunk_count - 1}
    if facts["last"]:
        facts |= {
            "created_at_s": video.created_at_s,
            "rendition": whole,
            "media": video.media,
        }
    label = ChunkLabel(
        bytes.fromhex(video.id),
        "original",
        number,
        offset_bytes=number * CHUNK,
        start_us=number * 10_000_000,
        duration_us=10_000_000,
        descriptor=wire.encode(facts),
    )
    fragments = build_fragments(body, layout, best_codec(layout.scheme), label)
    headers = {"Authorization": f"Bearer {made.token}"} if made.token else {}
    async with httpx.AsyncClient(headers=headers, trust_env=False) as http:
        for fragment, node in zip(fragments, nodes, strict=True):
            url = f"{made.nodes[node].url}/v1/chunks/{fragment.key}"
            answer = await http.put(url, content=b"".join(fragment.parts))
            assert answer.status_code in (200, 201)
    return wire.ChunkRecord(
        number=number,
        offset=number * CHUNK,
        size=CHUNK,
        sha256=hashlib.sha256(body).hexdigest(),
        start_s=number * 10.0,
        duration_s=10.0,
        layout=video.layout,
        fragments=tuple(
            wire.FragmentRecord(index=i, node=node, key=fragment.key)
            for i, (fragment, node) in enumerate(zip(fragments, nodes, strict=True))
        ),
    )


async def read_back(made: Cluster, name: str = "kino") -> bytes:
    """Read a video by its manifest from whatever nodes answer; every fragment read is checked."""
    manifest = await made.client.manifest(name)
    urls = {node.id: node.urls for node in manifest.nodes}
    found = b""
    async with httpx.AsyncClient(trust_env=False) as http:
        for chunk in manifest.chunks:
            payloads, footer = {}, None
            for each in chunk.fragments:
                body = await _fetch(http, urls[each.node], each.key)
                if body is None:
                    continue
                one = read_footer_at_end(body)
                assert one.index == each.index
                assert wire.LayoutRecord.of(one.layout) == chunk.layout
                assert one.label.generation == chunk.generation
                payloads[each.index] = body[: one.payload_bytes]
                footer = one if footer is None or footer.is_copy else footer
            assert footer is not None, f"nothing is left of chunk {chunk.number}"
            codec = best_codec(footer.layout.scheme)
            found += bytes(decode_chunk(footer, payloads, codec))
    return found


async def _fetch(http: httpx.AsyncClient, urls, key: str) -> bytes | None:
    try:
        answer = await http.get(f"{urls[0]}/v1/chunks/{key}")
    except httpx.TransportError:
        return None
    if answer.status_code != 200:
        return None
    assert hashlib.sha256(answer.content).hexdigest() == key
    return answer.content


async def is_whole(made: Cluster, name: str = "kino") -> bool:
    """Whether every fragment of the video's layout is recorded on a node of its own and there."""
    manifest = await made.client.manifest(name)
    total = manifest.video.layout.n + manifest.video.layout.copies
    for chunk in manifest.chunks:
        nodes = {each.node for each in chunk.fragments}
        if not len(nodes) == len(chunk.fragments) == total or not nodes <= made.nodes.keys():
            return False
        for each in chunk.fragments:
            if not made.nodes[each.node].node.store.has(bytes.fromhex(each.key)):
                return False
    return True


async def keep(made: Cluster, *, audits: bool = False) -> None:
    """Let the keeper look until there is nothing more to do."""
    for _ in range(12):
        try:
            await made.coordinator.keeper.lease.hold()
            found = await made.coordinator.keeper.round(audits=audits)
        except EvenflowError:
            continue
        if not found.done and not found.failed:
            return
    raise AssertionError("the keeper never comes to an end")
