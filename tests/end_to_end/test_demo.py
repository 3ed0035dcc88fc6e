"""The demo as a newcomer runs it, and what is left when it is interrupted."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.real_cluster import run

pytestmark = pytest.mark.real


def processes_naming(text: str) -> list[str]:
    """Return the command lines of running processes that contain ``text``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if text in line:
                found.append(line)
    return found


def test_the_demo_plays_through_a_frozen_and_a_killed_node_without_a_stall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av", reason="making a clip needs PyAV (the extra 'video')")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    done = run("smart_client", "demo", "--seconds", "12", "--no-compare", "--json")
    assert done.code == 0, done
    report = done.json["demo"]
    smart = report["smart"]
    assert smart["rebuffers"] == 0
    assert smart["sha256_verified"]
    assert smart["played_s"] == pytest.approx(12.0, abs=0.1)
    assert set(smart["faults"]["at_s"]) == {smart["faults"]["frozen"], smart["faults"]["killed"]}
    assert "naive" not in report
    assert list(tmp_path.iterdir()) == [], "the demo leaves nothing behind"
    assert not processes_naming(str(tmp_path))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_demo_takes_everything_down(tmp_path: Path, number: int) -> None:
    pytest.importorskip("av", reason="making a clip needs PyAV (the extra 'video')")
    process = subprocess.Popen(
        [sys.executable, "-m", "smart_client", "demo", "--seconds", "30", "--color", "never"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path.cwd())},
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "playing after" in line:
                break
        assert processes_naming(str(tmp_path)), "the cluster runs while the demo does"
        process.send_signal(number)
        process.wait(30)
    finally:
        process.kill()
        process.stderr.close()
    assert process.returncode == 130
    limit_s = time.monotonic() + 5
    while processes_naming(str(tmp_path)) and time.monotonic() < limit_s:
        time.sleep(0.05)
    assert not processes_naming(str(tmp_path))
    assert list(tmp_path.iterdir()) == []
