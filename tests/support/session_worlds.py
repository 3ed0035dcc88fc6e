"""Small worlds for session tests: chunk records and node models made from a few numbers."""

from collections.abc import Sequence

from smart_client.core.schedulers import make_scheduler
from smart_client.core.session import Session
from smart_client.core.state import SessionConfig
from smart_client.simulator.engine import Engine
from smart_client.simulator.network import Network, NodeModel
from smart_client.wire import ChunkRecord, FragmentRecord, LayoutRecord

MEBI = 1024 * 1024


def chunk_records(
    count: int,
    *,
    size: int = 2 * MEBI,
    seconds: float = 10.0,
    k: int = 3,
    n: int = 5,
    copies: int = 0,
    nodes: int = 5,
) -> list[ChunkRecord]:
    """Return consecutive chunks, their fragments dealt out to nodes in turn."""
    total = n + copies
    return [
        ChunkRecord(
            number=number,
            offset=number * size,
            size=size,
            sha256="0" * 64,
            start_s=number * seconds,
            duration_s=seconds,
            layout=LayoutRecord(k=k, n=n, copies=copies),
            fragments=tuple(
                FragmentRecord(
                    index=index,
                    node=f"node-{(number + index) % nodes}",
                    key=f"{number * 1000 + index:064x}",
                )
                for index in range(total)
            ),
        )
        for number in range(count)
    ]


def steady(mbit_per_s: float = 40.0, rtt_s: float = 0.02, **settings) -> NodeModel:
    """Return a node of constant capacity."""
    return NodeModel(bytes_per_s=(mbit_per_s * 1e6 / 8,), rtt_s=rtt_s, **settings)


def engine_for(
    chunks: Sequence[ChunkRecord],
    nodes: Sequence[NodeModel],
    *,
    scheduler: str = "smart",
    config: SessionConfig | None = None,
    client_bytes_per_s: float = float("inf"),
    keeps_trace: bool = False,
) -> Engine:
    """Return a session of ``scheduler`` in a world of these nodes."""
    node_ids = [f"node-{index}" for index in range(len(nodes))]
    session = Session(chunks, node_ids, make_scheduler(scheduler), config)
    network = Network(nodes, client_bytes_per_s)
    return Engine(session, network, keeps_trace=keeps_trace)
