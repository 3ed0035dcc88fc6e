"""Real chunks with real fragments, and the records and orders that speak of them."""

import random

from redundancy.backends import best_codec
from redundancy.fragment_format import ChunkLabel
from redundancy.fragments import Fragment, build_fragments
from redundancy.scheme import Layout
from smart_client import wire
from storage_server.node.store import Put
from storage_server.orders import RebuildOrder, Source, Wanted

VIDEO_ID = "ab" * 16


def chunk_bytes(size: int, number: int = 0) -> bytes:
    return random.Random(f"{size}/{number}").randbytes(size)


def coded_chunk(
    layout: str,
    size: int = 100_000,
    number: int = 0,
    *,
    generation: int = 0,
    offset: int = 0,
    descriptor: bytes = b'{"name":"kino"}',
    rendition: str = "original",
) -> list[Fragment]:
    """All fragments of a made-up chunk; the same every time."""
    wanted = Layout.parse(layout)
    label = ChunkLabel(
        bytes.fromhex(VIDEO_ID),
        rendition,
        number,
        generation,
        offset_bytes=offset,
        descriptor=descriptor,
    )
    return build_fragments(chunk_bytes(size, number), wanted, best_codec(wanted.scheme), label)


def put_of(fragment: Fragment) -> Put:
    return Put.verified(bytes.fromhex(fragment.key), b"".join(fragment.parts))


def order_for(
    fragments: list[Fragment],
    wanted,
    sources,
    *,
    into: str | None = None,
    pattern: Source | None = None,
) -> RebuildOrder:
    """An order for ``wanted``: index -> key; ``sources``: index -> addresses."""
    footer = fragments[0].footer
    return RebuildOrder(
        video_id=footer.label.video_id.hex(),
        rendition=footer.label.rendition,
        number=footer.label.number,
        generation=footer.label.generation,
        size=footer.chunk_bytes,
        sha256=footer.chunk_sha256.hex(),
        layout=wire.LayoutRecord.of(footer.layout),
        sources=tuple(
            Source(index=index, key=fragments[index].key, urls=tuple(urls))
            for index, urls in sources.items()
        ),
        wanted=tuple(Wanted(index=index, key=key) for index, key in wanted.items()),
        into=wire.LayoutRecord.of(Layout.parse(into)) if into else None,
        pattern=pattern,
    )
