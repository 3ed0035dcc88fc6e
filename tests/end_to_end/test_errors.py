"""Bad input and bad luck: what, why, what next, and the exit code; for people and for programs."""

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.browser_pages import gateway_of
from support.real_cluster import Done, RealCluster, run

pytestmark = pytest.mark.real


def check(human: Done, machine: Done, *, code: int, name: str, says: str, hints: str) -> None:
    """The same failure in both forms."""
    assert human.code == machine.code == code, (human, machine)
    assert human.err.startswith("error: ")
    assert says in human.err
    assert "next: " in human.err
    assert "Traceback" not in human.err
    assert human.out == ""
    error = machine.json["error"]
    assert error["code"] == name
    assert error["exit"] == code
    assert says in error["message"] or says in str(error["detail"])
    assert hints in error["hint"]
    assert machine.err == ""


def both(cluster: RealCluster, *words: str) -> tuple[Done, Done]:
    return cluster.client(*words), cluster.client(*words, "--json")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.bin"
    path.write_bytes(random.Random(1).randbytes(200_000))
    return path


def test_a_file_that_is_not_there(running: RealCluster) -> None:
    done = both(running, "put", "nowhere.mp4")
    check(*done, code=4, name="FILE_NOT_FOUND", says="nowhere.mp4", hints="path")


def test_a_directory_is_no_video(running: RealCluster, tmp_path: Path) -> None:
    done = both(running, "put", str(tmp_path))
    check(*done, code=9, name="FILE", says="not a regular file", hints="video file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(running: RealCluster, small: Path) -> None:
    small.chmod(0)
    done = both(running, "put", str(small))
    check(*done, code=9, name="FILE", says="ermission", hints="permission")


def test_a_name_that_cannot_be(running: RealCluster, small: Path) -> None:
    done = both(running, "put", str(small), "--name", "a/b")
    check(*done, code=2, name="INVALID_REQUEST", says="a/b", hints="a letter or digit first")


def test_a_name_that_is_taken(running: RealCluster, small: Path, tmp_path: Path) -> None:
    assert running.client("put", str(small), "--name", "taken").code == 0
    other = tmp_path / "other.bin"
    other.write_bytes(small.read_bytes()[::-1])
    done = both(running, "put", str(other), "--name", "taken")
    check(*done, code=8, name="NAME_TAKEN", says="taken", hints="--name")


def test_the_same_file_again_is_no_error(running: RealCluster, small: Path) -> None:
    assert running.client("put", str(small), "--name", "again").code == 0
    again = running.client("put", str(small), "--name", "again")
    assert again.code == 0
    assert "stored already" in again.out
    other = running.client("put", str(small), "--name", "again", "--redundancy", "rep:2")
    assert other.code == 3
    assert "storage-server admin video layout again rep:2" in other.err


def test_no_video_of_a_name_is_not_no_video_at_all(running: RealCluster, small: Path) -> None:
    assert running.client("put", str(small), "--name", "some").code == 0
    assert "no video's name is like 'zzz*'" in running.client("ls", "zzz*").err


def test_of_several_files_none_is_sent_if_one_is_not_there(
    running: RealCluster, small: Path
) -> None:
    done = both(running, "put", str(small), "nowhere.mp4")
    check(*done, code=4, name="FILE_NOT_FOUND", says="nowhere.mp4", hints="path")
    assert "small" not in running.client("ls", "--names").out.split()


def test_a_range_beyond_the_end(running: RealCluster, small: Path, tmp_path: Path) -> None:
    running.client("put", str(small), "--name", "ranged")
    target = tmp_path / "part"
    done = both(running, "get", "ranged", "--range", "200000-", "-o", str(target))
    check(*done, code=2, name="USAGE", says="200000", hints="counted from 0")
    assert not target.exists()


def test_a_video_that_is_not_there_suggests_the_nearest(running: RealCluster, small: Path) -> None:
    running.client("put", str(small), "--name", "tears-of-steel")
    done = both(running, "play", "tears-of-stel", "--player", "none")
    check(*done, code=4, name="VIDEO_NOT_FOUND", says="Did you mean 'tears-of-steel'", hints="ls")


@pytest.mark.parametrize(
    ("words", "says", "hints"),
    [
        (["ls", "--jsn"], "--jsn", "--json"),
        (["lss"], "lss", "--help"),
        (["put"], "FILE", "--help"),
        (["play", "x", "--buffer", "soon"], "soon", ""),
        (["play", "x", "--scheduler", "psychic"], "psychic", "--help"),
        (["get", "x", "--range", "9-3", "-o", "y"], "empty", ""),
        (["put", "x", "--redundancy", "rs:9"], "rs:9", "rs:3+2"),
    ],
)
def test_a_bad_command_line(running: RealCluster, words, says, hints) -> None:
    done = running.client(*words, "--json")
    assert done.code in (2, 4)
    assert says in done.json["error"]["message"]
    assert hints in done.json["error"]["hint"]
    plain = running.client(*words)
    assert plain.code == done.code
    assert "Traceback" not in plain.err


def test_a_redundancy_that_cannot_be_read(running: RealCluster, small: Path) -> None:
    done = both(running, "put", str(small), "--name", "odd", "--redundancy", "rs:9")
    assert done[0].code == 2
    check(*done, code=2, name="INVALID_SCHEME", says="rs:9", hints="rs:3+2")
    # Before anything else is asked, also when the name is taken or nobody answers.
    done = both(running, "put", str(small), "--redundancy", "rs:9", "--coordinator", "http://x:1")
    check(*done, code=2, name="INVALID_SCHEME", says="rs:9", hints="rs:3+2")


def test_more_nodes_than_there_are(running: RealCluster, small: Path) -> None:
    done = both(running, "put", str(small), "--name", "wide", "--redundancy", "rs:6+3")
    check(*done, code=5, name="TOO_FEW_NODES", says="9", hints="")
    assert "wide" not in running.client("ls", "--names").out


def test_no_coordinator(small: Path) -> None:
    words = ["--coordinator", "http://127.0.0.1:9", "--timeout", "1s"]
    for command in (["ls"], ["put", str(small)], ["status"], ["get", "x", "-o", "y"]):
        done = (
            run("smart_client", *command, *words),
            run("smart_client", *command, *words, "--json"),
        )
        check(*done, code=5, name="COORDINATOR_UNREACHABLE", says="127.0.0.1:9", hints="doctor")


def test_a_file_that_exists_is_not_overwritten(running: RealCluster, small: Path) -> None:
    running.client("put", str(small), "--name", "keep")
    target = small.with_name("mine")
    target.write_text("mine")
    done = both(running, "get", "keep", "-o", str(target))
    check(*done, code=8, name="NAME_TAKEN", says=str(target), hints="--force")
    assert target.read_text() == "mine"
    assert running.client("get", "keep", "-o", str(target), "--force").code == 0
    assert target.read_bytes() == small.read_bytes()


def test_rm_asks_first(running: RealCluster, small: Path) -> None:
    running.client("put", str(small), "--name", "dear")
    done = both(running, "rm", "dear")
    check(*done, code=2, name="USAGE", says="asks", hints="--yes")
    done = both(running, "rm", "dear", "deer")
    check(*done, code=4, name="VIDEO_NOT_FOUND", says="Did you mean 'dear'", hints="ls")
    assert running.client("rm", "dear", "--dry-run").code == 0
    assert "dear" in running.client("ls", "--names").out


def test_doctor_names_what_is_wrong_and_what_to_do() -> None:
    done = run("smart_client", "doctor", "--coordinator", "http://127.0.0.1:9", "--json")
    assert done.code == 5
    checks = {check["name"]: check for check in done.json["checks"]}
    assert checks["codec"]["ok"]
    assert not checks["coordinator"]["ok"]
    assert checks["coordinator"]["hint"]


def test_status_gives_a_verdict_first(running: RealCluster) -> None:
    done = running.client("status")
    assert done.code == 0
    assert done.out.startswith("OK  5 nodes up")


@pytest.fixture(scope="module")
def cramped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """Nodes with room for next to nothing."""
    cluster = RealCluster(tmp_path_factory.mktemp("cramped"))
    try:
        cluster.up(3, "--capacity", "2MiB")
        yield cluster
    finally:
        cluster.down()


def test_full_disks_are_told_as_such_and_nothing_half_stored_is_listed(
    cramped: RealCluster, tmp_path: Path
) -> None:
    path = tmp_path / "large"
    path.write_bytes(random.Random(3).randbytes(12 * 1024 * 1024))
    human, machine = both(cramped, "put", str(path), "--name", "large")
    check(human, machine, code=5, name="NO_SPACE", says="too little room", hints="delete")
    assert "large" not in [
        v["name"] for v in cramped.client("ls", "--json").json["videos"] if v["state"] == "ready"
    ]


def test_a_download_onto_a_full_disk_leaves_nothing(
    running: RealCluster, small: Path, tmp_path: Path
) -> None:
    big = tmp_path / "big"
    big.write_bytes(random.Random(4).randbytes(4 * 1024 * 1024))
    assert running.client("put", str(big), "--name", "big").code == 0
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or os.system(f"mount -t tmpfs -o size=1m none {disk}") != 0:
        pytest.skip("a full disk needs root to mount one")
    try:
        done = both(running, "get", "big", "-o", str(disk / "big"))
        check(*done, code=5, name="NO_SPACE", says="space", hints="free")
        assert list(disk.iterdir()) == []
    finally:
        os.system(f"umount {disk}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_gateway_that_is_told_to_stop_has_not_failed(
    running: RealCluster, tmp_path: Path, number: int
) -> None:
    with gateway_of(running, tmp_path) as gateway:
        gateway.process.send_signal(number)
        assert gateway.process.wait(20) == 0
