"""A catalogue from fragments alone: all of it, or precisely what is missing."""

import asyncio
import itertools
import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redundancy.errors import ExitCode
from smart_client import wire
from storage_server.cli import main
from storage_server.recovery import FoundFragment, recover
from support.coded_chunks import coded_chunk
from support.kept_videos import AT_ONCE, content, is_whole, keep, read_back, store_video
from support.running_cluster import Cluster, in_a_cluster


def found(fragments, nodes) -> list[FoundFragment]:
    return [FoundFragment(nodes[f.index], f.key, f.footer) for f in fragments]


def described(layout: str, chunks: int, size: int = 1000, generation: int = 0):
    """A video's chunks, the last of which describes the whole."""
    whole = wire.RenditionRecord(
        name="original",
        size=chunks * size,
        sha256="0" * 64,
        mime="video/mp4",
        duration_s=0,
        chunk_count=chunks,
    )
    facts = {"name": "kino", "created_at_s": 5.0, "rendition": whole, "media": wire.MediaFacts()}
    return [
        coded_chunk(
            layout,
            size,
            number,
            generation=generation,
            offset=number * size,
            descriptor=wire.encode(facts if number == chunks - 1 else {"name": "kino"}),
        )
        for number in range(chunks)
    ]


NODES = [f"node-{i}" for i in range(8)]


@given(st.data())
def test_a_video_is_whole_exactly_when_every_chunk_has_k_fragments(data):
    chunks = described("rs:3+2", data.draw(st.integers(1, 4)))
    kept = [data.draw(st.sets(st.integers(0, 4))) for _ in chunks]
    parts = [
        one
        for chunk, there in zip(chunks, kept, strict=True)
        for one in found([chunk[i] for i in sorted(there)], NODES)
    ]
    videos = recover(data.draw(st.permutations(parts)))
    if not parts:
        assert videos == []
        return
    (video,) = videos
    assert video.is_whole == all(len(there) >= 3 for there in kept)
    last_is_known = bool(kept[-1])
    assert (video.record is not None) == (last_is_known and all(kept))
    if last_is_known:
        lost = {each.number: each.have for each in video.lost}
        assert lost == {i: len(there) for i, there in enumerate(kept) if len(there) < 3}
    if video.record is not None:
        (group,) = video.groups.values()
        assert [{f.index for f in chunk.fragments} for chunk in group.chunks] == kept
        assert (video.record.name, video.record.created_at_s) == ("kino", 5.0)


def test_the_newest_generation_that_can_be_read_counts():
    old, new = described("rep:3", 1)[0], described("rs:3+2", 1, generation=1)[0]
    halfway = found(old[:1], NODES) + found(new[:2], NODES)
    (video,) = recover(halfway)
    assert next(iter(video.groups.values())).chunks[0].generation == 0
    (video,) = recover(found(old[:1], NODES) + found(new[:3], NODES))
    assert next(iter(video.groups.values())).chunks[0].layout == wire.LayoutRecord(k=3, n=5)


def test_of_two_places_of_one_fragment_one_is_taken_and_no_node_twice():
    (chunk,) = described("rs:3+2", 1)
    here = found(chunk, NODES)
    here.append(FoundFragment("node-1", chunk[0].key, chunk[0].footer))
    here.append(FoundFragment("node-7", chunk[4].key, chunk[4].footer))
    (video,) = recover(here)
    fragments = next(iter(video.groups.values())).chunks[0].fragments
    assert len({each.node for each in fragments}) == len(fragments) == 5


def rung(chunks: int, missing: int = -1, *, described: bool = True) -> list[FoundFragment]:
    """A further rendition's fragments, as copies; ``missing`` is a chunk nothing is left of."""
    whole = wire.RenditionRecord(
        name="480p",
        size=chunks * 500,
        sha256="0" * 64,
        mime="video/mp4",
        duration_s=0,
        chunk_count=chunks,
        kind="video",
        layout=wire.LayoutRecord(k=1, n=2),
    )
    facts = {"name": "kino", "rendition": whole}
    parts = []
    for number in range(chunks):
        is_last = number == chunks - 1 and described
        chunk = coded_chunk(
            "rep:2",
            500,
            number,
            offset=number * 500,
            rendition="480p",
            descriptor=wire.encode(facts if is_last else {"name": "kino"}),
        )
        parts += found(chunk if number != missing else [], NODES)
    return parts


def test_a_ladder_comes_back_whole_or_not_at_all():
    original = [one for chunk in described("rs:3+2", 2) for one in found(chunk, NODES)]
    (video,) = recover(original + rung(3))
    assert [each.name for each in video.record.renditions] == ["original", "480p"]
    assert video.record.layout_of("480p") == wire.LayoutRecord(k=1, n=2)
    assert len(video.groups) == 2
    for broken in (rung(3, missing=1), rung(3, described=False), rung(3, missing=0)):
        (video,) = recover(original + broken)
        assert video.is_whole, "the film itself is all there"
        assert video.dropped == ("480p",)
        assert [each.name for each in video.record.renditions] == ["original"]
        assert len(video.groups) == 1


def run_recover(capsys, *words: str) -> tuple[int, dict]:
    code = main(["recover", "--json", *words])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.real
def test_a_lost_catalogue_comes_back_from_the_disks_of_any_k_nodes(tmp_path, capsys):
    asides = list(itertools.combinations([f"node-{i}" for i in range(1, 6)], 3))[::3]

    async def fill(made: Cluster):
        await store_video(made, "kino", chunks=4)
        await store_video(made, "short", chunks=1)
        before["kino"] = (await made.client.manifest("kino")).video
        for name in list(made.nodes):
            await made.stop(name)

    before: dict[str, wire.VideoRecord] = {}
    in_a_cluster(tmp_path, fill, 5, keeper=AT_ONCE)
    for number, names in enumerate(asides):
        words = [word for name in names for word in ("--from", str(tmp_path / name))]
        code, said = run_recover(capsys, *words, "--data", str(tmp_path / f"new-{number}"))
        assert (code, [each["whole"] for each in said["videos"]]) == (0, [True, True])
    # The coordinator goes on with what was recovered, and makes good what the other nodes held.
    shutil.rmtree(tmp_path / "coordinator")
    shutil.move(tmp_path / "new-0", tmp_path / "coordinator")

    async def use(made: Cluster):
        for name in (*asides[0], "node-8", "node-9"):
            await made.start_node(name)
        await made.wait_until_up(*asides[0], "node-8", "node-9")
        assert await read_back(made, "kino") == content("kino", 4)
        video = (await made.client.manifest("kino")).video
        assert (video.renditions, video.media, video.id) == (
            before["kino"].renditions,
            before["kino"].media,
            before["kino"].id,
        )
        await keep(made)
        assert await is_whole(made, "kino")
        assert await is_whole(made, "short")

    in_a_cluster(tmp_path, use, 0, keeper=AT_ONCE)


@pytest.mark.real
def test_what_is_missing_is_named_to_the_byte(tmp_path, capsys):
    async def use(made: Cluster):
        await store_video(made, "kino", chunks=2)
        for name in list(made.nodes):
            await made.stop(name)

    in_a_cluster(tmp_path, use, 5, keeper=AT_ONCE)
    words = [word for i in (1, 2) for word in ("--from", str(tmp_path / f"node-{i}"))]
    code, said = run_recover(capsys, *words, "--data", str(tmp_path / "new"))
    assert code == ExitCode.UNRECOVERABLE
    (video,) = said["videos"]
    assert [(each["number"], each["have"], each["need"]) for each in video["lost"]] == [
        (0, 2, 3),
        (1, 2, 3),
    ]
    assert [each["offset"] for each in video["lost"]] == [0, 50_000]


@pytest.mark.real
def test_running_nodes_are_read_over_the_network_and_a_full_catalogue_is_not_touched(
    tmp_path, capsys
):
    async def use(made: Cluster):
        await store_video(made, "kino", chunks=2)
        words = [word for node in made.nodes.values() for word in ("--from", node.url)]
        words += ["--data", str(tmp_path / "new")]
        code, said = await asyncio.to_thread(run_recover, capsys, *words)
        assert (code, said["videos"][0]["whole"]) == (0, True)
        code, said = await asyncio.to_thread(run_recover, capsys, *words)
        assert (code, said["error"]["code"]) == (ExitCode.CONFLICT, "EXISTS")

    in_a_cluster(tmp_path, use, 5, keeper=AT_ONCE)
