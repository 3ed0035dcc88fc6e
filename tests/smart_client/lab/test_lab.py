"""A lab for real: namespaces, nodes, a client; and that nothing is left of it, however it ends."""

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from redundancy.errors import ExitCode
from smart_client.lab.command import main
from smart_client.lab.keeper import namespaces_of
from smart_client.lab.laboratory import Lab
from smart_client.simulator.node_model import Fault, FaultKind
from smart_client.simulator.simulate import simulate
from support.lab_worlds import lab_node, lab_world, require_lab_here

pytestmark = pytest.mark.real

DEADLINE_S = 60.0


def wait_until(condition, what: str) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline_s, f"not in time: {what}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pids_in(namespace: str) -> list[int]:
    done = subprocess.run(
        ["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in done.stdout.split()]


def test_a_world_is_played_over_sockets_as_the_simulator_says_and_leaves_nothing() -> None:
    require_lab_here()
    # 120 kB/s, 60 ms away, together: the first second of video (100 kB) takes about half of one.
    away = Fault(FaultKind.REFUSE, 0.0, 20.0)
    nodes = (
        lab_node(0, bytes_per_s=(120_000.0,), rtt_s=0.06),
        lab_node(1, bytes_per_s=(120_000.0,), rtt_s=0.06),
        lab_node(2, bytes_per_s=(120_000.0,), rtt_s=0.06, faults=(away,)),
    )
    world = lab_world(nodes, chunks=2)

    async def play():
        async with Lab(3) as lab:
            session = await lab.play(world, "smart")
            return session, lab.pids, lab.prefix, lab.directory

    session, pids, prefix, directory = asyncio.run(play())
    simulated, outcome = simulate(world, "smart"), session.outcome
    assert outcome.ended
    assert outcome.delivered_bytes == 200_000  # every chunk matched its hash
    # A round trip to connect, one to ask, and 100 kB over 240 kB/s: sooner is not possible.
    assert outcome.startup_s >= 0.12 + 100_000 / 240_000
    # A loaded machine may be slow, so only the order of size is a test; figures are for the lab.
    assert outcome.startup_s < 3 * simulated.startup_s + 1.0
    assert outcome.node_bytes[2] == 0
    assert 0 <= outcome.extra_share < 0.5
    assert session.requests >= 4
    assert not namespaces_of(prefix)
    assert not [pid for pid in pids if is_alive(pid)]
    assert not os.path.exists(directory)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-C"])
def test_nothing_is_left_of_a_lab_that_is_ended_in_the_middle(number) -> None:
    require_lab_here()
    command = subprocess.Popen(
        [sys.executable, "-m", "smart_client.lab", "--seconds", "60"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # the signal is for it alone
    )
    prefix = f"lab{command.pid}"

    def labs() -> list[str]:
        out = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False)
        return [line.split()[0] for line in out.stdout.splitlines() if line.startswith(prefix)]

    try:
        wait_until(lambda: any("node-5" in name for name in labs()), "namespaces")
        last = next(name for name in labs() if "node-5" in name)
        wait_until(lambda: pids_in(last), "a front")
        pids = [pid for name in labs() for pid in pids_in(name)]
        command.send_signal(number)
        wait_until(lambda: not labs(), "no namespace is left")
        wait_until(lambda: not any(is_alive(pid) for pid in pids), "no process is left")
        _, said = command.communicate(timeout=DEADLINE_S)
        if number == signal.SIGINT:
            assert command.returncode == ExitCode.INTERRUPTED, said
    finally:
        command.kill()
        command.wait()
        command.stderr.close()


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--schedulers", "smrt"), ExitCode.USAGE, "no scheduler 'smrt'"),
        (("--runs", "0"), ExitCode.USAGE, "--runs"),
        (("--seconds", "1"), ExitCode.USAGE, "shorter than a chunk"),
        (("--scenario", "nowhere"), ExitCode.USAGE, "no scenario 'nowhere'"),
    ],
)
def test_bad_words_are_told_before_anything_is_made(capsys, words, code, says) -> None:
    assert main([*words, "--json"]) == code
    assert says in capsys.readouterr().out


def test_without_ip_it_says_what_is_missing(capsys, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["--json"]) == ExitCode.CONFIG
    told = capsys.readouterr().out
    assert "LAB_UNAVAILABLE" in told
    assert "iproute2" in told
