"""Telling others once a second that this node is here, for ever, whatever they answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

INTERVAL_S = 1.0

# A call that hangs longer is given up; the next one may find the coordinator back.
CALL_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class HeartbeatFacts:
    """What a node says about itself."""

    node: str
    store_uuid: str
    zone: str
    urls: tuple[str, ...]
    capacity_bytes: int
    used_bytes: int
    free_bytes: int
    fragments: int
    load: int  # requests under way
    status: str  # ok, warn, full or read-only
    uptime_s: float
    reason: str = ""  # why the status is not ok
    read_keys: tuple[str, ...] = ()  # their prints; none: whoever knows a key may read


Heartbeat = Callable[[HeartbeatFacts], Awaitable[None]]


async def beat_for_ever(
    heartbeat: Heartbeat,
    facts: Callable[[], HeartbeatFacts],
    *,
    interval_s: float = INTERVAL_S,
    call_timeout_s: float = CALL_TIMEOUT_S,
) -> None:
    """Call ``heartbeat`` every ``interval_s`` until cancelled.

    What it raises is logged when it begins and when it ends, not every second.
    """
    was_failing = ""
    while True:
        failure = await _beat_once(heartbeat, facts, call_timeout_s)
        if failure and failure != was_failing:
            log.warning("heartbeat failed: %s", failure)
        elif was_failing and not failure:
            log.info("heartbeat works again")
        was_failing = failure
        await asyncio.sleep(interval_s)


async def _beat_once(
    heartbeat: Heartbeat, facts: Callable[[], HeartbeatFacts], call_timeout_s: float
) -> str:
    """Return what went wrong, or nothing."""

    async def call() -> None:
        await heartbeat(facts())

    # In a task of its own, so that not even a cancellation inside it reaches the loop above.
    task = asyncio.ensure_future(call())
    try:
        await asyncio.wait({task}, timeout=call_timeout_s)
        if not task.done():
            return f"no answer within {call_timeout_s:g} s"
        if task.cancelled():
            return "cancelled"
        error = task.exception()
        return f"{type(error).__name__}: {error}" if error is not None else ""
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=call_timeout_s)
