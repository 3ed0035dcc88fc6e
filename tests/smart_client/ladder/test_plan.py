"""Which renditions a ladder has."""

from fractions import Fraction

import pytest

from redundancy.errors import UsageError
from smart_client.ingest.ladder.plan import (
    LIFEBOAT,
    LadderWish,
    PictureFacts,
    SourceFacts,
    constant_rate,
    parse_ladder,
    plan_ladder,
)
from smart_client.ingest.ladder.source import make_picture_facts


def source(width: int, height: int, rate: Fraction = Fraction(25), **facts) -> SourceFacts:
    settings = {"duration_s": 60.0, "start_s": 0.0, "channels": 2} | facts
    return SourceFacts(picture=PictureFacts(width, height, rate), **settings)


def names(wish: LadderWish, facts: SourceFacts) -> list[str]:
    return [each.name for each in plan_ladder(wish, facts).rungs]


def test_the_smallest_is_made_first() -> None:
    assert names(LadderWish((720, 480, 360)), source(1920, 1080)) == ["360p", "480p", "720p"]


def test_nothing_is_enlarged_and_what_is_left_out_is_told() -> None:
    plan = plan_ladder(LadderWish((720, 480, 360)), source(854, 480))
    assert [(each.name, each.width, each.height) for each in plan.rungs] == [
        ("360p", 640, 360),
        ("480p", 854, 480),
    ]
    assert plan.notes == ("no 720p: the source has 480 lines only",)


def test_a_source_below_every_rung_keeps_its_own_height() -> None:
    plan = plan_ladder(LadderWish((720,)), source(351, 199))
    assert [(each.name, each.width, each.height) for each in plan.rungs] == [("198p", 350, 198)]


def test_auto_takes_what_fits() -> None:
    assert names(LadderWish(None), source(1280, 720)) == ["240p", "360p", "480p", "720p"]


def test_upright_pictures_are_named_by_their_width() -> None:
    plan = plan_ladder(LadderWish((360,)), source(1080, 1920))
    assert [(each.name, each.width, each.height) for each in plan.rungs] == [("360p", 360, 640)]


def test_sides_are_even_and_rates_rise_with_the_picture() -> None:
    plan = plan_ladder(LadderWish(None, lifeboat=True), source(1918, 802))
    assert all(each.width % 2 == each.height % 2 == 0 for each in plan.rungs)
    rates = [each.bits_per_s for each in plan.rungs]
    assert rates == sorted(rates)
    assert plan.rungs[0].name == LIFEBOAT
    assert plan.rungs[0].is_lifeboat


def test_sound_alone_makes_a_ladder_without_rungs() -> None:
    plan = plan_ladder(LadderWish(None), SourceFacts(60.0, 0.0, None, 6, 2))
    assert plan.rungs == ()
    assert plan.audio_channels == 2
    assert len(plan.notes) == 2
    with pytest.raises(UsageError, match="no pictures and no sound"):
        plan_ladder(LadderWish(None), SourceFacts(60.0, 0.0, None, 0))


@pytest.mark.parametrize(
    ("rate", "constant", "pictures"),
    [
        (Fraction(24_000, 1001), Fraction(24_000, 1001), 48),
        (Fraction(24), Fraction(24), 48),
        (Fraction(2_997, 100), Fraction(30_000, 1001), 60),
        (Fraction(1_723, 100), Fraction(17), 34),
        (Fraction(120), Fraction(60), 120),
        (Fraction(1), Fraction(5), 10),
        (Fraction(60_000, 1001), Fraction(60_000, 1001), 120),
    ],
)
def test_every_rate_becomes_a_constant_one(rate, constant, pictures) -> None:
    assert constant_rate(rate) == constant
    plan = plan_ladder(LadderWish((360,)), source(1280, 720, rate))
    assert plan.segment_pictures == pictures
    assert abs(plan.segment_s - 2) < Fraction(1, 20)


def test_a_ladder_is_read_from_words() -> None:
    assert parse_ladder("360, 720p,480,720") == (720, 480, 360)
    assert parse_ladder("auto") is None
    for bad in ("", "x", "720,,480", "0", "-5", "99999"):
        with pytest.raises(UsageError, match="no height"):
            parse_ladder(bad)


def test_pictures_are_measured_as_they_are_shown() -> None:
    facts = make_picture_facts(
        (720, 576), Fraction(16, 15), Fraction(25), turn=90, is_interlaced=True, is_hdr=False
    )
    assert (facts.width, facts.height, facts.turn) == (576, 768, 90)
    assert make_picture_facts(
        (640, 480), Fraction(0), Fraction(25), turn=-91, is_interlaced=False, is_hdr=False
    ) == PictureFacts(480, 640, Fraction(25), 270)
