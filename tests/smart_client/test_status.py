"""What ``status`` says: the reason of a warning, unfinished uploads, and lines that fit."""

import io

from rich.console import Console

from smart_client import wire
from smart_client.command_line.health import cluster_verdict, node_table

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
