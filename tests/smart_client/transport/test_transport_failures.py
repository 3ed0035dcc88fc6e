"""What a server does wrong ends as the same kind of failure on stock httpx's transport and ours."""

import httpx
import pytest

from smart_client.core.events import FailureKind
from support.both_transports import outcome, run, served
from support.raw_http_server import partial, raw_server, saying

pytestmark = pytest.mark.real

OK_10 = b"HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
WRONG = {
    "no answer": ((), FailureKind.RESET),
    "half a head": ((OK_10,), FailureKind.RESET),
    "short body": ((OK_10 + b"\r\n12345",), FailureKind.RESET),
    "no body": ((OK_10 + b"\r\n",), FailureKind.RESET),
    "cut chunk": ((CHUNKED + b"5\r\nhel",), FailureKind.RESET),
    "no last chunk": ((CHUNKED + b"5\r\nhello\r\n",), FailureKind.RESET),
    "bad chunk size": ((CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",), FailureKind.PROTOCOL),
    "endless head": ((OK_10, *[b"X: " + b"y" * 10_000 + b"\r\n"] * 30), FailureKind.PROTOCOL),
    "endless line": ((b"HTTP/1.1 200 " + b"y" * 300_000,), FailureKind.PROTOCOL),
    "garbage": ((b"\x00\x01\x02 garbage\r\n\r\n",), FailureKind.PROTOCOL),
    "SSH": ((b"SSH-2.0-OpenSSH_9.6\r\n\r\n",), FailureKind.PROTOCOL),
    "two lengths": ((OK_10 + b"Content-Length: 11\r\n\r\n12345678901",), FailureKind.PROTOCOL),
    "two in one": ((OK_10.replace(b"10", b"10, 11") + b"\r\n12345678901",), FailureKind.PROTOCOL),
    "negative length": ((OK_10.replace(b"10", b"-1") + b"\r\n",), FailureKind.PROTOCOL),
    "no number": ((OK_10.replace(b"10", b"1e3") + b"\r\n",), FailureKind.PROTOCOL),
    "endless length": ((OK_10.replace(b"10", b"9" * 400) + b"\r\n",), FailureKind.PROTOCOL),
    "unknown coding": (
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: br\r\n\r\n",),
        FailureKind.PROTOCOL,
    ),
    "null in a value": ((OK_10 + b"X: a\x00b\r\n\r\n1234567890",), FailureKind.PROTOCOL),
    "space in a name": ((OK_10 + b"X y: 1\r\n\r\n1234567890",), FailureKind.PROTOCOL),
    "no colon": ((OK_10 + b"Xy\r\n\r\n1234567890",), FailureKind.PROTOCOL),
    "status 99": ((b"HTTP/1.1 99 Low\r\nContent-Length: 0\r\n\r\n",), FailureKind.PROTOCOL),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_answer_fails_in_the_same_way(make_client, name):
    said, kind = WRONG[name]

    async def use(client, _):
        return await outcome(client)

    assert served(make_client, saying(*said), use) == kind


def test_a_reset_in_the_middle_is_a_reset(make_client):
    async def script(visit):
        await visit.request()
        await visit.say(OK_10 + b"\r\n123")
        visit.reader._transport.get_extra_info("socket").setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")
        visit.reset()

    async def use(client, _):
        return await outcome(client)

    assert served(make_client, script, use) == FailureKind.RESET


@pytest.mark.parametrize("said", [b"", OK_10, OK_10 + b"\r\n123"])
def test_silence_ends_by_the_read_timeout(make_client, said):
    async def script(visit):
        await visit.request()
        await visit.say(said)
        await visit.reader.read()

    async def use(client, _):
        return await outcome(client)

    assert served(make_client, script, use, timeout_s=0.2) == FailureKind.SILENT


def test_waiting_for_a_connection_ends_by_the_pool_timeout(make_client):
    async def script(visit):
        await visit.request()
        await visit.say(OK_10 + b"\r\n123")
        await visit.reader.read()

    async def use(client, _):
        timeout = httpx.Timeout(20, pool=0.1)
        async with client.stream("GET", "/"):
            with pytest.raises(httpx.PoolTimeout):
                await client.get("/", timeout=timeout)

    served(make_client, script, use, connections=1)


def test_a_closed_port_is_refused(make_client):
    async def scenario():
        async with raw_server(saying()) as server:
            url = server.url
        async with make_client(url) as client:
            return await outcome(client)

    assert run(scenario()) == FailureKind.REFUSED


def test_a_name_that_is_none_is_unreachable(make_client):
    async def scenario():
        async with make_client() as client:
            return [
                await outcome(client, path=f"http://{name}/") for name in ("x.invalid", "a" * 70)
            ]

    assert run(scenario()) == [FailureKind.UNREACHABLE] * 2


def test_a_server_that_speaks_no_tls_is_unreachable_by_https(make_client):
    async def script(visit):
        await visit.say(b"220 welcome\r\n" * 10)

    async def scenario():
        async with raw_server(script) as server, make_client() as client:
            return await outcome(client, path=f"https://127.0.0.1:{server.port}/")

    assert run(scenario()) == FailureKind.UNREACHABLE


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nX", "a\rX", "a\0b"])
def test_nothing_can_be_slipped_into_a_request(make_client, value):
    async def use(client, server):
        with pytest.raises(httpx.LocalProtocolError):
            await client.get("/", headers={"X-Name": value})
        return [visit.heads for visit in server.visits if visit.heads]

    assert served(make_client, saying(partial(b"x")), use) == []
