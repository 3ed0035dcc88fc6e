"""Long plays: a grant to read is renewed long before it ends."""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from redundancy.errors import EvenflowError
from smart_client import wire

log = logging.getLogger(__name__)

# At half its life there are as many hours left to find a coordinator that answers.
_RENEW_AT_SHARE = 0.5

# Between tries while none does: nothing is urgent yet.
RETRY_S = 300.0

# However short-lived grants are, and however often nodes refuse, a coordinator is not asked all the
# time.
WAIT_S_MIN = 5.0


class Granted(Protocol):
    """What reads with a grant."""

    manifest: wire.Manifest

    def use_grant(self, grant: str) -> None:
        """Read with this one from now on."""


async def renew_for_ever(
    stream: Granted, renew: Callable[[], Awaitable[wire.Manifest]], refused: asyncio.Event
) -> None:
    """Renew the grant of a stream until cancelled; playing goes on whether that works or not.

    Args:
        refused: set by who is refused: a machine that slept for a day has an old grant and does
            not know it.
    """
    lifetime_s = stream.manifest.read_grant_s
    wait_s = lifetime_s * _RENEW_AT_SHARE
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(WAIT_S_MIN, wait_s)):
                await refused.wait()
        refused.clear()
        try:
            newer = await renew()
        except EvenflowError as error:
            log.info("the grant to read is not renewed yet: %s", error.message)
            wait_s = min(RETRY_S, lifetime_s / 10)
        else:
            if newer.video.id == stream.manifest.video.id and newer.read_grant:
                stream.use_grant(newer.read_grant)
                lifetime_s = newer.read_grant_s
            wait_s = lifetime_s * _RENEW_AT_SHARE
        await asyncio.sleep(WAIT_S_MIN)  # however often a node refuses
