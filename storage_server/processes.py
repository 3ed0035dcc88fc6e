"""Processes of ours that outlive the command that started them.

A process is known by its id, the moment it started and the boot it belongs to: ids are used again,
and a signal must never reach a stranger. Linux only: what is known comes from ``/proc``.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

_POLL_S = 0.02


class ProcessState(StrEnum):
    """What a process does right now."""

    RUNNING = "running"
    FROZEN = "frozen"  # by SIGSTOP
    GONE = "gone"


class ProcessId(msgspec.Struct, frozen=True, kw_only=True):
    """One process, and no later one that has the same number."""

    pid: int
    started_ticks: int  # since boot
    boot: str


def identify(pid: int) -> ProcessId | None:
    """Return who has this number now; None: nobody."""
    found = _read_stat(pid)
    if found is None:
        return None
    return ProcessId(pid=pid, started_ticks=found[1], boot=_boot())


def state_of(process: ProcessId) -> ProcessState:
    """Return what the process does; a zombie is gone."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)  # if it is our own child, let it go
    found = _read_stat(process.pid)
    if found is None or found[1] != process.started_ticks or process.boot != _boot():
        return ProcessState.GONE
    return {"T": ProcessState.FROZEN, "t": ProcessState.FROZEN, "Z": ProcessState.GONE}.get(
        found[0], ProcessState.RUNNING
    )


def send(process: ProcessId, number: signal.Signals) -> bool:
    """Send a signal; return whether the process was there. Never signals another process."""
    try:
        # The descriptor keeps naming the process we look at next, whatever happens to its number.
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        if state_of(process) is ProcessState.GONE:
            return False
        signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(descriptor)
    return True


def start_detached(
    command: Sequence[str], *, output: Path, errors: Path, environment: Mapping[str, str]
) -> ProcessId:
    """Start a process in a session of its own; its output replaces these files' contents."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    pid = os.posix_spawn(
        command[0],
        list(command),
        dict(environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(output), flags, 0o600),
            (os.POSIX_SPAWN_OPEN, 2, str(errors), flags, 0o600),
        ],
        setsid=True,
        setsigmask=[],  # whatever is put off here, not there
    )
    process = identify(pid)
    assert process is not None  # our child: nobody else can have let it go
    return process


@contextlib.contextmanager
def terminated_like_interrupted() -> Iterator[None]:
    """Make SIGTERM do what Ctrl-C does, so that a command cleans up after itself either way."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's business
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def interrupts_put_off() -> Iterator[None]:
    """Let Ctrl-C wait until what is inside is done: it must not fall between two steps."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end(processes: Iterable[ProcessId], *, patience_s: float) -> list[ProcessId]:
    """End processes: ask, also the frozen ones, then kill; return those that are still there."""
    left = list(processes)
    for process in left:
        send(process, signal.SIGTERM)
        send(process, signal.SIGCONT)
    left = _wait_until_gone(left, patience_s)
    for process in left:
        send(process, signal.SIGKILL)
    return _wait_until_gone(left, patience_s)


def wait_for(process: ProcessId, state: ProcessState, *, timeout_s: float) -> bool:
    """Wait until a process is in this state; return whether it came to that in time.

    A signal is sent at once and has its effect some moments later.
    """
    deadline_s = time.monotonic() + timeout_s
    while state_of(process) is not state:
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(_POLL_S)
    return True


def _wait_until_gone(processes: list[ProcessId], timeout_s: float) -> list[ProcessId]:
    deadline_s = time.monotonic() + timeout_s
    while True:
        left = [each for each in processes if state_of(each) is not ProcessState.GONE]
        if not left or time.monotonic() >= deadline_s:
            return left
        time.sleep(_POLL_S)


def _read_stat(pid: int) -> tuple[str, int] | None:
    """Return a process's state letter and when it started, in ticks since boot."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the name in brackets and may hold anything; the third follows the last.
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
