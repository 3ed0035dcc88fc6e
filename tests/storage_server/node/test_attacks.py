"""Requests made to confuse, exhaust or deceive: refused, or answered once and harmlessly."""

import http.client
import json
import re
import time

import pytest

from support.fragments import fragment
from support.node_in_thread import NodeInThread, raw_put, read_all, status_of
from support.node_process import NodeProcess

pytestmark = pytest.mark.real

PUT = fragment(1, 100)
KEY = PUT.key.hex().encode()
SECOND = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with NodeInThread(tmp_path_factory.mktemp("node"), limits={"keepalive_s": 0.4}) as node:
        node.put(fragment(2, 1000))
        yield node


def put(*lines, body=b""):
    head = [b"PUT /v1/chunks/%s HTTP/1.1" % KEY, b"Host: x", *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


def get(*lines, path=b"/ping", version=b"HTTP/1.1", method=b"GET"):
    return b"\r\n".join([b"%s %s %s" % (method, path, version), *lines]) + b"\r\n\r\n"


HOST = b"Host: x"
CHUNKED = b"Transfer-Encoding: chunked"
LENGTH = b"Content-Length: 100"

# One name for each way to be wrong. All must be refused before anything is stored.
REFUSED = {
    "length and chunked": put(LENGTH, CHUNKED, body=b"0\r\n\r\n" + SECOND),
    "chunked and length": put(CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n" + SECOND),
    "two equal lengths": put(LENGTH, LENGTH, body=PUT.data),
    "two lengths": put(LENGTH, b"Content-Length: 0", body=PUT.data),
    "a list of lengths": put(b"Content-Length: 100, 100", body=PUT.data),
    "a length with a plus": put(b"Content-Length: +100", body=PUT.data),
    "a negative length": put(b"Content-Length: -100", body=PUT.data),
    "a length with underscores": put(b"Content-Length: 1_00", body=PUT.data),
    "a hexadecimal length": put(b"Content-Length: 0x64", body=PUT.data),
    "a length with a space": put(b"Content-Length: 10 0", body=PUT.data),
    "an empty length": put(b"Content-Length:", body=PUT.data),
    "a length of many digits": put(b"Content-Length: " + b"9" * 40, body=PUT.data),
    "a length in other digits": put("Content-Length: ١٠٠".encode(), body=PUT.data),
    "an unknown coding": put(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SECOND),
    "chunked twice": put(CHUNKED, CHUNKED, body=b"0\r\n\r\n" + SECOND),
    "identity, chunked": put(b"Transfer-Encoding: identity, chunked", body=b"0\r\n\r\n" + SECOND),
    "chunked, identity": put(b"Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + SECOND),
    "space before the colon": put(b"Transfer-Encoding : chunked", LENGTH, body=PUT.data),
    "a coding behind a tab": put(b"Transfer-Encoding:\x0bchunked", LENGTH, body=PUT.data),
    "chunked": put(CHUNKED, body=b"64\r\n" + PUT.data + b"\r\n0\r\n\r\n"),
    "chunks of a wrong size": put(CHUNKED, body=b"xyz\r\n" + PUT.data),
    "chunks of a negative size": put(CHUNKED, body=b"-1\r\n" + PUT.data),
    "chunks of a huge size": put(CHUNKED, body=b"f" * 30 + b"\r\n" + PUT.data),
    "no length": put(body=PUT.data),
    "bare line feeds": get(HOST).replace(b"\r\n", b"\n"),
    "a bare line feed among others": b"GET /ping HTTP/1.1\r\nHost: x\nA: b\r\n\r\n",
    "bare carriage returns": b"GET /ping HTTP/1.1\rHost: x\r\r",
    "a folded header": get(HOST, b"A: b", b" c"),
    "a folded first header": get(b" Host: x"),
    "a header without a colon": get(HOST, b"Nothing"),
    "a header without a name": get(HOST, b": value"),
    "a space in a header's name": get(HOST, b"A B: c"),
    "a zero byte in a header": get(HOST, b"A: b\x00c"),
    "a zero byte in the method": get(HOST, method=b"G\x00T"),
    "a method of other letters": get(HOST, method="GÉT".encode()),
    "a method that is no token": get(HOST, method=b"GE(T"),
    "an unknown method": get(HOST, method=b"BREW"),
    "an unknown version": get(HOST, version=b"HTTP/9.9"),
    "a version without a dot": get(HOST, version=b"HTTP/11"),
    "the opening of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no version": b"GET /ping\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes above 127 in the path": get(HOST, path="/pïng".encode()),
    "a control byte in the path": get(HOST, path=b"/ping\x01"),
    "no host": get(),
    "two hosts": get(HOST, b"Host: y"),
    "a tunnel": get(HOST, method=b"CONNECT", path=b"example.org:443"),
    "a star": get(HOST, method=b"OPTIONS", path=b"*"),
    "a header of 64 KiB": get(HOST, b"A: " + b"a" * 65536),
    "two headers of 5 KiB": get(HOST, b"A: " + b"a" * 5000, b"B: " + b"b" * 5000),
    "200 headers": get(HOST, *[b"A: b"] * 200),
    "a path of 9 KiB": get(HOST, path=b"/" + b"a" * 9000),
    "a TLS handshake": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    "binary": bytes(range(256)),
    "empty lines only": b"\r\n" * 2000,
}


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
