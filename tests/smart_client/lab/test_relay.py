"""The front's relay and the switch's eyes, without namespaces: what may be seen when."""

import asyncio
import contextlib
import struct
import time
from typing import ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smart_client.lab.messages import Begin, Finish, Orders
from smart_client.lab.relay import Manners, Relay, garbled, stop_of
from smart_client.lab.script import NodeScript, RateStep, Spell
from smart_client.lab.switch import tcp_payload_bytes
from smart_client.simulator.node_model import ThinkTimes

REQUEST = b"GET /x HTTP/1.1\r\nHost: lab\r\n\r\n"
BODY = bytes(range(256)) * 40
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)
WAIT_S = 10.0


def script(
    *,
    think_s: float = 0.0,
    frozen: tuple[Spell, ...] = (),
    garbling: tuple[Spell, ...] = (),
) -> NodeScript:
    return NodeScript(
        one_way_s=0.01,
        rates=(RateStep(0.0, 1e6),),
        frozen=frozen,
        refusing=(),
        garbling=garbling,
        holds=(),
        think=ThinkTimes(0, 0, floor_s=think_s, mean_s=0.0, tail_share=0.0),
    )


class FakeNode(asyncio.Protocol):
    """The same answer to every request."""

    open: ClassVar[set["FakeNode"]] = set()

    def connection_made(self, transport) -> None:
        self.transport = transport
        self.open.add(self)

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            self.transport.write(HEAD)
            self.transport.write(BODY)

    def connection_lost(self, exc) -> None:
        self.open.discard(self)


@contextlib.asynccontextmanager
async def relayed(manners: Manners):
    server = await asyncio.get_running_loop().create_server(FakeNode, "127.0.0.1", 0)
    relay = Relay("127.0.0.1", 0, server.sockets[0].getsockname()[1])
    relay.manners = manners
    await relay.listen()
    try:
        yield relay
    finally:
        await relay.close()
        server.close()
        while FakeNode.open:
            await asyncio.sleep(0)


async def ask(relay: Relay, times: int = 1) -> tuple[bytes, float]:
    """Return the last answer of one connection, and when its first byte came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
    try:
        for _ in range(times):
            writer.write(REQUEST)
            first = await asyncio.wait_for(reader.readexactly(1), WAIT_S)
            came_s = time.monotonic()
            rest = await asyncio.wait_for(reader.readexactly(len(HEAD + BODY) - 1), WAIT_S)
        return first + rest, came_s
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.real
def test_an_answer_waits_for_its_think_time_and_is_not_changed() -> None:
    async def main() -> None:
        async with relayed(Manners(script(think_s=0.1), time.monotonic())) as relay:
            began_s = time.monotonic()
            body, came_s = await ask(relay, times=3)
            assert body == HEAD + BODY
            assert came_s - began_s >= 0.3 - 0.01
            assert relay.manners.requests == 3
            assert relay.manners.head_bytes == 3 * len(HEAD)

    asyncio.run(main())


@pytest.mark.real
def test_a_frozen_node_takes_connections_and_says_nothing_until_it_thaws() -> None:
    async def main() -> None:
        origin_s = time.monotonic()
        manners = Manners(script(frozen=(Spell(0.0, 0.4),)), origin_s)
        async with relayed(manners) as relay:
            body, came_s = await ask(relay)
            assert body == HEAD + BODY
            assert came_s - origin_s >= 0.4 - 0.01

    asyncio.run(main())


@pytest.mark.real
def test_garbage_has_a_proper_head_and_a_wrong_body_of_the_right_length() -> None:
    async def main() -> None:
        manners = Manners(script(garbling=(Spell(0.0, 60.0),)), time.monotonic())
        async with relayed(manners) as relay:
            got, _ = await ask(relay)
            assert got.startswith(HEAD)
            assert len(got) == len(HEAD + BODY)
            assert got != HEAD + BODY

    asyncio.run(main())


@pytest.mark.real
def test_a_refusing_node_resets_what_runs_and_refuses_what_comes_until_it_is_back() -> None:
    async def main() -> None:
        manners = Manners(script(frozen=(Spell(0.0, 60.0),)), time.monotonic())
        async with relayed(manners) as relay:
            reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
            writer.write(REQUEST)
            while not relay.open:
                await asyncio.sleep(0)
            relay.refuse()
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.readexactly(1), WAIT_S)
            writer.close()
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", relay.port)
            relay.reset(Manners.good())
            await relay.listen()
            assert (await ask(relay))[0] == HEAD + BODY

    asyncio.run(main())


@given(st.binary(max_size=500), st.integers(0, 500))
def test_garbling_spoils_the_body_and_nothing_before_it(data: bytes, body_at: int) -> None:
    spoilt = garbled(data, body_at)
    assert len(spoilt) == len(data)
    assert spoilt[:body_at] == data[:body_at]
    assert (spoilt == data) == (body_at >= len(data))


def test_a_spell_begins_with_its_start_and_is_over_at_its_stop() -> None:
    spells = (Spell(1.0, 2.0), Spell(4.0, 5.0))
    assert [stop_of(spells, at_s) for at_s in (0.9, 1.0, 2.0, 4.5)] == [None, 2.0, None, 5.0]


@given(st.integers(5, 15), st.integers(5, 15), st.integers(0, 1448), st.integers(0, 6))
def test_the_switch_counts_payload_without_headers_and_padding(
    ip_words: int, tcp_words: int, payload: int, padding: int
) -> None:
    total = 4 * ip_words + 4 * tcp_words + payload
    ip = struct.pack(">BBH", 0x40 | ip_words, 0, total) + b"\0" * 5 + b"\x06" + b"\0" * 10
    ip += b"\0" * (4 * ip_words - 20)
    tcp = b"\0" * 12 + bytes([tcp_words << 4]) + b"\0" * 7 + b"\0" * (4 * tcp_words - 20)
    frame = b"\0" * 24 + ip + tcp + b"x" * payload + b"\0" * padding
    assert tcp_payload_bytes(frame) == payload
    assert tcp_payload_bytes(frame[:33] + b"\x11" + frame[34:]) == -1  # UDP


@given(st.binary(max_size=60))
def test_the_switch_survives_whatever_is_on_a_cable(frame: bytes) -> None:
    assert tcp_payload_bytes(frame) >= -1 or len(frame) >= 64


@given(st.lists(st.integers(1, 40), max_size=30))
def test_orders_are_understood_wherever_the_pipe_cuts_them(cuts: list[int]) -> None:
    sent = [Begin(1.5, (script(frozen=(Spell(0.0, 1.0),)),)), Finish(), Begin(2.0, ())]
    body = b"".join(msgspec.json.encode(order) + b"\n" for order in sent)
    orders, got, at = Orders(), [], 0
    for cut in [*cuts, len(body)]:
        got += list(orders.feed(body[at : at + cut]))
        at += cut
    assert got == sent
