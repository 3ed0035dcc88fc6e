"""The MPD of a ladder: a static DASH presentation over the same objects as HLS. Pure.

Every representation is one object with a ``SegmentBase`` that says where its index lies; players
read the index from the object itself. So the MPD of a film of any length is 2 KB, needs no byte of
any rendition to be made, and is the on-demand profile, which all players know.
Source: ISO/IEC 23009-1, 8.3 (on-demand profile) and 5.3.9.2 (SegmentBase).
"""

from collections.abc import Sequence
from fractions import Fraction
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from smart_client import wire
from smart_client.ingest.ladder.plan import AUDIO_RATE_HZ
from smart_client.ladders import require_ladder

MIME = "application/dash+xml"

_PROFILE = "urn:mpeg:dash:profile:isoff-on-demand:2011"
_CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"


def manifest(video: wire.VideoRecord) -> str:
    """Return the MPD. Raises: RenditionNotFound: there is no ladder."""
    ladder = require_ladder(video)
    duration_s = max(each.duration_s for each in ladder)
    longest_s = max(each.segment_s for each in ladder)
    sets = [
        _adaptation(number, kind, [each for each in ladder if each.kind == kind], video.name)
        for number, kind in enumerate(("video", "audio"))
        if any(each.kind == kind for each in ladder)
    ]
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n'
        f'<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" profiles="{_PROFILE}" type="static"'
        f' mediaPresentationDuration="{_period(duration_s)}"'
        f' minBufferTime="{_period(longest_s)}">\n'
        f'  <Period id="0" start="PT0S">\n{"".join(sets)}  </Period>\n'
        "</MPD>\n"
    )


def _adaptation(
    number: int, kind: str, renditions: Sequence[wire.RenditionRecord], video: str
) -> str:
    shown = "".join(_representation(each, video) for each in renditions)
    return (
        f'    <AdaptationSet id="{number}" contentType="{kind}" mimeType="{kind}/mp4"'
        ' subsegmentAlignment="true" subsegmentStartsWithSAP="1">\n'
        f"{shown}    </AdaptationSet>\n"
    )


def _representation(rendition: wire.RenditionRecord, video: str) -> str:
    facts = f'id={quoteattr(rendition.name)} codecs="{rendition.codecs}"'
    facts += f' bandwidth="{rendition.peak_bits_per_s}"'
    channels = ""
    if rendition.kind == "video":
        rate = Fraction(rendition.frame_rate).limit_denominator(1001)
        shown = f"{rate.numerator}/{rate.denominator}" if rate.denominator > 1 else f"{rate}"
        facts += f' width="{rendition.width}" height="{rendition.height}"'
        facts += f' frameRate="{shown}" sar="1:1"'
    else:
        facts += f' audioSamplingRate="{AUDIO_RATE_HZ}"'
        channels = (
            f'        <AudioChannelConfiguration schemeIdUri="{_CHANNELS}"'
            f' value="{rendition.channels or 2}"/>\n'
        )
    index = f"{rendition.init_bytes}-{rendition.init_bytes + rendition.index_bytes - 1}"
    return (
        f"      <Representation {facts}>\n"
        f"{channels}"
        f"        <BaseURL>../../r/{quote(video)}/{quote(rendition.name)}.mp4</BaseURL>\n"
        f'        <SegmentBase indexRange="{index}" indexRangeExact="true">\n'
        f'          <Initialization range="0-{rendition.init_bytes - 1}"/>\n'
        "        </SegmentBase>\n"
        "      </Representation>\n"
    )


def _period(seconds: float) -> str:
    return f"PT{seconds:.3f}S"
