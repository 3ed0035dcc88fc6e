"""A ladder's bytes go to players as the link brings them, and none ahead for who only begins."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from smart_client import wire
from smart_client.gateway.link_speed import HALF_LIFE_S, HEADROOM, KNOWN_FROM_S, LinkSpeed
from smart_client.gateway.media import READ_AHEAD_S
from smart_client.ingest.segment import Cut
from smart_client.ingest.upload import Uploader
from support.gateways import Running, in_a_gateway

DATA = os.urandom(3_000_000)
SECONDS = 60.0


def test_nothing_is_known_before_somebody_waited():
    link = LinkSpeed()
    assert link.bytes_per_s is None
    assert link.earliest_s(10**9) == 0.0
    link.waited(1000, KNOWN_FROM_S / 2)
    assert link.bytes_per_s is None
    link.waited(1000, KNOWN_FROM_S)
    assert link.bytes_per_s == pytest.approx(2000 / (1.5 * KNOWN_FROM_S), rel=0.05)


def test_waiting_in_vain_is_no_speed_of_nothing():
    link = LinkSpeed()
    link.waited(0, 100.0)
    assert link.bytes_per_s is None


def test_a_link_that_changed_is_believed_after_a_few_seconds_of_waiting():
    link = LinkSpeed()
    for _ in range(100):
        link.waited(100_000, 0.1)
    assert link.bytes_per_s == pytest.approx(1e6)
    assert link.earliest_s(1_000_000) == pytest.approx(1 / HEADROOM)
    for _ in range(int(4 * HALF_LIFE_S / 0.1)):
        link.waited(10_000, 0.1)
    assert link.bytes_per_s == pytest.approx(1e5, rel=0.7)


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
        row = 3 * 16 * 1024
        await read(running, 0, 10_000)
        assert await at_rest(running) == row, "who begins gets what was asked for, by rows"
        await read(running, 10_000, row)
        ahead = await at_rest(running) - row
        assert ahead >= READ_AHEAD_S * len(DATA) / SECONDS
        await read(running, 1_000_000, 1_010_000)  # a jump
        assert await at_rest(running) - row - ahead <= 2 * row

    in_a_gateway(tmp_path, use)


@pytest.mark.real
def test_while_another_rendition_is_waited_for_nothing_is_fetched_ahead(tmp_path):
    async def use(running: Running) -> None:
        await with_ladder(running)
        row = 3 * 16 * 1024
        await read(running, 0, 10_000)
        await read(running, 0, 10_000, "240p")
        (other,) = (each for each in running.gateway.pool.all if each.key.rendition == "240p")
        other.waiting += 1
        await read(running, 10_000, row)
        assert await at_rest(running) == row
        other.waiting -= 1

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
        link.waited(40_000_000, 100.0)  # 400 kB/s
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
        pool.link.waited(20_000, 1.0)
        (shared,) = (each for each in pool.all if each.key.rendition == "480p")
        reader = pool.open_reader(shared, 0)  # fetches all of it, and nobody waits
        for _ in range(200):
            await pool.pause(0.002)
        pool.close_reader(shared, reader)
        assert pool.link.bytes_per_s > 40_000

    in_a_gateway(tmp_path, use)
