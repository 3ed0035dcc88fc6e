"""The upload cap, the added delay and the bounds on memory."""

import asyncio
import contextlib
import itertools
import json
import selectors
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_server.node.limits import SLICE_BYTES, Budget, Pacer, Shaping, TokenBucket
from support.fragments import fragment, fragments
from support.node_in_thread import NodeInThread, read_answer


@given(
    st.floats(1, 1e9),
    st.lists(st.tuples(st.integers(1, 10**6), st.floats(0, 10)), min_size=1, max_size=50),
)
def test_no_span_of_time_carries_more_than_rate_and_burst(rate, sends):
    """Whoever waits as told never exceeds rate * time + one burst + the send itself."""
    bucket, now_s = TokenBucket(rate, 0.0), 0.0
    sent = []
    for amount, idle_s in sends:
        now_s += idle_s + bucket.wait_s(now_s + idle_s)
        bucket.take(amount, now_s)
        sent.append((now_s, amount))
    for first, last in itertools.combinations(range(len(sent)), 2):
        span_s = sent[last][0] - sent[first][0]
        carried = sum(amount for _, amount in sent[first:last])  # the last is yet to be paid
        assert carried <= rate * (span_s + TokenBucket.BURST_S) * (1 + 1e-6) + 1e-3


def test_a_bucket_lets_the_mean_rate_through():
    bucket, now_s = TokenBucket(1000.0, 0.0), 0.0
    for _ in range(100):
        now_s += bucket.wait_s(now_s)
        bucket.take(50, now_s)
    assert now_s == pytest.approx(99 * 0.05, abs=2 * TokenBucket.BURST_S)


def test_a_capped_slice_is_small_and_a_free_one_is_not():
    assert Shaping().slice_bytes(5) == SLICE_BYTES
    assert Shaping(1_250_000).slice_bytes(1) == 25_000
    assert Shaping(10.0).slice_bytes(1) == 512
    assert Shaping(1e12).slice_bytes(1) == SLICE_BYTES


@given(st.floats(125_000, 1e9), st.integers(1, 16))
def test_all_who_wait_get_a_slice_within_a_tenth_of_a_second(rate, readers):
    assert Shaping(rate).slice_bytes(readers) * readers / rate <= 0.1


@pytest.mark.parametrize(
    ("rate", "delay_s"),
    [(0, 0), (-1, 0), (float("nan"), 0), (float("inf"), 0), (None, -1), (None, 61)],
)
def test_limits_that_cannot_be_are_refused(rate, delay_s):
    with pytest.raises(ValueError, match=r"upload_bytes_per_s|delay_s"):
        Shaping(rate, delay_s)


def test_a_budget_never_holds_more_than_it_may():
    budget = Budget(100)
    assert budget.take(60)
    assert not budget.take(41)
    assert budget.take(40)
    budget.give_back(60)
    assert budget.taken_bytes == 40


def test_who_waits_for_a_cap_goes_on_when_it_is_lifted():
    async def scenario():
        pacer = Pacer(Shaping(0.001))
        await pacer.wait_for_turn(1000)  # what follows would wait for 11 days
        waiting = [asyncio.create_task(pacer.wait_for_turn(1000)) for _ in range(3)]
        await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        pacer.reshape(Shaping())
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting)

    asyncio.run(scenario())


@pytest.mark.real
def test_a_cap_holds_over_several_readers_and_can_be_lifted_while_they_read(tmp_path):
    with NodeInThread(tmp_path, upload_bytes_per_s=1_000_000.0) as node:
        put = fragment(1, 300_000)
        node.put(put)
        request = b"GET /v1/chunks/%s HTTP/1.1\r\nHost: x\r\n\r\n" % put.key.hex().encode()
        started_s = time.monotonic()
        with node.connect() as one, node.connect() as two:
            one.sendall(request)
            two.sendall(request)
            assert read_answer(one)[1] == read_answer(two)[1] == put.data
        # 0.6 s at the cap, less one burst and one slice.
        assert time.monotonic() - started_s > 0.45
        slow = json.dumps({"upload_bytes_per_s": 1000})
        assert node.ask("PUT", "/v1/admin/limits", slow).json["upload_bytes_per_s"] == 1000
        with node.connect() as one:
            one.sendall(request)
            one.recv(100)
            node.ask("PUT", "/v1/admin/limits", '{"upload_bytes_per_s": null}')
            read_answer_rest = 0
            while read_answer_rest < 300_000:
                read_answer_rest += len(one.recv(65536))


class Reader:
    """Asks for the same small range again and again, and notes when bytes come."""

    def __init__(self, node, put):
        self.connection = node.connect()
        self._ask = (
            b"GET /v1/chunks/%s HTTP/1.1\r\nHost: x\r\nRange: bytes=0-32767\r\n\r\n"
            % put.key.hex().encode()
        )
        self.arrivals_s = [time.monotonic()]
        self.received_bytes = 0
        self._left = 0

    def ask(self):
        self.connection.sendall(self._ask)
        self._left = 32768

    def take(self):
        data = self.connection.recv(65536)
        assert data
        self.arrivals_s.append(time.monotonic())
        body = data.partition(b"\r\n\r\n")[2] if data.startswith(b"HTTP/") else data
        self.received_bytes += len(body)
        self._left -= len(body)
        if not self._left:
            self.ask()

    def gaps_s(self):
        return [after - before for before, after in itertools.pairwise(self.arrivals_s)]


@pytest.mark.real
def test_small_answers_under_a_cap_come_evenly_and_to_all_readers_alike(tmp_path):
    """A burst and then silence would look like a dead node: 32 KiB are 0.26 s of 1 Mbit/s."""
    with NodeInThread(tmp_path, upload_bytes_per_s=125_000.0) as node:
        put = fragment(1, 100_000)
        node.put(put)
        readers = [Reader(node, put) for _ in range(4)]
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            for reader in readers:
                stack.enter_context(reader.connection)
                selector.register(reader.connection, selectors.EVENT_READ, reader)
                reader.ask()
            until_s = time.monotonic() + 1.2
            while time.monotonic() < until_s:
                for key, _ in selector.select(timeout=1.0):
                    key.data.take()
    for reader in readers:
        gaps_s = sorted(reader.gaps_s())
        assert gaps_s[len(gaps_s) * 9 // 10] < 0.1
    shares = [reader.received_bytes for reader in readers]
    assert min(shares) > 0.5 * max(shares)
    assert sum(shares) < 1.4 * 1.2 * 125_000


@pytest.mark.real
def test_a_long_list_is_held_back_by_the_cap_as_well(tmp_path):
    with NodeInThread(tmp_path) as node:
        for put in fragments(100):
            node.put(put)
        free = node.ask("GET", "/v1/list")
        node.ask("PUT", "/v1/admin/limits", '{"upload_bytes_per_s": 20000}')
        started_s = time.monotonic()
        capped = node.ask("GET", "/v1/list")
        assert time.monotonic() - started_s > 0.5 * len(free.body) / 20_000
        assert (capped.status, capped.body) == (200, free.body)


@pytest.mark.real
def test_a_delay_comes_before_the_first_byte_and_admin_is_not_delayed(tmp_path):
    with NodeInThread(tmp_path) as node:
        put = fragment(1)
        node.put(put)
        assert node.ask("PUT", "/v1/admin/limits", '{"delay_s": 0.3}').json == {
            "upload_bytes_per_s": None,
            "delay_s": 0.3,
        }
        for ask in (lambda: node.get(put), lambda: node.ask("GET", "/ping")):
            started_s = time.monotonic()
            ask()
            assert time.monotonic() - started_s >= 0.3
        started_s = time.monotonic()
        assert node.ask("GET", "/v1/admin/limits").json["delay_s"] == 0.3
        node.ask("GET", "/healthz")
        assert time.monotonic() - started_s < 0.3


@pytest.mark.real
@pytest.mark.parametrize(
    "body",
    [
        '{"upload_bytes_per_s": 0}',
        '{"upload_bytes_per_s": "fast"}',
        '{"upload_bytes_per_s": true}',
        '{"upload_bytes_per_s": NaN}',
        '{"delay_s": -1}',
        '{"delay_s": 1e9}',
        '{"speed": 3}',
        "[]",
        "",
    ],
)
def test_bad_limits_change_nothing(tmp_path, body):
    with NodeInThread(tmp_path) as node:
        assert node.ask("PUT", "/v1/admin/limits", body).status == 400
        assert node.ask("GET", "/v1/admin/limits").json == {
            "upload_bytes_per_s": None,
            "delay_s": 0.0,
        }
