"""Nodes that have another token than the coordinator: an upload ends at once, and says which."""

import asyncio

import pytest

from smart_client.errors import AccessDenied
from smart_client.ingest import plan_runner
from smart_client.ingest.upload import Uploader
from storage_server.heartbeats import HeartbeatSender
from support.running_cluster import Cluster, in_a_cluster

pytestmark = pytest.mark.real


def test_it_does_not_wait_for_nodes_that_refuse_its_token(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(plan_runner, "GIVE_UP_S", 600.0)
    path = tmp_path / "film.bin"
    path.write_bytes(bytes(range(256)) * 1000)

    async def use(made: Cluster) -> None:
        token, made.token = made.token, "another-token-of-24-chars"
        for name in ("one", "two"):
            node = await made.start_node(name, beats=False)
            sender = HeartbeatSender([made.url], token=token)
            await sender(node.facts())
            await asyncio.gather(*sender._sending.values())
            await sender.close()
        await made.wait_until_up("one", "two")
        with pytest.raises(AccessDenied, match=r"node (one|two) refuses this token") as caught:
            async with asyncio.timeout(60):
                await Uploader(made.client, token=token).put(path, "film", "rep:2")
        assert "--token-file" in caught.value.hint

    in_a_cluster(tmp_path, use, nodes=0, token="the-token-of-the-cluster")
