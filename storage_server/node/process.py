"""One node as a process: its ready line, its signals, its log."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
from collections.abc import Awaitable, Callable

from redundancy.errors import ExitCode
from redundancy.terminal import Terminal
from storage_server.node.config import NodeConfig
from storage_server.node.heartbeat import Heartbeat
from storage_server.node.service import running_node

# One descriptor per GiB stored and one per connection; the usual soft limit of 1024 is too few.
_DESCRIPTORS_WANTED = 65_536


def run_node(
    config: NodeConfig,
    terminal: Terminal,
    *,
    heartbeat: Heartbeat | None = None,
    at_end: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Run a node until SIGTERM or SIGINT, then drain; return the exit code.

    Args:
        heartbeat: called every second with the node's facts, for ever, whatever it raises.
        at_end: closes what the heartbeats hold open.
    Raises: ConfigError, OSError: the node could not start.
    """
    _raise_descriptor_limit()
    # What is loaded now stays: the collector need not look at it again and again (5 % of a put).
    gc.collect()
    gc.freeze()
    asyncio.run(_run(config, terminal, heartbeat, at_end))
    return ExitCode.OK


async def _run(
    config: NodeConfig,
    terminal: Terminal,
    heartbeat: Heartbeat | None,
    at_end: Callable[[], Awaitable[None]] | None,
) -> None:
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    async with contextlib.AsyncExitStack() as stack:
        if at_end is not None:
            stack.push_async_callback(at_end)
        running = await stack.enter_async_context(running_node(config, heartbeat=heartbeat))
        facts = running.facts()
        terminal.result(
            {
                "event": "ready",
                "node": running.node_id,
                "url": running.url,
                "pid": os.getpid(),
                "fragments": facts.fragments,
            },
            human=f"node {running.node_id} ready at {running.url}, {facts.fragments} fragments, "
            f"process {os.getpid()}",
        )
        await asked_to_stop.wait()
        logging.getLogger(__name__).info("stopping: requests under way may end")


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS_WANTED if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, _DESCRIPTORS_WANTED), hard))
