"""Videos that are there: what players and people get of them, and how they go."""

import asyncio
import gzip
import json

import httpx
import pytest

from smart_client import wire
from smart_client.errors import RenditionNotFound, VideoNotFound
from support.running_cluster import (
    FAST_LIMITS,
    Cluster,
    announce,
    eventually,
    in_a_cluster,
    keys_on,
    new_id,
    place_group,
    store_fragments,
    upload,
)

pytestmark = pytest.mark.real


def test_a_manifest_is_sent_once_and_then_only_confirmed(tmp_path):
    async def use(made: Cluster):
        await upload(made, "kino", 10)
        async with made.link() as http:
            first = await http.get("/v1/videos/kino/manifest")
            assert first.headers["Content-Encoding"] == "gzip"
            assert len(json.loads(first.content)["chunks"]) == 10
            again = await http.get(
                "/v1/videos/kino/manifest", headers={"If-None-Match": first.headers["ETag"]}
            )
            assert (again.status_code, again.content) == (304, b"")
            plain = await http.get(
                "/v1/videos/kino/manifest", headers={"Accept-Encoding": "identity"}
            )
            assert "Content-Encoding" not in plain.headers
            assert plain.content == first.content

    in_a_cluster(tmp_path, use)


def test_a_manifest_on_the_wire_is_really_compressed(tmp_path):
    async def use(made: Cluster):
        await upload(made, "kino", 10)
        async with made.link() as http, http.stream("GET", "/v1/videos/kino/manifest") as answer:
            raw = b"".join([block async for block in answer.aiter_raw()])
        body = gzip.decompress(raw)
        assert len(raw) < len(body) / 2
        assert json.loads(body)["video"]["name"] == "kino"

    in_a_cluster(tmp_path, use)


def test_a_manifest_changes_its_tag_when_a_node_moves(tmp_path):
    async def use(made: Cluster):
        await upload(made)
        async with made.link() as http:
            before = (await http.get("/v1/videos/kino/manifest")).headers["ETag"]
            await made.stop("node-1")
            await made.start_node("node-1")

            async def is_other() -> bool:
                now = await http.get("/v1/videos/kino/manifest", headers={"If-None-Match": before})
                return now.status_code == 200

            await eventually(is_other)

    in_a_cluster(tmp_path, use)


def test_a_wrong_spelling_is_answered_with_the_nearest_name(tmp_path):
    async def use(made: Cluster):
        await upload(made, "tears-of-steel")
        for ask in (made.client.video, made.client.manifest, made.client.delete_video):
            with pytest.raises(VideoNotFound, match="Did you mean 'tears-of-steel'"):
                await ask("tears-of-stel")
        with pytest.raises(RenditionNotFound, match="no rendition '720p'"):
            await made.client.manifest("tears-of-steel", "720p")

    in_a_cluster(tmp_path, use)


def test_a_view_is_counted_once_however_often_it_is_reported(tmp_path):
    """The trap: views never counted, or counted at every poll."""

    async def use(made: Cluster):
        await upload(made, "kino", 10)  # 100 s
        playback, other = new_id(), new_id()

        async def report(who: str, played_s: float) -> None:
            await made.client.count_view("kino", wire.CountView(playback=who, played_s=played_s))

        await report(playback, 24.0)  # neither 30 s nor a quarter
        assert await views(made) == 0
        for played_s in (25.0, 26.0, 60.0, 60.0):
            await report(playback, played_s)
        await report(other, 99.0)
        assert await views(made) == 2
        await made.stop("coordinator")  # also writes what was counted last
        await made.start_coordinator()
        assert await views(made) == 2
        await report(new_id(), 30.0)
        assert await views(made) == 3

    in_a_cluster(tmp_path, use)


async def views(made: Cluster) -> int:
    (line,) = await made.client.list_videos()
    return line.views


def test_a_name_given_anew_starts_without_views(tmp_path):
    async def use(made: Cluster):
        await upload(made)
        view = wire.CountView(playback=new_id(), played_s=30.0)
        await made.client.count_view("kino", view)
        await made.client.delete_video("kino")
        await upload(made)
        assert await views(made) == 0

    in_a_cluster(tmp_path, use)


def test_deleting_frees_the_name_at_once_and_the_fragments_by_and_by(tmp_path):
    async def use(made: Cluster):
        await upload(made, "kept")
        kept = {name: await keys_on(made, name) for name in made.nodes}
        await upload(made, "kino", 3)
        gone = await made.client.delete_video("kino")
        assert (gone.name, gone.fragments, gone.stored_bytes) == ("kino", 15, 15 * 64)
        with pytest.raises(VideoNotFound):
            await made.client.manifest("kino")
        assert (await announce(made.client, "kino")).state == "uploading"

        async def only_the_kept_are_left() -> bool:
            return kept == {name: await keys_on(made, name) for name in made.nodes}

        await eventually(only_the_kept_are_left)
        await eventually(lambda: nothing_is_deleting(made))
        assert (await made.client.manifest("kept")).chunks

    in_a_cluster(tmp_path, use)


async def nothing_is_deleting(made: Cluster) -> bool:
    return (await made.client.status()).deleting == 0


def test_fragments_on_a_node_that_is_away_are_deleted_when_it_is_back(tmp_path):
    async def use(made: Cluster):
        await upload(made)
        assert await keys_on(made, "node-3")
        await made.stop("node-3")
        await eventually(lambda: is_state(made, "node-3", "suspect"))
        await made.client.delete_video("kino")

        async def the_others_are_empty() -> bool:
            return not any([await keys_on(made, name) for name in made.nodes])

        await eventually(the_others_are_empty)
        assert (await made.client.status()).deleting == 1
        await made.stop("coordinator")  # and the coordinator forgets nothing of it
        await made.start_coordinator()
        assert (await made.client.status()).deleting == 1
        await made.start_node("node-3")
        await eventually(lambda: nothing_is_deleting(made))
        assert await keys_on(made, "node-3") == set()

    in_a_cluster(tmp_path, use, limits=FAST_LIMITS)


async def is_state(made: Cluster, name: str, state: str) -> bool:
    return await made.state_of(name) == state


def test_an_unfinished_upload_can_be_deleted_with_what_it_recorded(tmp_path):
    async def use(made: Cluster):
        video = await announce(made.client)
        group = await place_group(made.client, video)
        await store_fragments(made, group, "kino")
        await made.client.store_group("kino", 0, wire.StoreGroup(video_id=video.id, group=group))
        await made.client.delete_video("kino")
        await eventually(lambda: nothing_is_deleting(made))
        assert not any([await keys_on(made, name) for name in made.nodes])
        assert await made.client.list_videos() == ()

    in_a_cluster(tmp_path, use)


def test_status_says_what_one_more_loss_would_cost_and_never_ok_when_it_is_not(tmp_path):
    async def use(made: Cluster):
        await upload(made, "safe", redundancy="rs:3+2")
        await upload(made, "thin", redundancy="rs:4+1")
        await upload(made, "bare", chunks=1, redundancy="rep:1")
        status = await made.client.status()
        assert (status.fragile, status.unplayable) == (("bare",), ())
        (chunk,) = (await made.client.manifest("bare")).chunks
        where = chunk.fragments[0].node
        await made.stop(where)
        await eventually(lambda: is_state(made, where, "suspect"))

        async def says_so() -> bool:
            now = await made.client.status()
            return (now.fragile, now.unplayable) == (("thin",), ("bare",))

        await eventually(says_so)
        weakest = {
            each.name: each.weakest_chunk_fragments_up for each in await made.client.list_videos()
        }
        assert weakest == {"safe": 4, "thin": 4, "bare": 0}
        async with made.link() as http:
            health = (await http.get("/healthz")).json()
        assert health["status"] == "degraded"
        assert health["unplayable"] == ["bare"]

    in_a_cluster(tmp_path, use, limits=FAST_LIMITS)


def test_after_a_restart_nothing_is_claimed_of_nodes_not_heard_yet(tmp_path):
    """The trap: invented numbers."""

    async def use(made: Cluster):
        await upload(made)
        for name in list(made.nodes):
            await made.stop(name)
        await made.stop("coordinator")
        await made.start_coordinator()
        status = await made.client.status()
        assert {node.state for node in status.nodes} == {"unknown"}
        assert {node.seen_s_ago for node in status.nodes} == {None}
        (line,) = await made.client.list_videos()
        assert line.weakest_chunk_fragments_up is None

        async def says_unplayable() -> bool:
            return (await made.client.status()).unplayable == ("kino",)

        await eventually(says_unplayable)

    in_a_cluster(tmp_path, use, limits=FAST_LIMITS)


def test_groups_that_do_not_fit_are_told_as_damage_and_not_played(tmp_path):
    async def use(made: Cluster):
        await upload(made, "kino", 3)
        registers = made.coordinator.registers
        (group,) = await registers.scan("group/", wire.GroupRecord)
        short = wire.GroupRecord(chunks=group.record.chunks[:2])
        await registers.write(group.key, short, group.version)
        async with made.link() as http:
            answer = await http.get("/v1/videos/kino/manifest")
        assert answer.status_code == 500
        assert answer.json()["error"]["code"] == "REGISTER_DAMAGED"

    in_a_cluster(tmp_path, use)


def test_many_who_ask_at_once_are_all_answered(tmp_path):
    async def use(made: Cluster):
        await upload(made)
        async with made.link() as http:
            answers = await asyncio.gather(
                *(http.get("/v1/status") for _ in range(50)),
                *(http.get("/v1/videos/kino/manifest") for _ in range(50)),
            )
        assert {answer.status_code for answer in answers} == {200}

    in_a_cluster(tmp_path, use)


def test_the_client_of_a_dead_coordinator_asks_the_next_one(tmp_path):
    async def use(made: Cluster):
        await upload(made)
        dead = httpx.URL(made.url).copy_with(port=1)
        client = type(made.client)([str(dead), made.url])
        assert (await client.manifest("kino")).video.name == "kino"
        await client.close()

    in_a_cluster(tmp_path, use)
