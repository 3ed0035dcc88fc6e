"""A catalogue from nothing but fragments: every footer says what it is a part of. Pure.

    footers -> chunks (the newest generation that can be read) -> groups -> videos -> registers

What footers do not say cannot be brought back: how often a video was watched, names that were
registered without a file, why a layout was chosen, and what was deleted while a node was away:
that comes back.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
from msgspec import structs

from redundancy.fragment_format import Footer
from redundancy.scheme import Layout
from smart_client import wire
from smart_client.errors import InvalidRequest
from storage_server.coordinator.layouts import ChunkShape


@dataclass(frozen=True, slots=True)
class FoundFragment:
    """One fragment's footer, and where the fragment lies."""

    node: str
    key: str
    footer: Footer


@dataclass(frozen=True, slots=True)
class LostChunk:
    """A chunk that cannot be read from what was found."""

    rendition: str
    number: int
    have: int
    need: int
    offset: int | None = None  # None: not one fragment of it was found
    size: int | None = None

    def __str__(self) -> str:
        where = (
            ""
            if self.offset is None
            else f" (bytes {self.offset} to {self.offset + (self.size or 0) - 1})"
        )
        return f"chunk {self.number}{where}: {self.have} of the {self.need} fragments needed"


@dataclass(frozen=True, slots=True)
class RecoveredVideo:
    """One video, as far as it could be put together."""

    id: str
    name: str
    record: wire.VideoRecord | None  # None: too little is known to record it
    groups: Mapping[str, wire.GroupRecord]  # by the register's key
    chunks: int
    lost: tuple[LostChunk, ...] = ()
    trouble: str = ""  # why it is not recorded
    dropped: tuple[str, ...] = ()  # rungs of its ladder that are not whole, and are left out

    @property
    def is_whole(self) -> bool:
        """Whether every byte can be read."""
        return self.record is not None and not self.lost


@dataclass(slots=True)
class _Rendition:
    """What was found of one rendition."""

    fragments: defaultdict[int, list[FoundFragment]] = field(
        default_factory=lambda: defaultdict(list)
    )
    record: wire.RenditionRecord | None = None


class _Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What a descriptor says; the later fields only in a rendition's last chunk."""

    name: str = ""
    created_at_s: float = 0.0
    rendition: wire.RenditionRecord | None = None
    media: wire.MediaFacts = wire.MediaFacts()


def recover(found: Iterable[FoundFragment]) -> list[RecoveredVideo]:
    """Return every video of which something was found, by name."""
    by_video: defaultdict[str, list[FoundFragment]] = defaultdict(list)
    for fragment in found:
        by_video[fragment.footer.label.video_id.hex()].append(fragment)
    videos = [_recover_video(video_id, parts) for video_id, parts in by_video.items()]
    videos.sort(key=lambda each: (each.name, each.record is None, _age(each)))
    return _with_names_of_their_own(videos)


def _age(video: RecoveredVideo) -> float:
    return -video.record.created_at_s if video.record else 0.0


def _recover_video(video_id: str, found: Sequence[FoundFragment]) -> RecoveredVideo:
    renditions: defaultdict[str, _Rendition] = defaultdict(_Rendition)
    name, created_at_s, media = "", 0.0, wire.MediaFacts()
    for each in found:
        label = each.footer.label
        rendition = renditions[label.rendition]
        rendition.fragments[label.number].append(each)
        facts = _facts_of(each.footer)
        name = name or facts.name
        if facts.rendition is not None:
            rendition.record = facts.rendition
            created_at_s = created_at_s or facts.created_at_s
            media = facts.media if label.rendition == "original" else media
    chunks = {each: _chunks_of(each, part) for each, part in renditions.items()}
    dropped = []
    for rung in sorted(part for part in chunks if part != "original"):
        # A ladder can be made again, and one that was never finished left fragments too.
        if not _is_whole(renditions[rung], *chunks[rung]):
            del renditions[rung], chunks[rung]
            dropped.append(rung)
    lost = tuple(one for _, gaps in chunks.values() for one in gaps)
    whole = RecoveredVideo(
        id=video_id,
        name=name or video_id,
        record=None,
        groups={},
        chunks=sum(len(records) for records, _ in chunks.values()),
        lost=lost,
        dropped=tuple(dropped),
    )
    trouble = _trouble_with(renditions, lost)
    if trouble:
        return replace(whole, trouble=trouble)
    described = sorted(
        (part.record for part in renditions.values() if part.record is not None),
        key=lambda each: (each.name != "original", each.name),
    )
    first = chunks["original"][0][0]
    record = wire.VideoRecord(
        id=video_id,
        name=whole.name,
        state="ready",
        created_at_s=created_at_s,
        layout=first.layout,
        reason="recovered from fragments",
        size=described[0].size,
        media=media,
        renditions=tuple(described),
    )
    groups = {
        f"group/{video_id}/{each}/{start // wire.GROUP_CHUNKS:06d}": wire.GroupRecord(
            chunks=tuple(records[start : start + wire.GROUP_CHUNKS])
        )
        for each, (records, _) in chunks.items()
        for start in range(0, len(records), wire.GROUP_CHUNKS)
    }
    return replace(whole, record=record, groups=groups)


def _is_whole(
    part: _Rendition, records: Sequence[wire.ChunkRecord], lost: Sequence[LostChunk]
) -> bool:
    """Whether a rendition is there from its first byte to its last."""
    offset = 0
    for record in records:
        if record.offset != offset:
            return False
        offset += record.size
    return part.record is not None and not lost and offset == part.record.size


def _trouble_with(renditions: Mapping[str, _Rendition], lost: Sequence[LostChunk]) -> str:
    if "original" not in renditions:
        return "nothing of its original was found"
    for name, part in renditions.items():
        if part.record is None:
            return f"the last chunk of '{name}', which describes the whole, was not found"
    if any(each.offset is None for each in lost):
        return "of some chunks not one fragment was found"
    return ""


def _facts_of(footer: Footer) -> _Facts:
    try:
        return wire.decode(footer.label.descriptor, _Facts)
    except InvalidRequest:
        return _Facts()  # made by another tool


def _chunks_of(name: str, part: _Rendition) -> tuple[list[wire.ChunkRecord], list[LostChunk]]:
    count = part.record.chunk_count if part.record else max(part.fragments) + 1
    records, lost = [], []
    for number in range(count):
        found = part.fragments.get(number)
        if not found:
            lost.append(LostChunk(name, number, have=0, need=_need_of(part)))
            continue
        record, losses = _chunk_of(found)
        records.append(record)
        if losses < 0:
            have, need = len(record.fragments), record.layout.k
            lost.append(LostChunk(name, number, have, need, record.offset, record.size))
    return records, lost


def _need_of(part: _Rendition) -> int:
    some = next(iter(part.fragments.values()))[0]
    return some.footer.layout.scheme.k


def _chunk_of(found: Sequence[FoundFragment]) -> tuple[wire.ChunkRecord, int]:
    """Return the record of a chunk in its newest generation that can be read, and its losses."""
    versions: defaultdict[tuple[int, Layout, bytes], list[FoundFragment]] = defaultdict(list)
    for each in found:
        footer = each.footer
        version = (footer.label.generation, footer.layout, footer.chunk_sha256)
        versions[version].append(each)
    candidates = []
    for (generation, layout, _), parts in versions.items():
        record = _record_of(layout, _one_each(parts), parts[0].footer)
        losses = ChunkShape.of(record).losses_survived(lambda _: True)
        candidates.append((losses >= 0, generation, losses, record))
    best = max(candidates, key=lambda each: each[:3])
    return best[3], best[2]


def _one_each(parts: Sequence[FoundFragment]) -> dict[int, FoundFragment]:
    """Return one place for every index, and every node once: the rarest first."""
    places: defaultdict[int, list[FoundFragment]] = defaultdict(list)
    for each in parts:
        places[each.footer.index].append(each)
    chosen: dict[int, FoundFragment] = {}
    taken: set[str] = set()
    for index in sorted(places, key=lambda index: (len(places[index]), index)):
        for each in sorted(places[index], key=lambda each: each.node):
            if each.node not in taken:
                chosen[index] = each
                taken.add(each.node)
                break
    return chosen


def _record_of(
    layout: Layout, chosen: Mapping[int, FoundFragment], footer: Footer
) -> wire.ChunkRecord:
    label = footer.label
    return wire.ChunkRecord(
        number=label.number,
        offset=label.offset_bytes,
        size=footer.chunk_bytes,
        sha256=footer.chunk_sha256.hex(),
        start_s=label.start_us / 1e6,
        duration_s=label.duration_us / 1e6,
        layout=wire.LayoutRecord.of(layout),
        generation=label.generation,
        fragments=tuple(
            wire.FragmentRecord(index=index, node=each.node, key=each.key)
            for index, each in sorted(chosen.items())
        ),
    )


def _with_names_of_their_own(videos: Sequence[RecoveredVideo]) -> list[RecoveredVideo]:
    """Give every video but the newest of a name another one: a deletion may not be over yet."""
    taken: set[str] = set()
    renamed = []
    for video in videos:
        name = video.name
        if name in taken:
            name = f"{name[:180]} {video.id[:8]}"
        taken.add(name)
        record = structs.replace(video.record, name=name) if video.record else None
        renamed.append(replace(video, name=name, record=record))
    return renamed
