"""Requests made to confuse, exhaust or deceive: refused, or answered once and harmlessly."""

import http.client
import json
import re
import time

import pytest

from support.confusing_requests import HOST, LENGTH, REFUSED, get
from support.fragments import fragment
from support.node_in_thread import NodeInThread, raw_put, read_all, status_of
from support.node_process import NodeProcess

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with NodeInThread(tmp_path_factory.mktemp("node"), limits={"keepalive_s": 0.4}) as node:
        node.put(fragment(2, 1000))
        yield node


@pytest.mark.parametrize("request_bytes", REFUSED.values(), ids=REFUSED)
def test_a_confusing_request_is_refused_once_and_nothing_behind_it_is_done(node, request_bytes):
    before = node.running.node.store.facts().fragments
    with node.connect() as connection:
        connection.sendall(request_bytes)
        try:
            answer = read_all(connection)
        except ConnectionResetError:
            answer = b""
    statuses = re.findall(rb"HTTP/1\.1 (\d\d\d)", answer)
    assert len(statuses) <= 1, answer
    assert not statuses or statuses[0] in (b"400", b"404", b"405", b"411", b"413", b"431"), answer
    assert b"smuggled" not in answer
    assert node.running.node.store.facts().fragments == before


@pytest.mark.parametrize(
    "request_bytes",
    [
        get(HOST, version=b"HTTP/1.0"),
        b"GET  /ping HTTP/1.1\r\nHost: x\r\n\r\n",
        get(HOST, path=b"http://elsewhere/ping"),
        get(HOST, b"Connection: close, keep-alive", b"Upgrade: h2c"),
        get(HOST, b"Expect: 100-continue"),
        get(HOST, b"Content-Length: 0"),
    ],
)
def test_an_odd_request_is_answered_once(node, request_bytes):
    with node.connect() as connection:
        connection.sendall(request_bytes)
        answer = read_all(connection)
    statuses = re.findall(rb"HTTP/1\.1 (\d\d\d)|HTTP/1\.0 (\d\d\d)", answer)
    assert len(statuses) == 1
    assert status_of(answer) in (204, 400, 404)


def test_a_body_longer_than_it_says_is_no_second_request(node):
    stored = fragment(3, 100)
    with node.connect() as connection:
        connection.sendall(raw_put(stored, LENGTH) + b"garbage that follows\r\n\r\n")
        answers = read_all(connection)
    # In one packet the parser may refuse both; in two the first is answered.
    statuses = re.findall(rb"HTTP/1\.[01] (\d\d\d)", answers)
    assert statuses in ([b"201", b"400"], [b"400"])


def test_a_body_shorter_than_it_says_stores_nothing(node):
    short = fragment(4, 100)
    with node.connect() as connection:
        connection.sendall(raw_put(short, b"Content-Length: 200"))
    assert node.get(short).status == 404


def drip(connection, data, pause_s, until_s):
    """Send bytes one by one until the peer hangs up; return how long that took."""
    started_s = time.monotonic()
    connection.settimeout(pause_s)
    for byte in data:
        try:
            connection.sendall(bytes([byte]))
            if connection.recv(4096) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
        if time.monotonic() - started_s > until_s:
            break
    return time.monotonic() - started_s


def test_a_head_that_drips_is_given_up(node):
    with node.connect() as connection:
        took_s = drip(connection, get(HOST, b"A: " + b"a" * 2000), 0.05, until_s=8)
    assert took_s < 5


def test_a_body_that_drips_steadily_is_given_up(tmp_path):
    with NodeInThread(tmp_path, limits={"body_timeout_s": 0.4}) as node, node.connect() as slow:
        slow.sendall(raw_put(fragment(5, 2000), b"Content-Length: 2000", body=b""))
        assert drip(slow, fragment(5, 2000).data, 0.05, until_s=8) < 5


def test_no_answer_lets_other_sites_read_it(node):
    for path in ("/ping", "/healthz", "/v1/list", f"/v1/chunks/{fragment(2, 1000).key.hex()}"):
        answer = node.ask("GET", path, Origin="https://evil.example")
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert node.ask("OPTIONS", "/v1/list", Origin="https://evil.example").status == 405


def test_a_web_page_cannot_write_through_its_readers_browser(node):
    origin = "https://evil.example"
    path = f"/v1/chunks/{fragment(2, 1000).key.hex()}"
    assert node.ask("DELETE", path, Origin=origin).status == 403
    assert node.put(fragment(6), Origin=origin).status == 403
    pull = json.dumps({"key": "ab" * 32, "from": ["http://127.0.0.1:1"]})
    assert node.ask("POST", "/v1/pull", pull, Origin=origin).status == 403
    assert node.ask("PUT", "/v1/admin/limits", "{}", Origin=origin).status == 403


def test_a_token_is_never_shown(tmp_path):
    secret = "correct-horse-battery-staple"
    token_file = tmp_path / "token"
    token_file.write_text(secret)
    token_file.chmod(0o600)
    with NodeProcess(tmp_path / "data", "--token-file", str(token_file)) as running:
        said = b""
        for authorization in (f"Bearer {secret}", f"Bearer {secret}x", f"Basic {secret}", None):
            for method, path in (("GET", "/metrics"), ("GET", "/healthz"), ("DELETE", "/nowhere")):
                connection = http.client.HTTPConnection(*running.address, timeout=20)
                headers = {"Authorization": authorization} if authorization else {}
                connection.request(method, path, headers=headers)
                response = connection.getresponse()
                said += str(response.getheaders()).encode() + response.read()
                connection.close()
        _, log = running.stop()
    assert secret not in said.decode() + log
    for path in (tmp_path / "data").iterdir():
        assert secret.encode() not in path.read_bytes()
