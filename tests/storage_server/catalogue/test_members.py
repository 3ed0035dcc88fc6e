"""Changing who keeps the catalogue: the plan, what is refused, and doing it on real nodes."""

import asyncio
import json

import pytest

from redundancy.errors import ConfigError, ExitCode, UsageError
from smart_client import wire
from smart_client.agreement import Agreement, AgreementMember
from smart_client.errors import InvalidRequest, NodeNotFound, NodeUnreachable
from storage_server.catalogue.contract import ABSENT
from storage_server.catalogue.member_plan import planned_change
from storage_server.catalogue.paxos import PaxosCatalogue
from storage_server.cli import main
from storage_server.coordinator.config import CoordinatorConfig
from storage_server.coordinator.process import running_coordinator
from support.paxos_nodes import running_nodes, told


def agreement(catalogue="chunkpaxos", **states):
    members = tuple(
        AgreementMember(name=name, url=f"http://{name}", state=state)
        for name, state in states.items()
    )
    quorum = len(members) // 2 + 1
    return Agreement(catalogue=catalogue, summary="", members=members, quorum=quorum)


NODES = {
    name: wire.NodeStatus(record=wire.NodeRecord(id=name, urls=(f"http://{name}",)), state=state)
    for name, state in (("a", "up"), ("b", "up"), ("c", "up"), ("d", "up"), ("e", "suspect"))
}
ALL_UP = agreement(a="up", b="up", c="up")


def test_a_plan_says_what_may_be_lost_before_and_after():
    plan = planned_change(ALL_UP, NODES, add="d", remove="c")
    assert (plan.before, plan.after) == (("a", "b", "c"), ("a", "b", "d"))
    assert plan.urls == ("http://a", "http://b", "http://d")
    assert "any 2 of 3 decide, 1 may be lost" in plan.text
    four = planned_change(ALL_UP, NODES, add="d", remove=None)
    assert "4 survive no more losses than 3 do" in four.text
    assert four.as_json()["quorum_after"] == 3


def test_a_dead_member_can_be_replaced_and_can_be_removed():
    now = agreement(a="up", b="up", c="silent")
    assert planned_change(now, NODES, add="d", remove="c").after == ("a", "b", "d")
    assert planned_change(now, NODES, add=None, remove="c").after == ("a", "b")


@pytest.mark.parametrize(
    ("now", "add", "remove", "error"),
    [
        (agreement("sqlite", file="up"), "d", None, InvalidRequest),
        (ALL_UP, "a", None, UsageError),  # keeps it already
        (ALL_UP, None, "d", UsageError),  # does not keep it
        (ALL_UP, "z", None, NodeNotFound),
        (ALL_UP, "e", None, NodeUnreachable),
        (agreement(a="up"), None, "a", UsageError),  # the last one
        (agreement(a="up", b="silent", c="silent"), "d", "b", NodeUnreachable),  # no majority
        (agreement(a="up", b="up", c="silent"), "d", None, NodeUnreachable),  # c would stay
        (agreement(a="up", b="up", c="refuses"), "d", "a", NodeUnreachable),
    ],
)
def test_what_could_lose_or_stop_something_is_refused(now, add, remove, error):
    with pytest.raises(error):
        planned_change(now, NODES, add=add, remove=remove)


@pytest.mark.real
def test_the_command_shows_a_plan_then_does_it_and_coordinators_go_on(tmp_path, capsys):
    def command(url, *words):
        code = main(["admin", "catalogue", "members", *words, "--coordinator", url, "--json"])
        return code, json.loads(capsys.readouterr().out)

    async def scenario(nodes):
        urls = [node.running.url for node in nodes]
        config = CoordinatorConfig(tmp_path / "c", catalogue=f"nodes:{','.join(urls[:3])}")
        async with running_coordinator(config) as running:
            coordinator = running.coordinator
            catalogue = coordinator.registers.catalogue
            for i, url in enumerate(urls):
                record = wire.NodeRecord(id=f"n{i}", urls=(url,))
                await coordinator.members.add(record, holds_fragments=False)
                coordinator.members.hear(f"n{i}")
            await catalogue.compare_and_set("k", ABSENT, b"v")
            for words in (("list",), ("replace", "n0", "n3"), ("replace", "n0", "n3", "--yes")):
                code, said = await asyncio.to_thread(command, running.url, *words)
                assert code == ExitCode.OK, said
            assert said["epoch"] == 2
            await asyncio.to_thread(nodes[0].stop)
            assert (await catalogue.get("k")).value == b"v"
            await catalogue.compare_and_set("new", ABSENT, b"n")
            await told(
                catalogue.agreement,
                lambda found: found.epoch == 2 and [m.state for m in found.members] == ["up"] * 3,
            )

    with running_nodes(tmp_path, 4) as nodes:
        asyncio.run(scenario(nodes))


@pytest.mark.real
def test_a_node_that_keeps_another_catalogue_is_not_taken(tmp_path):
    async def scenario(nodes):
        urls = [node.running.url for node in nodes]
        ours, other = PaxosCatalogue(urls[:2]), PaxosCatalogue(urls[2:])
        try:
            await ours.compare_and_set("k", ABSENT, b"v")
            await other.compare_and_set("k", ABSENT, b"other")
            with pytest.raises(ConfigError):
                await ours.change_members(urls)
            assert (await other.get("k")).value == b"other"
        finally:
            await ours.close()
            await other.close()

    with running_nodes(tmp_path) as nodes:
        asyncio.run(scenario(nodes))
