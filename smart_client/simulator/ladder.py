"""A ladder in a world: its renditions, one session over it, and how good that was to watch."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
import numpy as np

from smart_client.core.abr.contract import RateController
from smart_client.core.abr.controllers import make_controller
from smart_client.core.abr.ladder import Ladder
from smart_client.core.abr.ladder_demand import LadderDemand, Opening, ladder_session
from smart_client.core.schedulers import make_scheduler
from smart_client.errors import InvalidRequest
from smart_client.simulator.engine import Engine
from smart_client.simulator.ladder_plan import SIZE_FACTOR_MAX, SIZE_FACTOR_MIN, LadderPlan
from smart_client.simulator.network import REALISTIC, Network, NetworkModel
from smart_client.simulator.scenario import Scenario
from smart_client.simulator.simulate import Outcome, outcome_of, script_of
from smart_client.simulator.world import World, place_chunks

# Linear quality of experience: q(R) is the bitrate in Mbit/s. Yin et al. (SIGCOMM 2015, section
# 7.1, "balanced") weigh a switch by its step, and a second of waiting as much as a unit of their
# top rate (3 Mbit/s, 3000): the same for a second of startup.
SWITCH_WEIGHT = 1.0
REBUFFER_WEIGHT_TOPS = 1.0
STARTUP_WEIGHT_TOPS = 1.0

# The world's own streams of randomness are numbered from 0; these are beside them.
_LADDER_SIZES, _LADDER_PLACEMENT = 100, 101


class LadderOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One session over a ladder."""

    seed: int
    session: Outcome
    units: int
    mbit_per_s: float  # mean bitrate of the units played
    switches: int
    qoe: float  # linear, per unit


def make_ladder(world: World, scenario: Scenario) -> Ladder:
    """Return the renditions of a world's video, the same for every controller.

    Raises: InvalidRequest: the scenario has no ladder.
    """
    plan = scenario.ladder
    if not isinstance(plan, LadderPlan):
        raise InvalidRequest(
            f"scenario '{scenario.name}' has no ladder", hint="add a table [ladder] to it"
        )
    factors = _size_factors(plan, len(world.chunks), world.seed)
    renditions = []
    for number, mbit_per_s in enumerate(plan.mbit_per_s):
        share = mbit_per_s / plan.top
        chunks = world.chunks
        if mbit_per_s < plan.top:
            rng = np.random.default_rng([world.seed, _LADDER_PLACEMENT, number])
            chunks = place_chunks(scenario, rng)
        offset, records = 0, []
        for chunk, factor in zip(chunks, factors, strict=True):
            size = max(1, round(chunk.size * share * factor))
            records.append(msgspec.structs.replace(chunk, offset=offset, size=size))
            offset += size
        renditions.append(tuple(records))
    return Ladder(tuple(renditions))


def _size_factors(plan: LadderPlan, units: int, seed: int) -> list[float]:
    rng = np.random.default_rng([seed, _LADDER_SIZES])
    factors = np.exp(rng.normal(0.0, plan.size_sigma, units)).clip(SIZE_FACTOR_MIN, SIZE_FACTOR_MAX)
    return [float(factor) for factor in factors / factors.mean()]


def linear_qoe(played: Sequence[float], *, startup_s: float, stalled_s: float, top: float) -> float:
    """Return the linear quality of experience of a session, summed over its units.

    Args:
        played: bitrate of each unit in Mbit/s, in the order of playback.
        top: the ladder's highest bitrate in Mbit/s.
    Source: Yin et al., SIGCOMM 2015, equation 5: sum q(R) - lambda sum |q(R') - q(R)| - mu times
        rebuffering - mu_s times startup. ITU-T P.1203 would be nearer to viewers, but its public
        code may not be used commercially, so nothing here depends on it.
    """
    steps = sum(abs(b - a) for a, b in pairwise(played))
    waits = REBUFFER_WEIGHT_TOPS * stalled_s + STARTUP_WEIGHT_TOPS * startup_s
    return sum(played) - SWITCH_WEIGHT * steps - top * waits


def simulate_ladder(
    world: World,
    scenario: Scenario,
    scheduler: str,
    *,
    controller: str | RateController,
    opening: Opening | None = None,
    model: NetworkModel = REALISTIC,
) -> LadderOutcome:
    """Play a world's ladder to its end with a scheduler and a rate controller.

    Raises: InvalidRequest: no such scheduler or controller, or no ladder.
    """
    plan, ladder = scenario.ladder, make_ladder(world, scenario)
    assert isinstance(plan, LadderPlan)
    chosen = make_controller(controller) if isinstance(controller, str) else controller
    session = ladder_session(
        ladder,
        world.node_ids,
        make_scheduler(scheduler),
        controller=chosen,
        config=world.config,
        opening=opening,
    )
    chunks = session.state.chunks
    engine = Engine(
        session,
        Network(world.nodes, world.client_bytes_per_s, model),
        footer_size_of=lambda chunk, fragment, _: world.footer_bytes_of(
            chunks[chunk].geometry.chunk_bytes, fragment
        ),
        follows_readers=True,
    )
    engine.run(script_of(world, session), world.horizon_s)
    node_bytes = engine.network.moved_bytes_by_node()
    outcome = outcome_of(session, len(world.viewers), engine.network.now_s, node_bytes)
    demand = session.demand
    assert isinstance(demand, LadderDemand)
    played = [plan.mbit_per_s[choice.rendition] for _, choice in sorted(demand.choices.items())]
    qoe = linear_qoe(played, startup_s=outcome.startup_s, stalled_s=outcome.stalled_s, top=plan.top)
    return LadderOutcome(
        seed=world.seed,
        session=outcome,
        units=len(chunks),
        mbit_per_s=sum(played) / len(played),
        switches=sum(a != b for a, b in pairwise(played)),
        qoe=qoe / len(chunks),
    )
