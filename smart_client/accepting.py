"""A listening server's life and its end: no connection stays open, not even one just accepted.

Between a connection's accept and its protocol lie two turns of the loop. asyncio loses a connection
whose server is closed in between (``Server._attach`` fails, nobody closes the socket), and aiohttp
closes only the connections its server has heard of by then.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

# As asyncio's own default.
_BACKLOG = 100

# accept -> task -> connection_made, and one to spare. TLS arrives later, or never; see the node.
_TURNS_TO_ARRIVE = 4

# What a peer has not read of its last answer is thrown away after this.
_FLUSH_S = 0.5
_LOOKS = 100


@contextlib.asynccontextmanager
async def serving(runner: web.AppRunner, **where: Any) -> AsyncIterator[asyncio.Server]:
    """Set a runner up and listen; on the way out clean it up, every socket closed.

    Args: where: ``sock``, bound already, or ``host`` and ``port``; as ``create_server`` has it.
    Raises: OSError: the address cannot be had.
    """
    await runner.setup()
    try:
        assert runner.server is not None
        listener = await asyncio.get_running_loop().create_server(
            runner.server, backlog=_BACKLOG, **where
        )
    except BaseException:
        await runner.cleanup()
        raise
    try:
        yield listener
    finally:
        await close_server(listener, runner.server, runner.cleanup)


async def close_server(
    listener: asyncio.Server, server: web.Server, shut_down: Callable[[], Awaitable[None]]
) -> None:
    """Take no new connections, shut the server down, and return when all sockets are closed.

    Args:
        server: makes the listener's protocols.
        shut_down: lets the requests under way end and closes the connections.
    """
    await _stop_accepting(listener)
    # A TLS handshake may end when all else is closed: who comes then is turned away.
    server.connection_made = _turn_away  # type: ignore[method-assign]
    # Not by ``server.connections``: a handler forgets its transport while last bytes are unsent.
    opened = list(server._connections.values())
    sockets = [each.get_extra_info("socket") for each in opened]
    try:
        await shut_down()
        await _wait_until_closed(sockets)
    finally:
        for transport in opened:
            transport.abort()
    await _wait_until_closed(sockets)


def _turn_away(handler: RequestHandler, transport: asyncio.Transport) -> None:  # noqa: ARG001
    transport.abort()


async def _stop_accepting(listener: asyncio.Server) -> None:
    loop = asyncio.get_running_loop()
    for each in listener.sockets:
        loop.remove_reader(each.fileno())
    try:
        for _ in range(_TURNS_TO_ARRIVE):
            await asyncio.sleep(0)
    finally:
        listener.close()


async def _wait_until_closed(sockets: Sequence[socket.socket]) -> None:
    for _ in range(_LOOKS):
        if all(each.fileno() < 0 for each in sockets):
            return
        await asyncio.sleep(_FLUSH_S / _LOOKS)
