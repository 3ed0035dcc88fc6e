"""Uploads under way while fewer nodes are up than their layout has pieces."""

import pytest

from redundancy.scheme import Layout
from smart_client import wire
from smart_client.errors import TooFewNodesUp
from storage_server.coordinator.layouts import part_for
from support.running_cluster import Cluster, announce, eventually, in_a_cluster

pytestmark = pytest.mark.real


def test_an_upload_under_way_goes_on_with_a_node_less(tmp_path):
    async def use(made: Cluster):
        video = await announce(made.client, redundancy="rs:3+2")
        ask = wire.PlaceChunks(video_id=video.id, first_chunk=0, count=8)
        for left in (5, 4):
            await eventually(lambda left=left: ready_nodes(made, left))
            for chunk in (await made.client.place("kino", ask)).chunks:
                assert len(set(chunk.nodes)) == len(chunk.nodes) == left
                assert not chunk.spares
            await made.stop(f"node-{left}")
        await eventually(lambda: ready_nodes(made, 3))
        with pytest.raises(TooFewNodesUp, match="needs 5 nodes"):  # no loss could be survived
            await made.client.place("kino", ask)

    in_a_cluster(tmp_path, use)


async def ready_nodes(made: Cluster, count: int) -> bool:
    return sum(each.state == "up" for each in await made.client.nodes()) == count


@pytest.mark.parametrize(
    ("layout", "nodes", "part"),
    [
        ("rs:3+2", 4, "rs:3+1"),
        ("rs:3+2", 3, None),
        ("rep:3", 2, "rep:2"),
        ("rep:3", 1, None),
        ("rs:3+2+2copies", 6, "rs:3+2+1copy"),
        ("rs:3+2+2copies", 4, "rs:3+1"),
        ("rs:6+3", 7, "rs:6+1"),
    ],
)
def test_the_part_of_a_layout_that_fewer_nodes_hold(layout, nodes, part):
    found = part_for(Layout.parse(layout), nodes)
    assert found == (None if part is None else Layout.parse(part))
