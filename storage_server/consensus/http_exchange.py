"""Frames over HTTP: ``POST /v1/paxos`` on kept connections, two for each node."""

import io
import os
from collections.abc import Sequence

import aiohttp

from storage_server.consensus.driver import FRAMES_IN_FLIGHT_MAX
from storage_server.consensus.frames import (
    FRAME_BYTES_MAX,
    InvalidFrame,
    ReplyFrame,
    RequestFrame,
    decode_replies,
    encode,
)
from storage_server.consensus.messages import Member, MemberId, Reply

# Above a disk that is slow to sync; a node that hangs holds two connections for so long.
TIMEOUT_S = 2.0
CONNECT_TIMEOUT_S = 0.5


class HttpExchange:
    """Responsible for the connections to the acceptors."""

    def __init__(self, *, token: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        """Must be made in a running event loop."""
        # Where members were met last: a node may come back at another address.
        self.addresses: dict[MemberId, str] = {}
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=FRAMES_IN_FLIGHT_MAX),
            timeout=aiohttp.ClientTimeout(timeout_s, sock_connect=CONNECT_TIMEOUT_S),
            headers=headers,
        )

    async def __call__(self, member: Member, frame: RequestFrame) -> Sequence[Reply]:
        """Send a frame; return the replies. Raises: InvalidFrame, OSError, TimeoutError."""
        url = self.addresses.get(member.id, member.url)
        answer = await self.ask(url, frame)
        if answer.member != member.id:
            raise InvalidFrame(f"{url} is another acceptor now")
        return answer.replies

    async def ask(self, url: str, frame: RequestFrame) -> ReplyFrame:
        """Send a frame to whoever is there. Raises: InvalidFrame, OSError, TimeoutError."""
        body = io.BytesIO(encode(frame))  # sent in pieces, also a large one
        try:
            async with self._session.post(f"{url}/v1/paxos", data=body) as response:
                if response.status != 200:
                    raise InvalidFrame(f"{url} answered {response.status}")
                if (response.content_length or 0) > FRAME_BYTES_MAX:
                    raise InvalidFrame(f"{url} answered with too much")
                return decode_replies(await response.read())
        except aiohttp.ClientError as error:
            # The words of asyncio and aiohttp repeat the address, each in its own way.
            number = getattr(error, "errno", None) or 0
            why = os.strerror(number) if number > 0 else str(error) or type(error).__name__
            raise ConnectionError(f"{url}: {why}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
