"""An answer is read the same however it is cut; what is no answer is refused."""

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smart_client.transport.answer_head import HEAD_BYTES_MAX
from smart_client.transport.incoming_answer import RECEIVE_BYTES_MAX, IncomingAnswer
from support.raw_http_server import partial


class Place:
    """A landing of so many bytes."""

    def __init__(self, size):
        self.buffer = bytearray(size)
        self.count = 0

    def room(self):
        return memoryview(self.buffer)[self.count :]

    def landed(self, count):
        self.count += count


def feed(answer, data, cuts=()):
    """Hand bytes over as a socket would: as much as there is room, and not over a cut."""
    bounds = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    position = 0
    for bound in bounds:
        while position < bound:
            room = answer.room()
            assert 0 < len(room) <= RECEIVE_BYTES_MAX
            count = min(len(room), bound - position)
            room[:count] = data[position : position + count]
            answer.received(count)
            position += count
    return answer


def body_of(answer):
    blocks = []
    while answer.blocks:
        blocks.append(bytes(answer.take_block()))
    assert answer.waiting_bytes == 0
    return b"".join(blocks)


cuts_of_bytes = st.lists(st.integers(0, 400), max_size=12)


@given(st.binary(max_size=300), cuts_of_bytes)
def test_however_an_answer_is_cut_it_is_the_same(body, cuts):
    answer = feed(IncomingAnswer("GET"), partial(body, b"X-A: 1"), cuts)
    assert answer.is_whole
    assert answer.can_be_followed
    assert answer.head.status == 206
    assert answer.head.reason == b"Partial Content"
    assert (b"X-A", b"1") in answer.head.headers
    assert body_of(answer) == body


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=5), cuts_of_bytes)
def test_however_a_chunked_answer_is_cut_it_is_the_same(parts, cuts):
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = feed(IncomingAnswer("GET"), head + chunks + b"0\r\n\r\n", cuts)
    assert answer.can_be_followed
    assert body_of(answer) == b"".join(parts)


@given(st.binary(max_size=300), st.integers(0, 400), cuts_of_bytes)
def test_a_body_lands_where_there_is_room_and_the_rest_comes_elsewhere(body, room, cuts):
    place = Place(room)
    answer = feed(IncomingAnswer("GET", place), partial(body), cuts)
    landed = min(room, len(body))
    assert place.count == landed
    assert place.buffer[:landed] == body[:landed]
    assert not any(place.buffer[landed:])
    assert body_of(answer) == body


@given(st.binary(min_size=1, max_size=300), cuts_of_bytes)
def test_only_the_bytes_that_were_asked_for_land(body, cuts):
    place = Place(400)
    refusal = partial(body).replace(b"206 Partial Content", b"404 Not Found")
    assert body_of(feed(IncomingAnswer("GET", place), refusal, cuts)) == body
    assert place.count == 0
    assert not any(place.buffer)


@given(st.binary(min_size=1, max_size=80), st.binary(max_size=80), cuts_of_bytes)
def test_bytes_behind_the_end_are_noticed_and_never_part_of_the_body(extra, body, cuts):
    for whole in (
        partial(body),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ):
        answer = feed(IncomingAnswer("GET"), whole + extra, cuts)
        assert answer.is_whole
        assert not answer.can_be_followed
        assert body_of(answer) == (body if b"206" in whole[:20] else b"hello")


@given(st.binary(max_size=200), cuts_of_bytes)
@example(b"HTTP/1.1 200 OK\n\n", [])
@example(b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", [])
def test_anything_at_all_is_an_answer_or_an_error(garbage, cuts):
    for head in (
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ):
        answer = IncomingAnswer("GET")
        try:
            feed(answer, head + garbage, cuts)
            answer.ended()
        except httpx.RemoteProtocolError:
            continue
        assert answer.is_whole
        assert answer.head.status >= 200


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 5\n\n",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n folded: 2\r\nContent-Length : 5\r\n\r\n",
        b"HTTP/3.0 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/0.9 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_a_head_that_can_be_read_in_two_ways_is_refused(head):
    answer = IncomingAnswer("GET")
    with pytest.raises(httpx.RemoteProtocolError):
        feed(answer, head + b"hello")


def test_interim_answers_count_against_the_length_of_a_head():
    interim = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    answer = IncomingAnswer("GET")
    with pytest.raises(httpx.RemoteProtocolError):
        feed(answer, interim * (HEAD_BYTES_MAX // len(interim) + 1))


@pytest.mark.parametrize("fill", [-1, 0, 1])
def test_a_head_may_be_64_kib_long_and_not_a_byte_more(fill):
    start, end = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ", b"\r\n\r\n"
    head = start + b"y" * (HEAD_BYTES_MAX - len(start) - len(end) + fill) + end
    if fill <= 0:
        assert feed(IncomingAnswer("GET"), head).is_whole
        return
    with pytest.raises(httpx.RemoteProtocolError):
        feed(IncomingAnswer("GET"), head)


def test_chunks_of_hardly_anything_are_refused():
    flood = b"1;" + b"x" * 1000 + b"\r\na\r\n"
    answer = feed(IncomingAnswer("GET"), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(httpx.RemoteProtocolError):
        feed(answer, flood * 100)
    trailer = b"0\r\n" + b"X: y\r\n" * 20_000
    answer = feed(IncomingAnswer("GET"), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    with pytest.raises(httpx.RemoteProtocolError):
        feed(answer, trailer)
