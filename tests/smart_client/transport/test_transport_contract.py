"""One contract for every httpx transport that may carry data: stock httpx's, and ours."""

import asyncio

import pytest

from support.both_transports import outcome, served
from support.raw_http_server import partial, saying

pytestmark = pytest.mark.real

BODY = bytes(range(256)) * 300


@pytest.mark.parametrize("size", [0, 1, 100, 16_384, 70_000, 3_000_000])
def test_a_body_of_any_length_arrives_whole(make_client, size):
    body = (BODY * 40)[:size]

    async def use(client, _):
        return await outcome(client)

    assert served(make_client, saying(partial(body)), use) == (206, body)


def test_an_answer_in_small_pieces_is_the_same_answer(make_client):
    answer = partial(BODY[:500], b"X-Long: " + b"y" * 3000)

    async def use(client, _):
        return await outcome(client)

    pieces = [answer[i : i + 7] for i in range(0, len(answer), 7)]
    assert served(make_client, saying(*pieces), use) == (206, BODY[:500])


def test_a_connection_serves_the_next_request_after_a_whole_body(make_client):
    async def use(client, server):
        got = [await outcome(client) for _ in range(5)]
        return got, len(server.visits)

    got, connections = served(make_client, saying(partial(BODY), closes=False), use)
    assert got == [(206, BODY)] * 5
    assert connections == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_a_connection_that_is_to_be_closed_is_not_used_again(make_client, head):
    async def use(client, server):
        got = [await outcome(client) for _ in range(2)]
        return got, [len(visit.heads) for visit in server.visits]

    got, requests = served(make_client, saying(head + b"hello", closes=False), use)
    assert got == [(200, b"hello")] * 2
    assert requests == [1, 1]


def test_a_connection_that_the_server_closed_meanwhile_is_not_used_again(make_client):
    async def use(client, server):
        got = [await outcome(client)]
        async with asyncio.timeout(10):
            while server.open_now:
                await asyncio.sleep(0.005)
        return [*got, await outcome(client)], len(server.visits)

    assert served(make_client, saying(partial(b"x")), use) == ([(206, b"x")] * 2, 2)


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1000\r\n\r\n"),
    ],
)
def test_answers_without_a_body_end_with_their_head(make_client, method, head):
    async def use(client, server):
        got = [await outcome(client, method) for _ in range(2)]
        return got, len(server.visits)

    status = int(head.split()[1])
    assert served(make_client, saying(head, closes=False), use) == ([(status, b"")] * 2, 1)


def test_interim_answers_are_passed_over(make_client):
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"

    async def use(client, _):
        return [await outcome(client) for _ in range(2)]

    script = saying(interim + partial(b"abc"), closes=False)
    assert served(make_client, script, use) == [(206, b"abc")] * 2


def test_a_chunked_body_is_put_together(make_client):
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
    body = b"5\r\nhello\r\n10;x=y\r\n, this is a test\r\n0\r\nTrailer: 1\r\n\r\n"

    async def use(client, server):
        got = [await outcome(client) for _ in range(2)]
        return got, len(server.visits)

    whole = saying(head + body, closes=False)
    assert served(make_client, whole, use) == ([(200, b"hello, this is a test")] * 2, 1)
    pieces = saying(head, *[body[i : i + 1] for i in range(len(body))], closes=False)
    assert served(make_client, pieces, use) == ([(200, b"hello, this is a test")] * 2, 1)


def test_a_body_without_a_length_ends_with_the_connection(make_client):
    async def use(client, server):
        return [await outcome(client) for _ in range(2)], len(server.visits)

    script = saying(b"HTTP/1.1 200 OK\r\n\r\n", BODY)
    assert served(make_client, script, use) == ([(200, BODY)] * 2, 2)


def test_an_upload_arrives_whole_and_in_order(make_client):
    taken = []

    async def script(visit):
        head = await visit.request()
        assert b"transfer-encoding" not in head.lower()
        taken.append(await visit.reader.readexactly(len(BODY) * 20))
        await visit.say(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok")

    async def parts():
        for start in range(0, len(BODY) * 20, 50_000):
            yield (BODY * 20)[start : start + 50_000]

    async def use(client, _):
        headers = {"Content-Length": str(len(BODY) * 20)}
        return await outcome(client, "PUT", content=parts(), headers=headers)

    assert served(make_client, script, use) == (201, b"ok")
    assert taken == [BODY * 20]


def test_an_upload_that_is_refused_early_ends_with_the_refusal(make_client):
    async def script(visit):
        await visit.request()
        await visit.say(
            b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!"
        )
        while await visit.reader.read(65536):
            pass  # as nodes do: closing at once would destroy the answer

    async def parts():
        for _ in range(50):
            yield bytes(100_000)

    async def use(client, _):
        headers = {"Content-Length": "5000000"}
        return await outcome(client, "PUT", content=parts(), headers=headers)

    assert served(make_client, script, use) == (413, b"no!")


def test_no_more_connections_than_allowed_are_open_at_once(make_client):
    async def use(client, server):
        got = await asyncio.gather(*(outcome(client) for _ in range(12)))
        return got, server.open_max

    script = saying(partial(BODY), closes=False)
    assert served(make_client, script, use, connections=2) == ([(206, BODY)] * 12, 2)


def test_each_new_connection_reports_its_connect_once(make_client):
    names = []

    async def trace(name, _):
        if name.startswith("connection.connect_tcp"):
            names.append(name.rsplit(".", 1)[1])

    async def use(client, _):
        for _ in range(3):
            await client.get("/", extensions={"trace": trace})

    served(make_client, saying(partial(b"x"), closes=False), use)
    assert names == ["started", "complete"]


def test_a_name_whose_first_address_refuses_is_reached_by_the_next(make_client):
    async def use(client, server):
        return await outcome(client, path=f"http://localhost:{server.port}/x")

    assert served(make_client, saying(partial(b"x")), use) == (206, b"x")


# -- leaving early ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["close", "cancel"])
def test_who_leaves_early_drops_the_connection_and_can_ask_again(make_client, way):
    gone = []

    async def script(visit):
        await visit.request()
        if visit.number:
            await visit.say(partial(b"again"))
            return
        await visit.say(partial(bytes(10_000_000))[:100_000])
        gone.append(await visit.reader.read(1))

    async def leave_early(client):
        async with client.stream("GET", "/") as response:
            async for _ in response.aiter_raw():
                if way == "close":
                    return
                task = asyncio.current_task()
                asyncio.get_running_loop().call_soon(task.cancel)

    async def use(client, _):
        task = asyncio.create_task(leave_early(client))
        await asyncio.wait([task])
        assert task.cancelled() == (way == "cancel")
        return await outcome(client)

    assert served(make_client, script, use, connections=1) == (206, b"again")
    assert gone in ([b""], [])  # an end, or a reset
