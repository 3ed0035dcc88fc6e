"""One coordinator running: in an event loop, and as a process with its ready line and signals.

start: catalogue opened -> loaded -> listening -> ready
stop:  no new connections -> requests end -> views written -> catalogue closed
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from redundancy.errors import ExitCode
from redundancy.terminal import Terminal
from smart_client.accepting import serving
from storage_server.agreement_trace import Trace
from storage_server.catalogue.choice import open_catalogue
from storage_server.catalogue.watched import WatchedCatalogue
from storage_server.coordinator.app import make_app
from storage_server.coordinator.config import CoordinatorConfig
from storage_server.coordinator.service import Coordinator
from storage_server.listening import address_errors, bound_socket, url_of
from storage_server.node.http_server import HEADER_BYTES_MAX, require_c_parser
from storage_server.node.tls import certificate_of, listening_options
from storage_server.read_keys import KeyFile, ReadGrants

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunningCoordinator:
    """What others may know of a coordinator that runs."""

    url: str
    coordinator: Coordinator


@contextlib.asynccontextmanager
async def running_coordinator(config: CoordinatorConfig) -> AsyncIterator[RunningCoordinator]:
    """Run a coordinator: loaded and listening when this is entered, drained on the way out.

    Raises: ConfigError, CatalogueError, RegisterDamaged, OSError.
    """
    require_c_parser()
    certificate = certificate_of(config.tls_certificate, config.tls_key)
    async with contextlib.AsyncExitStack() as stack:
        bound = stack.enter_context(bound_socket(config.host, config.port))
        trace = Trace()
        catalogue = await open_catalogue(
            config.catalogue, config.data_dir, node_token=config.token, trace=trace
        )
        stack.push_async_callback(catalogue.close)
        read_keys = KeyFile(config.read_keys) if config.read_keys else None
        coordinator = Coordinator(
            WatchedCatalogue(catalogue, trace),
            limits=config.detector,
            keeper=config.keeper,
            token=config.token,
            grants=ReadGrants(read_keys),
        )
        coordinator.url = url_of(bound, is_encrypted=certificate is not None)
        await coordinator.load()
        await stack.enter_async_context(coordinator.running())
        runner = web.AppRunner(
            make_app(
                coordinator,
                token=config.token,
                signs_reads=config.read_keys is not None,
                body_timeout_s=config.body_timeout_s,
            ),
            access_log=None,
            keepalive_timeout=config.keepalive_s,
            max_line_size=HEADER_BYTES_MAX,
            max_field_size=HEADER_BYTES_MAX,
            shutdown_timeout=config.drain_s,
        )
        with address_errors(config.host, config.port):
            listening = serving(runner, sock=bound, **listening_options(certificate))
            await stack.enter_async_context(listening)
        if certificate is not None:
            await stack.enter_async_context(certificate.kept_current())
        yield RunningCoordinator(coordinator.url, coordinator)


def run_coordinator(config: CoordinatorConfig, terminal: Terminal) -> int:
    """Run a coordinator until SIGTERM or SIGINT, then drain; return the exit code.

    Raises: ConfigError, CatalogueError, RegisterDamaged, OSError: it could not start.
    """
    asyncio.run(_run(config, terminal))
    return ExitCode.OK


async def _run(config: CoordinatorConfig, terminal: Terminal) -> None:
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    async with running_coordinator(config) as running:
        videos = len(running.coordinator.library.videos)
        nodes = len(running.coordinator.members.records)
        token = " --token-file FILE" if config.token else ""
        join = f"storage-server node --data DIR --coordinator {running.url}{token}"
        terminal.result(
            {
                "event": "ready",
                "url": running.url,
                "pid": os.getpid(),
                "videos": videos,
                "nodes": nodes,
                "join": join,
            },
            human=f"coordinator ready at {running.url}, {videos} videos, {nodes} nodes, process "
            f"{os.getpid()}\nto add a node: {join}",
        )
        await asked_to_stop.wait()
        log.info("stopping: requests under way may end")
