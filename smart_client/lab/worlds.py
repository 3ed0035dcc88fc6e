"""Worlds that fit into real time. Pure."""

from dataclasses import replace

import msgspec

from smart_client.errors import InvalidRequest
from smart_client.simulator.scenario import Scenario
from smart_client.simulator.world import World

# What is played of a video when nobody says how much.
LAB_SECONDS = 60.0

# A lab plays in real time. A session that takes longer than this has failed, as one in the
# simulator has that takes six times its video.
LIMIT_FACTOR, LIMIT_EXTRA_S = 2.0, 20.0


def shortened(scenario: Scenario, seconds: float) -> Scenario:
    """Return a scenario whose video is at most so long.

    Raises: InvalidRequest: not even one chunk long.
    """
    video = scenario.video
    if seconds < video.chunk_s:
        raise InvalidRequest(
            f"{seconds:g} s are shorter than a chunk of '{scenario.name}' ({video.chunk_s:g} s)"
        )
    video = msgspec.structs.replace(video, duration_s=min(seconds, video.duration_s))
    return msgspec.structs.replace(scenario, video=video)


def limited(world: World) -> World:
    """Return a world that ends when the lab has no more time for it."""
    limit_s = LIMIT_FACTOR * world.duration_s + LIMIT_EXTRA_S
    return replace(world, horizon_s=min(world.horizon_s, limit_s))
