"""The gateway over real sockets: one fetch for all, caches, truth of players, who may ask."""

import asyncio
import json
import os

import httpx
import pytest

from redundancy.errors import NoSpace
from smart_client.gateway import live, media, session_account, streams
from smart_client.spool import Spool
from support.gateways import Running, in_a_gateway

pytestmark = pytest.mark.real

DATA = os.urandom(5_000_000)


def of(running: Running, name: str = "kino") -> session_account.SessionAccount:
    return next(each.account for each in running.gateway.pool.all if each.key.video == name)


async def read(running: Running, name: str = "kino", **headers: str) -> bytes:
    answer = await running.http.get(f"/v/{name}", headers=headers)
    assert answer.status_code in (200, 206), answer.text
    return answer.content


def test_four_viewers_cost_the_nodes_what_one_does(tmp_path):
    async def use(running: Running) -> None:
        await running.put("kino", DATA)
        bodies = await asyncio.gather(*(read(running) for _ in range(4)))
        assert all(body == DATA for body in bodies)
        session = (await running.json("/api/v1/sessions"))[0]
        assert session["player_bytes"] == 4 * len(DATA)
        print("four viewers", session["node_bytes"] / len(DATA))
        assert session["snapshot"]["delivered_bytes"] == len(DATA), "each byte decoded once"
        # What is given up to faster nodes; on a busy machine more of it is on its way by then.
        assert session["node_bytes"] <= 1.25 * len(DATA)
        assert (await running.json("/healthz"))["amplification"] < 0.3
        metrics = (await running.http.get("/metrics")).text
        assert f"evenflow_gateway_player_bytes_total {4 * len(DATA)}" in metrics

    in_a_gateway(tmp_path, use)


def test_a_second_viewing_fetches_nothing_again_even_after_a_restart(tmp_path):
    async def use(running: Running) -> None:
        await running.put("kino", DATA)
        assert await read(running) == DATA
        await running.restart()
        assert await read(running) == DATA
        session = (await running.json("/api/v1/sessions"))[0]
        assert session["cached_bytes"] == len(DATA)
        assert session["node_bytes"] < 1000, "pings at most"
        await running.restart()
        for path in (tmp_path / "cache" / "chunks").rglob("?" * 64):
            path.write_bytes(b"damaged")
        assert await read(running) == DATA, "what is damaged is fetched again"

    in_a_gateway(tmp_path, use)


def test_without_a_cache_nothing_is_left_on_disk(tmp_path):
    async def use(running: Running) -> None:
        await running.put("kino", DATA[:100_000])
        assert await read(running) == DATA[:100_000]
        assert not (tmp_path / "cache" / "chunks").exists()

    in_a_gateway(tmp_path, use, cache_bytes=0)


def test_with_the_coordinator_down_pages_say_so_and_what_was_played_plays(tmp_path):
    async def use(running: Running) -> None:
        await running.put("kino", DATA)
        assert (await read(running, Range="bytes=0-99")) == DATA[:100]
        await running.restart()
        await running.cluster.stop("coordinator")
        for path in ("videos", "videos/kino", "cluster", "storage", "exposure", "consensus"):
            error = (await running.json(f"/api/v1/{path}", 503))["error"]
            assert error["code"] == "COORDINATOR_UNREACHABLE", path
            assert error["hint"]
            assert error["detail"]["away_since_ts"] > 0
        await running.json("/readyz", 503)
        assert (await running.json("/healthz"))["status"] == "degraded"
        for path in ("sessions", "uploads", "comparisons"):
            await running.json(f"/api/v1/{path}")
        assert await read(running) == DATA
        answer = await running.http.get("/v/never-seen")
        assert answer.status_code == 503

    in_a_gateway(tmp_path, use)


def test_an_answer_that_has_begun_is_held_while_nodes_are_away_and_then_goes_on(tmp_path):
    async def use(running: Running) -> None:
        await running.put("kino", DATA)
        await read(running, Range="bytes=0-0")
        await running.restart(only_plays=True)
        names = list(running.cluster.nodes)
        for node in names:
            await running.cluster.stop(node)
        (tmp_path / "cache" / "chunks").rename(tmp_path / "away")
        await running.restart()
        whole = asyncio.create_task(read(running))
        done, _ = await asyncio.wait({whole}, timeout=1.0)
        assert not done, "neither an error nor an end"
        for node in names:
            await running.cluster.start_node(node)
        assert await asyncio.wait_for(whole, 60) == DATA

    in_a_gateway(tmp_path, use)


def test_a_full_disk_holds_the_answer_up_until_there_is_room(tmp_path, monkeypatch):
    async def use(running: Running) -> None:
        await running.put("kino", DATA)
        monkeypatch.setattr(media, "AGAIN_S", 0.05)
        real = Spool.write

        def full(spool, offset, data):
            raise NoSpace("no space left")

        monkeypatch.setattr(Spool, "write", full)
        whole = asyncio.create_task(read(running))
        async with asyncio.timeout(20):
            while not running.gateway.pool.all or not of(running).stream.driver.failure:
                await asyncio.sleep(0.02)
        assert not whole.done()
        monkeypatch.setattr(Spool, "write", real)
        assert await asyncio.wait_for(whole, 30) == DATA

    in_a_gateway(tmp_path, use)


def test_a_name_that_was_given_to_another_video_plays_that_one(tmp_path, monkeypatch):
    async def use(running: Running) -> None:
        monkeypatch.setattr(streams, "RECENT_S", 0.0)
        await running.put("kino", b"first" * 1000)
        assert await read(running) == b"first" * 1000
        await running.library.coordinator.delete_video("kino")
        await running.put("kino", b"other" * 1000)
        assert await read(running) == b"other" * 1000

    in_a_gateway(tmp_path, use)


def test_a_stream_somebody_comes_back_to_is_not_closed_under_him(tmp_path, monkeypatch):
    async def use(running: Running) -> None:
        pool = running.gateway.pool
        await running.put("kino", DATA)
        assert await read(running) == DATA
        (stream,) = [each.stream for each in pool.all]
        monkeypatch.setattr(streams, "RECENT_S", 0.0)
        monkeypatch.setattr(streams, "IDLE_S", -1.0)
        real = pool._current_id

        async def current_id(name: str) -> str:
            await pool.close_idle()
            return await real(name)

        monkeypatch.setattr(pool, "_current_id", current_id)
        async with asyncio.timeout(20):
            assert await read(running) == DATA
        assert [each.stream for each in pool.all] == [stream]
        assert (await running.http.get("/v/nothing")).status_code == 404
        assert len(pool._locks) == 0
        await pool.close_idle()
        assert pool.all == ()

    in_a_gateway(tmp_path, use)


async def report(running: Running, event: str, at_s: float, position_s: float, **more) -> dict:
    body = {"player": "p1", "event": event, "position_s": position_s, "ts_ms": at_s * 1000, **more}
    answer = await running.http.post("/api/v1/sessions/by-video/kino/player", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_a_page_reports_is_the_sessions_truth_and_counts_the_view(tmp_path):
    async def use(running: Running) -> None:
        await running.put("kino", DATA)
        assert await read(running) == DATA
        for event, at_s, position_s in (
            *(("open", 1.0, 0.0), ("playing", 1.4, 0.0), ("progress", 2.4, 1.0)),
            *(("waiting", 2.6, 1.2), ("playing", 4.1, 1.2), ("progress", 5.0, 2.1)),
        ):
            told = await report(running, event, at_s, position_s, buffered_s=1.0)
        assert (told["stalls"], told["stalled_s"], told["startup_s"]) == (1, 1.5, 0.4)
        session = await running.json("/api/v1/sessions/by-video/kino")
        assert session["qoe_source"] == "video-element"
        assert session["snapshot"]["stalls"] == 1
        assert session["snapshot"]["startup_s"] == pytest.approx(0.4)
        texts = [notice["text"] for notice in session["notices"]]
        assert any("stalled although all it was owed had been sent" in text for text in texts)
        assert any("after 1.50 s" in text for text in texts)
        assert set(session["matrix"]["ready"]) == {"y"}
        assert len(session["matrix"]["rows"]) == 5
        # Nobody reads any more: what the player does not hold yet is ready here all the same.
        shot = session["snapshot"]
        assert shot["position_s"] + shot["buffered_s"] == pytest.approx(shot["end_s"])
        # Five seconds by nominal time: a quarter of it has been shown by now.
        async with asyncio.timeout(30):
            while (await running.json("/api/v1/videos/kino"))["video"]["views"] != 1:
                await asyncio.sleep(0.05)
        await running.json("/api/v1/sessions/by-video/nothing", 404)
        bad = {"player": "p 1", "event": "dance", "ts_ms": -1}
        url = "/api/v1/sessions/by-video/kino/player"
        assert (await running.http.post(url, json=bad)).status_code == 400

    in_a_gateway(tmp_path, use)


def test_deadlines_follow_the_players_own_position(tmp_path):
    async def use(running: Running) -> None:
        await running.put("kino", DATA)
        await read(running, Range="bytes=0-0")
        account = of(running)
        stream = account.stream
        reader = stream.open_reader(0)
        await reader.read(3_000_000)
        while reader.position < 3_000_000:
            await reader.read(3_000_000 - reader.position)
        now_s = stream.driver.now_s
        assert reader.core.playhead_s(now_s()) == pytest.approx(3.0), (
            "what was taken counts as seen"
        )
        await report(running, "open", 1.0, 0.0)
        await report(running, "playing", 1.1, 0.5)
        assert 0.5 <= reader.core.playhead_s(now_s()) < 2.5
        assert reader.core.buffered_s(now_s()) > 1.0
        later = stream.open_reader(4_900_000)  # a seek that its player has not reported yet
        assert later.core.playhead_s(now_s()) == pytest.approx(4.9)
        later.close()
        reader.close()

    in_a_gateway(tmp_path, use)


def test_pages_of_other_sites_change_nothing_and_rebound_names_read_nothing(tmp_path):
    async def use(running: Running) -> None:
        port = str(running.http.base_url.port)
        own = f"http://127.0.0.1:{port}"
        cases = [
            ({"Origin": "https://evil.example"}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": "http://["}, 403),
            ({"Origin": f"http://localhost:{port}"}, 403),
            ({"Sec-Fetch-Site": "cross-site"}, 403),
            ({"Host": "evil.example"}, 403),
            ({"Host": f"evil.example:{port}", "Origin": f"http://evil.example:{port}"}, 403),
            ({"Origin": own, "Sec-Fetch-Site": "same-origin"}, 400),
            ({"Host": f"localhost:{port}"}, 400),
            ({}, 400),
        ]
        for headers, status in cases:
            for method, path in (("POST", "/api/v1/uploads"), ("POST", "/api/v1/comparisons")):
                answer = await running.http.request(method, path, headers=headers, content=b"x")
                assert answer.status_code == status, (headers, path)
        for path in ("/api/v1/videos", "/events", "/v/kino"):
            answer = await running.http.get(path, headers={"Host": "evil.example"})
            assert answer.status_code == 403, path

    in_a_gateway(tmp_path, use, nodes=0)


async def events_of(http: httpx.AsyncClient, count: int) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    async with http.stream("GET", "/events") as answer, asyncio.timeout(20):
        topic = ""
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                topic = line[7:]
            elif line.startswith("data: "):
                found.append((topic, json.loads(line[6:])))
                if len(found) >= count:
                    break
    return found


def test_one_look_that_fails_silences_no_other_topic(tmp_path, monkeypatch, caplog):
    async def broken(live):
        raise RuntimeError("a bug")

    monkeypatch.setattr(live.Live, "_videos", broken)

    async def use(running: Running) -> None:
        found = [topic for topic, _ in await events_of(running.http, 6)]
        assert found.count("cluster") >= 2  # it tells the time of each look

    in_a_gateway(tmp_path, use, nodes=0)
    assert "'videos' failed" in caplog.text


def test_events_begin_with_a_snapshot_and_end_with_the_gateway(tmp_path):
    async def use(running: Running) -> None:
        await running.put("kino", DATA[:1000])
        found = await events_of(running.http, 5)
        assert found[0][0] == "snapshot"
        assert [video["name"] for video in found[0][1]["videos"]] == ["kino"]
        assert {topic for topic, _ in found[1:]} <= {"sessions", "uploads", "videos", "cluster"}
        async with running.http.stream("GET", "/events") as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            closing = asyncio.create_task(running.gateway.live.close())
            async with asyncio.timeout(30):
                rest = [line async for line in lines]
            await closing
        assert ": the gateway is closing" in rest

    in_a_gateway(tmp_path, use)


def test_a_page_loaded_again_gets_every_topic_although_some_loops_still_wait(tmp_path, monkeypatch):
    async def use(running: Running) -> None:
        monkeypatch.setattr(live, "SESSIONS_EVERY_S", 0.01)
        monkeypatch.setattr(live, "HEARTBEAT_S", 0.05)
        monkeypatch.setattr(live, "OTHERS_EVERY_S", 3600.0)
        await running.put("kino", DATA[:1000])
        await events_of(running.http, 1)
        async with asyncio.timeout(20):
            while running.gateway.live.listeners or not running.gateway.live.is_resting("sessions"):
                await asyncio.sleep(0.01)
            assert not running.gateway.live.is_resting("cluster")
            watching = asyncio.create_task(topics_until(running.http, "sessions"))
            while not watching.done():
                await read(running)
                await asyncio.sleep(0.02)
        assert "sessions" in await watching

    in_a_gateway(tmp_path, use)


async def topics_until(http: httpx.AsyncClient, last: str) -> list[str]:
    found: list[str] = []
    async with http.stream("GET", "/events") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("event: "):
                found.append(line[7:])
                if found[-1] == last:
                    break
    return found


def test_a_listener_that_takes_nothing_is_dropped(tmp_path, monkeypatch):
    async def use(running: Running) -> None:
        monkeypatch.setattr(live, "STUCK_S", 0.2)
        big = [f"x{n}" * 100 for n in range(2000)]
        running.gateway.live._uploads = lambda: _later([*big, os.urandom(4).hex()])
        monkeypatch.setattr(live, "OTHERS_EVERY_S", 0.01)
        _reader, writer = await asyncio.open_connection(
            "127.0.0.1", running.http.base_url.port, limit=1024
        )
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        async with asyncio.timeout(20):
            while not running.gateway.live.dropped:
                await asyncio.sleep(0.05)
        assert running.gateway.live.listeners == 0
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)

    in_a_gateway(tmp_path, use, nodes=0)


async def _later(value: object) -> object:
    return value


def test_pages_are_served_with_their_policy_and_nothing_else_is(tmp_path):
    async def use(running: Running) -> None:
        page = await running.http.get("/ui/")
        assert page.status_code == 200
        assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        again = await running.http.get("/ui/", headers={"If-None-Match": page.headers["ETag"]})
        assert again.status_code == 304
        assert (await running.http.get("/")).headers["Location"] == "/ui/"
        for path in ("__init__.py", "../cli.py", "%2e%2e/cli.py", "..%2fcli.py", "/etc/passwd"):
            assert (await running.http.get(f"/ui/{path}")).status_code == 404, path

    in_a_gateway(tmp_path, use, nodes=0)
