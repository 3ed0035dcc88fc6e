"""TCP connects: the addresses of a name one after the other, without waiting for a slow one.

asyncio can do this too, but a task that is cancelled at the wrong moment there leaves a socket open
(CPython 3.11).
"""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from itertools import zip_longest

from smart_client.transport.http_connection import HttpConnection

# Source: RFC 8305, and what anyio does under stock httpx.
NEXT_ADDRESS_AFTER_S = 0.25

Connected = tuple[asyncio.Transport, HttpConnection]


async def dial(host: str, port: int) -> Connected:
    """Connect to a host by name or address. Raises: OSError."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return await _dial_first(await _addresses(host, port), port)
    return await _dial_address(host, port)


async def _dial_address(address: str, port: int) -> Connected:
    loop = asyncio.get_running_loop()
    return await loop.create_connection(HttpConnection, address, port)


async def _addresses(name: str, port: int) -> list[str]:
    """Return the addresses of a name, in the resolver's order, families in turn."""
    loop = asyncio.get_running_loop()
    by_family: dict[int, list[str]] = {}
    for family, _, _, _, where in await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM):
        by_family.setdefault(family, []).append(str(where[0]))
    turns = zip_longest(*by_family.values())
    return [address for turn in turns for address in turn if address is not None]


async def _dial_first(addresses: Sequence[str], port: int) -> Connected:
    """Return the first connection that stands; the next address gets its turn after a while."""
    left = list(addresses)
    pending: set[asyncio.Task[Connected]] = set()
    error: BaseException = OSError("the name has no address")
    try:
        while left or pending:
            if left:
                pending.add(asyncio.create_task(_dial_address(left.pop(0), port)))
            done, _ = await asyncio.wait(
                pending,
                timeout=NEXT_ADDRESS_AFTER_S if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                pending.remove(task)
                failure = task.exception()
                if failure is None:
                    return task.result()
                error = failure
        raise error
    finally:
        await _give_up(pending)


async def _give_up(pending: set[asyncio.Task[Connected]]) -> None:
    """Close what is or will be connected without being wanted."""
    for task in pending:
        task.cancel()
    for outcome in await asyncio.gather(*pending, return_exceptions=True):
        if not isinstance(outcome, BaseException):
            outcome[0].abort()
