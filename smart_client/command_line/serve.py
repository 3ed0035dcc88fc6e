"""serve: the gateway until it is stopped."""

import argparse
import asyncio
import contextlib
import ipaddress
import socket
from pathlib import Path

from redundancy.errors import ConfigError, EvenflowError, ExitCode, UsageError
from redundancy.terminal import Terminal
from smart_client.command_line.common import run_async, settings
from smart_client.config import ClientConfig
from smart_client.errors import PlayerProblem
from smart_client.gateway.app import Gateway
from smart_client.gateway.strm import StrmFolder
from smart_client.library import Library


def serve(args: argparse.Namespace, terminal: Terminal) -> int:
    """Run the gateway until it is stopped."""
    config = settings(args)
    require_safe_address(config.listen, insecure=args.insecure)
    try:
        run_async(_serve(config, terminal))
    except KeyboardInterrupt:  # or SIGTERM: that is how it ends
        terminal.note("stopped")
    return ExitCode.OK


def require_safe_address(listen: str, *, insecure: bool) -> None:
    """Raise ``ConfigError`` where the gateway would answer other machines without being told to.

    The gateway knows no users: whoever reaches it can watch, store and delete videos.
    """
    host, _, port = listen.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise UsageError(f"'{listen}' is no address to listen on", hint="write HOST:PORT")
    if insecure or is_loopback(host or "127.0.0.1"):
        return
    raise ConfigError(
        f"on {host} everyone in your network could watch, store and delete videos",
        hint="listen on 127.0.0.1, put a proxy with a login before it, or add --insecure",
    )


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        pass
    try:
        found = {each[4][0] for each in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(each).is_loopback for each in found)


async def _serve(config: ClientConfig, terminal: Terminal) -> None:
    async with Library(config) as library:
        gateway = Gateway(config, library)
        try:
            url = await gateway.start(config.listen)
        except OSError as error:
            raise PlayerProblem(
                f"cannot listen on {config.listen}: {error.strerror}",
                hint="another gateway may be running; choose --listen 127.0.0.1:0",
            ) from error
        tasks = []
        try:
            if config.strm:
                folder = StrmFolder(Path(config.strm), lambda: urls_of(library, gateway))
                tasks.append(asyncio.create_task(folder.keep_current()))
            urls, trouble = {}, ""
            try:
                urls = await urls_of(library, gateway)
            except EvenflowError as error:
                # What was played here before plays on, and the pages say what is away.
                trouble = error.message
            text = [f"serving {len(urls)} videos on {url} (ctrl-C stops)"]
            text += [f"  {each}" for each in urls.values()]
            if trouble:
                text = [f"serving on {url} (ctrl-C stops), but {trouble}"]
            if not is_loopback(config.listen.rpartition(":")[0] or "127.0.0.1"):
                text.append("  OPEN TO YOUR NETWORK: anyone may watch, store and delete videos")
            ready = {"event": "ready", "url": url, "videos": urls}
            if trouble:
                ready["trouble"] = trouble
            terminal.result(ready, "\n".join(text))
            await asyncio.Event().wait()
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)
            await gateway.close()


async def urls_of(library: Library, gateway: Gateway) -> dict[str, str]:
    """Return the URL of every video that can be played. Raises: CoordinatorUnreachable."""
    videos = await library.coordinator.list_videos()
    return {each.name: gateway.url_of(each.name) for each in videos if each.state == "ready"}
