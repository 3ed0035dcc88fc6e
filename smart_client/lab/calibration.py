"""How true the lab is: what was asked of each node beside what a client sees of it."""

from dataclasses import dataclass

from redundancy.scheme import Layout
from smart_client.core.state import SessionConfig
from smart_client.lab.laboratory import Lab
from smart_client.lab.yardstick import Measure
from smart_client.simulator.node_model import INFINITY, NodeModel, ThinkTimes
from smart_client.simulator.scenario import ViewerPlan
from smart_client.simulator.world import World
from smart_client.wire import ChunkRecord, FragmentRecord, LayoutRecord

# (round trip, mean rate, whether the rate changes every second): from a slow, far link to a fast,
# near one, about what traces of homes and telephones hold.
LINKS = (
    (0.010, 4_000_000.0, False),
    (0.010, 1_000_000.0, True),
    (0.040, 250_000.0, False),
    (0.040, 250_000.0, True),
    (0.120, 60_000.0, False),
    (0.120, 60_000.0, True),
)
THINK_S = 0.005
ROUND_TRIPS = 15
RATE_S = 12
FRAGMENT_BYTES = 4 * 1024 * 1024

# A changing link has this share of its mean, then the rest of twice the mean, second by second.
LOW_SHARE = 0.5

_HORIZON_S = 120


@dataclass(frozen=True, slots=True)
class LinkError:
    """One link, asked and seen."""

    rtt_s: float
    connect_s: float
    connect_max_s: float
    think_s: float  # asked
    answer_s: float  # seen beyond the round trip
    changes: bool
    bytes_per_s: float
    seen_bytes_per_s: float

    @property
    def rate_error(self) -> float:
        """How much more was seen than asked, as a share of the latter."""
        return self.seen_bytes_per_s / self.bytes_per_s - 1


async def calibrate() -> tuple[LinkError, ...]:
    """Measure a lab of six links. Takes about 40 s. Raises: LabUnavailable, LabBroken."""
    world = _world()
    async with Lab(len(LINKS)) as lab:
        manifest = await lab.store(world)
        keys = tuple(fragment.key for fragment in manifest.chunks[0].fragments)
        seen = await lab.measure(world, Measure(keys, ROUND_TRIPS, RATE_S))
    return tuple(
        LinkError(
            rtt_s=rtt_s,
            connect_s=node.connect_s,
            connect_max_s=node.connect_max_s,
            think_s=THINK_S,
            answer_s=node.request_s - rtt_s,
            changes=changes,
            bytes_per_s=bytes_per_s,
            seen_bytes_per_s=node.bytes_per_s,
        )
        for (rtt_s, bytes_per_s, changes), node in zip(LINKS, seen.nodes, strict=True)
    )


def _world() -> World:
    """Return a world of one chunk, whole on every node."""
    layout = Layout.parse(f"rep:{len(LINKS)}")
    nodes = []
    for index, (rtt_s, bytes_per_s, changes) in enumerate(LINKS):
        shares = (LOW_SHARE, 2 - LOW_SHARE) if changes else (1.0, 1.0)
        nodes.append(
            NodeModel(
                bytes_per_s=tuple(bytes_per_s * share for share in shares) * (_HORIZON_S // 2),
                rtt_s=rtt_s,
                think_times=ThinkTimes(0, index, floor_s=THINK_S, mean_s=0, tail_share=0),
            )
        )
    chunk = ChunkRecord(
        number=0,
        offset=0,
        size=FRAGMENT_BYTES,
        sha256="0" * 64,
        start_s=0.0,
        duration_s=10.0,
        layout=LayoutRecord.of(layout),
        fragments=tuple(
            FragmentRecord(index=index, node=f"node-{index}", key=f"{index:064x}")
            for index in range(len(LINKS))
        ),
    )
    return World(
        scenario="calibration",
        seed=0,
        layout=layout,
        nodes=tuple(nodes),
        chunks=(chunk,),
        config=SessionConfig(),
        viewers=(ViewerPlan(),),
        client_bytes_per_s=INFINITY,
        horizon_s=float(_HORIZON_S),
    )
