"""A ready video gains renditions; what it has stays what it is."""

from pathlib import Path

import pytest
from msgspec import structs

from smart_client import wire
from smart_client.errors import Conflict, InvalidRequest, RenditionNotFound
from smart_client.ingest.segment import Cut
from smart_client.ingest.upload import Uploader, UploadResult
from support.kept_videos import AT_ONCE, keep, read_back, store_video
from support.running_cluster import Cluster, eventually, in_a_cluster, keys_on

COPIES = wire.LayoutRecord(k=1, n=5)


def described(name: str, size: int, layout: wire.LayoutRecord | None = None):
    return wire.RenditionRecord(
        name=name,
        size=size,
        sha256="",
        mime="video/mp4",
        duration_s=20.0,
        chunk_count=0,
        kind="video",
        layout=layout,
    )


async def add(
    made: Cluster,
    video: wire.VideoRecord,
    path: Path,
    name: str = "480p",
    layout: wire.LayoutRecord | None = None,
) -> UploadResult:
    """Store 30 kB as two chunks of a further rendition."""
    path.write_bytes(bytes(f"{name} ", "ascii") * 6_000)
    size = path.stat().st_size
    cuts = [Cut(0, 20_000, 0.0, 10.0), Cut(20_000, size - 20_000, 10.0, 10.0)]
    uploader = Uploader(made.client, token=made.token)
    return await uploader.add_rendition(video, path, described(name, size, layout), cuts)


def test_a_ready_video_gains_renditions_and_loses_them_all_when_deleted(tmp_path: Path) -> None:
    async def use(made: Cluster) -> None:
        video = await store_video(made)
        first = await add(made, video, tmp_path / "a", "480p")
        second = await add(made, first.video, tmp_path / "b", "lifeboat", COPIES)
        assert [each.name for each in second.video.renditions] == ["original", "480p", "lifeboat"]
        coded = await made.client.manifest("kino", "480p")
        assert {chunk.layout for chunk in coded.chunks} == {video.layout}
        copied = await made.client.manifest("kino", "lifeboat")
        assert {chunk.layout for chunk in copied.chunks} == {COPIES}
        assert await read_back(made)
        with pytest.raises(RenditionNotFound, match="it has: original, 480p, lifeboat"):
            await made.client.manifest("kino", "720p")
        (line,) = await made.client.list_videos()
        assert (line.chunks, line.weakest_chunk_fragments_up) == (7, 5)
        await made.client.delete_video("kino")

        async def is_empty() -> bool:
            return not any([await keys_on(made, name) for name in made.nodes])

        await eventually(is_empty)

    in_a_cluster(tmp_path, use)


def test_what_an_interrupted_longer_attempt_left_goes_when_the_shorter_one_is_whole(
    tmp_path: Path,
) -> None:
    async def use(made: Cluster) -> None:
        video = await store_video(made)
        (group,) = await made.client.groups("kino")
        first = wire.GROUP_CHUNKS
        chunks = tuple(
            structs.replace(chunk, number=first + chunk.number) for chunk in group.group.chunks
        )
        left_over = wire.StoreGroup(
            video_id=video.id,
            rendition="480p",
            expected_version=0,
            group=wire.GroupRecord(chunks=chunks),
        )
        await made.client.store_group("kino", 1, left_over)
        ready = (await add(made, video, tmp_path / "a")).video
        assert ready.rendition("480p").chunk_count == 2
        assert len(await made.client.groups("kino", "480p")) == 1
        assert await read_back(made)

    in_a_cluster(tmp_path, use)


def test_what_a_video_has_stays_what_it_is(tmp_path: Path) -> None:
    async def use(made: Cluster) -> None:
        video = await store_video(made)
        ready = (await add(made, video, tmp_path / "a")).video

        async def commit(*renditions: wire.RenditionRecord, media=ready.media) -> wire.VideoRecord:
            wish = wire.CommitVideo(video_id=ready.id, media=media, renditions=renditions)
            return await made.client.commit_video("kino", wish)

        original, rung = ready.renditions
        assert await commit(original, rung) == ready, "said twice"
        for renditions in ((original,), (rung, original), (original, rung, rung), ()):
            with pytest.raises(Conflict, match="complete already"):
                await commit(*renditions)
        with pytest.raises(Conflict, match="complete already"):
            await commit(original, structs.replace(rung, size=rung.size + 1))
        with pytest.raises(InvalidRequest, match="has 0 chunks"):
            await commit(original, rung, structs.replace(rung, name="720p"))
        assert await made.client.video("kino") == ready

        (group,) = await made.client.groups("kino", "480p")
        changed = structs.replace(group.group.chunks[0], sha256="1" * 64)
        chunks = (changed, *group.group.chunks[1:])
        other = wire.StoreGroup(
            video_id=ready.id,
            rendition="480p",
            expected_version=group.version,
            group=wire.GroupRecord(chunks=chunks),
        )
        with pytest.raises(Conflict, match="chunks stay what they are"):
            await made.client.store_group("kino", 0, other)

    in_a_cluster(tmp_path, use)


def test_an_interrupted_rendition_is_stored_anew_if_it_turns_out_otherwise(tmp_path: Path) -> None:
    async def use(made: Cluster) -> None:
        video = await store_video(made)
        # Somebody stored all chunks and never came to commit them.
        lost = await add(made, video, tmp_path / "a", "480p")
        wanted = structs.replace(lost.video, renditions=lost.video.renditions[:1])
        (group,) = await made.client.groups("kino", "480p")
        await made.client.delete_video("kino")
        again = await store_video(made)
        kept = wire.StoreGroup(video_id=again.id, rendition="480p", group=group.group)
        await made.client.store_group("kino", 0, kept)
        assert wanted.renditions == again.renditions
        ready = (await add(made, again, tmp_path / "b", "480p")).video
        manifest = await made.client.manifest("kino", "480p")
        assert manifest.rendition.sha256 == ready.rendition("480p").sha256

    in_a_cluster(tmp_path, use)


def test_the_keeper_leaves_copies_copies_and_mends_them(tmp_path: Path) -> None:
    async def use(made: Cluster) -> None:
        video = await store_video(made)
        await add(made, video, tmp_path / "a", "lifeboat", COPIES)
        await keep(made, audits=True)
        before = await made.client.manifest("kino", "lifeboat")
        assert {chunk.layout for chunk in before.chunks} == {COPIES}
        assert {chunk.generation for chunk in before.chunks} == {0}
        gone = before.chunks[0].fragments[0]
        made.nodes[gone.node].node.store.delete(bytes.fromhex(gone.key))
        await keep(made, audits=True)
        assert made.nodes[gone.node].node.store.has(bytes.fromhex(gone.key))
        await made.client.set_layout("kino", wire.SetLayout(redundancy="rep:3"))
        await keep(made)
        original = await made.client.manifest("kino")
        assert {chunk.layout.k for chunk in original.chunks} == {1}
        after = await made.client.manifest("kino", "lifeboat")
        assert {len(chunk.fragments) for chunk in after.chunks} == {5}

    in_a_cluster(tmp_path, use, keeper=AT_ONCE)


def test_a_plan_counts_copies_as_copies(tmp_path: Path) -> None:
    async def use(made: Cluster) -> None:
        video = await store_video(made)
        await add(made, video, tmp_path / "a", "lifeboat", COPIES)
        await keep(made, audits=True)
        manifests = [await made.client.manifest("kino", each) for each in ("original", "lifeboat")]
        fragments = [f for each in manifests for chunk in each.chunks for f in chunk.fragments]
        node = manifests[1].chunks[0].fragments[0].node
        coordinator = made.coordinator
        async with coordinator.keeper._one_round:  # it waits until the plan is told
            coordinator.members.set_drain(node, True)
            told = await coordinator.preview.repair()
        assert told.moves == sum(each.node == node for each in fragments)

    in_a_cluster(tmp_path, use, 6, keeper=AT_ONCE)
