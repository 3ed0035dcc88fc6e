"""The routes of the ring store, and a node that is taken out with everything on it."""

import asyncio
import hashlib

import httpx
import pytest

from smart_client import wire
from storage_server.coordinator.keeper.jobs import replaced
from support.running_cluster import (
    FAST_LIMITS,
    Cluster,
    eventually,
    in_a_cluster,
    keys_on,
    upload,
)

pytestmark = pytest.mark.real


def test_an_empty_ring_is_a_clear_503(tmp_path):
    async def use(made: Cluster):
        async with made.link() as http:
            answer = await http.post("/video/kino")
            assert answer.status_code == 503
            assert "the ring is empty" in answer.json()["error"]["message"]
            assert (await http.get("/video")).json() == []
            assert (await http.get("/video?details=true")).json() == {}

    in_a_cluster(tmp_path, use, nodes=0)


def test_names_are_listed_plain_and_by_server_with_every_server_a_key(tmp_path):
    names = [f"film-{number}" for number in range(30)]

    async def use(made: Cluster):
        async with made.link() as http:
            for server in ("alpha", "beta", "gamma"):
                answer = await http.post(f"/server/{server}")
                assert (answer.status_code, server in answer.text) == (200, True)
            servers = {}
            for name in names:
                answer = await http.post(f"/video/{name}")
                assert (answer.status_code, name in answer.text) == (200, True)
                (servers[name],) = {s for s in ("alpha", "beta", "gamma") if s in answer.text}
            assert (await http.get("/video")).json() == sorted(names)
            details = (await http.get("/video?details=true")).json()
            assert details == {
                server: sorted(name for name in names if servers[name] == server)
                for server in ("alpha", "beta", "gamma")
            }
            again = await http.post("/video/film-1")
            assert servers["film-1"] in again.text
            assert (await http.get("/video")).json() == sorted(names)

    in_a_cluster(tmp_path, use, nodes=0)


def test_a_server_that_leaves_takes_only_its_own_names_along(tmp_path):
    async def use(made: Cluster):
        async with made.link() as http:
            for server in ("alpha", "beta", "gamma", "delta"):
                await http.post(f"/server/{server}")
            for number in range(100):
                await http.post(f"/video/film-{number}")
            before = (await http.get("/video?details=true")).json()
            answer = await http.delete("/server/beta")
            assert answer.status_code == 200
            assert "beta" in answer.text
            assert f"{len(before['beta'])} migrated" in answer.text
            after = (await http.get("/video?details=true")).json()
        assert "beta" not in after
        for server, names in after.items():
            assert set(before[server]) <= set(names)
        assert sum(map(len, after.values())) == 100

    in_a_cluster(tmp_path, use, nodes=0)


def test_a_stored_video_is_listed_under_the_servers_that_hold_it(tmp_path):
    async def use(made: Cluster):
        await upload(made, "kino", chunks=1, redundancy="rep:2")
        (chunk,) = (await made.client.manifest("kino")).chunks
        holders = {fragment.node for fragment in chunk.fragments}
        async with made.link() as http:
            details = (await http.get("/video?details=true")).json()
        assert details == {name: ["kino"] if name in holders else [] for name in made.nodes}

    in_a_cluster(tmp_path, use, nodes=3)


@pytest.mark.parametrize(
    "send",
    [
        lambda http, url: http.post(f"/server/quiet?url={url}"),
        lambda http, url: http.post("/server/quiet", json={"url": url}),
    ],
    ids=["in the query", "in the body"],
)
def test_a_server_can_be_added_with_its_address(tmp_path, send):
    async def use(made: Cluster):
        quiet = await made.start_node("quiet", beats=False)
        async with made.link() as http:
            assert (await send(http, quiet.url)).status_code == 200
            bad = await http.post("/server/x?url=nonsense")
            assert bad.status_code == 400
        await made.wait_until_up("quiet")

    in_a_cluster(tmp_path, use, nodes=0)


async def readable_everywhere(made: Cluster, name: str) -> None:
    """Every fragment of a video is where its manifest says, whole and right."""
    manifest = await made.client.manifest(name)
    urls = {node.id: node.urls[0] for node in manifest.nodes}
    async with httpx.AsyncClient(trust_env=False) as http:
        for chunk in manifest.chunks:
            assert len({fragment.node for fragment in chunk.fragments}) == len(chunk.fragments)
            for fragment in chunk.fragments:
                answer = await http.get(f"{urls[fragment.node]}/v1/chunks/{fragment.key}")
                assert hashlib.sha256(answer.content).hexdigest() == fragment.key


def test_a_node_that_leaves_is_emptied_first_and_everything_stays_readable(tmp_path):
    async def use(made: Cluster):
        await upload(made, "kino", chunks=70)
        await upload(made, "short", chunks=1, redundancy="rep:2")
        held = len(await keys_on(made, "node-2"))
        assert held > 10
        before = (await made.client.status()).stored_bytes
        async with made.link() as http:
            http.timeout = httpx.Timeout(60)
            answer = await http.delete("/server/node-2")
        assert (answer.status_code, "node-2" in answer.text) == (200, True)
        assert f"{held} fragments" in answer.text
        assert await keys_on(made, "node-2") == set()
        assert "node-2" not in {node.record.id for node in await made.client.nodes()}
        await readable_everywhere(made, "kino")
        await readable_everywhere(made, "short")
        status = await made.client.status()
        assert status.stored_bytes == before
        assert status.unplayable == ()

    in_a_cluster(tmp_path, use, nodes=6)


def test_a_removed_node_does_not_come_back_by_its_own_heartbeats(tmp_path):
    async def use(made: Cluster):
        async with made.link() as http:
            assert (await http.delete("/server/node-1")).status_code == 200
            store = made.nodes["node-1"].facts().store_uuid
            beat = wire.Heartbeat(node="node-1", store=store, urls=(made.nodes["node-1"].url,))
            refused = await http.post("/v1/nodes/node-1/heartbeat", content=wire.encode(beat))
            assert refused.status_code == 409
            assert refused.json()["error"]["code"] == "NODE_REMOVED"
            await made.stop("coordinator")
            await made.start_coordinator()
            refused = await http.post("/v1/nodes/node-1/heartbeat", content=wire.encode(beat))
            assert refused.status_code == 409
            await http.post("/server/node-1")
        await made.wait_until_up("node-1")

    in_a_cluster(tmp_path, use, nodes=1)


def test_removing_a_dead_node_is_refused_and_loses_nothing(tmp_path):
    """The trap: removing a dead node loses its files."""

    async def use(made: Cluster):
        await upload(made, "kino", redundancy="rep:3")
        await upload(made, "other", redundancy="rep:3")
        before = await made.client.manifest("kino")
        await made.stop("node-1")

        async def is_suspect() -> bool:
            return await made.state_of("node-1") == "suspect"

        await eventually(is_suspect)
        async with made.link() as http:
            answer = await http.delete("/server/node-1")
        assert answer.status_code == 409
        error = answer.json()["error"]
        assert error["code"] == "CANNOT_EMPTY_NODE"
        assert error["detail"]["videos"] == ["kino", "other"]
        assert "nothing was changed" in error["message"]
        assert (await made.client.manifest("kino")).chunks == before.chunks
        await made.start_node("node-1")
        await made.wait_until_up("node-1")
        await readable_everywhere(made, "kino")

    in_a_cluster(tmp_path, use, nodes=3, limits=FAST_LIMITS)


def test_a_node_whose_fragments_find_no_other_place_is_not_touched(tmp_path):
    async def use(made: Cluster):
        await upload(made, "kino")  # 5 fragments on 5 nodes
        await upload(made, "light", chunks=1, redundancy="rep:1")
        before = {name: await keys_on(made, name) for name in made.nodes}
        async with made.link() as http:
            answer = await http.delete("/server/node-3")
            assert answer.status_code == 409
            assert answer.json()["error"]["detail"]["videos"] == ["kino"]
            assert "cannot be removed without loss" in answer.json()["error"]["message"]
        assert before == {name: await keys_on(made, name) for name in made.nodes}
        assert await made.state_of("node-3") == "up"

    in_a_cluster(tmp_path, use, nodes=5)


def test_a_chunk_that_never_had_all_its_fragments_can_still_be_moved(tmp_path):
    async def use(made: Cluster):
        await upload(made, "kino", chunks=1, redundancy="rep:3")
        (stored,) = await made.client.groups("kino")
        (chunk,) = stored.group.chunks
        two = wire.GroupRecord(
            chunks=(
                wire.ChunkRecord(
                    **{field: getattr(chunk, field) for field in chunk.__struct_fields__}
                    | {"fragments": chunk.fragments[:2]}
                ),
            )
        )
        video = await made.client.video("kino")
        await made.client.store_group(
            "kino",
            0,
            wire.StoreGroup(video_id=video.id, expected_version=stored.version, group=two),
        )
        leaving = chunk.fragments[0].node
        async with made.link() as http:
            answer = await http.delete(f"/server/{leaving}")
        assert answer.status_code == 200, answer.text
        await readable_everywhere(made, "kino")

    in_a_cluster(tmp_path, use, nodes=3)


def test_a_move_that_fails_in_the_middle_can_be_taken_up_again(tmp_path):
    """The fragment is gone from its node's disk: what could be moved is, nothing is lost."""

    async def use(made: Cluster):
        await upload(made, "kino", chunks=4, redundancy="rep:2")
        manifest = await made.client.manifest("kino")
        holder = manifest.chunks[0].fragments[0].node
        victim = [f.key for c in manifest.chunks for f in c.fragments if f.node == holder][-1]
        url = f"{made.nodes[holder].url}/v1/chunks/{victim}"
        async with made.link() as http, httpx.AsyncClient(trust_env=False) as node:
            body = (await node.get(url)).content
            await node.delete(url)
            answer = await http.delete(f"/server/{holder}")
            assert answer.status_code == 503
            assert answer.json()["error"]["code"] == "MOVE_FAILED"
            assert await made.state_of(holder) == "up"
            # Takes new fragments again; it may report the one it misses.
            (told,) = [each for each in await made.client.nodes() if each.record.id == holder]
            assert told.status in ("ok", "warn")
            await node.put(url, content=body)
            answer = await http.delete(f"/server/{holder}")
            assert answer.status_code == 200, answer.text
        await readable_everywhere(made, "kino")

    in_a_cluster(tmp_path, use, nodes=3)


def test_a_video_that_is_being_deleted_holds_up_no_removal(tmp_path):
    async def use(made: Cluster):
        await upload(made, "kino", chunks=4, redundancy="rep:3")
        await made.stop("node-3")  # so that the deletion cannot end

        async def is_suspect() -> bool:
            return await made.state_of("node-3") == "suspect"

        await eventually(is_suspect)
        await made.client.delete_video("kino")
        async with made.link() as http:
            answer = await http.delete("/server/node-1")
        assert answer.status_code == 200, answer.text
        await made.start_node("node-3")

        async def nothing_is_deleting() -> bool:
            return (await made.client.status()).deleting == 0

        await eventually(nothing_is_deleting)
        assert await keys_on(made, "node-3") == set()

    in_a_cluster(tmp_path, use, nodes=3, limits=FAST_LIMITS)


def test_two_who_remove_one_node_at_once_move_everything_once(tmp_path):
    async def use(made: Cluster):
        await upload(made, "kino", chunks=20, redundancy="rep:2")
        async with made.link() as http:
            http.timeout = httpx.Timeout(60)
            answers = await asyncio.gather(*(http.delete("/server/node-1") for _ in range(2)))
        assert sorted(answer.status_code for answer in answers) in ([200, 404], [200, 409])
        await readable_everywhere(made, "kino")

    in_a_cluster(tmp_path, use, nodes=4)


def test_a_pull_checks_the_bytes_and_tries_the_next_source(tmp_path):
    async def use(made: Cluster):
        await upload(made, "kino", chunks=1, redundancy="rep:1")
        (chunk,) = (await made.client.manifest("kino")).chunks
        (fragment,) = chunk.fragments
        (other,) = set(made.nodes) - {fragment.node}
        source, target = made.nodes[fragment.node].url, made.nodes[other].url

        async def liar(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(
                b"HTTP/1.1 206 Partial Content\r\nContent-Length: 5\r\n"
                b"Content-Range: bytes 0-4/5\r\n\r\nwrong"
            )
            await writer.drain()
            writer.close()

        wrong = await asyncio.start_server(liar, "127.0.0.1", 0)
        wrong_url = f"http://127.0.0.1:{wrong.sockets[0].getsockname()[1]}"
        async with httpx.AsyncClient(base_url=target, trust_env=False) as http:
            refused = await http.post(
                "/v1/pull", json={"key": fragment.key, "from": [wrong_url, "http://127.0.0.1:1"]}
            )
            assert refused.status_code == 502
            assert await keys_on(made, other) == set()
            good = await http.post(
                "/v1/pull", json={"key": fragment.key, "from": [wrong_url, source]}
            )
            assert good.status_code == 201
            assert await keys_on(made, other) == {fragment.key}
            again = await http.post("/v1/pull", json={"key": fragment.key, "from": [wrong_url]})
            assert (again.status_code, again.json()) == (200, good.json())
            for body in (
                {"key": "ff", "from": [source]},
                {"key": fragment.key, "from": []},
                {"key": fragment.key, "from": ["file:///etc/passwd"]},
                [],
            ):
                assert (await http.post("/v1/pull", json=body)).status_code == 400
        wrong.close()

    in_a_cluster(tmp_path, use, nodes=2)


def group_of(*nodes: str) -> wire.GroupRecord:
    fragments = tuple(
        wire.FragmentRecord(index=i, node=node, key=f"{i}" * 64) for i, node in enumerate(nodes)
    )
    chunk = wire.ChunkRecord(
        number=0,
        offset=0,
        size=1,
        sha256="a" * 64,
        start_s=0,
        duration_s=1,
        layout=wire.LayoutRecord(k=1, n=len(nodes)),
        fragments=fragments,
    )
    return wire.GroupRecord(chunks=(chunk,))


def test_a_record_is_changed_only_if_the_chunk_is_as_it_was_planned_for():
    before, after = group_of("a", "b"), group_of("c", "b")
    (was,), (wanted,) = before.chunks, after.chunks
    assert replaced(before, was, wanted) == after
    assert replaced(group_of("d", "b"), was, wanted) == group_of("d", "b")  # by somebody else
    assert replaced(None, was, wanted) is None
