"""Which bytes are taken for a plain request: only what the strict parser reads as just that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage_server.node.plain_heads import parse_plain_get, parse_plain_put
from support.fragments import fragment
from support.parser_targets import TARGETS, try_one

PLAIN = [target for target in TARGETS if target.name in ("plain-read", "plain-put")]
KEY = fragment(1, 5000).key.hex().encode()

KNOWN = (
    b"Host: x",
    b"Accept: */*",
    b"Accept-Encoding: gzip",
    b"User-Agent: x",
    b"Connection: keep-alive",
)

# Between them every way to write a read, right and nearly right.
LINES = (
    b"Host: a.b:80",
    b"host: [::1]:7",
    b"Host: ",
    b"Accept: */*",
    b"Accept-Encoding: gzip, deflate",
    b"User-Agent: \xe4",
    b"user-agent: x: y",
    b"Connection: keep-alive",
    b"Connection: close",
    b"Range: bytes=0-9",
    b"Range: bytes=5-",
    b"Range: bytes=-5",
    b"range: bytes=9-0",
    b"Range:  bytes=0-0",
    b"Range: bytes=0-1,3-4",
    b'If-Range: "x"',
    b"Content-Length: 5",
    b"content-length: 16777216",
    b"Content-Length: 05",
    b"Content-Length: +5",
    b"Content-Length: 5, 5",
    b"Authorization: Bearer abc",
    b"Authorization: Basic abc",
    b"Origin: http://x",
    b"Expect: 100-continue",
    b"Content-Encoding: gzip",
    b"Transfer-Encoding: chunked",
    b"Upgrade: websocket",
    b" folded",
    b"Accept : x",
    b"X-Other: 1",
    b"",
)
FIRST_LINES = (
    b"GET /v1/chunks/%s HTTP/1.1" % KEY,
    b"GET /v1/chunks/%s HTTP/1.0" % KEY,
    b"GET /v1/chunks/%s?x HTTP/1.1" % KEY,
    b"GET  /v1/chunks/%s HTTP/1.1" % KEY,
    b"HEAD /v1/chunks/%s HTTP/1.1" % KEY,
    b"get /v1/chunks/%s HTTP/1.1" % KEY,
    b"PUT /v1/chunks/%s HTTP/1.1" % KEY,
    b"GET /ping HTTP/1.1",
)


requests = st.builds(
    lambda first, lines, end: b"\r\n".join((first, *lines)) + end,
    st.sampled_from(FIRST_LINES),
    st.lists(st.sampled_from(LINES), max_size=6),
    st.sampled_from(
        (b"\r\n\r\n", b"\r\n", b"\n\n", b"\r\n\r\nx", b"\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    ),
)
mutated = st.builds(
    lambda data, place, byte: data[: place % len(data)] + byte + data[place % len(data) + 1 :],
    requests,
    st.integers(0, 10_000),
    st.binary(max_size=2),
)


@given(st.one_of(requests, mutated))
def test_what_is_taken_for_a_request_is_just_that_one_to_the_strict_parser(data):
    for target in PLAIN:
        try_one(target, data, "hypothesis")


@pytest.mark.parametrize(
    "line",
    [*KNOWN, b"Range: bytes=0-9"],
    ids=bytes.decode,
)
def test_a_header_given_twice_is_for_the_strict_parser(line):
    first, host = b"GET /v1/chunks/%s HTTP/1.1" % KEY, b"Host: y"
    lines = [first, line] if line.startswith(b"Host") else [first, host, line]
    assert parse_plain_get(b"\r\n".join([*lines, b"", b""])) is not None
    twice = line.swapcase() if not line.startswith((b"Range", b"Connection")) else line
    assert parse_plain_get(b"\r\n".join([*lines, twice, b"", b""])) is None


@pytest.mark.parametrize(
    "line",
    [*KNOWN, b"Authorization: Bearer x", b"Content-Length: 9"],
    ids=bytes.decode,
)
def test_an_upload_with_a_header_given_twice_is_for_the_strict_parser(line):
    lines = [b"Host: x", b"Authorization: Bearer x", b"Content-Length: 9"]
    lines = [b"PUT /v1/chunks/%s HTTP/1.1" % KEY, *lines, *([] if line in lines else [line])]
    assert parse_plain_put(b"\r\n".join([*lines, b"", b""])) is not None
    assert parse_plain_put(b"\r\n".join([*lines, line, b"", b""])) is None


@pytest.mark.parametrize("missing", [b"Host: x", b"Content-Length: 9"], ids=bytes.decode)
def test_an_upload_without_a_host_or_a_length_is_for_the_strict_parser(missing):
    lines = [line for line in (b"Host: x", b"Content-Length: 9") if line != missing]
    first = b"PUT /v1/chunks/%s HTTP/1.1" % KEY
    assert parse_plain_put(b"\r\n".join([first, *lines, b"", b""])) is None


def test_a_head_that_is_not_whole_yet_is_for_the_strict_parser():
    data = b"PUT /v1/chunks/%s HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n" % KEY
    assert parse_plain_put(data) is not None
    assert not any(parse_plain_put(data[:stop]) for stop in range(len(data)))
    long = data[:-2] + b"User-Agent: " + b"x" * 2048 + b"\r\n\r\n"
    assert parse_plain_put(long) is None
