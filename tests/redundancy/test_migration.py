import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from redundancy.errors import UsageError
from redundancy.migration import DAY_S, DailyBudget, moved_bytes, plan
from redundancy.policy import HybridPolicy, ThresholdPolicy, VideoFacts
from redundancy.scheme import Layout
from redundancy.sizing import ClusterFacts, NodeFacts

TWELVE = ClusterFacts(tuple(NodeFacts(f"node-{i}", f"zone-{i % 4}") for i in range(12)))
MB = 10**6

layouts = st.sampled_from(
    list(map(Layout.parse, ("rep:1", "rep:3", "rs:3+2", "rs:6+3", "rs:6+3+1copy", "rs:2+1")))
)
videos = st.lists(
    st.builds(
        VideoFacts,
        id=st.uuids().map(str),
        size_bytes=st.integers(0, 300 * MB),
        views=st.integers(0, 3000),
        views_per_week=st.floats(0, 100),
        layout=layouts,
        changed_at_s=st.sampled_from([float("-inf"), -DAY_S]),
    ),
    max_size=40,
)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("rep:3", "rs:3+2", 0.667),  # each keeps its slice; two parities travel
        ("rs:3+2", "rep:3", 2.0),
        ("rs:6+3+1copy", "rs:6+3", 0.0),  # cooling down is a delete
        ("rs:6+3", "rs:6+3+1copy", 1.0),
        ("rep:2", "rep:3", 1.0),
        ("rep:3", "rep:1", 0.0),
        ("rs:6+4", "rs:6+3", 0.0),
        ("rs:6+3", "rs:6+4", 1.0),  # five sixths fetched beside the own, one parity sent
        ("rs:6+3+1copy", "rs:6+5", 1 / 6),  # the copy becomes one of two parities
        ("rep:3", "rs:6+3+1copy", 7 / 6),
        ("rs:3+2", "rs:6+3", 2.0),  # re-encoded: 2/3 fetched, 8/6 sent
    ],
)
def test_what_each_change_moves_as_a_multiple_of_the_video(before, after, expected):
    found = moved_bytes(Layout.parse(before), Layout.parse(after), 1000 * MB)
    assert found / (1000 * MB) == pytest.approx(expected, abs=0.001)


@given(layouts, layouts)
def test_a_change_costs_no_more_than_fetching_and_sending_everything_anew(before, after):
    cost = moved_bytes(before, after, MB) / MB
    assert 0 <= cost <= 1 + after.overhead
    assert moved_bytes(before, before, MB) == 0


@settings(max_examples=25)
@given(videos, st.integers(0, 500 * MB), st.integers(2, 4))
def test_no_day_moves_more_than_its_budget(found, limit_bytes, days):
    for policy in (HybridPolicy(TWELVE), ThresholdPolicy(TWELVE)):
        budget, library = DailyBudget(limit_bytes), {each.id: each for each in found}
        for day in range(days):
            moved = 0
            for hour in range(0, 24, 4):
                made = plan(policy, library.values(), day * DAY_S + hour * 3600.0, budget)
                budget = made.budget
                moved += made.moved_bytes
                for each in made.now:
                    library[each.video.id] = after(each, day * DAY_S + hour * 3600.0)
            assert moved <= limit_bytes


def after(each, now_s):
    video = each.video
    return VideoFacts(
        video.id,
        video.size_bytes,
        video.views,
        video.views_per_week,
        layout=each.after,
        changed_at_s=now_s,
    )


@settings(max_examples=25)
@given(videos)
def test_everything_a_days_budget_can_pay_is_done_some_day(found):
    policy, budget = HybridPolicy(TWELVE), DailyBudget(300 * MB)
    library = {each.id: each for each in found}
    for day in range(10, 10 + 4 * len(found)):
        made = plan(policy, library.values(), day * DAY_S, budget)
        budget = made.budget
        for each in made.now:
            library[each.video.id] = after(each, day * DAY_S)
    left = plan(policy, library.values(), 1000 * DAY_S, DailyBudget(300 * MB))
    assert all(each.moved_bytes > 300 * MB for each in left.now)
    assert all("raise the budget" in why for _, why in left.later)


@given(videos, st.integers(0, 500 * MB))
def test_every_video_is_in_the_plan_once_and_nothing_waits_without_a_reason(found, limit_bytes):
    made = plan(ThresholdPolicy(TWELVE), found, 0.0, DailyBudget(limit_bytes))
    assert len(made.now) + len(made.later) + made.unchanged == len(found)
    assert all(why for _, why in made.later)
    assert all(each.reasons for each in made.now)


def test_what_is_unsafe_goes_first_then_what_is_free_then_what_gains_most():
    cold, hot = Layout.parse("rs:6+3"), Layout.parse("rs:6+3+1copy")
    found = [
        VideoFacts("warm", 10 * MB, views_per_week=50, layout=cold),
        VideoFacts("hotter", 10 * MB, views_per_week=500, layout=cold),
        VideoFacts("cooled", 10 * MB, views_per_week=1, layout=hot),
        VideoFacts("unsafe", 10 * MB, layout=Layout.parse("rep:1")),
    ]
    made = plan(HybridPolicy(TWELVE), found, 0.0, DailyBudget(1000 * MB))
    assert [each.video.id for each in made.now] == ["unsafe", "cooled", "hotter", "warm"]
    tight = plan(HybridPolicy(TWELVE), found, 0.0, DailyBudget(25 * MB))
    assert [each.video.id for each in tight.now] == ["unsafe", "cooled", "hotter"]
    assert [each.video.id for each, _ in tight.later] == ["warm"]


def test_a_new_day_brings_a_new_budget_and_a_clock_set_back_does_not():
    budget = DailyBudget(100).spend(70, 5 * DAY_S)
    assert budget.left_bytes(5.9 * DAY_S) == 30
    assert budget.left_bytes(4 * DAY_S) == 30
    assert budget.left_bytes(6 * DAY_S) == 100
    with pytest.raises(UsageError):
        budget.spend(31, 5.9 * DAY_S)
