"""A session's nodes by position: some join, some change their address, none changes its place."""

import asyncio

from smart_client.transport.nodes import HttpNodeTransport
from smart_client.wire import NodeRecord


def node(name: str, port: int) -> NodeRecord:
    return NodeRecord(id=name, urls=(f"http://127.0.0.1:{port}",))


def test_known_nodes_keep_their_place_and_new_ones_follow() -> None:
    async def scenario() -> None:
        transport = HttpNodeTransport([node("a", 1), node("b", 2)], token="t", grant="old")
        first = transport.nodes[0]
        transport.use_grant("new")
        assert transport.use_nodes([node("c", 3), node("b", 9), node("d", 4)]) == tuple("abcd")
        assert transport.nodes[0] is first
        assert [each.record.urls[0][-1] for each in transport.nodes] == ["1", "9", "3", "4"]
        assert {each.grant for each in transport.nodes} == {"new"}
        assert transport.use_nodes([node("d", 4), node("a", 1)]) == tuple("abcd")
        assert transport.nodes[0] is first
        await transport.close()

    asyncio.run(scenario())
