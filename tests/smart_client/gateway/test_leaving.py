"""Players leave at every seek, and while they are held: nothing stays, and nobody is blamed."""

import asyncio
import logging
import os

import pytest

from smart_client.gateway import edge, media
from support.gateways import Running, in_a_gateway

pytestmark = pytest.mark.real

DATA = os.urandom(5_000_000)


def test_a_player_that_leaves_while_it_is_held_is_forgotten(tmp_path, monkeypatch):
    async def use(running: Running) -> None:
        monkeypatch.setattr(media, "LOOK_S", 0.05)
        await running.put("kino", DATA)
        for node in list(running.cluster.nodes):
            await running.cluster.stop(node)
        whole = asyncio.create_task(running.http.get("/v/kino"))
        async with asyncio.timeout(20):
            while not any(each.readers for each in running.gateway.pool.all):
                await asyncio.sleep(0.02)
            whole.cancel()
            await asyncio.wait({whole})
            while any(each.readers for each in running.gateway.pool.all):
                await asyncio.sleep(0.02)

    in_a_gateway(tmp_path, use, cache_bytes=0)


def test_a_player_that_leaves_in_the_middle_is_no_fault(tmp_path, caplog):
    async def use(running: Running) -> None:
        await running.put("kino", DATA)
        port = running.http.base_url.port
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(b"GET /v/kino HTTP/1.1\r\nHost: localhost\r\nRange: bytes=9-\r\n\r\n")
            await reader.readexactly(1000)
            writer.transport.abort()
        async with asyncio.timeout(20):
            while f'{edge.CLIENT_LEFT}"}} 3' not in (await running.http.get("/metrics")).text:
                await asyncio.sleep(0.02)
        assert not any(each.readers for each in running.gateway.pool.all)

    in_a_gateway(tmp_path, use)
    loud = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert not [each.getMessage() for each in loud if each.exc_info]
