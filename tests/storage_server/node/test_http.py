"""The node's HTTP interface on real sockets: what it answers, and what it refuses."""

import json
import socket
import time
from urllib.parse import quote

import pytest

from storage_server.node.superblock_format import FRAGMENT_BYTES_MAX
from support.fragments import fragment, fragments
from support.node_in_thread import NodeInThread, raw_put, read_answer, status_of, wait_until

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with NodeInThread(tmp_path_factory.mktemp("node"), node_id="box-1", zone="attic") as node:
        yield node


STORED = fragment(1, 1_000_000)


@pytest.fixture(scope="module")
def stored(node):
    assert node.put(STORED).status == 201
    return STORED


def test_a_fragment_is_stored_once_read_and_removed(node):
    put = fragment(2, 5000)
    assert node.put(put).status == 201
    again = node.put(put)
    assert again.status == 200
    assert again.json == {"key": put.key.hex(), "size": 5000}
    answer = node.get(put)
    assert answer.status == 200
    assert answer.body == put.data
    assert node.ask("DELETE", f"/v1/chunks/{put.key.hex()}").status == 204
    assert node.get(put).code == "NOT_FOUND"
    gone = node.ask("DELETE", f"/v1/chunks/{put.key.hex()}")
    assert (gone.status, gone.code) == (404, "NOT_FOUND")


def test_the_largest_fragment_is_stored_and_read(node):
    put = fragment(3, FRAGMENT_BYTES_MAX)
    assert node.put(put).status == 201
    assert node.get(put).body == put.data


def test_an_answer_says_that_it_never_changes(node, stored):
    answer = node.get(stored)
    assert answer.headers["ETag"] == f'"{stored.key.hex()}"'
    assert "immutable" in answer.headers["Cache-Control"]
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Server"] == "evenflow-node"
    assert answer.headers["Content-Length"] == "1000000"


def test_head_says_what_get_would_send(node, stored):
    path = f"/v1/chunks/{stored.key.hex()}"
    for headers in ({}, {"Range": "bytes=5-9"}, {"If_None_Match": "*"}):
        head, get = node.ask("HEAD", path, **headers), node.ask("GET", path, **headers)
        assert head.status == get.status
        assert head.body == b""
        same = ("ETag", "Content-Length", "Content-Range", "Accept-Ranges", "Server")
        for name in same:
            assert head.headers.get(name) == get.headers.get(name)


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-999999", 0, 1_000_000),
        ("bytes=999999-", 999_999, 1_000_000),
        ("bytes=500000-", 500_000, 1_000_000),
        ("bytes=-1", 999_999, 1_000_000),
        ("bytes=-5000000", 0, 1_000_000),
        ("bytes=262143-262145", 262_143, 262_146),
        ("bytes=10-18446744073709551616", 10, 1_000_000),
        ("BYTES=1-2", 1, 3),
    ],
)
def test_one_range_is_sent_alone(node, stored, wanted, start, stop):
    answer = node.get(stored, Range=wanted)
    assert answer.status == 206
    assert answer.body == stored.data[start:stop]
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/1000000"


@pytest.mark.parametrize(
    "wanted",
    [
        "bytes=1000000-",
        "bytes=5-2",
        "bytes=-0",
        "bytes=-",
        "bytes=0-1,4-5",
        "bytes=a-b",
        "bytes=--5",
        "bytes=-5-",
        "bytes=1-2-3",
        "bytes=",
        "bytes=0x1-2",
        "bytes=1e3-",
        "bytes=" + "9" * 500 + "-",
        "bytes=" + ",".join(["0-0"] * 100),
        "bytes=\u0663-\u0665".encode().decode("latin-1"),
    ],
)
def test_a_range_that_cannot_be_sent_is_416(node, stored, wanted):
    answer = node.get(stored, Range=wanted)
    assert (answer.status, answer.code) == (416, "RANGE")
    assert answer.headers["Content-Range"] == "bytes */1000000"


def test_an_unknown_unit_is_ignored(node, stored):
    assert node.get(stored, Range="lines=1-2").status == 200


def test_a_range_of_something_else_gives_the_whole(node, stored):
    assert node.get(stored, Range="bytes=1-2", If_Range='"other"').status == 200
    etag = f'"{stored.key.hex()}"'
    assert node.get(stored, Range="bytes=1-2", If_Range=etag).status == 206


def test_who_has_the_fragment_gets_304(node, stored):
    etag = f'"{stored.key.hex()}"'
    for header in (etag, f"W/{etag}", f'"a", {etag}', "*"):
        answer = node.get(stored, If_None_Match=header)
        assert (answer.status, answer.body) == (304, b"")
        assert answer.headers["ETag"] == etag
    assert node.get(stored, If_None_Match='"a", "b"').status == 200


HEX = "ab" * 32


@pytest.mark.parametrize(
    "name",
    [
        HEX.upper(),
        HEX[:-1],
        HEX + "0",
        "",
        "..",
        "../../etc/passwd",
        "%2e%2e%2fnode.json",
        "%252e%252e",
        HEX[:-2] + "%00",
        HEX + "/",
        "/" + HEX,
        HEX + "%3Fx=1",
        HEX + "?x=1",
        HEX[:-1] + "\\",
        HEX[:-1] + "%",
        "0x" + HEX[2:],
        HEX[:-6] + "%61%62%63",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_what_is_no_key_is_refused(node, name, method):
    body = b"x" if method == "PUT" else None
    answer = node.ask(method, f"/v1/chunks/{name}", body)
    assert answer.status == 400
    assert method == "HEAD" or answer.code == "BAD_KEY"


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/chunks", "/v2/chunks/" + HEX, "/PING", "/ping/", "//ping", "/a%00"]
)
def test_an_unknown_route_is_404(node, path):
    answer = node.ask("GET", path)
    assert (answer.status, answer.code) == (404, "NO_ROUTE")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/chunks/" + HEX), ("PUT", "/ping"), ("GET", "/v1/have"), ("PATCH", "/ping")],
)
def test_a_wrong_method_is_405_and_hears_the_right_one(node, method, path):
    answer = node.ask(method, path)
    assert (answer.status, answer.code) == (405, "METHOD")
    assert answer.headers["Allow"]


def test_bytes_under_another_key_are_422_and_not_stored(node):
    put = fragment(4)
    answer = node.ask("PUT", f"/v1/chunks/{put.key.hex()}", b"other bytes")
    assert (answer.status, answer.code) == (422, "HASH_MISMATCH")
    assert node.get(put).status == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([b"X: no length"], 411),
        ([b"Transfer-Encoding: chunked"], 411),
        ([b"Transfer-Encoding: identity, chunked"], 411),
        ([b"Content-Length: 4259841"], 413),
        ([b"Content-Length: 99999999999"], 413),
        ([b"Content-Length: 0"], 400),
        ([b"Content-Length: 100", b"Content-Encoding: gzip"], 415),
        ([b"Content-Length: -1"], 400),
        ([b"Content-Length: +100"], 400),
        ([b"Content-Length: 1_0"], 400),
        ([b"Content-Length: 100", b"Content-Length: 100"], 400),
        ([b"Content-Length: 100", b"Content-Length: 99"], 400),
        ([b"Content-Length: 100", b"Transfer-Encoding: chunked"], 400),
        ([b"Content-Length: 99999999999999999999999"], 400),
    ],
)
def test_a_body_is_refused_before_it_is_read(node, headers, status):
    put = fragment(5)
    answer = node.send_raw(raw_put(put, *headers, body=b""))
    assert status_of(answer) == status
    assert node.get(put).status == 404


def test_a_refused_endless_body_does_not_keep_the_connection(node):
    put = fragment(5)
    with node.connect() as connection:
        connection.sendall(raw_put(put, b"Content-Length: 99999999999", body=b""))
        head, _ = read_answer(connection)
        assert status_of(head) == 413
        assert b"connection: close" in head.lower()
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            send_for_ever(connection)


def send_for_ever(connection):
    deadline_s = time.monotonic() + 15
    while time.monotonic() < deadline_s:
        connection.sendall(bytes(65536))


def test_a_client_that_asks_first_is_told_to_go_on_or_not(node):
    put = fragment(6, 50_000)
    with node.connect() as connection:
        connection.sendall(
            raw_put(put, b"Content-Length: 50000", b"Expect: 100-continue", body=b"")
        )
        head, _ = read_answer(connection)
        assert status_of(head) == 100
        connection.sendall(put.data)
        assert status_of(read_answer(connection)[0]) == 201
    with node.connect() as connection:
        connection.sendall(
            raw_put(put, b"Content-Length: 5000000", b"Expect: 100-continue", body=b"")
        )
        assert status_of(read_answer(connection)[0]) == 413


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /ping HTTP/1.1\nHost: x\n\n",
        b"GET /ping HTTP/1.1\r\n Host: x\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
        b"GET /ping HTTP/9.9\r\nHost: x\r\n\r\n",
        b"G\x00T /ping HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /p\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: x\r\n" + (b"A: " + b"d" * 4200 + b"\r\n") * 2 + b"\r\n",
    ],
)
def test_what_is_not_http_is_refused_and_not_repeated(node, request_bytes):
    answer = node.send_raw(request_bytes)
    assert status_of(answer) in (400, 431)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Server: evenflow-node" in head
    assert json.loads(body)["error"]["code"] in ("BAD_REQUEST", "HEADER_TOO_LARGE")


def test_two_requests_in_one_packet_get_two_answers_in_order(node, stored):
    path = b"/v1/chunks/%s" % stored.key.hex().encode()
    with node.connect() as connection:
        for span in (b"0-9", b"10-19"):
            connection.sendall(
                b"GET %s HTTP/1.1\r\nHost: x\r\nRange: bytes=%s\r\n\r\n" % (path, span)
            )
        assert read_answer(connection)[1] == stored.data[:10]
        assert read_answer(connection)[1] == stored.data[10:20]


def test_a_peer_that_leaves_at_any_byte_of_its_request_does_no_harm(node):
    put = fragment(7, 300)
    whole = raw_put(put, b"Content-Length: 300")
    for cut in range(0, len(whole), 7):
        with node.connect() as connection:
            connection.sendall(whole[:cut])
    assert node.get(put).status == 404
    assert node.put(put).status == 201


def test_a_peer_that_leaves_while_it_is_sent_a_fragment_does_no_harm(node, stored):
    path = b"/v1/chunks/%s" % stored.key.hex().encode()
    for _ in range(10):
        with node.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % path)
            connection.recv(1000)
    assert node.get(stored).body == stored.data
    wait_until(lambda: node.running.node.load == 0)


def test_ping_is_tiny_and_tells_name_load_and_room(node):
    answer = node.ask("GET", "/ping")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["X-Evenflow-Node"] == "box-1"
    assert answer.headers["X-Evenflow-Load"] == "0"
    assert int(answer.headers["X-Evenflow-Free-Bytes"]) > 0


def test_health_tells_how_the_node_is(node, stored):
    health = node.ask("GET", "/healthz").json
    assert health["status"] == "ok"
    assert (health["node"], health["zone"]) == ("box-1", "attic")
    assert health["fragments"] >= 1
    assert health["capacity_bytes"] == 1 << 28
    assert health["used_bytes"] + health["free_bytes"] <= 1 << 28
    assert health["uptime_s"] >= 0
    assert node.ask("GET", "/readyz").json == {"ready": True}


def test_have_names_what_is_stored_with_its_size(node, stored):
    missing = fragment(8).key.hex()
    body = json.dumps({"keys": [missing, stored.key.hex()]})
    assert node.ask("POST", "/v1/have", body).json == {"have": {stored.key.hex(): 1_000_000}}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        (b'{"keys": 3}', 400),
        (b'{"keys": [3]}', 400),
        (b'{"keys": ["AB"]}', 400),
        (b"[" * 100_000, 400),
        (b"\xff\xfe", 400),
        (json.dumps({"keys": [HEX] * 4097}).encode(), 413),
        (b" " * 600_000, 413),
    ],
)
def test_a_bad_question_is_refused(node, body, status):
    assert node.ask("POST", "/v1/have", body).status == status


def test_keys_are_listed_page_by_page(tmp_path):
    with NodeInThread(tmp_path) as node:
        puts = sorted(fragments(7), key=lambda put: put.key)
        for put in puts:
            node.put(put)
        listed, after = [], ""
        while after is not None:
            page = node.ask("GET", f"/v1/list?limit=3&after={after}").json
            listed += page["keys"]
            after = page["next"]
        assert listed == [{"key": put.key.hex(), "size": 100} for put in puts]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=10001", "limit=x", "limit=-1", "after=zz", "limit=²"]
)
def test_a_bad_page_is_refused(node, query):
    assert node.ask("GET", f"/v1/list?{quote(query, safe='=')}").status == 400


def test_metrics_count_requests_bytes_and_commits(node, stored):
    text = node.ask("GET", "/metrics").body.decode()
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    put = 'evenflow_node_requests_total{method="PUT",route="/v1/chunks/{key}",status="201"}'
    assert int(samples[put]) >= 1
    assert int(samples["evenflow_node_received_bytes_total"]) >= 1_000_000
    assert int(samples["evenflow_node_put_seconds_count"]) >= 1
    assert (
        samples['evenflow_node_commit_writes_bucket{le="+Inf"}']
        == (samples["evenflow_node_commit_writes_count"])
    )
    assert int(samples["evenflow_node_live_bytes"]) >= 1_000_000
