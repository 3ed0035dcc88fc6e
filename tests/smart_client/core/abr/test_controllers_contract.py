"""What every rate controller must keep, and what each one's source says of it."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smart_client.core.abr.bola import Bola, Dynamic
from smart_client.core.abr.contract import Situation
from smart_client.core.abr.controllers import CONTROLLERS, DEFAULT_CONTROLLER, make_controller
from smart_client.core.abr.predictive import Mpc, RobustMpc, harmonic_mean
from smart_client.core.abr.simple import BufferBased, BufferBasedWithStart, Fixed, RateBased
from smart_client.errors import InvalidRequest

MBIT = 1e6 / 8
LADDER = tuple(mbit * MBIT for mbit in (0.3, 0.75, 1.2, 1.85, 2.85, 4.3))
UNIT_S = 2.0


def situation(
    level_s: float = 20.0,
    mbit_per_s: float = 5.0,
    *,
    last: int = 2,
    rates: tuple[float, ...] = LADDER,
    units: int = 30,
) -> Situation:
    return Situation(
        buffer_s=level_s,
        pending_s=0.0,
        pending_bytes=0,
        bytes_per_s=mbit_per_s * MBIT,
        samples=(mbit_per_s * MBIT,) * 6 if mbit_per_s else (),
        unit_s=UNIT_S,
        bitrates=rates,
        sizes=(tuple(round(rate * UNIT_S) for rate in rates),) * units,
        last=last,
        window_s=120.0,
    )


@st.composite
def situations(draw) -> Situation:
    rates = tuple(sorted(draw(st.lists(st.floats(2e4, 2e6), min_size=1, max_size=7, unique=True))))
    unit_s = draw(st.sampled_from([0.5, 2.0, 10.0]))
    factors = draw(st.lists(st.floats(0.3, 2.5), min_size=1, max_size=8))
    known = draw(st.booleans())
    samples = tuple(draw(st.lists(st.floats(0, 5e6), max_size=10))) if known else ()
    return Situation(
        buffer_s=draw(st.floats(0, 120)),
        pending_s=draw(st.floats(0, 30)),
        pending_bytes=draw(st.integers(0, 10_000_000)),
        bytes_per_s=draw(st.floats(1, 5e6)) if known else 0.0,
        samples=samples,
        unit_s=unit_s,
        bitrates=rates,
        sizes=tuple(
            tuple(max(1, round(rate * unit_s * factor)) for rate in rates) for factor in factors
        ),
        last=draw(st.integers(-1, len(rates) - 1)),
        window_s=draw(st.sampled_from([10.0, 30.0, 120.0])),
    )


ADAPTIVE = [name for name in CONTROLLERS if name != Fixed.name]


@pytest.mark.parametrize("name", CONTROLLERS)
@settings(max_examples=25)
@given(seen=st.lists(situations(), min_size=1, max_size=3))
def test_a_choice_is_one_of_the_renditions_has_a_reason_and_repeats(name: str, seen) -> None:
    first, second = make_controller(name), make_controller(name)
    choices = [first.choose(each) for each in seen]
    assert choices == [second.choose(each) for each in seen]
    for each, choice in zip(seen, choices, strict=True):
        assert 0 <= choice.rendition <= each.top
        assert choice.reason


@pytest.mark.parametrize("name", ADAPTIVE)
def test_the_start_is_careful(name: str) -> None:
    """Nothing is buffered and nothing known: the lowest comes soonest."""
    assert make_controller(name).choose(situation(0.0, 0.0, last=-1)).rendition == 0


@pytest.mark.parametrize("name", ADAPTIVE)
def test_with_a_full_buffer_and_throughput_to_spare_the_top_is_reached_and_kept(name: str) -> None:
    controller, last = make_controller(name), 0
    for _ in range(len(LADDER)):
        last = controller.choose(situation(119.0, 40.0, last=last)).rendition
    assert last == len(LADDER) - 1


@pytest.mark.parametrize("name", ADAPTIVE)
def test_with_nothing_buffered_and_hardly_any_throughput_the_lowest_is_taken(name: str) -> None:
    controller, last = make_controller(name), len(LADDER) - 1
    for _ in range(len(LADDER)):
        last = controller.choose(situation(0.5, 0.1, last=last)).rendition
    assert last == 0


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_ladder_of_one_leaves_no_choice(name: str) -> None:
    assert make_controller(name).choose(situation(rates=LADDER[:1], last=0)).rendition == 0


@pytest.mark.parametrize("name", CONTROLLERS)
def test_every_controller_says_where_it_comes_from(name: str) -> None:
    make = CONTROLLERS[name]
    assert make().name == name
    assert "Source:" in (make.__doc__ or "")


def test_names_are_known_and_others_refused_with_the_list() -> None:
    assert make_controller().name == DEFAULT_CONTROLLER
    with pytest.raises(InvalidRequest, match="no rate controller 'bolla'") as error:
        make_controller("bolla")
    assert all(name in (error.value.hint or "") for name in CONTROLLERS)


@pytest.mark.parametrize(
    "change",
    [
        {"bitrates": ()},
        {"bitrates": LADDER[::-1]},
        {"sizes": ()},
        {"sizes": ((1, 2),)},
        {"unit_s": 0.0},
        {"buffer_s": -1.0},
        {"last": 6},
    ],
)
def test_a_situation_cannot_be_built_wrong(change: dict) -> None:
    with pytest.raises(ValueError, match=r"need|above|negative|no rendition"):
        replace(situation(), **change)


@settings(max_examples=40)
@given(situations())
def test_the_level_counts_what_is_pending_less_the_time_it_takes(each: Situation) -> None:
    level_s = each.level_s
    assert 0 <= level_s <= each.buffer_s + each.pending_s
    if each.bytes_per_s:
        more = replace(each, pending_bytes=each.pending_bytes + 100_000)
        assert more.level_s <= level_s


# -- what the sources say --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Bola, BufferBased, BufferBasedWithStart])
@settings(max_examples=40)
@given(each=situations(), more_s=st.floats(0, 60))
def test_a_fuller_buffer_never_asks_for_less(make, each: Situation, more_s: float) -> None:
    fuller = replace(each, buffer_s=each.buffer_s + more_s)
    assert make().choose(fuller).rendition >= make().choose(each).rendition


@pytest.mark.parametrize("make", [RateBased, Dynamic])
@settings(max_examples=40)
@given(level_s=st.floats(0, 60), mbit=st.floats(0.1, 10), more=st.floats(1, 4))
def test_more_throughput_never_asks_for_less(make, level_s: float, mbit: float, more) -> None:
    less = make().choose(situation(level_s, mbit, units=5)).rendition
    assert make().choose(situation(level_s, mbit * more, units=5)).rendition >= less


def test_fixed_counts_from_either_end_and_stops_at_them() -> None:
    wishes = [Fixed(wish).choose(situation()).rendition for wish in (0, 3, 9, -1, -6, -9)]
    assert wishes == [0, 3, 5, 5, 0, 0]


def test_the_rate_rule_leaves_a_tenth() -> None:
    assert RateBased().choose(situation(mbit_per_s=4.77)).rendition == 4
    assert RateBased().choose(situation(mbit_per_s=4.78)).rendition == 5


def test_bola_takes_the_lowest_up_to_ten_seconds_and_the_top_from_twenty_two() -> None:
    """dash.js chooses V and g so; 22 s are 10 and 2 for each of six renditions."""
    levels_s = [0.0, 10.0, 12.0, 16.0, 18.0, 20.0, 22.0]
    chosen = [Bola().choose(situation(level_s, 40.0, last=5)).rendition for level_s in levels_s]
    assert chosen == [0, 0, 1, 2, 3, 4, 5]


def test_bola_steps_up_no_further_than_the_throughput_carries() -> None:
    assert Bola().choose(situation(60.0, 2.0, last=1)).rendition == 3
    assert Bola().choose(situation(60.0, 2.0, last=4)).rendition == 4


def test_dynamic_switches_to_the_buffer_at_twelve_seconds_and_back_at_six() -> None:
    controller = Dynamic()
    before = controller.choose(situation(11.0, 40.0, last=5)).rendition
    assert before == 5  # by throughput
    controller.choose(situation(12.5, 40.0, last=5))
    assert controller.choose(situation(11.0, 40.0, last=5)).rendition == 0
    controller.choose(situation(5.9, 40.0, last=5))
    assert controller.choose(situation(11.0, 40.0, last=5)).rendition == 5


def test_bba_0_is_lowest_in_its_reservoir_and_highest_when_nine_tenths_full() -> None:
    chosen = [
        BufferBased().choose(situation(level, 0.0, last=0)).rendition for level in (44, 60, 108.1)
    ]
    assert chosen == [0, 2, 5]
    # Until the line passes the next rendition it stays with what it has.
    kept = [BufferBased().choose(situation(60.0, last=last)).rendition for last in range(6)]
    assert kept == [2, 2, 2, 3, 3, 3]


def test_bba_2_climbs_a_step_a_unit_while_the_buffer_fills_fast() -> None:
    controller = BufferBasedWithStart()
    chosen = [-1]
    for unit in range(4):
        chosen.append(controller.choose(situation(2.0 * unit, 60.0, last=chosen[-1])).rendition)
    assert chosen == [-1, 0, 1, 2, 3]
    # The buffer falls: from now on the line decides.
    assert controller.choose(situation(1.0, 60.0, last=3)).rendition == 0


@settings(max_examples=40)
@given(
    level_s=st.floats(0, 30),
    mbit=st.floats(0.2, 8),
    last=st.integers(-1, 2),
    factors=st.lists(st.floats(0.5, 1.8), min_size=1, max_size=4),
)
def test_mpc_finds_what_trying_all_plans_finds(level_s, mbit, last, factors) -> None:
    rates = LADDER[1::2]
    sizes = tuple(tuple(round(rate * UNIT_S * factor) for rate in rates) for factor in factors)
    each = replace(situation(level_s, mbit, last=last, rates=rates), sizes=sizes)

    def value(plan: tuple[int, ...]) -> float:
        level, before, total = level_s, last, 0.0
        for row, rendition in zip(sizes, plan, strict=True):
            took_s = row[rendition] / (mbit * MBIT)
            total += rates[rendition] - rates[-1] * max(0.0, took_s - level)
            if before >= 0:
                total -= abs(rates[rendition] - rates[before])
            level = min(120.0, max(0.0, level - took_s) + UNIT_S)
            before = rendition
        return total

    plans = list(itertools.product(range(len(rates)), repeat=len(sizes)))
    best = max(value(plan) for plan in plans)
    first = Mpc().choose(each).rendition
    assert max(value(plan) for plan in plans if plan[0] == first) >= best - 1e-3


def test_robust_mpc_divides_by_the_worst_error_of_late() -> None:
    steady = situation(8.0, 4.0)
    assert RobustMpc().expected_bytes_per_s(steady) == pytest.approx(4.0 * MBIT)
    samples = tuple(mbit * MBIT for mbit in (4.0, 4.0, 4.0, 2.0, 4.0))
    uneven = replace(steady, samples=samples)
    # 4 was predicted when 2 came: wrong by 100 %.
    mean = harmonic_mean(samples)
    assert RobustMpc().expected_bytes_per_s(uneven) == pytest.approx(mean / 2)
    assert RobustMpc().choose(uneven).rendition <= Mpc().choose(uneven).rendition
