"""Nodes as the coordinator sees them, over real sockets."""

import asyncio
import shutil

import httpx
import pytest

from redundancy.errors import ExitCode
from smart_client import wire
from smart_client.command_line.verdicts import cluster_verdict
from smart_client.errors import AccessDenied, Conflict, InvalidRequest, NameTaken, NodeNotFound
from smart_client.transport.nodes import NodeConnections
from storage_server.heartbeats import HeartbeatSender
from support.running_cluster import (
    FAST_LIMITS,
    Cluster,
    eventually,
    in_a_cluster,
    keys_on,
    new_id,
    upload,
)

MB = 1_000_000

pytestmark = pytest.mark.real


async def is_state(made: Cluster, name: str, state: str) -> bool:
    return await made.state_of(name) == state


def beat(name: str, store: str, **facts) -> wire.Heartbeat:
    return wire.Heartbeat(node=name, store=store, urls=("http://127.0.0.1:1",), **facts)


def test_a_node_says_everything_of_itself_and_is_listed_with_it(tmp_path):
    async def use(made: Cluster):
        await made.start_node("attic-pi", zone="attic", capacity_bytes=10**8)
        await made.wait_until_up("attic-pi")
        (node,) = await made.client.nodes()
        assert node.record.zone == "attic"
        assert node.record.capacity_bytes == 10**8
        assert node.record.urls == (made.nodes["attic-pi"].url,)
        assert node.record.store == made.nodes["attic-pi"].facts().store_uuid
        assert (node.state, node.status) == ("up", "ok")
        assert 0 <= node.seen_s_ago < 3
        assert 0 < node.free_bytes <= 10**8

    in_a_cluster(tmp_path, use, nodes=0)


def test_a_coordinator_that_forgot_a_node_learns_it_from_the_next_heartbeat(tmp_path):
    """The trap: registration once only."""

    async def use(made: Cluster):
        await made.stop("coordinator")
        shutil.rmtree(tmp_path / "coordinator")
        await made.start_coordinator()
        await made.wait_until_up("node-1", "node-2")

    in_a_cluster(tmp_path, use, nodes=2)


def test_a_coordinator_started_after_its_nodes_finds_them(tmp_path):
    async def use(made: Cluster):
        await made.stop("coordinator")
        await made.start_node("late")
        await asyncio.sleep(0)
        await made.start_coordinator()
        await made.wait_until_up("node-1", "late")

    in_a_cluster(tmp_path, use, nodes=1)


def test_nodes_and_the_ring_survive_a_restart(tmp_path):
    """The trap: ring membership only in memory."""

    async def use(made: Cluster):
        async with made.link() as http:
            await http.post("/server/alpha")
            await http.post("/server/beta")
            await http.post("/video/kino")
            before = (await http.get("/video?details=true")).json()
        await made.stop("coordinator")
        await made.start_coordinator()
        async with made.link() as http:
            assert (await http.get("/video?details=true")).json() == before
        assert [node.record.id for node in await made.client.nodes()] == ["alpha", "beta"]

    in_a_cluster(tmp_path, use, nodes=0)


def test_a_silent_node_turns_suspect_takes_nothing_new_and_comes_back(tmp_path):
    async def use(made: Cluster):
        await made.stop("node-2")
        await eventually(lambda: is_state(made, "node-2", "suspect"))
        video = await made.client.create_video(
            wire.CreateVideo(name="kino", size=100, redundancy="rep:2")
        )
        placed = await made.client.place(
            "kino", wire.PlaceChunks(video_id=video.id, first_chunk=0, count=1)
        )
        assert set(placed.chunks[0].nodes) == {"node-1", "node-3"}
        assert placed.chunks[0].spares == ()
        await made.start_node("node-2")
        await made.wait_until_up("node-2")

    in_a_cluster(tmp_path, use, nodes=3, limits=FAST_LIMITS)


def test_a_node_with_less_than_a_twentieth_free_takes_nothing_new(tmp_path):
    async def use(made: Cluster):
        for name, free_bytes in (("roomy", 51), ("full", 49)):
            report = beat(name, new_id(), capacity_bytes=1000 * MB, free_bytes=free_bytes * MB)
            await made.client.heartbeat(report)
        video = await made.client.create_video(wire.CreateVideo(name="kino", size=100))
        assert video.layout == wire.LayoutRecord(k=1, n=1)
        assert "1 of 2 nodes" in video.reason
        placed = await made.client.place(
            "kino", wire.PlaceChunks(video_id=video.id, first_chunk=0, count=1)
        )
        assert placed.chunks[0].nodes == ("roomy",)

    in_a_cluster(tmp_path, use, nodes=0)


def test_a_node_added_by_hand_is_asked_by_the_coordinator_itself(tmp_path):
    async def use(made: Cluster):
        quiet = await made.start_node("quiet", beats=False, zone="shed")
        status = await made.client.add_node(wire.NodeRecord(id="quiet", urls=(quiet.url,)))
        assert status.state in ("unknown", "up")
        await made.wait_until_up("quiet")
        (node,) = await made.client.nodes()
        assert node.record.zone == "shed"
        assert node.record.store == quiet.facts().store_uuid
        assert node.free_bytes > 0
        await upload(made, redundancy="rep:1")
        await made.stop("quiet")
        await eventually(lambda: is_state(made, "quiet", "suspect"))

    in_a_cluster(tmp_path, use, nodes=0, limits=FAST_LIMITS)


def test_a_node_added_by_hand_is_reached_with_the_cluster_s_token(tmp_path):
    async def use(made: Cluster):
        quiet = await made.start_node("quiet", beats=False)
        await made.client.add_node(wire.NodeRecord(id="quiet", urls=(quiet.url,)))
        await made.wait_until_up("quiet")

    in_a_cluster(tmp_path, use, nodes=0, token="secret-of-16-characters")


def test_an_address_where_another_node_answers_counts_for_nothing(tmp_path):
    async def use(made: Cluster):
        url = made.nodes["node-1"].url
        await made.client.add_node(wire.NodeRecord(id="impostor", urls=(url,)))
        await eventually(lambda: is_state(made, "impostor", "suspect"))
        assert await made.state_of("node-1") == "up"

    in_a_cluster(tmp_path, use, nodes=1, limits=FAST_LIMITS)


def test_adding_a_node_again_changes_nothing_of_what_it_holds(tmp_path):
    """The trap: re-adding a server empties it."""

    async def use(made: Cluster):
        await upload(made, redundancy="rep:2")
        before = {name: await keys_on(made, name) for name in made.nodes}
        async with made.link() as http:
            answer = await http.post("/server/node-1")
        assert (answer.status_code, "node-1" in answer.text) == (200, True)
        status = await made.client.add_node(wire.NodeRecord(id="node-2", urls=()))
        assert status.record.urls == (made.nodes["node-2"].url,)
        assert status.record.store
        assert status.state == "up"
        assert before == {name: await keys_on(made, name) for name in made.nodes}
        assert (await made.client.status()).unplayable == ()

    in_a_cluster(tmp_path, use, nodes=2)


def test_a_new_data_directory_under_the_name_of_a_node_with_fragments_is_refused(tmp_path):
    async def use(made: Cluster):
        await upload(made, redundancy="rep:2")
        with pytest.raises(Conflict, match="another data directory") as caught:
            await made.client.heartbeat(beat("node-1", new_id()))
        assert caught.value.code == "STORE_REPLACED"
        assert "admin node lost node-1" in caught.value.hint
        assert await made.state_of("node-1") == "up"

    in_a_cluster(tmp_path, use, nodes=2)


def test_two_nodes_of_one_name_are_told_apart(tmp_path):
    async def use(made: Cluster):
        with pytest.raises(NameTaken, match="another node named node-1"):
            await made.client.heartbeat(beat("node-1", new_id()))
        # Once the first is gone and holds nothing, the name is free.
        await made.stop("node-1")
        await eventually(lambda: is_state(made, "node-1", "suspect"))
        await made.client.heartbeat(beat("node-1", new_id()))
        assert await made.state_of("node-1") == "up"

    in_a_cluster(tmp_path, use, nodes=1, limits=FAST_LIMITS)


def test_the_operator_s_word_makes_a_node_lost_until_it_is_added_again(tmp_path):
    async def use(made: Cluster):
        async with made.link() as http:
            answer = await http.post("/v1/nodes/node-1/lost")
            assert answer.json()["state"] == "lost"
            unknown = await http.post("/v1/nodes/nobody/lost")
            assert unknown.status_code == 404
        await made.client.heartbeat(
            beat("node-1", made.nodes["node-1"].facts().store_uuid, capacity_bytes=10)
        )
        assert await made.state_of("node-1") == "lost"
        await made.client.add_node(wire.NodeRecord(id="node-1", urls=()))
        await made.wait_until_up("node-1")

    in_a_cluster(tmp_path, use, nodes=1)


@pytest.mark.parametrize(
    "body",
    [
        {"id": "other", "urls": []},
        {"id": "../x", "urls": []},
        {"id": "n", "urls": ["ftp://x"]},
        {"id": "n", "urls": ["http://x/path"]},
        {"id": "n"},
        [],
    ],
)
def test_a_node_that_cannot_be_is_refused(tmp_path, body):
    async def use(made: Cluster):
        async with made.link() as http:
            answer = await http.put("/v1/nodes/n", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "INVALID_REQUEST"
        assert await made.client.nodes() == ()

    in_a_cluster(tmp_path, use, nodes=0)


def test_a_heartbeat_with_an_address_that_cannot_be_is_refused(tmp_path):
    async def use(made: Cluster):
        nonsense = wire.Heartbeat(node="n", store="", urls=("ftp://x",))
        with pytest.raises(InvalidRequest, match="http://host:port"):
            await made.client.heartbeat(nonsense)
        assert await made.client.nodes() == ()

    in_a_cluster(tmp_path, use, nodes=0)


def test_a_node_nobody_knows_is_named(tmp_path):
    async def use(made: Cluster):
        with pytest.raises(NodeNotFound, match="no node 'ghost'"):
            await made.coordinator.emptier.remove("ghost")
        with pytest.raises(InvalidRequest, match="the address is not"):
            await made.client._send(
                "POST", "/v1/nodes/a/heartbeat", beat("b", new_id()), dict[str, object]
            )

    in_a_cluster(tmp_path, use, nodes=0)


def test_a_hanging_coordinator_does_not_keep_heartbeats_from_another(tmp_path):
    """A node reports to every coordinator at its own pace."""

    async def use(made: Cluster):
        async def swallow(reader, writer):
            await reader.read()
            writer.close()

        deaf = await asyncio.start_server(swallow, "127.0.0.1", 0)
        port = deaf.sockets[0].getsockname()[1]
        node = await made.start_node("quiet", beats=False)
        sender = HeartbeatSender([f"http://127.0.0.1:{port}", made.url])
        try:
            await sender(node.facts())
            await made.wait_until_up("quiet")
        finally:
            await sender.close()
            deaf.close()

    in_a_cluster(tmp_path, use, nodes=0)


def test_a_node_s_heartbeats_outlive_a_coordinator_that_is_away_for_a_while(tmp_path):
    async def use(made: Cluster):
        await made.stop("coordinator")
        async with httpx.AsyncClient() as http:
            with pytest.raises(httpx.ConnectError):
                await http.get(made.url)
        await asyncio.sleep(1.1)  # at least one beat finds nobody
        await made.start_coordinator()
        await made.wait_until_up("node-1")

    in_a_cluster(tmp_path, use, nodes=1)


async def told_of(made: Cluster, name: str) -> wire.NodeStatus:
    (told,) = [each for each in await made.client.nodes() if each.record.id == name]
    return told


async def is_told(made: Cluster, name: str, status: str) -> bool:
    return (await told_of(made, name)).status == status


async def beat_once(made: Cluster, node, token: str | None) -> None:
    sender = HeartbeatSender([made.url], token=token)
    await sender(node.facts())
    await asyncio.gather(*sender._sending.values())
    await sender.close()


def test_a_node_that_shows_another_token_is_cut_off_until_it_shows_the_right_one(tmp_path):
    async def use(made: Cluster):
        node = await made.start_node("quiet", beats=False)
        await beat_once(made, node, made.token)
        await beat_once(made, node, "another-token-of-24-chars")
        told = await told_of(made, "quiet")
        assert told.status == "cut off"
        assert "another token" in told.reason
        verdict, code = cluster_verdict(await made.client.status())
        assert (verdict.split()[0], code) == ("DEGRADED", ExitCode.PARTIAL)
        assert "quiet cut off" in verdict
        await beat_once(made, node, made.token)
        assert await is_told(made, "quiet", "ok")

    in_a_cluster(tmp_path, use, nodes=0, token="the-token-of-the-cluster")


def test_a_node_that_has_another_token_than_the_coordinator_is_cut_off(tmp_path):
    """The coordinator's orders are refused, whatever the node's heartbeats show."""

    async def use(made: Cluster):
        token, made.token = made.token, "another-token-of-24-chars"
        node = await made.start_node("other", beats=False)
        await beat_once(made, node, token)
        links = made.coordinator.links
        with pytest.raises(AccessDenied):
            await links.call("other", lambda link: link.delete("0" * 64))
        told = made.coordinator.members.status("other")
        assert told.status == "cut off"
        assert "another token" in told.reason
        await links.call("other", NodeConnections.ping)  # whoever may ping, that says nothing
        assert made.coordinator.members.status("other").status == "cut off"
        await beat_once(made, node, token)  # nodes have one token for both ways
        assert made.coordinator.members.status("other").status == "ok"

    in_a_cluster(tmp_path, use, nodes=0, token="the-token-of-the-cluster")


def test_a_node_with_a_new_disk_is_cut_off(tmp_path):
    async def use(made: Cluster):
        await upload(made, redundancy="rep:2")
        await made.stop("node-1")
        with pytest.raises(Conflict):
            await made.client.heartbeat(beat("node-1", new_id()))
        told = await told_of(made, "node-1")
        assert told.status == "cut off"
        assert "another data directory" in told.reason

    in_a_cluster(tmp_path, use, nodes=2)
