"""Signals reach the process that was started, and nobody else."""

import os
import signal
import subprocess
import sys
import time

import pytest

from storage_server.processes import (
    ProcessId,
    ProcessState,
    end,
    identify,
    send,
    start_detached,
    state_of,
)

pytestmark = pytest.mark.real

_STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(1, flush=True)
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path):
    """Start processes that surely end with the test."""
    started = []

    def begin(code: str = "import time; time.sleep(60)") -> ProcessId:
        process = start_detached(
            [sys.executable, "-c", code],
            output=tmp_path / "out",
            errors=tmp_path / "err",
            environment=os.environ,
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        send(process, signal.SIGKILL)
    assert end(started, patience_s=5) == []


def wait_for(is_true, timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not is_true():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_started_process_runs_in_a_session_of_its_own(start):
    process = start()
    assert state_of(process) is ProcessState.RUNNING
    assert os.getsid(process.pid) == process.pid


def test_a_frozen_process_is_seen_as_frozen_and_thaws(start):
    process = start()
    assert send(process, signal.SIGSTOP)
    wait_for(lambda: state_of(process) is ProcessState.FROZEN)
    assert send(process, signal.SIGCONT)
    wait_for(lambda: state_of(process) is ProcessState.RUNNING)


def test_a_number_that_another_process_has_now_is_never_signalled():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        who = identify(stranger.pid)
        earlier = ProcessId(pid=who.pid, started_ticks=who.started_ticks - 1, boot=who.boot)
        other_boot = ProcessId(pid=who.pid, started_ticks=who.started_ticks, boot="another")
        for recycled in (earlier, other_boot):
            assert state_of(recycled) is ProcessState.GONE
            assert not send(recycled, signal.SIGKILL)
            assert end([recycled], patience_s=1) == []
        assert stranger.poll() is None
        stranger.communicate(b"\n")
    assert stranger.returncode == 0


def test_a_process_that_ignores_the_request_is_killed(start, tmp_path):
    process = start(_STUBBORN)
    wait_for(lambda: (tmp_path / "out").read_text() == "1\n")
    began_s = time.monotonic()
    assert end([process], patience_s=0.5) == []
    assert time.monotonic() - began_s >= 0.5
    assert state_of(process) is ProcessState.GONE


def test_a_frozen_process_ends_when_asked(start):
    process = start()
    send(process, signal.SIGSTOP)
    wait_for(lambda: state_of(process) is ProcessState.FROZEN)
    began_s = time.monotonic()
    assert end([process], patience_s=60) == []
    assert time.monotonic() - began_s < 30  # asked, not killed


def test_ending_what_is_gone_is_no_error(start):
    process = start("pass")
    wait_for(lambda: state_of(process) is ProcessState.GONE)
    assert end([process, process], patience_s=1) == []
    assert not send(process, signal.SIGTERM)
    assert identify(2**22 + 1) is None
