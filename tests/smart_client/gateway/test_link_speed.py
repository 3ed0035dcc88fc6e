"""A ladder's bytes go to players as the link brings them, and none ahead for who only begins."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from smart_client import wire
from smart_client.gateway.link_speed import (
    AGE_S_MAX,
    HALF_LIFE_S,
    HEADROOM,
    KNOWN_FROM_S,
    LinkSpeed,
)
from smart_client.gateway.media import READ_AHEAD_S
from smart_client.ingest.segment import Cut
from smart_client.ingest.upload import Uploader
from support.gateways import Running, in_a_gateway

DATA = os.urandom(3_000_000)
SECONDS = 60.0
ROW = 3 * 16 * 1024


def known(*waits: tuple[int, float], now_s: float = 0.0) -> LinkSpeed:
    link = LinkSpeed()
    for size, waited_s in waits:
        link.waited(size, waited_s, now_s)
    return link


def test_nothing_is_known_before_somebody_waited():
    assert known().bytes_per_s(0.0) is None
    assert known().pace_s(10**9, 0.0, floor_bytes_per_s=1.0) == 0.0
    assert known((1000, KNOWN_FROM_S / 2)).bytes_per_s(0.0) is None
    link = known((1000, KNOWN_FROM_S / 2), (1000, KNOWN_FROM_S))
    assert link.bytes_per_s(0.0) == pytest.approx(2000 / (1.5 * KNOWN_FROM_S), rel=0.05)


def test_an_outage_is_no_speed():
    """Else one hold of a minute would slow players down for ever."""
    link = known(*[(100_000, 0.1)] * 50)
    for _ in range(100):
        link.waited(0, 1.0, 0.0)
    link.waited(20_000, 60.0, 0.0)
    link.waited(-5_000_000, 1.0, 0.0)
    assert link.bytes_per_s(0.0) == pytest.approx(1e6)


def test_a_link_that_changed_is_believed_after_a_few_seconds_of_waiting():
    link = known(*[(100_000, 0.1)] * 100)
    assert link.bytes_per_s(0.0) == pytest.approx(1e6)
    assert link.pace_s(1_000_000, 0.0, floor_bytes_per_s=1.0) == pytest.approx(1 / HEADROOM)
    for _ in range(int(4 * HALF_LIFE_S / 0.1)):
        link.waited(10_000, 0.1, 0.0)
    assert link.bytes_per_s(0.0) == pytest.approx(1e5, rel=0.7)


def test_an_old_measurement_says_nothing():
    link = known((100_000, 1.0), now_s=1000.0)
    assert link.bytes_per_s(1000.0 + AGE_S_MAX) == pytest.approx(1e5)
    assert link.bytes_per_s(1001.0 + AGE_S_MAX) is None


def test_nothing_is_handed_out_more_slowly_than_it_is_played():
    link = known((1000, 1.0))
    assert link.pace_s(50_000, 0.0, floor_bytes_per_s=100_000) == 0.5


async def with_ladder(running: Running) -> None:
    """Store a video and two renditions of it; what they hold does not matter here."""
    await running.put("kino", DATA)
    video = await running.library.coordinator.video("kino")
    for name in ("480p", "240p"):
        path: Path = running.directory / name
        path.write_bytes(DATA)
        record = wire.RenditionRecord(
            name=name,
            size=len(DATA),
            sha256="",
            mime="video/mp4",
            duration_s=SECONDS,
            chunk_count=0,
            kind="video",
            average_bits_per_s=int(8 * len(DATA) / SECONDS),
        )
        half = len(DATA) // 2
        cuts = [Cut(0, half, 0.0, 30.0), Cut(half, len(DATA) - half, 30.0, 30.0)]
        uploader = Uploader(running.library.coordinator)
        video = (await uploader.add_rendition(video, path, record, cuts)).video


async def read(running: Running, start: int, stop: int, rendition: str = "480p") -> bytes:
    span = {"Range": f"bytes={start}-{stop - 1}"}
    answer = await running.http.get(f"/r/kino/{rendition}", headers=span)
    assert answer.status_code == 206
    assert answer.content == DATA[start:stop]
    return answer.content


def delivered(running: Running, rendition: str = "480p") -> int:
    """How many bytes of a rendition were decoded, asked for or not."""
    (shared,) = (each for each in running.gateway.pool.all if each.key.rendition == rendition)
    return shared.stream.session.state.counters.delivered_bytes


async def at_rest(running: Running) -> int:
    before = -1
    while before != (before := delivered(running)):
        await asyncio.sleep(0.3)
    return before


@pytest.mark.real
def test_only_for_who_goes_on_something_is_fetched_ahead(tmp_path):
    async def use(running: Running) -> None:
        await with_ladder(running)
        await read(running, 0, 10_000)
        assert await at_rest(running) == ROW, "who begins gets what was asked for, by rows"
        await read(running, 10_000, ROW)
        ahead = await at_rest(running) - ROW
        assert ahead >= READ_AHEAD_S * len(DATA) / SECONDS
        await read(running, 1_000_000, 1_010_000)  # a jump
        assert await at_rest(running) - ROW - ahead <= 2 * ROW

    in_a_gateway(tmp_path, use)


@pytest.mark.real
def test_while_another_rendition_is_waited_for_nothing_is_fetched_ahead(tmp_path):
    async def use(running: Running) -> None:
        await with_ladder(running)
        await read(running, 0, 10_000)
        await read(running, 0, 10_000, "240p")
        (other,) = (each for each in running.gateway.pool.all if each.key.rendition == "240p")
        with running.gateway.pool.somebody_waits(other):
            await read(running, 10_000, ROW)
            assert await at_rest(running) == ROW

    in_a_gateway(tmp_path, use)


@pytest.mark.real
def test_what_is_here_already_is_handed_out_as_slowly_as_it_could_have_come(tmp_path):
    async def use(running: Running) -> None:
        await with_ladder(running)
        await read(running, 0, 400_000)  # here from now on

        async def took_s(path: str) -> tuple[float, float]:
            span = {"Range": "bytes=0-399999"}
            began_s = time.monotonic()
            async with running.http.stream("GET", path, headers=span) as answer:
                parts = answer.aiter_raw()
                await anext(parts)
                first_s = time.monotonic() - began_s
                async for _ in parts:
                    pass
            return first_s, time.monotonic() - began_s

        link = running.gateway.pool.link = LinkSpeed()
        link.waited(400_000, 1.0, time.monotonic())
        first_s, whole_s = await took_s("/r/kino/480p")
        assert whole_s >= 1 / HEADROOM
        assert first_s < whole_s / 2, "the first byte does not wait: players do not count that time"
        _, original_s = await took_s("/v/kino")
        assert original_s < whole_s, "a whole file is never held back"

    in_a_gateway(tmp_path, use)


@pytest.mark.real
def test_an_estimate_that_was_too_low_is_mended_by_what_is_fetched_ahead(tmp_path):
    async def use(running: Running) -> None:
        await with_ladder(running)
        pool = running.gateway.pool
        await read(running, 0, 10_000)
        pool.link = LinkSpeed()
        pool.link.waited(20_000, 1.0, time.monotonic())
        (shared,) = (each for each in pool.all if each.key.rendition == "480p")
        reader = pool.open_reader(shared, 0)  # fetches all of it, and nobody waits
        for _ in range(200):
            await pool.pause(0.002)
        pool.close_reader(shared, reader)
        assert pool.link.bytes_per_s(time.monotonic()) > 40_000

    in_a_gateway(tmp_path, use)


@pytest.mark.real
def test_a_paused_player_takes_nobody_s_read_ahead(tmp_path):
    async def use(running: Running) -> None:
        await with_ladder(running)
        host, _, port = running.gateway.url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1024)
        writer.write(b"GET /v/kino HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readexactly(10)
        await asyncio.sleep(0.5)  # it takes no more, and its answer waits in a write
        await read(running, 0, 10_000)
        await read(running, 10_000, ROW)
        assert await at_rest(running) > ROW
        writer.close()

    in_a_gateway(tmp_path, use)


@pytest.mark.real
def test_an_outage_does_not_slow_what_comes_after_it(tmp_path):
    async def use(running: Running) -> None:
        await with_ladder(running)
        await read(running, 0, 400_000)
        for name in list(running.cluster.nodes):
            await running.cluster.stop(name)
        held = asyncio.create_task(read(running, 1_000_000, 1_200_000))
        await asyncio.sleep(3.0)
        for name in ("node-1", "node-2", "node-3", "node-4", "node-5"):
            await running.cluster.start_node(name)
        await asyncio.wait_for(held, 40)
        began_s = time.monotonic()
        await read(running, 1_200_000, 1_400_000)
        assert time.monotonic() - began_s < 5.0

    in_a_gateway(tmp_path, use)
