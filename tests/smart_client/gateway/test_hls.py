"""HLS playlists keep what RFC 8216 demands of every duration."""

import pytest

from smart_client import wire
from smart_client.cmaf.index import Segment
from smart_client.gateway.hls import media_playlist

RUNG = wire.RenditionRecord(
    name="360p",
    size=3000,
    sha256="0" * 64,
    mime="video/mp4",
    duration_s=1.0,
    chunk_count=1,
    kind="video",
)


@pytest.mark.parametrize(
    ("longest_s", "target_s"), [(0.2, 1), (2.0, 2), (2.002, 2), (2.49, 2), (2.5, 3), (3.5, 4)]
)
def test_no_segment_is_longer_than_the_target_once_rounded(longest_s, target_s):
    """RFC 8216, 4.3.3.1; halves are rounded up, as readers may do it."""
    segments = [Segment(offset=0, size=1000, start_s=0.0, duration_s=longest_s)]
    assert f"#EXT-X-TARGETDURATION:{target_s}\n" in media_playlist("film", RUNG, segments)
