"""A playback is reported once, when it is a view, and only then."""

import asyncio

import pytest

from smart_client import wire
from smart_client.spool import Spool
from smart_client.stream import VideoStream
from support.session_worlds import chunk_records

CHUNKS = 12


def manifest(duration_s: float) -> wire.Manifest:
    """A video of a dozen chunks that lasts so long in all; 0: nobody knows."""
    chunks = chunk_records(CHUNKS, seconds=duration_s / CHUNKS)
    size = sum(chunk.size for chunk in chunks)
    rendition = wire.RenditionRecord(
        name="original",
        size=size,
        sha256="0" * 64,
        mime="video/mp4",
        duration_s=duration_s,
        chunk_count=CHUNKS,
    )
    video = wire.VideoRecord(
        id="0" * 32, name="kino", state="ready", created_at_s=0.0, layout=chunks[0].layout
    )
    nodes = sorted({each.node for chunk in chunks for each in chunk.fragments})
    return wire.Manifest(
        video=video,
        rendition=rendition,
        chunks=tuple(chunks),
        nodes=tuple(wire.NodeRecord(id=node, urls=()) for node in nodes),
    )


def views_after(duration_s: float, *seen: tuple[float, float]) -> list[wire.CountView]:
    """Watch in steps of (seconds, share of the bytes); return what was reported."""

    async def watch() -> list[wire.CountView]:
        stream = VideoStream(manifest(duration_s), Spool.nameless())
        reported: list[wire.CountView] = []
        stream.on_view = reported.append
        try:
            for seconds, share in seen:
                stream.seen(seconds, share)
        finally:
            await stream.close()
        return reported

    return asyncio.run(watch())


@pytest.mark.parametrize(
    ("duration_s", "seen", "expected"),
    [
        (3600.0, [(29.0, 0.01)], []),
        (3600.0, [(29.0, 0.01), (1.0, 0.01)], [30.0]),
        (3600.0, [(30.0, 0.01)] * 5, [30.0]),  # once, however long it lasts
        (60.0, [(14.0, 0.2)], []),
        (60.0, [(15.0, 0.2)], [15.0]),
    ],
)
def test_a_view_is_reported_once_after_half_a_minute_or_a_quarter(duration_s, seen, expected):
    assert [view.played_s for view in views_after(duration_s, *seen)] == expected


def test_a_quarter_of_a_film_of_unknown_length_is_reported_as_enough_to_count():
    assert views_after(0.0, (0.5, 0.1)) == []
    assert [view.played_s for view in views_after(0.0, (0.5, 0.25))] == [30.0]
