import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_client.core.estimators import RateEstimator, ReliabilityEstimator, RttEstimator


@given(st.floats(0.001, 2.0), st.integers(1, 50))
def test_a_steady_round_trip_is_believed(rtt_s: float, count: int) -> None:
    estimator = RttEstimator()
    for _ in range(count):
        estimator.add(rtt_s)
    assert estimator.smoothed_s == pytest.approx(rtt_s)
    assert rtt_s <= estimator.upper_s() <= 3 * rtt_s + 1e-9


@given(st.floats(1e3, 1e9), st.lists(st.floats(0.001, 0.5), min_size=10, max_size=60))
def test_a_steady_rate_is_believed_however_it_is_sliced(rate: float, slices: list[float]) -> None:
    estimator = RateEstimator()
    for seconds in slices:
        estimator.add(int(rate * seconds), seconds)
    if estimator.is_measured:
        assert estimator.bytes_per_s() == pytest.approx(rate, rel=0.02)


def test_a_drop_shows_within_two_seconds_and_a_burst_does_not_count_at_once() -> None:
    estimator = RateEstimator()
    for _ in range(100):
        estimator.add(100_000, 0.1)  # 1 MB/s for 10 s
    for _ in range(20):
        estimator.add(10_000, 0.1)  # a tenth for 2 s
    assert estimator.bytes_per_s() < 350_000
    for _ in range(5):
        estimator.add(1_000_000, 0.1)  # ten times for half a second
    assert estimator.bytes_per_s() < 2_000_000


def test_nothing_measured_is_no_rate_and_a_burst_alone_is_no_great_rate() -> None:
    estimator = RateEstimator()
    assert estimator.bytes_per_s() == 0.0
    estimator.add(32_768, 0.0001)
    assert not estimator.is_measured
    assert estimator.bytes_per_s() <= 32_768 * 10


def test_reliability_starts_trusting_and_follows_outcomes() -> None:
    estimator = ReliabilityEstimator()
    assert estimator.share == 1.0
    for _ in range(30):
        estimator.add(False)
    assert estimator.share < 0.1
    for _ in range(30):
        estimator.add(True)
    assert estimator.share > 0.9
