"""Small worlds for the lab, made from a few numbers, and whether this machine can have a lab."""

import os
import shutil
import subprocess

import pytest

from redundancy.scheme import Layout
from smart_client.core.state import SessionConfig
from smart_client.simulator.node_model import INFINITY, Fault, NodeModel, ThinkTimes
from smart_client.simulator.scenario import ViewerPlan
from smart_client.simulator.world import World
from support.session_worlds import chunk_records


def lab_problem() -> str:
    """Return why there can be no lab here; empty if there can."""
    if os.geteuid() != 0:
        return "needs root"
    if missing := [name for name in ("ip", "tc") if shutil.which(name) is None]:
        return f"needs {', '.join(missing)}"
    name = f"labtest{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no namespaces here: {made.stderr.strip()}"
    try:
        lines = "link add veth0 type veth peer name veth1\nlink set veth0 up\n"
        for words in (["ip", "-n", name, "-batch", "-"], ["tc", "-n", name, "-batch", "-"]):
            done = subprocess.run(words, input=lines, capture_output=True, text=True, check=False)
            if done.returncode:
                return f"no veth or tbf here: {done.stderr.strip()}"
            lines = "qdisc add dev veth0 root tbf rate 1mbit burst 2000 limit 10000\n"
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)
    return ""


def require_lab_here() -> None:
    """Skip the test, with the reason, where there can be no lab."""
    if problem := lab_problem():
        pytest.skip(f"no lab: {problem}")


def lab_node(
    index: int = 0,
    *,
    bytes_per_s: tuple[float, ...] = (400_000.0,),
    rtt_s: float = 0.02,
    faults: tuple[Fault, ...] = (),
) -> NodeModel:
    """Return a node that thinks for 3 ms."""
    think = ThinkTimes(0, index, floor_s=0.003, mean_s=0.0, tail_share=0.0)
    return NodeModel(bytes_per_s=bytes_per_s, rtt_s=rtt_s, faults=faults, think_times=think)


def lab_world(
    nodes: tuple[NodeModel, ...], *, chunks: int = 2, k: int = 2, n: int = 3, limit_s: float = 8.0
) -> World:
    """Return a world of one-second chunks of 100 kB; playback starts with one second."""
    records = chunk_records(chunks, size=100_000, seconds=1.0, k=k, n=n, nodes=len(nodes))
    return World(
        scenario="small",
        seed=3,
        layout=Layout.parse(f"rs:{k}+{n - k}"),
        nodes=nodes,
        chunks=tuple(records),
        config=SessionConfig(window_s=30.0, start_buffer_s=1.0, resume_buffer_s=1.0),
        viewers=(ViewerPlan(),),
        client_bytes_per_s=INFINITY,
        horizon_s=limit_s,
    )
