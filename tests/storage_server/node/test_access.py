"""Who may write, list and administer a node; and what a node refuses to be."""

import asyncio
import json

import pytest
from aiohttp.http_parser import HttpRequestParserPy

from redundancy.errors import ConfigError
from storage_server.node import http_server
from storage_server.node.access import Access, Guard
from storage_server.node.config import NodeConfig, NodeLimits, is_loopback, read_token
from storage_server.node.http_server import NodeServer, require_c_parser
from storage_server.node.metrics import NodeMetrics
from storage_server.node.report_handlers import ReportHandlers
from storage_server.node.responses import HttpProblem
from storage_server.node.service import running_node
from support.fragments import fragment
from support.node_in_thread import NodeInThread

TOKEN = "correct horse battery staple"


class Caller:
    """What the guard looks at in a request."""

    def __init__(self, remote, authorization=None, origin=None):
        self.remote = remote
        said = {"Authorization": authorization, "Origin": origin}
        self.headers = {name: value for name, value in said.items() if value is not None}


def guard(tmp_path, **settings):
    return Guard(NodeConfig(data_dir=tmp_path, **settings))


NEAR, FAR = "127.0.0.1", "192.0.2.7"
EVERY = set(Access)


@pytest.mark.parametrize(
    ("settings", "caller", "allowed"),
    [
        ({}, Caller(NEAR), EVERY),
        ({}, Caller("::1"), EVERY),
        ({}, Caller(NEAR, origin="https://evil.example"), {Access.OPEN, Access.READ, Access.FACTS}),
        ({"token": TOKEN}, Caller(NEAR, f"Bearer {TOKEN}", origin="http://ours"), EVERY),
        ({}, Caller("::ffff:127.0.0.1"), EVERY),
        ({"host": "0.0.0.0", "insecure": True}, Caller(NEAR), EVERY),
        ({"host": "0.0.0.0", "insecure": True}, Caller(FAR), EVERY - {Access.ADMIN}),
        ({"host": "0.0.0.0", "token": TOKEN}, Caller(FAR), {Access.OPEN, Access.READ}),
        (
            {"host": "0.0.0.0", "token": TOKEN},
            Caller(NEAR),
            {Access.OPEN, Access.READ, Access.FACTS},
        ),
        ({"host": "0.0.0.0", "token": TOKEN}, Caller(FAR, f"Bearer {TOKEN}"), EVERY),
        ({"host": "0.0.0.0", "token": TOKEN}, Caller(FAR, f"bearer {TOKEN}"), EVERY),
        (
            {"host": "0.0.0.0", "token": TOKEN},
            Caller(FAR, f"Bearer {TOKEN}x"),
            {Access.OPEN, Access.READ},
        ),
        ({"host": "0.0.0.0", "token": TOKEN}, Caller(FAR, "Bearer "), {Access.OPEN, Access.READ}),
        (
            {"host": "0.0.0.0", "token": TOKEN},
            Caller(FAR, "Bearer \u00e9\udcff"),
            {Access.OPEN, Access.READ},
        ),
        (
            {"host": "0.0.0.0", "token": TOKEN},
            Caller(FAR, f"Basic {TOKEN}"),
            {Access.OPEN, Access.READ},
        ),
        (
            {"host": "0.0.0.0", "token": TOKEN, "insecure": True},
            Caller(FAR),
            {Access.OPEN, Access.READ},
        ),
        ({"token": TOKEN}, Caller(NEAR), {Access.OPEN, Access.READ, Access.FACTS}),
        ({"host": "0.0.0.0", "insecure": True}, Caller(None), EVERY - {Access.ADMIN}),
    ],
)
def test_the_guard_lets_in_exactly_who_may(tmp_path, settings, caller, allowed):
    watch = guard(tmp_path, **settings)
    assert {access for access in Access if watch.allows(access, caller)} == allowed


def test_a_refusal_says_which_kind_of_key_is_missing(tmp_path):
    with pytest.raises(HttpProblem) as refused:
        guard(tmp_path, token=TOKEN).check(Access.WRITE, Caller(NEAR))
    assert refused.value.status == 401
    assert refused.value.headers == {"WWW-Authenticate": "Bearer"}
    with pytest.raises(HttpProblem) as refused:
        guard(tmp_path, host="0.0.0.0", insecure=True).check(Access.ADMIN, Caller(FAR))
    assert refused.value.status == 403


@pytest.mark.real
def test_with_a_token_writing_and_admin_need_it_and_reading_does_not(tmp_path):
    with NodeInThread(tmp_path, token=TOKEN) as node:
        put = fragment(1)
        path = f"/v1/chunks/{put.key.hex()}"
        key = f"Bearer {TOKEN}"
        refused = node.put(put)
        assert (refused.status, refused.code) == (401, "UNAUTHORIZED")
        assert TOKEN not in refused.body.decode()
        assert node.put(put, Authorization=key).status == 201
        assert node.get(put).body == put.data
        assert node.ask("DELETE", path).status == 401
        assert node.ask("GET", "/v1/admin/limits").status == 401
        assert node.ask("PUT", "/v1/admin/limits", "{}", Authorization=key).status == 200
        assert node.ask("DELETE", path, Authorization=key).status == 204
        assert TOKEN not in repr(node.running.node.config)
        assert TOKEN.encode() not in node.ask("GET", "/metrics").body


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.4", "example.org", "10.0.0.1"])
def test_an_open_address_without_a_token_is_refused_with_a_way_out(tmp_path, host):
    with pytest.raises(ConfigError, match="refusing to listen") as refused:
        NodeConfig(data_dir=tmp_path, host=host)
    assert "--token-file" in refused.value.hint
    assert "--insecure" in refused.value.hint
    NodeConfig(data_dir=tmp_path, host=host, insecure=True)
    NodeConfig(data_dir=tmp_path, host=host, token=TOKEN)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("::ffff:127.0.0.1", True),
        ("127.0.0.1.example.org", False),
        ("::ffff:10.0.0.1", False),
        ("fe80::1%eth0", False),
        ("", False),
    ],
)
def test_loopback_is_told_from_the_rest(host, expected):
    assert is_loopback(host) is expected


def test_a_token_file_that_others_may_read_is_refused(tmp_path):
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    for mode in (0o644, 0o640, 0o604, 0o620):
        file.chmod(mode)
        with pytest.raises(ConfigError, match="other users"):
            read_token(file)
    file.chmod(0o600)
    assert read_token(file) == TOKEN


@pytest.mark.parametrize(
    "content", ["", "short", "\n\n", "sixteen or more \x07 characters", "é" * 20]
)
def test_a_token_that_is_none_is_refused(tmp_path, content):
    file = tmp_path / "token"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(ConfigError):
        read_token(file)


def test_a_node_without_the_c_parser_does_not_start(monkeypatch):
    require_c_parser()
    monkeypatch.setattr(http_server, "HttpRequestParser", HttpRequestParserPy)
    with pytest.raises(ConfigError, match="C parser"):
        require_c_parser()


def test_a_peer_may_have_so_many_connections_and_loopback_more():
    async def scenario():
        limits = NodeLimits(connections_max=8, connections_per_peer_max=2)
        server = NodeServer(None, limits, NodeMetrics())
        far = [object() for _ in range(4)]
        assert [server.admit(each, FAR) for each in far] == [True, True, False, False]
        server.dismiss(far[3], FAR)
        assert not server.admit(far[3], FAR)
        server.dismiss(far[0], FAR)
        assert server.admit(far[3], FAR)
        near = [object() for _ in range(10)]
        assert [server.admit(each, NEAR) for each in near] == [True] * 6 + [False] * 4
        assert server.open_connections == 8

    asyncio.run(scenario())


def test_strangers_hear_only_how_well_the_node_is(tmp_path):
    async def scenario():
        async with running_node(NodeConfig(data_dir=tmp_path, capacity_bytes=1 << 24)) as running:
            reports = ReportHandlers(running.node, Guard(running.node.config))
            near = await reports.health(Caller(NEAR))
            far = await reports.health(Caller(FAR))
            return json.loads(near.body), json.loads(far.body)

    near, far = asyncio.run(scenario())
    assert near["free_bytes"] > 0
    assert far == {"status": "ok"}
