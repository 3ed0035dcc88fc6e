"""Simulated and measured side by side: sums and errors."""

import math

import msgspec
import pytest

from redundancy.errors import ExitCode
from smart_client.errors import InvalidRequest
from smart_client.lab.pairing import PairedSession, error_share, row_of, sum_row_of, sums_of
from smart_client.lab.worlds import LIMIT_EXTRA_S, LIMIT_FACTOR, limited, shortened
from smart_client.simulator.scenarios import load_scenario
from smart_client.simulator.simulate import Outcome
from support.lab_worlds import lab_node, lab_world
from support.outcomes import outcome


def pair(seed: int, scheduler: str, simulated: Outcome, measured: Outcome) -> PairedSession:
    return PairedSession(
        scenario="s",
        layout="3of5",
        seed=seed,
        scheduler=scheduler,
        traces="t",
        played_s=30.0,
        simulated=simulated,
        measured=measured,
        requests=3,
        head_bytes=900,
        client_cpu_s=0.1,
        client_late_p99_s=0.002,
        late_p99_s=0.0,
        late_max_s=0.0,
        load=1.0,
    )


def test_sums_are_by_scheduler_and_their_errors_are_the_simulators() -> None:
    pairs = [
        pair(0, "smart", outcome(1.0, 0.0), outcome(2.0, 0.0)),
        pair(0, "naive", outcome(5.0, 3.0), outcome(5.0, 4.0)),
        pair(1, "smart", outcome(2.0, 0.0), outcome(1.0, 1.0, ended=False)),
    ]
    smart, naive = sums_of(pairs)
    assert (smart.sessions, smart.unfinished, naive.unfinished) == (2, 1, 0)
    assert smart.startup_s == (3.0, 3.0)
    assert smart.waiting_s == (3.0, 4.0)
    assert naive.stalled_s == (3.0, 4.0)
    assert sum_row_of(naive)[4] == "-25.0%"
    assert row_of(pairs[2])[0] == "1!"  # the lab ran out of time
    assert row_of(pairs[0])[4] == "-"
    assert row_of(pairs[0])[-1] == "2.0 ms"


def test_an_error_of_hardly_anything_is_none() -> None:
    assert math.isnan(error_share(0.01, 0.0))
    assert error_share(1.1, 1.0) == pytest.approx(0.1)
    assert error_share(0.5, 0.0) > 1  # the simulator stalls, sockets do not: that is told


def test_a_pair_is_a_line_that_reads_back() -> None:
    one = pair(0, "smart", outcome(1.0, 0.0), outcome(2.0, 0.0))
    assert msgspec.json.decode(msgspec.json.encode(one), type=PairedSession) == one


def test_a_shortened_scenario_is_another_scenario_but_never_a_longer_one() -> None:
    scenario = load_scenario("typical")
    assert shortened(scenario, 30.0).video.duration_s == 30.0
    assert shortened(scenario, 30.0).nodes == scenario.nodes
    assert shortened(scenario, 1e6) == scenario
    with pytest.raises(InvalidRequest) as told:
        shortened(scenario, 5.0)
    assert told.value.exit_code is ExitCode.USAGE


def test_a_world_ends_when_the_lab_has_no_more_time_for_it() -> None:
    world = lab_world((lab_node(),) * 3, limit_s=1e6)
    assert limited(world).horizon_s == LIMIT_FACTOR * world.duration_s + LIMIT_EXTRA_S
    assert limited(lab_world((lab_node(),) * 3, limit_s=3.0)).horizon_s == 3.0
