"""The edge of the coordinator: refusals, secrets, figures."""

import asyncio
import contextlib
import re
import time

import pytest

from redundancy.errors import ConfigError, ExitCode
from smart_client import wire
from smart_client.errors import AccessDenied
from smart_client.transport.coordinator import CoordinatorClient
from storage_server.coordinator.config import CoordinatorConfig
from storage_server.coordinator.process import running_coordinator
from storage_server.coordinator.registers import group_key
from storage_server.directory_lock import DirectoryLocked
from support.running_cluster import Cluster, announce, chunk_record, in_a_cluster, upload

pytestmark = pytest.mark.real

TOKEN = "correct horse battery"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/videos", 404),
        ("GET", "/v1/videos/nobody", 404),
        ("GET", "/v1/videos/nobody/manifest", 404),
        ("GET", "/v1/videos/..%2f..%2fetc", 404),
        ("DELETE", "/v1/videos/nobody", 404),
        ("DELETE", "/server/nobody", 404),
        ("PATCH", "/v1/videos", 405),
        ("POST", "/v1/videos", 400),
        ("PUT", "/v1/nodes/n", 400),
        ("POST", "/v1/nodes/n/heartbeat", 400),
        ("PUT", "/v1/videos/x/groups/minus", 404),
        ("PUT", "/v1/videos/x/groups/1234567", 404),
        ("POST", "/server/-x", 400),
        ("POST", "/video/.x", 400),
    ],
)
def test_what_cannot_be_answered_is_an_error_in_json(tmp_path, method, path, status):
    async def use(made: Cluster):
        async with made.link() as http:
            answer = await http.request(method, path)
        assert answer.status_code == status
        assert answer.headers["Server"] == "evenflow-coordinator"
        error = answer.json()["error"]
        assert error.keys() == {"code", "exit", "message", "detail", "hint"}
        assert error["message"]

    in_a_cluster(tmp_path, use, nodes=0)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff", b'{"name": 7}', b"[" * 100_000, b'{"name":"\\u0000"}'],
)
def test_a_body_that_is_no_request_is_refused_with_what_is_wrong(tmp_path, body):
    async def use(made: Cluster):
        async with made.link() as http:
            answer = await http.post("/v1/videos", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "INVALID_REQUEST"
        assert "CreateVideo" in answer.json()["error"]["message"]

    in_a_cluster(tmp_path, use, nodes=0)


def test_a_body_that_is_too_large_or_never_ends_is_refused(tmp_path):
    async def use(made: Cluster):
        async with made.link() as http:
            answer = await http.post("/v1/videos", content=bytes(3 * 1024 * 1024))
            assert answer.status_code == 400
            assert "at most" in answer.json()["error"]["message"]

    in_a_cluster(tmp_path, use, nodes=0)


def test_a_body_that_drips_is_given_up(tmp_path):
    async def scenario():
        config = CoordinatorConfig(tmp_path, body_timeout_s=0.2)
        async with running_coordinator(config) as running:
            port = int(running.url.rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /v1/videos HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            async with asyncio.timeout(5):
                head = await reader.readline()
            assert head.startswith(b"HTTP/1.1 400")
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    asyncio.run(scenario())


def test_a_client_that_leaves_in_the_middle_of_its_request_is_no_bug_of_ours(tmp_path, caplog):
    async def use(made: Cluster):
        port = int(made.url.rpartition(":")[2])
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"POST /v1/videos HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            await writer.drain()
            async with made.link() as http:  # so that the head has been read by now
                assert (await http.get("/readyz")).status_code == 200
            writer.transport.abort()
        async with made.link() as http:
            text = (await http.get("/metrics")).text
        assert 'status="500"' not in text

    in_a_cluster(tmp_path, use, nodes=0)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_with_a_token_reading_is_free_and_changing_needs_it(tmp_path):
    async def use(made: Cluster):
        await upload(made)
        async with made.link() as http:
            for path in ("/v1/videos", "/v1/videos/kino/manifest", "/v1/status", "/video"):
                assert (await http.get(path)).status_code == 200
            for wrong in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": f"Basic {TOKEN}"},
            ):
                for method, path in (
                    ("DELETE", "/v1/videos/kino"),
                    ("POST", "/v1/videos"),
                    ("PUT", "/v1/nodes/n"),
                    ("POST", "/server/n"),
                    ("DELETE", "/server/node-1"),
                    ("POST", "/video/n"),
                    ("POST", "/v1/nodes/node-1/heartbeat"),
                    ("POST", "/v1/nodes/node-1/lost"),
                ):
                    answer = await http.request(method, path, headers=wrong)
                    assert answer.status_code == 401
                    assert ("the one given is another" in answer.text) is bool(wrong)
                    assert answer.headers["WWW-Authenticate"] == "Bearer"
                    assert TOKEN not in answer.text
        async with CoordinatorClient([made.url]) as stranger:
            with pytest.raises(AccessDenied) as caught:
                await announce(stranger)
            assert caught.value.exit_code == ExitCode.CONFIG
        await made.client.delete_video("kino")

    in_a_cluster(tmp_path, use, nodes=2, token=TOKEN)


def test_a_page_from_elsewhere_in_the_browser_changes_nothing(tmp_path):
    async def use(made: Cluster):
        async with made.link() as http:
            foreign = await http.post("/server/x", headers={"Origin": "https://evil.example"})
            assert foreign.status_code == 401
            own = await http.post("/server/x", headers={"Origin": made.url})
            assert own.status_code == 200

    in_a_cluster(tmp_path, use, nodes=0)


def test_an_open_address_without_a_secret_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"refusing to listen on 0\.0\.0\.0") as caught:
        CoordinatorConfig(tmp_path, host="0.0.0.0")
    assert "--token-file" in caught.value.hint
    CoordinatorConfig(tmp_path, host="0.0.0.0", token=TOKEN)
    CoordinatorConfig(tmp_path, host="0.0.0.0", insecure=True)
    assert TOKEN not in repr(CoordinatorConfig(tmp_path, token=TOKEN))


def test_a_port_in_use_and_a_directory_in_use_are_told_apart(tmp_path):
    async def scenario():
        async with running_coordinator(CoordinatorConfig(tmp_path / "a")) as first:
            port = int(first.url.rpartition(":")[2])
            with pytest.raises(ConfigError, match="in use already"):
                async with running_coordinator(CoordinatorConfig(tmp_path / "b", port=port)):
                    pass
            with pytest.raises(DirectoryLocked, match="another coordinator"):
                async with running_coordinator(CoordinatorConfig(tmp_path / "a")):
                    pass
            async with CoordinatorClient([first.url]) as client:
                assert await client.list_videos() == ()

    asyncio.run(scenario())


def test_health_readiness_and_metrics_answer_and_count(tmp_path):
    async def use(made: Cluster):
        await upload(made, redundancy="rep:2")
        async with made.link() as http:
            health = (await http.get("/healthz")).json()
            assert (health["status"], health["nodes"], health["nodes_away"]) == ("ok", 2, [])
            assert (await http.get("/readyz")).json() == {"ready": True}
            await http.get("/v1/videos/nobody")
            text = (await http.get("/metrics")).text
        samples = dict(re.findall(r"^(\S+) (\S+)$", text, re.M))
        assert samples["evenflow_coordinator_videos"] == "1"
        assert samples["evenflow_coordinator_nodes_up"] == "2"
        assert samples['evenflow_coordinator_node_state{node="node-1",state="up"}'] == "1"
        labels = 'method="GET",route="/v1/videos/{name}",status="404"'
        assert samples[f"evenflow_coordinator_requests_total{{{labels}}}"] == "1"
        assert "nobody" not in text

    in_a_cluster(tmp_path, use, nodes=2)


def test_a_status_answers_in_milliseconds_with_a_large_library(tmp_path):
    """100 videos of 2 hours: 180,000 chunks. At most once a second everything is looked at anew."""
    layout = wire.LayoutRecord(k=3, n=5)

    async def use(made: Cluster):
        coordinator = made.coordinator
        names = [f"node-{i}" for i in range(1, 6)]
        group = wire.GroupRecord(
            chunks=tuple(
                chunk_record(i, layout, names[i % 5 :] + names[: i % 5]) for i in range(64)
            )
        )
        for video in range(100):
            video_id = f"{video:032x}"
            coordinator.library.put_video(
                wire.VideoRecord(
                    id=video_id, name=f"film {video}", state="ready", created_at_s=0, layout=layout
                )
            )
            for number in range(28):
                coordinator.library.put_group(group_key(video_id, "original", number), group, 1)
        began_s = time.process_time()
        coordinator._survey()
        assert time.process_time() - began_s < 0.25
        began_s = time.process_time()
        for _ in range(100):
            coordinator.status()
        assert time.process_time() - began_s < 0.5

    in_a_cluster(tmp_path, use, nodes=0)
