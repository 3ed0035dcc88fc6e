"""What ``status`` says: the reason of a warning, unfinished uploads, and lines that fit."""

import io

from rich.console import Console

from redundancy.errors import ExitCode
from smart_client import wire
from smart_client.agreement import Agreement, AgreementMember
from smart_client.command_line.health import node_table
from smart_client.command_line.verdicts import cluster_verdict, whole_verdict

GB = 10**9


def cluster(**changes) -> wire.ClusterStatus:
    nodes = tuple(
        wire.NodeStatus(
            record=wire.NodeRecord(
                id=f"node-{n}", urls=(f"http://192.168.100.10{n}:18080",), capacity_bytes=500 * GB
            ),
            state="up",
            seen_s_ago=0.4,
            used_bytes=430 * GB,
            fragments=123456,
            status="ok" if n else "warn",
            reason="" if n else "disk 86 % full",
        )
        for n in range(3)
    )
    facts = {"coordinator": "c", "catalogue": "memory", "uptime_s": 1.0, "nodes": nodes}
    return wire.ClusterStatus(**facts, videos=2, stored_bytes=5 * GB, video_bytes=3 * GB, **changes)


def printed(width: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None)
    console.print(node_table(cluster(), width))
    return out.getvalue()


def test_each_node_has_a_line_of_its_own_and_says_why_it_warns() -> None:
    for width, has_urls in ((80, False), (120, True)):
        lines = printed(width).splitlines()
        assert len(lines) == 1 + 3, width
        assert "warn: disk 86 % full" in lines[1]
        assert ("http://192.168.100.101:18080" in lines[2]) is has_urls


def test_unfinished_uploads_are_not_counted_as_videos() -> None:
    verdict, _ = cluster_verdict(cluster(uploading=1))
    assert "2 videos, 5 GB on disk, 1 not completely uploaded" in verdict
    assert "upload" not in cluster_verdict(cluster())[0]


def test_a_verdict_reads_as_a_sentence() -> None:
    fragile, _ = cluster_verdict(cluster(uploading=1, fragile=("a",)))
    assert "1 of 2 videos would be lost to view with one more node gone (5 GB on disk, 1" in fragile
    broken, _ = cluster_verdict(cluster(unplayable=("a",)))
    assert "1 of 2 videos cannot be played now: a (5 GB on disk).  next: bring" in broken


def keepers(*states: str) -> Agreement:
    members = tuple(
        AgreementMember(name=f"node-{place}", state=state) for place, state in enumerate(states)
    )
    quorum = len(states) // 2 + 1
    return Agreement(catalogue="chunkpaxos", summary="", members=members, quorum=quorum)


def test_a_catalogue_without_a_majority_is_the_gravest_of_all() -> None:
    verdict, code = whole_verdict(cluster(), keepers("up", "silent", "refuses"), [])
    assert code is ExitCode.TEMPORARY
    assert verdict.startswith("BROKEN  the catalogue has no majority: 1 of 3 who keep it answer")
    assert "bring node-1, node-2 back" in verdict


def test_who_keeps_no_catalogue_or_does_not_answer_is_named_in_the_verdict() -> None:
    whole, code = whole_verdict(cluster(), keepers("up", "up", "up"), [])
    assert (whole, code) == cluster_verdict(cluster())
    verdict, code = whole_verdict(cluster(), keepers("up", "up", "silent"), ["http://c:1"])
    assert code is ExitCode.PARTIAL
    assert "node-2 takes no part in keeping the catalogue: 0 more may be lost" in verdict
    assert "coordinator http://c:1 does not answer" in verdict
    assert "(3 nodes up" in verdict
    worse, code = whole_verdict(cluster(fragile=("a",)), keepers("up", "up", "silent"), [])
    assert (worse.split()[0], code) == ("FRAGILE", ExitCode.PARTIAL)
    assert "node-2 takes no part" in worse
    gravest = whole_verdict(cluster(unplayable=("a",)), keepers("up", "up", "silent"), [])
    assert gravest == cluster_verdict(cluster(unplayable=("a",)))


def test_a_catalogue_that_does_not_know_what_nodes_hold_is_not_ok() -> None:
    lacking = cluster(keeper=wire.KeeperStatus(is_keeper=True, stuck=("'a' chunk 0: no node",)))
    assert cluster_verdict(lacking)[0].endswith("some chunks lack fragments")
    keeper = wire.KeeperStatus(is_keeper=True, trouble="nodes hold 12 fragments")
    verdict, code = cluster_verdict(cluster(keeper=keeper))
    assert code is ExitCode.PARTIAL
    assert "nodes hold 12 fragments" in verdict
