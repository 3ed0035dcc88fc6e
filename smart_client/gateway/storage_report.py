"""What redundancy costs and brings, video by video."""

import asyncio

from redundancy.errors import EvenflowError
from smart_client import wire
from smart_client.gateway.records import StorageLine, StorageReport, StorageTotals
from smart_client.transport.coordinator import CoordinatorClient

# Registers asked for at once: many small requests through one pool wait for each other.
QUESTIONS_MAX = 8

COPIES = 3


async def storage_report(coordinator: CoordinatorClient) -> StorageReport:
    """Put the report together. Raises: CoordinatorUnreachable."""
    summaries = [each for each in await coordinator.list_videos() if each.state == "ready"]
    room = asyncio.Semaphore(QUESTIONS_MAX)

    async def reason_of(name: str) -> str:
        async with room:
            try:
                return (await coordinator.video(name)).reason
            except EvenflowError:
                return ""  # removed meanwhile

    reasons = await asyncio.gather(*(reason_of(each.name) for each in summaries))
    lines = tuple(_line(each, why) for each, why in zip(summaries, reasons, strict=True))
    return StorageReport(videos=lines, totals=totals_of(lines))


def _line(video: wire.VideoSummary, reason: str) -> StorageLine:
    layout = video.layout.to_layout()
    up = video.weakest_chunk_fragments_up
    return StorageLine(
        name=video.name,
        layout=str(layout),
        reason=reason,
        size=video.size,
        stored_bytes=video.stored_bytes,
        overhead=round(video.stored_bytes / video.size, 4) if video.size else 0.0,
        views=video.views,
        weakest_chunk_fragments_up=up,
        losses_tolerated=None if up is None else up - layout.scheme.k,
    )


def totals_of(lines: tuple[StorageLine, ...]) -> StorageTotals:
    """Return the sums, against what three copies would take."""
    size = sum(line.size for line in lines)
    stored = sum(line.stored_bytes for line in lines)
    return StorageTotals(
        videos=len(lines),
        video_bytes=size,
        stored_bytes=stored,
        three_copies_bytes=COPIES * size,
        saved_bytes=COPIES * size - stored,
        overhead=round(stored / size, 4) if size else 0.0,
    )
