"""The ladder among a video's renditions. Pure."""

from smart_client import wire
from smart_client.errors import RenditionNotFound


def ladder_of(video: wire.VideoRecord) -> tuple[wire.RenditionRecord, ...]:
    """Return what a player may choose from: pictures, the least bits first, then the sound."""
    rungs = [each for each in video.renditions if each.kind]
    return tuple(sorted(rungs, key=lambda each: (each.kind == "audio", each.peak_bits_per_s)))


def require_ladder(video: wire.VideoRecord) -> tuple[wire.RenditionRecord, ...]:
    """Return the ladder. Raises: RenditionNotFound: there is none."""
    ladder = ladder_of(video)
    if not ladder:
        raise RenditionNotFound(
            f"video '{video.name}' has no ladder",
            hint=f"make one: smart-client put FILE --name '{video.name}' --ladder auto",
        )
    return ladder
