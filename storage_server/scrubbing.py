"""Having nodes read what they hold and check it, for who does not want to wait for their scrub."""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from smart_client import wire
from smart_client.errors import NodeRefused, VideoNotFound
from smart_client.transport.coordinator import CoordinatorClient
from smart_client.transport.errors import TransportFailure
from smart_client.transport.nodes import NodeConnections
from storage_server.config import AdminConfig

# A node checks one fragment at a time, at a bounded rate; more would only be refused.
_TRIES_MAX = 30
_PAUSE_S = 0.5

_SAY_EVERY = 500


class Scrubbed(msgspec.Struct):
    """What came of it."""

    total: int = 0
    checked: int = 0
    bad: int = 0
    missing: int = 0
    unasked: int = 0  # on nodes that do not answer


@dataclass(slots=True)
class _Work:
    nodes: dict[str, wire.NodeRecord] = field(default_factory=dict)
    keys: dict[str, list[str]] = field(default_factory=dict)  # by node


async def scrub_videos(
    config: AdminConfig, videos: tuple[str, ...], say: Callable[[Scrubbed], None]
) -> Scrubbed:
    """Have every fragment of these videos, or of all, checked where it lies.

    Raises: VideoNotFound, CoordinatorUnreachable.
    """
    async with CoordinatorClient(config.coordinators, token=config.token) as client:
        work = await _collect(client, videos)
    found = Scrubbed(total=sum(map(len, work.keys.values())))

    async def check(node: str) -> None:
        link = NodeConnections(work.nodes[node], token=config.token)
        keys = work.keys[node]
        try:
            for position, key in enumerate(keys):
                condition = await _condition(link, key)
                if condition is None:
                    found.unasked += len(keys) - position
                    return
                found.checked += 1
                found.bad += condition == "bad"
                found.missing += condition == "missing"
                if not found.checked % _SAY_EVERY:
                    say(found)
        finally:
            await link.close()

    await asyncio.gather(*(check(node) for node in work.keys))
    return found


async def _collect(client: CoordinatorClient, videos: Iterable[str]) -> _Work:
    work = _Work()
    wanted = tuple(videos)
    summaries = [each for each in await client.list_videos() if each.state == "ready"]
    if unknown := set(wanted) - {each.name for each in summaries}:
        raise VideoNotFound(f"no video '{min(unknown)}'", hint="`smart-client ls` lists them")
    for summary in summaries:
        if wanted and summary.name not in wanted:
            continue
        video = await client.video(summary.name)
        for rendition in video.renditions:
            manifest = await client.manifest(video.name, rendition.name)
            work.nodes |= {node.id: node for node in manifest.nodes}
            for chunk in manifest.chunks:
                for each in chunk.fragments:
                    work.keys.setdefault(each.node, []).append(each.key)
    return work


async def _condition(link: NodeConnections, key: str) -> str | None:
    """Return what a node says of a fragment: intact, bad, missing; None: it does not say."""
    for _ in range(_TRIES_MAX):
        try:
            answer = await link.order("/v1/suspect", {"key": key})
        except TransportFailure:
            return None
        except NodeRefused:
            await asyncio.sleep(_PAUSE_S)  # others ask it too
            continue
        return str(answer["condition"])
    return None
