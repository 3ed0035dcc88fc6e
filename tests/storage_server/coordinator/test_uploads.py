"""An upload through the coordinator's API, over real sockets."""

import asyncio
import hashlib

import httpx
import pytest
from msgspec import structs

from redundancy.errors import ExitCode, InvalidScheme, NoSpace
from smart_client import wire
from smart_client.errors import (
    Conflict,
    InvalidRequest,
    NameTaken,
    TooFewNodesUp,
    VideoNotFound,
)
from support.running_cluster import (
    CHUNK_BYTES,
    Cluster,
    announce,
    chunk_record,
    in_a_cluster,
    new_id,
    place_group,
    rendition,
    store_fragments,
    upload,
)

pytestmark = pytest.mark.real


def store(video: wire.VideoRecord, group: wire.GroupRecord, expected: int = 0) -> wire.StoreGroup:
    return wire.StoreGroup(video_id=video.id, expected_version=expected, group=group)


def commit(video: wire.VideoRecord, chunks: int = 2) -> wire.CommitVideo:
    return wire.CommitVideo(video_id=video.id, renditions=(rendition(chunks),))


def test_a_video_of_several_groups_goes_from_its_announcement_to_its_manifest(tmp_path):
    chunks = wire.GROUP_CHUNKS + 3

    async def use(made: Cluster):
        ready = await upload(made, "kino", chunks)
        assert ready.state == "ready"
        manifest = await made.client.manifest("kino")
        assert [chunk.number for chunk in manifest.chunks] == list(range(chunks))
        assert {node.id for node in manifest.nodes} == set(made.nodes)
        assert all(node.urls == (made.nodes[node.id].url,) for node in manifest.nodes)
        for chunk in manifest.chunks:
            assert len({fragment.node for fragment in chunk.fragments}) == 5
        (line,) = await made.client.list_videos()
        assert (line.state, line.chunks, line.size) == ("ready", chunks, chunks * CHUNK_BYTES)
        assert line.weakest_chunk_fragments_up == 5
        assert line.stored_bytes == chunks * 5 * CHUNK_BYTES // 3
        groups = await made.client.groups("kino")
        assert [group.number for group in groups] == [0, 1]

    in_a_cluster(tmp_path, use)


@pytest.mark.parametrize(
    ("nodes", "layout", "tells"),
    [
        (5, "rs:3+2", "any 2 nodes"),
        (4, "rs:2+2", "any 2 nodes"),
        (3, "rs:2+1", "any 1 node"),
        (2, "rep:2", "any 1 node"),
        (1, "rep:1", "WARNING"),
    ],
)
def test_with_fewer_nodes_the_layout_is_the_best_there_is_and_the_reason_says_why(
    tmp_path, nodes, layout, tells
):
    async def use(made: Cluster):
        video = await announce(made.client)
        assert str(video.layout.to_layout()) == layout
        assert tells in video.reason
        if nodes < 5:
            assert f"{nodes} of {nodes} nodes" in video.reason

    in_a_cluster(tmp_path, use, nodes)


def test_without_any_node_an_upload_is_refused_as_temporary(tmp_path):
    async def use(made: Cluster):
        with pytest.raises(TooFewNodesUp, match="none of 0 nodes") as caught:
            await announce(made.client)
        assert caught.value.exit_code == ExitCode.TEMPORARY

    in_a_cluster(tmp_path, use, nodes=0)


def test_a_layout_that_needs_more_nodes_than_are_up_names_both_numbers(tmp_path):
    async def use(made: Cluster):
        with pytest.raises(TooFewNodesUp, match=r"rep:3 needs 3 nodes.* 2 of 2 are"):
            await announce(made.client, redundancy="rep:3")
        with pytest.raises(InvalidScheme, match="not a layout"):
            await announce(made.client, redundancy="raid5")
        with pytest.raises(InvalidRequest, match="at most 64"):
            await announce(made.client, redundancy="rs:60+20")
        video = await announce(made.client, redundancy="rep:2")
        assert video.layout == wire.LayoutRecord(k=1, n=2)

    in_a_cluster(tmp_path, use, nodes=2)


def test_an_unfinished_upload_of_the_same_size_is_found_again_with_its_groups(tmp_path):
    async def use(made: Cluster):
        first = await announce(made.client, chunks=2)
        group = await place_group(made.client, first)
        version = await made.client.store_group("kino", 0, store(first, group))
        assert await announce(made.client, chunks=2) == first
        assert await announce(made.client, chunks=2, redundancy="rs:3+2") == first
        (found,) = await made.client.groups("kino")
        assert (found.number, found.version, found.group) == (0, version, group)

    in_a_cluster(tmp_path, use)


def test_a_name_in_use_is_refused_and_the_hint_says_how_to_free_it(tmp_path):
    async def use(made: Cluster):
        await announce(made.client, "half", chunks=2)
        with pytest.raises(NameTaken, match="unfinished upload") as caught:
            await announce(made.client, "half", chunks=3)
        assert "smart-client rm half" in caught.value.hint
        with pytest.raises(NameTaken, match="stored as rs:3"):
            await announce(made.client, "half", chunks=2, redundancy="rep:2")
        await upload(made, "whole")
        with pytest.raises(NameTaken, match="exists already") as caught:
            await announce(made.client, "whole", chunks=2)
        assert "smart-client rm whole" in caught.value.hint

    in_a_cluster(tmp_path, use)


def test_of_two_who_announce_the_same_name_at_once_both_get_the_same_upload(tmp_path):
    async def use(made: Cluster):
        videos = await asyncio.gather(*(announce(made.client) for _ in range(8)))
        assert len({video.id for video in videos}) == 1

    in_a_cluster(tmp_path, use)


@pytest.mark.parametrize("name", ["", ".hidden", "-rf", "a/b", "x" * 201, "nul\0", "new\nline"])
def test_a_name_that_is_no_path_segment_is_refused(tmp_path, name):
    async def use(made: Cluster):
        with pytest.raises(InvalidRequest):
            await announce(made.client, name)

    in_a_cluster(tmp_path, use, nodes=1)


@pytest.mark.parametrize("name", ["Amélie (2001)", "東京物語", "a+b & c=d", "50 Cent's [live]!"])
def test_a_name_in_any_script_is_found_under_its_address(tmp_path, name):
    async def use(made: Cluster):
        video = await announce(made.client, name)
        assert await made.client.video(name) == video

    in_a_cluster(tmp_path, use, nodes=1)


def test_placements_are_of_distinct_nodes_repeatable_and_with_spares(tmp_path):
    async def use(made: Cluster):
        video = await announce(made.client, redundancy="rs:2+1")
        ask = wire.PlaceChunks(video_id=video.id, first_chunk=0, count=8)
        placed = await made.client.place("kino", ask)
        for chunk in placed.chunks:
            assert len(set(chunk.nodes + chunk.spares)) == 5
            assert len(chunk.nodes) == 3
        part = wire.PlaceChunks(video_id=video.id, first_chunk=5, count=3)
        assert (await made.client.place("kino", part)).chunks == placed.chunks[5:]
        across = wire.PlaceChunks(video_id=video.id, first_chunk=60, count=8)
        with pytest.raises(InvalidRequest, match="not of one group"):
            await made.client.place("kino", across)

    in_a_cluster(tmp_path, use)


def test_a_node_that_is_full_gets_no_new_fragments(tmp_path):
    async def use(made: Cluster):
        # The smallest a node may be: its first superblock fills it.
        await made.start_node("node-full", capacity_bytes=64 * 1024)
        await made.wait_until_up("node-full")
        video = await announce(made.client, redundancy="rep:2")
        placed = await made.client.place(
            "kino", wire.PlaceChunks(video_id=video.id, first_chunk=0, count=64)
        )
        named = {node for chunk in placed.chunks for node in chunk.nodes}
        assert "node-full" not in named

    in_a_cluster(tmp_path, use, nodes=3)


def test_nodes_that_are_up_but_have_no_room_are_no_space_rather_than_too_few(tmp_path):
    async def use(made: Cluster):
        await made.start_node("node-small", capacity_bytes=1024 * 1024)
        await made.wait_until_up("node-small")
        wish = wire.CreateVideo(name="huge", size=200 * 1024 * 1024)
        video = await made.client.create_video(wish)
        with pytest.raises(NoSpace, match="too little room"):
            await made.client.place(
                "huge", wire.PlaceChunks(video_id=video.id, first_chunk=0, count=64)
            )

    in_a_cluster(tmp_path, use, nodes=0)


def test_a_group_needs_one_fragment_more_than_rebuilding_does(tmp_path):
    """The trap: acknowledged before the copies exist."""

    async def use(made: Cluster):
        video = await announce(made.client, chunks=1)
        nodes = sorted(made.nodes)
        three = wire.GroupRecord(chunks=(chunk_record(0, video.layout, nodes[:3]),))
        with pytest.raises(InvalidRequest, match="too few"):
            await made.client.store_group("kino", 0, store(video, three))
        four = wire.GroupRecord(chunks=(chunk_record(0, video.layout, ["", *nodes[1:]]),))
        await made.client.store_group("kino", 0, store(video, four))

    in_a_cluster(tmp_path, use)


@pytest.mark.parametrize(
    ("nodes", "redundancy", "enough", "too_few"),
    [(3, "rep:3", 2, 1), (3, "rs:3+0", 3, 2), (1, "rep:1", 1, None), (3, "rs:1+1+1copy", 2, 1)],
)
def test_how_many_pieces_make_a_chunk_durable(tmp_path, nodes, redundancy, enough, too_few):
    async def use(made: Cluster):
        video = await announce(made.client, chunks=1, redundancy=redundancy)
        names = sorted(made.nodes)
        if too_few is not None:
            record = chunk_record(0, video.layout, names[:too_few])
            with pytest.raises(InvalidRequest, match="too few"):
                await made.client.store_group(
                    "kino", 0, store(video, wire.GroupRecord(chunks=(record,)))
                )
        record = chunk_record(0, video.layout, names[:enough])
        await made.client.store_group("kino", 0, store(video, wire.GroupRecord(chunks=(record,))))

    in_a_cluster(tmp_path, use, nodes)


def test_a_video_is_ready_only_when_all_of_it_is_recorded(tmp_path):
    chunks = wire.GROUP_CHUNKS + 1

    async def use(made: Cluster):
        video = await announce(made.client, chunks=chunks)
        with pytest.raises(InvalidRequest, match="0 chunks with 0 bytes"):
            await made.client.commit_video("kino", commit(video, chunks))
        last = await place_group(made.client, video, number=1, count=1)
        await made.client.store_group("kino", 1, store(video, last))
        with pytest.raises(InvalidRequest, match="lacks chunk 0"):
            await made.client.commit_video("kino", commit(video, chunks))
        first = await place_group(made.client, video, count=wire.GROUP_CHUNKS)
        await made.client.store_group("kino", 0, store(video, first))
        with pytest.raises(InvalidRequest, match="announced with"):
            await made.client.commit_video("kino", commit(video, chunks - 1))
        wrong = structs.replace(rendition(chunks), chunk_count=chunks + 1)
        with pytest.raises(InvalidRequest, match=f"{chunks} chunks"):
            await made.client.commit_video(
                "kino", wire.CommitVideo(video_id=video.id, renditions=(wrong,))
            )
        with pytest.raises(VideoNotFound, match="not complete"):
            await made.client.manifest("kino")
        ready = await made.client.commit_video("kino", commit(video, chunks))
        assert ready.state == "ready"
        assert await made.client.commit_video("kino", commit(video, chunks)) == ready

    in_a_cluster(tmp_path, use)


def test_groups_of_a_rendition_that_is_not_committed_are_not_forgotten(tmp_path):
    async def use(made: Cluster):
        video = await announce(made.client)
        group = await place_group(made.client, video)
        await made.client.store_group("kino", 0, store(video, group))
        extra = wire.StoreGroup(video_id=video.id, rendition="720p", group=group)
        await made.client.store_group("kino", 0, extra)
        with pytest.raises(InvalidRequest, match="not committed"):
            await made.client.commit_video("kino", commit(video))
        both = wire.CommitVideo(video_id=video.id, renditions=(rendition(2), rendition(2, "720p")))
        await made.client.commit_video("kino", both)
        assert len((await made.client.manifest("kino", "720p")).chunks) == 2

    in_a_cluster(tmp_path, use)


def test_an_empty_video_has_no_chunks_and_is_ready(tmp_path):
    async def use(made: Cluster):
        video = await announce(made.client, chunks=0)
        await made.client.commit_video("kino", commit(video, 0))
        manifest = await made.client.manifest("kino")
        assert manifest.chunks == ()

    in_a_cluster(tmp_path, use)


def test_a_ready_video_may_gain_a_fragment_but_not_other_chunks(tmp_path):
    async def use(made: Cluster):
        video = await announce(made.client, chunks=2)
        group = await place_group(made.client, video)
        late = wire.GroupRecord(
            chunks=tuple(structs.replace(c, fragments=c.fragments[:4]) for c in group.chunks)
        )
        version = await made.client.store_group("kino", 0, store(video, late))
        await made.client.commit_video("kino", commit(video))
        await made.client.store_group("kino", 0, store(video, group, version))
        other = wire.GroupRecord(
            chunks=tuple(structs.replace(c, sha256="f" * 64) for c in group.chunks)
        )
        (there,) = await made.client.groups("kino")
        with pytest.raises(Conflict, match="stay what they are"):
            await made.client.store_group("kino", 0, store(video, other, there.version))

    in_a_cluster(tmp_path, use)


def test_whoever_uploads_to_a_deleted_video_is_told_so(tmp_path):
    async def use(made: Cluster):
        video = await announce(made.client)
        group = await place_group(made.client, video)
        await made.client.delete_video("kino")
        with pytest.raises(VideoNotFound):
            await made.client.store_group("kino", 0, store(video, group))
        again = await announce(made.client)
        assert again.id != video.id
        with pytest.raises(VideoNotFound, match="another video now"):
            await made.client.store_group("kino", 0, store(video, group))
        with pytest.raises(VideoNotFound, match="another video now"):
            await made.client.commit_video("kino", commit(video))

    in_a_cluster(tmp_path, use)


def test_a_registered_name_can_be_filled_by_an_upload(tmp_path):
    async def use(made: Cluster):
        async with httpx.AsyncClient(base_url=made.url) as http:
            await http.post("/video/kino")
        with pytest.raises(VideoNotFound, match="only a name"):
            await made.client.manifest("kino")
        registered = await made.client.video("kino")
        ready = await upload(made, "kino")
        assert (ready.id, ready.state) == (registered.id, "ready")

    in_a_cluster(tmp_path, use)


def test_the_bytes_stored_are_those_the_manifest_names(tmp_path):
    async def use(made: Cluster):
        video = await announce(made.client)
        group = await place_group(made.client, video)
        await store_fragments(made, group, "kino")
        for chunk in group.chunks:
            for fragment in chunk.fragments:
                async with httpx.AsyncClient() as http:
                    url = made.nodes[fragment.node].url
                    answer = await http.get(f"{url}/v1/chunks/{fragment.key}")
                assert hashlib.sha256(answer.content).hexdigest() == fragment.key

    in_a_cluster(tmp_path, use)


def test_a_video_id_from_nowhere_is_refused(tmp_path):
    async def use(made: Cluster):
        await announce(made.client)
        with pytest.raises(VideoNotFound):
            await made.client.place(
                "kino", wire.PlaceChunks(video_id=new_id(), first_chunk=0, count=1)
            )

    in_a_cluster(tmp_path, use)
