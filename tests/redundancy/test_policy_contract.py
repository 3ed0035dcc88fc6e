"""What every policy keeps, and what each is for."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from redundancy.errors import TooFewNodes, UsageError
from redundancy.policy import FixedPolicy, HybridPolicy, ThresholdPolicy, VideoFacts, Watched
from redundancy.scheme import Layout
from redundancy.sizing import ClusterFacts, HybridLimits, NodeFacts, misses

DAY_S = 86_400.0
FOREVER = float("-inf")


def nodes(count, zones=0, availability=0.97):
    return ClusterFacts(
        tuple(
            NodeFacts(f"node-{i}", f"zone-{i % zones}" if zones else "", availability)
            for i in range(count)
        )
    )


POLICIES = {
    "threshold": ThresholdPolicy,
    "hybrid": HybridPolicy,
    "rep:3": lambda cluster: FixedPolicy(cluster, Layout.parse("rep:3")),
    "rs:3+2": lambda cluster: FixedPolicy(cluster, Layout.parse("rs:3+2")),
}


each_policy = pytest.mark.parametrize("make", POLICIES.values(), ids=POLICIES)


layouts = st.sampled_from(
    [None, *map(Layout.parse, ("rep:1", "rep:3", "rs:3+2", "rs:6+3", "rs:6+3+1copy", "rs:4+0"))]
)
videos = st.builds(
    VideoFacts,
    id=st.just("video"),
    size_bytes=st.integers(0, 10**12),
    views=st.integers(0, 10**6),
    views_per_week=st.floats(0, 1e5),
    layout=layouts,
    changed_at_s=st.sampled_from([FOREVER, 0.0, -DAY_S, -30 * DAY_S]),
)
clusters = st.builds(
    nodes, st.integers(1, 20), st.sampled_from([0, 1, 2, 3, 4]), st.floats(0.5, 1.0)
)


# --- the contract


@each_policy
@settings(max_examples=40)
@given(cluster=clusters, video=videos)
def test_a_layout_fits_on_the_nodes_and_comes_with_reasons(make, cluster, video):
    policy = make(cluster)
    decision = policy.decide(video, 0.0)
    if decision.layout != video.layout:
        assert decision.layout.fragments_total <= len(cluster.nodes)
    assert decision.reasons
    assert all(len(reason) > 10 for reason in (*decision.reasons, *policy.summary))


@each_policy
@settings(max_examples=40)
@given(cluster=clusters, video=videos)
def test_no_video_is_left_to_survive_less_than_it_must(make, cluster, video):
    policy = make(cluster)
    assert policy.losses_min == min(policy.hot.tolerates, policy.cold.tolerates, policy.losses_min)
    decision = policy.decide(video, 0.0)
    assert decision.layout.tolerates >= policy.losses_min
    if video.layout is not None:
        assert decision.layout.tolerates >= min(video.layout.tolerates, policy.losses_asked)
    if video.layout is not None and video.layout.tolerates < policy.losses_min:
        assert decision.is_urgent
        assert "must survive" in decision.reasons[0]


@each_policy
@settings(max_examples=40)
@given(cluster=clusters, video=videos)
def test_what_was_decided_is_decided_again(make, cluster, video):
    """A video that was changed as wished is left alone, at once and after any time."""
    assume(video.layout is not None)  # what a new one starts as need not be what it stays
    policy = make(cluster)
    first = policy.decide(video, 100 * DAY_S).layout
    changed = VideoFacts(
        "video", 1, video.views, video.views_per_week, layout=first, changed_at_s=0.0
    )
    for later_s in (0.0, DAY_S, 100 * DAY_S):
        assert policy.decide(changed, later_s).layout == first


@each_policy
@settings(max_examples=40)
@given(cluster=clusters, video=videos)
def test_the_owners_wish_goes_before_any_rule(make, cluster, video):
    wish = Layout.parse("rs:2+1")
    wished = VideoFacts("video", 1, layout=video.layout, wish=wish)
    decision = make(cluster).decide(wished, 0.0)
    if len(cluster.nodes) >= 3:
        assert decision.layout == wish
    else:
        assert decision.layout == (video.layout or decision.layout)
        assert f"there are {len(cluster.nodes)}" in decision.reasons[0]
    assert "owner" in decision.reasons[0]


@each_policy
@settings(max_examples=40)
@given(cluster=st.builds(nodes, st.integers(5, 20)), found=st.lists(videos, min_size=1, max_size=9))
def test_many_at_once_are_judged_as_each_by_itself(make, cluster, found):
    policy = make(cluster)
    was_hot = [number % 2 == 0 for number in range(len(found))]
    together = policy.wants_hot(
        Watched(
            np.array([each.views for each in found]),
            np.array([each.views_per_week for each in found]),
            np.array(was_hot),
        )
    )
    for each, was, wants in zip(found, was_hot, together, strict=True):
        has = policy.hot if was else policy.cold
        alone = VideoFacts("video", 1, each.views, each.views_per_week, layout=has)
        assert policy.decide(alone, 0.0).layout == (policy.hot if wants else policy.cold)


def test_without_any_node_there_is_no_policy():
    with pytest.raises(TooFewNodes):
        nodes(0)


@each_policy
def test_a_cluster_that_shrank_does_not_make_its_videos_less_safe(make):
    has = Layout.parse("rs:6+3")
    for count in range(1, 4):
        video = VideoFacts("video", 1, layout=has)
        decision = make(nodes(count)).decide(video, 0.0)
        assert decision.layout == has or decision.layout.tolerates >= 2


# --- threshold


def test_threshold_is_vstacks_rule_on_five_nodes_or_more():
    policy = ThresholdPolicy(nodes(5))
    for views, layout in ((0, "rs:3+2"), (1000, "rs:3+2"), (1001, "rep:3")):
        video = VideoFacts("video", 1, views, layout=Layout.parse("rs:3+2"))
        assert policy.decide(video, 0.0).layout == Layout.parse(layout)
    assert policy.decide(VideoFacts("new", 1), 0.0).layout == Layout.parse("rs:3+2")


@pytest.mark.parametrize(
    ("count", "cold", "hot"),
    [
        (4, "rs:2+2", "rep:3"),
        (3, "rs:2+1", "rep:3"),
        (2, "rep:2", "rep:2"),
        (1, "rep:1", "rep:1"),
    ],
)
def test_threshold_says_what_it_does_with_fewer_nodes(count, cold, hot):
    policy = ThresholdPolicy(nodes(count))
    assert (str(policy.cold), str(policy.hot)) == (cold, hot)
    assert any(
        f"rs:3+2 needs 5 nodes and there {'is' if count == 1 else 'are'} {count}" in each
        for each in policy.summary
    )
    assert any("WARNING" in each for each in policy.summary) is (count == 1)


# --- hybrid


@pytest.mark.parametrize(
    ("count", "zones", "cold", "hot"),
    [
        (12, 4, "rs:6+3", "rs:6+3+1copy"),
        (6, 3, "rs:3+2", "rs:3+2+1copy"),
        (5, 0, "rs:3+2", "rs:3+2"),
        (4, 0, "rs:2+2", "rs:2+2"),
        (3, 0, "rep:3", "rep:3"),
        (1, 0, "rep:1", "rep:1"),
    ],
)
def test_hybrid_sizes_its_code_by_the_nodes_there_are(count, zones, cold, hot):
    policy = HybridPolicy(nodes(count, zones))
    assert (str(policy.cold), str(policy.hot)) == (cold, hot)
    assert policy.summary[0].startswith(f"{count} node")
    assert str(policy.cold) in policy.summary[0]


def test_hybrid_takes_more_space_where_nodes_are_less_reliable():
    spaces = [HybridPolicy(nodes(12, 4, each)).cold.overhead for each in (0.999, 0.97, 0.9)]
    assert spaces[0] < spaces[1] < spaces[2]


@settings(max_examples=40)
@given(clusters)
def test_hybrid_takes_the_least_space_of_all_that_do_what_is_asked(cluster):
    policy = HybridPolicy(cluster)
    good = [each for each in policy.candidates if not any(misses(each, policy.limits))]
    if good:
        assert policy.cold.overhead == pytest.approx(min(each.overhead for each in good))
    else:
        assert any(
            "no code on these nodes does all that is asked" in each for each in policy.summary
        )


@settings(max_examples=40)
@given(clusters, st.integers(0, 3))
def test_hybrid_reaches_the_losses_asked_wherever_any_code_does(cluster, losses):
    policy = HybridPolicy(cluster, HybridLimits(losses_min=losses))
    reachable = max(each.layout.tolerates for each in policy.candidates)
    assert policy.cold.tolerates >= min(losses, reachable)


def hybrid_history(rates, hours_between=1.0):
    """Let the rates pass one by one; return when the layout changed and to what."""
    policy = HybridPolicy(nodes(12, 4))
    layout, changed_at_s, changes = policy.cold, FOREVER, []
    for step, rate in enumerate(rates):
        now_s = step * hours_between * 3600
        video = VideoFacts(
            "video", 1, views_per_week=rate, layout=layout, changed_at_s=changed_at_s
        )
        wanted = policy.decide(video, now_s).layout
        if wanted != layout:
            layout, changed_at_s = wanted, now_s
            changes.append((now_s, wanted))
    return changes


@given(st.lists(st.floats(20.01, 39.99), max_size=200))
def test_between_the_two_thresholds_nothing_changes(rates):
    assert hybrid_history(rates) == []
    after_heat = hybrid_history([100.0, *rates], hours_between=8 * 24)  # each has rested
    assert len(after_heat) == 1


@given(st.lists(st.floats(0, 200), max_size=300))
def test_however_views_jump_a_video_changes_once_a_week_at_most(rates):
    changes = hybrid_history(rates, hours_between=6.0)
    times = [at_s for at_s, _ in changes]
    assert all(b - a >= 7 * DAY_S for a, b in itertools.pairwise(times))


def test_a_new_video_starts_with_a_copy_and_loses_it_when_it_is_not_watched():
    policy = HybridPolicy(nodes(12, 4))
    first = policy.decide(VideoFacts("new", 1), 0.0)
    assert first.layout == policy.hot
    video = VideoFacts("new", 1, layout=policy.hot, changed_at_s=0.0)
    assert policy.decide(video, 6 * DAY_S).layout == policy.hot
    assert "24 h more" in policy.decide(video, 6 * DAY_S).reasons[-1]
    assert policy.decide(video, 7 * DAY_S).layout == policy.cold


def test_a_code_that_is_nearly_as_small_is_kept():
    """One node more must not code a whole library anew."""
    policy = HybridPolicy(nodes(20))
    assert str(policy.cold) == "rs:10+3"
    for code, expected in (("rs:9+3", "rs:9+3"), ("rs:8+3", "rs:10+3"), ("rs:3+2", "rs:10+3")):
        for copies, rate in (("", 0), ("+1copy", 100)):
            video = VideoFacts("video", 1, views_per_week=rate, layout=Layout.parse(code + copies))
            assert policy.decide(video, 0.0).layout == Layout.parse(expected + copies)


@pytest.mark.parametrize(
    "make_wrong",
    [
        lambda: HybridLimits(hot_views_per_week=8, cold_views_per_week=8),
        lambda: HybridLimits(cold_views_per_week=-1),
        lambda: HybridLimits(dwell_s=-1),
        lambda: VideoFacts("video", -1),
        lambda: VideoFacts("video", 1, views_per_week=float("nan")),
        lambda: NodeFacts("node", availability=1.5),
    ],
)
def test_facts_that_cannot_be_are_refused(make_wrong):
    with pytest.raises(UsageError):
        make_wrong()
