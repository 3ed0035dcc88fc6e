"""The one screen, and the route that feeds it."""

import msgspec
import pytest

from redundancy.errors import ExitCode, UsageError
from redundancy.exposure import Exposure
from smart_client import wire
from smart_client.errors import InvalidRequest
from smart_client.whereabouts import ShapeRecord, VideoShapes, Whereabouts
from storage_server.exposure import uptime_of
from storage_server.exposure_report import (
    answer_for,
    expected_uptimes,
    exposure_of,
    overview,
    summary,
)
from support.running_cluster import in_a_cluster, upload

NAMES = ("attic", "cellar", "garage", "hub")


def told(states=("up",) * 4, *, videos=None) -> Whereabouts:
    """'code' survives any one, 'single' lies on the hub alone."""
    return Whereabouts(
        names=(*NAMES, "removed"),
        nodes=tuple(
            wire.NodeStatus(record=wire.NodeRecord(id=node, urls=()), state=state)
            for node, state in zip(NAMES, states, strict=True)
        ),
        shapes=(
            ShapeRecord(k=2, coded=(0, 1, 2)),
            ShapeRecord(k=1, coded=(3,)),
            ShapeRecord(k=2, coded=(0, 4), copies=(1,)),
        ),
        videos=videos
        or (VideoShapes(name="code", shapes=(0,)), VideoShapes(name="single", shapes=(1,))),
    )


def uptime(share=0.9) -> dict[str, float]:
    return dict.fromkeys(NAMES, share)


def test_the_screen_says_for_each_node_what_stops_and_what_is_lost():
    answer = overview(told(), uptime())
    assert answer.exit_code == ExitCode.PARTIAL
    assert answer.text.splitlines() == [
        "2 videos on 4 nodes, all up",
        "",
        "NODE    STATE  IF YOU UNPLUG IT       IF ITS DATA IS GONE",
        "attic   up     safe                   nothing is lost",
        "cellar  up     safe                   nothing is lost",
        "garage  up     safe                   nothing is lost",
        "hub     up     1 video stops: single  1 video lost: single",
        "",
        "any 2 nodes: 6 of 6 combinations stop videos, 6 lose videos if the data is gone",
        "  attic + cellar: 1 video stops: code; 1 video lost: code",
        "  attic + garage: 1 video stops: code; 1 video lost: code",
        "  cellar + garage: 1 video stops: code; 1 video lost: code",
        "any 3 nodes: 4 of 4 combinations stop videos, 4 lose videos if the data is gone",
        "",
        "with nodes up 90.00% of the time, each by itself: 0.13 of 2 videos cannot be played at a "
        "random moment; the worst, single, 876.6 hours a year",
    ]


def test_an_uptime_that_nobody_measured_is_said_to_be_assumed():
    assert (
        "up 97.00% of the time (assumed: nothing was measured yet), each"
        in overview(told(), expected_uptimes(told())).text
    )


def test_what_is_away_or_gone_already_is_said_first_and_is_no_news():
    answer = overview(told(("up", "suspect", "up", "lost")), uptime())
    lines = answer.text.splitlines()
    assert lines[0] == "2 videos on 4 nodes, not up: cellar (suspect), hub (lost)"
    assert lines[1] == "already now: 1 video stops: single; 1 video lost: single"
    rows = {line.split()[0]: line for line in lines[4:8]}
    assert "1 video stops: code" in rows["attic"]
    assert "nothing is lost" in rows["attic"]  # the cellar's data may come back
    assert "safe" in rows["cellar"]
    assert "safe" in rows["hub"]


def test_where_nothing_can_happen_the_exit_code_is_0():
    answer = overview(told(videos=(VideoShapes(name="code", shapes=(0,)),)), uptime(1.0))
    assert answer.exit_code == ExitCode.OK
    assert "any 1 node: safe" in answer.text
    assert "0 of 1 videos cannot be played" in answer.text


def test_no_nodes_and_no_videos_are_no_trouble():
    nothing = Whereabouts(names=(), nodes=(), shapes=(), videos=())
    answer = overview(nothing, {})
    assert answer.exit_code == ExitCode.OK
    assert answer.text.startswith("0 videos on 0 nodes")


def test_named_nodes_are_judged_together():
    answer = answer_for(told(), ["attic", "garage"])
    assert answer.text == (
        "without attic + garage: 1 video stops: code\n"
        "if the data on them is gone: 1 video lost: code"
    )
    assert answer.exit_code == ExitCode.PARTIAL
    assert answer.payload["stopped"] == ("code",)
    assert answer_for(told(), ["cellar"]).exit_code == ExitCode.OK
    with pytest.raises(UsageError, match="no node 'loft'"):
        answer_for(told(), ["loft"])


def test_a_copy_saves_what_a_node_that_was_removed_took_with_it():
    one = told(videos=(VideoShapes(name="mixed", shapes=(2,)),))
    exposure = exposure_of(one)
    assert isinstance(exposure, Exposure)
    assert exposure.harm(["attic"]).is_safe
    assert exposure.harm(["cellar"]).lost == ("mixed",)


def test_the_summary_says_what_the_screen_says_at_the_measured_uptimes():
    seen = told()
    weak = msgspec.structs.replace(seen.nodes[3], uptime=0.5, watched_s=1e9)
    seen = msgspec.structs.replace(seen, nodes=(*seen.nodes[:3], weak))
    found = summary(seen)
    assert [each.id for each in found.nodes] == list(NAMES)
    assert found.nodes[3].harm.lost == ("single",)
    assert not found.nodes[0].harm.stopped
    assert [(e.missing, e.combinations, e.losing) for e in found.combined] == [(2, 6, 6), (3, 4, 4)]
    assert found.combined[0].worst[0].nodes == ("attic", "cellar")
    assert [each.uptime for each in found.nodes][:3] == [0.97] * 3
    assert found.nodes[3].uptime == pytest.approx(0.5, abs=0.001)
    # "single" is away half of the time, "code" when two of its three nodes are.
    both = 3 * 0.03**2 * 0.97 + 0.03**3
    assert found.expected_unplayable_low == pytest.approx(0.5 + both, abs=0.001)


def test_uptime_is_for_all_or_for_one():
    known = {"a": 0.97, "b": 0.95}
    assert uptime_of([], known) == known
    assert uptime_of(["b=80%", "99%"], known) == {"a": 0.99, "b": 0.8}
    for words, told_why in ((["c=1"], "names no node"), (["x"], "not a share"), (["2"], "100%")):
        with pytest.raises(UsageError, match=told_why):
            uptime_of(words, known)


@pytest.mark.parametrize(
    "change",
    [
        {"shapes": [{"k": 2, "coded": [0, 5]}]},
        {"shapes": [{"k": 0, "coded": [0]}]},
        {"videos": [{"name": "code", "shapes": [3]}]},
        {"videos": [{"name": "../code", "shapes": [0]}]},
    ],
)
def test_whereabouts_that_contradict_themselves_are_refused(change):
    body = {**msgspec.to_builtins(told()), **change}
    with pytest.raises(InvalidRequest):
        wire.decode(wire.encode(body), Whereabouts)


@pytest.mark.real
def test_the_coordinator_tells_where_every_chunk_lies_shapes_once(tmp_path):
    async def use(made) -> None:
        await upload(made, "kino", chunks=70)
        await upload(made, "copies", redundancy="rep:3")
        found = await made.client.whereabouts()
        assert [each.name for each in found.videos] == ["copies", "kino"]
        assert set(found.names) == {each.record.id for each in found.nodes} == set(made.nodes)
        manifest = await made.client.manifest("kino")
        recorded = {
            tuple(sorted(each.node for each in chunk.fragments)) for chunk in manifest.chunks
        }
        kino = found.videos[1]
        listed = {
            tuple(sorted(found.names[node] for node in found.shapes[shape].coded))
            for shape in kino.shapes
        }
        assert listed == recorded
        assert len(set(found.shapes)) == len(found.shapes)
        await made.client.create_video(wire.CreateVideo(name="unfinished", size=10))
        assert len((await made.client.whereabouts()).videos) == 2

    in_a_cluster(tmp_path, use)


@pytest.mark.real
def test_removing_a_node_that_holds_the_last_pieces_is_refused_with_the_names(tmp_path):
    """What exposure calls lost, the coordinator does not let go."""

    async def use(made) -> None:
        await upload(made, "kino", redundancy="rs:2+1")
        await upload(made, "other", redundancy="rep:3")
        async with made.link() as http:
            answer = await http.delete("/v1/nodes/node-1")
        assert answer.status_code == 409, answer.text
        error = answer.json()["error"]
        assert error["detail"]["videos"] == ["kino", "other"]
        assert "nothing was changed" in error["message"]

    in_a_cluster(tmp_path, use, nodes=3)
