"""A world: everything a session meets, fixed before it starts. Nothing in it knows who plays.

Each aspect has a random stream of its own, so worlds of one seed differ between two scenarios only
in what the scenarios say: another layout keeps nodes, links and faults.
"""

import math
from dataclasses import dataclass
from math import inf

import numpy as np

from redundancy.fragment_format import FOOTER_BYTES_MIN
from redundancy.rows import RowGeometry
from redundancy.scheme import Layout
from smart_client.core.state import SessionConfig
from smart_client.errors import InvalidRequest
from smart_client.simulator.node_model import Fault, FaultKind, NodeModel, ThinkTimes
from smart_client.simulator.scenario import NodePlan, Scenario, SpellPlan, ViewerPlan
from smart_client.simulator.synthetic import ar1
from smart_client.simulator.trace_library import FloatArray, TraceLibrary
from smart_client.wire import ChunkRecord, FragmentRecord, LayoutRecord

# Worlds go on for this many times the video's duration; a session that takes longer has failed.
HORIZON_FACTOR = 6

# Links are drawn anew this often before a library is found too slow for the video.
DRAWS_MAX = 200

# A footer names its rendition ("original") and carries the catalogue entry of its video: file name,
# size, hash and a few facts about the medium.
FOOTER_LABEL_BYTES = 8 + 300

# Streams of randomness, one an aspect.
_LINKS, _ROUND_TRIPS, _OUTAGES, _COMMON_OUTAGES, _SLOWDOWNS, _DEGRADATION, _PLACEMENT = range(7)


@dataclass(frozen=True, slots=True)
class World:
    """Responsible for being the same for every scheduler."""

    scenario: str
    seed: int
    layout: Layout
    nodes: tuple[NodeModel, ...]
    chunks: tuple[ChunkRecord, ...]
    config: SessionConfig
    viewers: tuple[ViewerPlan, ...]
    client_bytes_per_s: float
    horizon_s: float

    @property
    def node_ids(self) -> list[str]:
        """The nodes' names, in order."""
        return [f"node-{index}" for index in range(len(self.nodes))]

    @property
    def duration_s(self) -> float:
        """Media time of the video."""
        return self.chunks[-1].start_s + self.chunks[-1].duration_s

    @property
    def is_straight(self) -> bool:
        """Whether one viewer plays from the start to the end without a jump."""
        return self.viewers == (ViewerPlan(),)

    def footer_bytes(self, chunk: int, fragment: int) -> int:
        """Return the length of a fragment's footer."""
        return self.footer_bytes_of(self.chunks[chunk].size, fragment)

    def footer_bytes_of(self, size: int, fragment: int) -> int:
        """Return the same for a chunk of any size: 8 bytes a block of all coded fragments."""
        layout = self.layout
        if layout.is_copy(fragment):
            blocks = RowGeometry(size, 1).rows
        else:
            blocks = RowGeometry(size, layout.scheme.k).rows * layout.scheme.n
        return FOOTER_BYTES_MIN + FOOTER_LABEL_BYTES + 8 * blocks


def make_world(scenario: Scenario, seed: int, library: TraceLibrary) -> World:
    """Return the world of a scenario and a seed (at least 0), with links drawn from a library.

    Raises: InvalidRequest: the library cannot give what the scenario asks for.
    """
    horizon_s = math.ceil(HORIZON_FACTOR * scenario.video.duration_s)
    count = scenario.nodes.count
    links = _links(scenario, library, horizon_s, seed)
    common = _degradation(scenario, horizon_s, seed)
    round_trips_s = _round_trips_s(scenario.nodes, seed)
    faults = _faults(scenario, horizon_s, seed)
    think = scenario.think
    nodes = tuple(
        NodeModel(
            bytes_per_s=(*(links[index] * common).tolist(), float(links[index].mean())),
            rtt_s=round_trips_s[index],
            faults=tuple(faults[index]),
            think_times=ThinkTimes(
                seed,
                index,
                floor_s=think.floor_s,
                mean_s=think.mean_s,
                tail_share=think.tail_share,
                tail_start_s=think.tail_start_s,
                tail_max_s=think.tail_max_s,
            ),
        )
        for index in range(count)
    )
    return World(
        scenario=scenario.name,
        seed=seed,
        layout=scenario.video.to_layout(),
        nodes=nodes,
        chunks=place_chunks(scenario, np.random.default_rng([seed, _PLACEMENT])),
        config=scenario.playback.to_config(),
        viewers=scenario.viewers,
        client_bytes_per_s=scenario.client.link_factor * scenario.video.bytes_per_s,
        horizon_s=float(horizon_s),
    )


def _links(
    scenario: Scenario, library: TraceLibrary, horizon_s: int, seed: int
) -> list[FloatArray]:
    """Return each node's bytes a second; scaled so that the video needs ``load`` of their sum."""
    plan, rng = scenario.nodes, np.random.default_rng([seed, _LINKS])
    traces = library.of_families(plan.families).traces
    duration_s = math.ceil(scenario.video.duration_s)
    for _ in range(DRAWS_MAX):
        drawn = [traces[index] for index in rng.integers(0, len(traces), plan.count)]
        links = [t.window(int(rng.integers(0, t.bytes_per_s.size)), horizon_s) for t in drawn]
        # What counts is what they carry while the video plays.
        means = [float(link[:duration_s].mean()) for link in links]
        if plan.unscaled:
            if scenario.video.bytes_per_s <= plan.load_max * sum(means):
                return links
        elif min(means) > 0:
            weights = rng.lognormal(0.0, plan.weight_sigma, plan.count)
            total = scenario.video.bytes_per_s / plan.load
            shares = weights / weights.sum() * total
            return [
                link * (share / mean)
                for link, share, mean in zip(links, shares, means, strict=True)
            ]
    raise InvalidRequest(
        f"the traces of '{library.name}' are too slow for scenario '{scenario.name}'",
        hint="lower video.mbit_per_s, or name faster families in nodes.families",
    )


def _round_trips_s(plan: NodePlan, seed: int) -> list[float]:
    rng = np.random.default_rng([seed, _ROUND_TRIPS])
    logs = rng.uniform(math.log(plan.rtt_min_s), math.log(plan.rtt_max_s), plan.count)
    return [float(rtt_s) for rtt_s in np.exp(logs)]


def _degradation(scenario: Scenario, horizon_s: int, seed: int) -> FloatArray:
    """Return the share of their capacity that all nodes have in each second."""
    plan, rng = scenario.degradation, np.random.default_rng([seed, _DEGRADATION])
    phase = float(rng.random())
    turns = np.arange(horizon_s) / plan.diurnal_period_s + phase
    share: FloatArray = 1.0 - plan.diurnal_depth * (1.0 - np.cos(2 * np.pi * turns)) / 2
    if plan.common_sigma > 0:
        half_life_s = plan.common_half_life_s
        logs = ar1(horizon_s, rng, sigma=plan.common_sigma, half_life_s=half_life_s)
        share = share * np.exp(logs - plan.common_sigma**2 / 2)
    return share


def _faults(scenario: Scenario, horizon_s: int, seed: int) -> list[list[Fault]]:
    """Return each node's faults, those of a given instant first."""
    count = scenario.nodes.count
    faults: list[list[Fault]] = [[] for _ in range(count)]
    for planned in scenario.faults:
        faults[planned.node].append(planned.to_fault())
    for index in range(count):
        rng = np.random.default_rng([seed, _OUTAGES, index])
        faults[index] += _spells(scenario.outages, horizon_s, rng)
    rng = np.random.default_rng([seed, _COMMON_OUTAGES])
    for fault in _spells(scenario.common_outages, horizon_s, rng):
        hit = rng.permutation(count)[: round(scenario.common_outages.nodes_share * count)]
        for index in hit:
            faults[int(index)].append(fault)
    for index in range(count):
        rng = np.random.default_rng([seed, _SLOWDOWNS, index])
        for spell in _spells(scenario.slowdowns, horizon_s, rng):
            faults[index].append(Fault(FaultKind.SLOW, spell.start_s, spell.stop_s))
    return faults


def _spells(plan: SpellPlan, horizon_s: int, rng: np.random.Generator) -> list[Fault]:
    if plan.every_s == inf:
        return []
    spells = []
    at_s = float(rng.exponential(plan.every_s))
    while at_s < horizon_s:
        lasting_s = 1e-3 + float(rng.exponential(plan.lasting_s))
        kind = FaultKind.REFUSE if rng.random() < plan.refused_share else FaultKind.FREEZE
        spells.append(Fault(kind, at_s, at_s + lasting_s))
        at_s += lasting_s + float(rng.exponential(plan.every_s))
    return spells


def place_chunks(scenario: Scenario, rng: np.random.Generator) -> tuple[ChunkRecord, ...]:
    """Return equal chunks, each on nodes chosen at random."""
    video, layout = scenario.video, scenario.video.to_layout()
    count = max(1, round(video.duration_s / video.chunk_s))
    size = round(video.bytes_per_s * video.chunk_s)
    chunks = []
    for number in range(count):
        holders = rng.permutation(scenario.nodes.count)[: layout.fragments_total]
        chunks.append(
            ChunkRecord(
                number=number,
                offset=number * size,
                size=size,
                sha256="0" * 64,
                start_s=number * video.chunk_s,
                duration_s=video.chunk_s,
                layout=LayoutRecord.of(layout),
                fragments=tuple(
                    FragmentRecord(
                        index=index, node=f"node-{holder}", key=f"{number:060x}{index:04x}"
                    )
                    for index, holder in enumerate(holders)
                ),
            )
        )
    return tuple(chunks)
