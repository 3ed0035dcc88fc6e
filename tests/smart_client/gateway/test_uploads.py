"""Uploads over HTTP: resumable, bounded, refused with a reason, stored as ``put`` does."""

import asyncio
import errno
import hashlib
import os
import threading
from pathlib import Path

import pytest

from smart_client.gateway import upload_job, upload_spool, uploads
from smart_client.gateway.upload_spool import UploadSpool
from smart_client.ingest.clip import make_clip
from support.gateways import Running, in_a_gateway, settled

pytestmark = pytest.mark.real

DATA = os.urandom(1_500_000)


async def announce(running: Running, name: str = "kino", size: int = len(DATA), **more) -> dict:
    body = {"name": name, "size": size, **more}
    answer = await running.http.post("/api/v1/uploads", json=body)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


async def send(running: Running, number: str, offset: int, data: bytes, status: int = 200) -> dict:
    url = f"/api/v1/uploads/{number}?offset={offset}"
    answer = await running.http.put(url, content=data)
    assert answer.status_code == status, answer.text
    return answer.json()


async def code_of(running: Running, status: int, **body) -> str:
    answer = await running.http.post("/api/v1/uploads", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]
    return answer.json()["error"]["code"]


def spools(running: Running) -> list[Path]:
    return [p for p in (running.directory / "cache" / "uploads").iterdir() if p.is_dir()]


def test_two_files_at_once_arrive_and_are_stored(tmp_path):
    async def use(running: Running) -> None:
        both = {"kino": DATA, "other": DATA[::-1]}
        ids = {name: (await announce(running, name))["id"] for name in both}

        async def upload(name: str) -> None:
            for start in range(0, len(DATA), 400_000):
                await send(running, ids[name], start, both[name][start : start + 400_000])

        await asyncio.gather(*map(upload, both))
        for name, data in both.items():
            status = await settled(running.http, ids[name])
            assert status["state"] == "done", status
            assert status["sha256"] == hashlib.sha256(data).hexdigest()
            assert status["stored_bytes"] == len(data)
            assert len(status["nodes"]) == 5
            assert (await running.http.get(f"/v/{name}")).content == data
        assert not [path for spool in spools(running) for path in spool.glob("data*")]

    in_a_gateway(tmp_path, use)


def test_an_upload_survives_a_client_that_stops_and_a_gateway_that_starts_anew(tmp_path):
    async def use(running: Running) -> None:
        number = (await announce(running))["id"]

        async def broken():
            yield DATA[:1_200_000]
            while (await running.json(f"/api/v1/uploads/{number}"))["offset"] < uploads.PIECE_BYTES:
                await asyncio.sleep(0.01)
            raise ConnectionError("the cable")

        with pytest.raises(ConnectionError):
            await running.http.put(f"/api/v1/uploads/{number}?offset=0", content=broken())
        await running.restart()
        again = await announce(running)
        assert (again["id"], again["state"]) == (number, "receiving")
        assert uploads.PIECE_BYTES <= again["offset"] <= 1_200_000
        await send(running, number, again["offset"], DATA[again["offset"] :])
        assert (await settled(running.http, number))["state"] == "done"
        assert (await running.http.get("/v/kino")).content == DATA

    in_a_gateway(tmp_path, use)


def test_an_upload_brings_its_ladder(tmp_path):
    pytest.importorskip("av", reason="encoding needs PyAV (the extra 'video')")

    async def use(running: Running) -> None:
        clip = tmp_path / "clip.mp4"
        await asyncio.to_thread(make_clip, clip, 2.0)
        data = clip.read_bytes()
        body = await announce(running, "clip", len(data), file_name="clip.mp4", ladder=[144])
        await send(running, body["id"], 0, data)
        status = await settled(running.http, body["id"], timeout_s=90)
        assert status["state"] == "done", status
        video = (await running.json("/api/v1/videos/clip"))["video"]
        assert video["mime"] == "video/mp4"
        assert "144p" in video["renditions"]
        assert (await running.http.get(video["urls"]["hls"])).status_code == 200
        assert (await running.http.get("/v/clip")).content == data

    in_a_gateway(tmp_path, use)


def test_a_file_that_is_here_is_stored_when_the_coordinator_is_back(tmp_path):
    async def use(running: Running) -> None:
        number = (await announce(running))["id"]
        await running.cluster.stop("coordinator")
        status = await send(running, number, 0, DATA)
        async with asyncio.timeout(20):
            while not status["stage"].startswith("waits"):
                await asyncio.sleep(0.05)
                status = await running.json(f"/api/v1/uploads/{number}")
        assert status["state"] == "storing"
        await running.stop()
        await running.cluster.start_coordinator()
        await running.cluster.wait_until_up("node-1", "node-2", "node-3", "node-4")
        await running.start()
        assert (await settled(running.http, number))["state"] == "done"

    in_a_gateway(tmp_path, use)


def test_names_sizes_and_offsets_that_cannot_be_are_refused(tmp_path, monkeypatch):
    async def use(running: Running) -> None:
        for name in ("", "../x", "-x", ".x", "a/b", "x\n", "x" * 201, None, 7):
            assert await code_of(running, 400, name=name, size=1) == "INVALID_REQUEST"
        for size in (-1, 1.5, "7", None):
            assert await code_of(running, 400, name="x", size=size) == "INVALID_REQUEST"
        for size in (2**62, 2**63 - 1):
            assert await code_of(running, 507, name="x", size=size) == "NO_SPACE"
        number = (await announce(running, size=1000))["id"]
        for offset in ("", "-1", "x", "1e3", "9" * 40, "%00"):
            url = f"/api/v1/uploads/{number}?offset={offset}"
            assert (await running.http.put(url, content=b"x")).status_code in (400, 409)
        wrong = await send(running, number, 1, b"x", status=409)
        assert wrong["error"]["detail"]["offset"] == 0
        await send(running, number, 0, b"x" * 1001, status=413)

        monkeypatch.setattr(uploads, "PIECE_BYTES", 400)

        async def endless():
            yield b"x" * 600
            while (await running.json(f"/api/v1/uploads/{number}"))["offset"] < 600:
                await asyncio.sleep(0.01)  # written, and still of another file
            for _ in range(200):
                yield b"x" * 1000

        url = f"/api/v1/uploads/{number}?offset=0"
        assert (await running.http.put(url, content=endless())).status_code == 413
        # Bytes of another file: kept, they would be stored as this one by the next gateway.
        status = await running.json(f"/api/v1/uploads/{number}")
        assert (status["offset"], status["state"]) == (0, "receiving")
        assert [path.stat().st_size for path in spools(running)[0].glob("data*")] == [0]
        await running.json("/api/v1/uploads/0123456789abcdef", 404)
        assert len(spools(running)) == 1, "nothing is left of what was refused"

    in_a_gateway(tmp_path, use, nodes=0)


def test_a_name_that_is_taken_is_a_conflict(tmp_path):
    async def use(running: Running) -> None:
        await running.put("kino", b"x" * 1000)
        assert await code_of(running, 409, name="kino", size=5) == "NAME_TAKEN"
        first = await announce(running, "other", 1000)
        assert (await announce(running, "other", 1000))["id"] == first["id"]
        assert await code_of(running, 409, name="other", size=999) == "NAME_TAKEN"

    in_a_gateway(tmp_path, use)


def test_cancel_leaves_nothing_here_nor_in_the_library(tmp_path):
    async def use(running: Running) -> None:
        number = (await announce(running))["id"]
        await send(running, number, 0, DATA[:1000])
        assert (await running.http.delete(f"/api/v1/uploads/{number}")).status_code == 204
        assert spools(running) == []
        number = (await announce(running))["id"]
        for node in list(running.cluster.nodes):
            await running.cluster.stop(node)
        await send(running, number, 0, DATA)
        async with asyncio.timeout(20):
            while not await running.library.coordinator.list_videos():
                await asyncio.sleep(0.02)
        assert (await running.http.delete(f"/api/v1/uploads/{number}")).status_code == 204
        assert spools(running) == []
        assert await running.library.coordinator.list_videos() == ()

    in_a_gateway(tmp_path, use)


def test_a_full_disk_is_told_and_what_came_is_kept(tmp_path, monkeypatch):
    async def use(running: Running) -> None:
        number = (await announce(running))["id"]
        real = os.pwrite

        def full(handle, data, offset):
            if offset >= 1_048_576:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(handle, data, offset)

        monkeypatch.setattr(upload_spool.os, "pwrite", full)
        answer = await send(running, number, 0, DATA, status=507)
        assert "free some space" in answer["error"]["hint"]
        monkeypatch.setattr(upload_spool.os, "pwrite", real)
        status = await running.json(f"/api/v1/uploads/{number}")
        assert status["state"] == "receiving"
        await send(running, number, status["offset"], DATA[status["offset"] :])
        assert (await settled(running.http, number))["state"] == "done"
        monkeypatch.setattr(uploads, "free_bytes", lambda _: uploads.SPARE_BYTES + 10)
        assert await code_of(running, 507, name="more", size=11) == "NO_SPACE"

    in_a_gateway(tmp_path, use)


def test_a_second_sender_waits_or_takes_over_from_a_silent_one(tmp_path, monkeypatch):
    async def use(running: Running) -> None:
        number = (await announce(running))["id"]
        hold = asyncio.Event()
        monkeypatch.setattr(uploads, "TAKEOVER_S", 600.0)  # however slow this machine is

        async def silent():
            yield DATA[:1000]
            await hold.wait()

        url = f"/api/v1/uploads/{number}?offset=0"
        older = asyncio.create_task(running.http.put(url, content=silent()))
        async with asyncio.timeout(30):
            while True:
                answer = await running.http.put(url.replace("=0", "=5"), content=b"x")
                if answer.json()["error"]["code"] == "CONFLICT":
                    break
        monkeypatch.setattr(uploads, "TAKEOVER_S", 0.0)
        # The older one is ended and what came of it counts; if any did, the newcomer is told.
        answer = await running.http.put(url, content=DATA)
        if answer.status_code == 409:
            assert answer.json()["error"]["detail"]["offset"] == 1000
        hold.set()
        with pytest.raises(Exception):  # noqa: B017,PT011 - whatever httpx calls a cut connection
            (await older).raise_for_status()
        if answer.status_code == 409:
            await send(running, number, 1000, DATA[1000:])
        assert (await settled(running.http, number))["state"] == "done"

    in_a_gateway(tmp_path, use)


def test_no_sender_follows_before_the_last_bytes_of_the_one_before_are_written(
    tmp_path, monkeypatch
):
    async def use(running: Running) -> None:
        number = (await announce(running))["id"]
        is_writing, may_write = threading.Event(), threading.Event()
        real = UploadSpool.append

        def slow(spool, handle, offset, data):
            is_writing.set()
            assert may_write.wait(30)
            real(spool, handle, offset, data)

        monkeypatch.setattr(UploadSpool, "append", slow)
        monkeypatch.setattr(uploads, "TAKEOVER_S", 0.0)
        monkeypatch.setattr(upload_job, "STOP_S", 0.1)
        older = asyncio.create_task(send(running, number, 0, DATA[:1000]))
        assert await asyncio.to_thread(is_writing.wait, 30)
        try:
            for _ in range(2):
                answer = await send(running, number, 0, DATA, status=409)
                assert answer["error"]["code"] == "CONFLICT"
        finally:
            may_write.set()
            await asyncio.gather(older, return_exceptions=True)
        async with asyncio.timeout(20):
            while (status := await running.json(f"/api/v1/uploads/{number}"))["offset"] != 1000:
                await asyncio.sleep(0.02)
        assert status["state"] == "receiving"
        monkeypatch.setattr(upload_job, "STOP_S", 10.0)
        await send(running, number, 1000, DATA[1000:])
        assert (await settled(running.http, number))["state"] == "done"
        assert (await running.http.get("/v/kino")).content == DATA

    in_a_gateway(tmp_path, use)


def test_old_spools_are_cleaned_up_and_another_gateway_has_its_own(tmp_path, monkeypatch):
    async def use(running: Running) -> None:
        await announce(running, size=10)
        other = Running(None, None, running.cluster, None, running.config, tmp_path)
        await other.start()
        try:
            assert await code_of(other, 503, name="x", size=1) == "GATEWAY_BUSY"
        finally:
            await other.stop()
        strange = running.directory / "cache" / "uploads" / ("0" * 16)
        strange.mkdir()
        monkeypatch.setattr(uploads, "UNFINISHED_S", -1.0)
        await running.restart()
        assert spools(running) == []

    in_a_gateway(tmp_path, use, nodes=0)
