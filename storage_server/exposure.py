"""``storage-server exposure``: which box may I unplug?"""

import argparse
import asyncio
from collections.abc import Mapping

from redundancy.errors import UsageError
from redundancy.policy_options import share
from redundancy.terminal import Terminal
from smart_client.transport.coordinator import CoordinatorClient
from smart_client.whereabouts import Whereabouts
from storage_server.catalogue_exposure import CatalogueExposure
from storage_server.config import AdminConfig
from storage_server.exposure_report import answer_for, expected_uptimes, overview


def exposure(args: argparse.Namespace, terminal: Terminal) -> int:
    """Tell what the loss of each node, and of two and three, would do to which videos."""
    told, catalogue = asyncio.run(_ask(AdminConfig.from_args(args)))
    if args.nodes:
        answer = answer_for(told, args.nodes, catalogue)
    else:
        answer = overview(told, uptime_of(args.uptime, expected_uptimes(told)), catalogue)
    terminal.result(answer.payload, answer.text)
    return answer.exit_code


def uptime_of(words: list[str], measured: Mapping[str, float]) -> dict[str, float]:
    """Return each node's uptime, as measured or from words such as ``99%``, ``attic-pi=80%``.

    Raises: UsageError.
    """
    found = dict(measured)
    for word in sorted(words, key=lambda each: "=" in each):
        node, _, text = word.rpartition("=")
        if node and node not in found:
            raise UsageError(
                f"--uptime names no node: '{node}'", hint=f"there are {', '.join(found)}"
            )
        try:
            value = share(text)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"--uptime: {error}") from error
        if value > 1:
            raise UsageError(f"--uptime: no more than 100%, got {text}")
        found.update(dict.fromkeys([node] if node else list(found), value))
    return found


async def _ask(config: AdminConfig) -> tuple[Whereabouts, CatalogueExposure]:
    async with CoordinatorClient(config.coordinators, token=config.token) as client:
        told = await client.whereabouts()
        return told, CatalogueExposure.of(await client.agreement())
