"""HLS playlists over rendition objects. Pure.

One object holds all segments, so a playlist is a list of byte ranges into it: the same bytes that
DASH addresses, checked like any others.
Source: RFC 8216, with the version 7 rules of draft-pantos-hls-rfc8216bis.
"""

import math
from collections.abc import Sequence
from urllib.parse import quote

from smart_client import wire
from smart_client.cmaf.index import Segment
from smart_client.errors import RenditionNotFound
from smart_client.ladders import require_ladder

MIME = "application/vnd.apple.mpegurl"

# fMP4 segments with EXT-X-MAP need 6, or 7 where not every playlist is I-frames only.
_VERSION = 7

_AUDIO_GROUP = "sound"


def master_playlist(video: wire.VideoRecord, only: str | None = None) -> str:
    """Return the list of renditions, the one that needs least first.

    Players that do not measure before they start take the first one, and start soonest with it.

    Args:
        only: the one rendition of the picture to offer; sound that lies by itself comes with it.
    Raises: RenditionNotFound.
    """
    ladder = require_ladder(video)
    sound = next((each for each in ladder if each.kind == "audio"), None)
    pictures = [each for each in ladder if each.kind == "video" and only in (None, each.name)]
    if only is not None and not pictures:
        raise RenditionNotFound(f"'{video.name}' has no rendition '{only}' with a picture")
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{_VERSION}", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if sound is not None and pictures:
        channels = sound.channels or 2
        lines.append(
            f'#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="{_AUDIO_GROUP}",NAME="sound",DEFAULT=YES,'
            f'AUTOSELECT=YES,CHANNELS="{channels}",URI="{quote(sound.name)}.m3u8"'
        )
    for each in pictures or ladder:
        lines += [_variant(each, sound if pictures else None), f"{quote(each.name)}.m3u8"]
    return "\n".join(lines) + "\n"


def _variant(rendition: wire.RenditionRecord, sound: wire.RenditionRecord | None) -> str:
    parts = [rendition] if sound is None else [rendition, sound]
    facts = [
        f"BANDWIDTH={sum(each.peak_bits_per_s for each in parts)}",
        f"AVERAGE-BANDWIDTH={sum(each.average_bits_per_s for each in parts)}",
        f'CODECS="{",".join(each.codecs for each in parts)}"',
    ]
    if rendition.kind == "video":
        facts.append(f"RESOLUTION={rendition.width}x{rendition.height}")
        facts.append(f"FRAME-RATE={rendition.frame_rate:.3f}")
    if sound is not None:
        facts.append(f'AUDIO="{_AUDIO_GROUP}"')
    return "#EXT-X-STREAM-INF:" + ",".join(facts)


def media_playlist(video: str, rendition: wire.RenditionRecord, segments: Sequence[Segment]) -> str:
    """Return the list of a rendition's segments."""
    uri = f"../../r/{quote(video)}/{quote(rendition.name)}.mp4"
    longest_s = max(each.duration_s for each in segments)
    lines = [
        "#EXTM3U",
        f"#EXT-X-VERSION:{_VERSION}",
        f"#EXT-X-TARGETDURATION:{max(1, math.floor(longest_s + 0.5))}",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f'#EXT-X-MAP:URI="{uri}",BYTERANGE="{rendition.init_bytes}@0"',
    ]
    for each in segments:
        lines += [
            f"#EXTINF:{each.duration_s:.6f},",
            f"#EXT-X-BYTERANGE:{each.size}@{each.offset}",
            uri,
        ]
    lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"
