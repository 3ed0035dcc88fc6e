"""What an operator orders: the plan first, then the deed; refusals name what would be lost."""

import asyncio
import json

import pytest

from storage_server.cli import main
from storage_server.node.store import Delete
from support.kept_videos import AT_ONCE, CHUNK, content, is_whole, read_back, store_video
from support.running_cluster import Cluster, in_a_cluster

pytestmark = pytest.mark.real


class Operator:
    """Responsible for running commands beside the cluster's loop."""

    def __init__(self, made: Cluster, capsys) -> None:
        self._made = made
        self._capsys = capsys

    async def __call__(self, *words: str) -> tuple[int, dict]:
        argv = ["admin", *words, "--coordinator", self._made.url, "--json"]
        code = await asyncio.to_thread(main, argv)
        return code, json.loads(self._capsys.readouterr().out.splitlines()[-1])


def test_a_plan_changes_nothing_and_tells_what_the_deed_then_takes(tmp_path, capsys):
    async def use(made: Cluster):
        admin = Operator(made, capsys)
        await store_video(made)
        before = (await made.client.manifest("kino")).chunks
        held = sum(each.node == "node-1" for chunk in before for each in chunk.fragments)
        for action in ("drain", "remove"):
            code, told = await admin("node", action, "node-1", "--dry-run")
            assert (code, told["plan"]["moves"], told["dry_run"]) == (0, held, True)
        assert (await made.client.manifest("kino")).chunks == before
        code, told = await admin("node", "drain", "node-1", "--watch")
        assert (code, told["done"]) == (0, True)
        assert made.coordinator.library.groups_on("node-1") == []
        code, told = await admin("node", "remove", "node-1")
        assert (code, told["moved"]) == (0, 0)
        assert await read_back(made) == content("kino", 3)

    in_a_cluster(tmp_path, use, 6, keeper=AT_ONCE)


def test_neither_is_done_where_videos_would_be_lost_and_they_are_named(tmp_path, capsys):
    async def use(made: Cluster):
        admin = Operator(made, capsys)
        await store_video(made, "film", redundancy="rs:2+1")
        for words in (("drain",), ("remove",), ("remove", "--dry-run")):
            code, told = await admin("node", words[0], "node-1", *words[1:])
            assert (code, told["error"]["detail"]) == (8, {"videos": ["film"]})
        assert made.coordinator.members.drains == set()

    in_a_cluster(tmp_path, use, 3, keeper=AT_ONCE)


def test_repair_says_what_is_to_do_and_does_it(tmp_path, capsys):
    async def use(made: Cluster):
        admin = Operator(made, capsys)
        await store_video(made)
        await made.stop("node-1")
        held = len(made.coordinator.library.groups_on("node-1"))
        made.coordinator.members.declare_lost("node-1")
        made.coordinator.keeper._has_work.clear()
        code, told = await admin("repair", "--dry-run")
        assert code == 0
        assert told["plan"]["left"] in (held, 0)  # unless the keeper was quicker
        code, told = await admin("repair", "--watch")
        assert (code, told["keeper"]["groups_left"]) == (0, 0)
        limits = told["keeper"]["limits"]
        assert (limits["policy"], limits["jobs_at_once"], limits["lost_after_s"]) == (
            "threshold",
            4,
            900.0,
        )
        assert await is_whole(made)

    in_a_cluster(tmp_path, use, 6, keeper=AT_ONCE)


def test_rebalancing_moves_what_it_said(tmp_path, capsys):
    async def use(made: Cluster):
        admin = Operator(made, capsys)
        for number in range(1, 4):
            await made.start_node(f"node-{number}", capacity_bytes=6 * CHUNK)
        await made.wait_until_up("node-1", "node-2", "node-3")
        await store_video(made, chunks=6, redundancy="rs:2+1")
        await made.start_node("node-4", capacity_bytes=6 * CHUNK)
        await made.wait_until_up("node-4")
        _, told = await admin("rebalance", "--dry-run")
        moves = told["plan"]["moves"]
        assert moves > 0
        code, told = await admin("rebalance")
        assert (code, told["keeper"]["done"]) == (0, {"move": moves})
        _, told = await admin("rebalance", "--dry-run")
        assert told["plan"]["moves"] == 0
        assert await read_back(made) == content("kino", 6)

    in_a_cluster(tmp_path, use, 0, keeper=AT_ONCE)


def test_a_scrub_finds_what_rotted_and_what_is_gone_and_it_is_made_good(tmp_path, capsys):
    async def use(made: Cluster):
        admin = Operator(made, capsys)
        await store_video(made)
        await store_video(made, "other")
        first, second, *_ = (await made.client.manifest("kino")).chunks[0].fragments
        store = made.nodes[first.node].node.store
        (path,) = (tmp_path / first.node).glob("sb-*.dat")
        body = store.find(bytes.fromhex(first.key)).read(0, 64)
        with path.open("r+b") as file:
            file.seek(file.read().index(body))
            file.write(bytes(64))
        made.nodes[second.node].node.store.commit([Delete(bytes.fromhex(second.key))])
        code, told = await admin("scrub", "kino")
        found = told["scrub"]
        assert (code, found["total"], found["checked"]) == (0, 15, 15)
        assert (found["bad"], found["missing"]) == (1, 1)
        assert await is_whole(made)
        code, told = await admin("scrub")
        assert (told["scrub"]["checked"], told["scrub"]["bad"], told["keeper"]) == (30, 0, None)
        code, told = await admin("scrub", "nothing")
        assert code == 4

    in_a_cluster(tmp_path, use, 5, keeper=AT_ONCE)
