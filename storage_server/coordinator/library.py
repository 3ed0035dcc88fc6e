"""What the catalogue holds, added up, so that a question about all videos does not read them all.

One coordinator keeps it up to date by its own writes, and by following what others of the same
catalogue wrote. Nothing here decides where a fragment lies.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from redundancy.rows import RowGeometry
from smart_client import wire
from storage_server.coordinator.layouts import ChunkShape
from storage_server.coordinator.registers import (
    Registers,
    Trash,
    groups_prefix,
    parse_group_key,
)

_VIDEO = wire.VideoRecord


@dataclass(frozen=True, slots=True)
class GroupTotals:
    """One group, added up."""

    version: int
    chunks: int
    fragments: int
    video_bytes: int
    stored_bytes: int  # of payloads; footers, about 100 bytes and 8 a block, are left out
    shapes: frozenset[ChunkShape]

    @property
    def nodes(self) -> set[str]:
        """All nodes that hold a fragment of it."""
        return {node for shape in self.shapes for node in shape.nodes}


@dataclass(frozen=True, slots=True)
class VideoTotals:
    """One video, added up."""

    chunks: int = 0
    fragments: int = 0
    stored_bytes: int = 0


def add_up(group: wire.GroupRecord, version: int) -> GroupTotals:
    """Return the totals of a group as it is recorded."""
    return GroupTotals(
        version=version,
        chunks=len(group.chunks),
        fragments=sum(len(chunk.fragments) for chunk in group.chunks),
        video_bytes=sum(chunk.size for chunk in group.chunks),
        stored_bytes=sum(map(_stored_bytes, group.chunks)),
        shapes=frozenset(map(ChunkShape.of, group.chunks)),
    )


def _stored_bytes(chunk: wire.ChunkRecord) -> int:
    layout = chunk.layout.to_layout()
    copies = sum(layout.is_copy(each.index) for each in chunk.fragments)
    coded_bytes = RowGeometry(chunk.size, chunk.layout.k).payload_bytes
    copy_bytes = RowGeometry(chunk.size, 1).payload_bytes
    return copies * copy_bytes + (len(chunk.fragments) - copies) * coded_bytes


class Library:
    """Responsible for the totals of every group, and for finding groups by video and by node."""

    def __init__(self) -> None:
        self.videos: dict[str, wire.VideoRecord] = {}  # by name
        self.trash: set[str] = set()  # ids of videos that are being deleted
        self.version = 0  # grows with every change
        self._turn = ""  # the video whose groups were read again last
        self.stored_bytes = 0  # of all fragments
        self.video_bytes = 0  # of all chunks
        self._groups: dict[str, GroupTotals] = {}
        self._by_video: defaultdict[str, set[str]] = defaultdict(set)
        self._by_node: defaultdict[str, set[str]] = defaultdict(set)

    async def load(self, registers: Registers) -> list[str]:
        """Read the whole catalogue; return the ids of groups' videos that nobody knows of.

        Groups are read first: a group's video was there before it, so one that is found nowhere
        afterwards was deleted.
        """
        for group in await registers.scan("group/", wire.GroupRecord):
            self.put_group(group.key, group.record, group.version)
        for video in await registers.scan("video/", wire.VideoRecord):
            self.put_video(video.record)
        self.trash = {each.record.id for each in await registers.scan("trash/", Trash)}
        known = {video.id for video in self.videos.values()} | self.trash
        return [video_id for video_id in self._by_video if video_id not in known]

    async def refresh(self, registers: Registers) -> None:
        """Read again what others may have written since."""
        known = set(self._groups)
        groups = await registers.scan("group/", wire.GroupRecord)
        for group in groups:
            self.put_group(group.key, group.record, group.version)
        for key in known - {group.key for group in groups}:
            self.drop_group(key)
        for video in await registers.scan("video/", wire.VideoRecord):
            if video.record.id not in self.trash:
                self.put_video(video.record)

    async def follow(self, registers: Registers) -> None:
        """Read what others wrote: all videos, and the groups of those that changed.

        And of one more in turn, whose fragments may have been moved.
        """
        trash, before = set(self.trash), dict(self.videos)
        in_trash = {each.record.id for each in await registers.scan("trash/", Trash)}
        self.trash -= trash - in_trash
        self.trash |= in_trash
        found = {each.record.name: each.record for each in await registers.scan("video/", _VIDEO)}
        for name in before.keys() - found.keys():
            if self.videos.get(name) is before[name]:
                self.drop_video(name)
                for key in list(self._by_video.get(before[name].id, ())):
                    self.drop_group(key)
        for record in found.values():
            known = self.videos.get(record.name)
            if record.id not in self.trash and known == before.get(record.name):
                if known != record:
                    self.put_video(record)
                if known != record or record.state == "uploading":
                    await self._read_groups(registers, record.id)
        if found:
            self._turn = min((each for each in found if each > self._turn), default=min(found))
            await self._read_groups(registers, found[self._turn].id)

    async def _read_groups(self, registers: Registers, video_id: str) -> None:
        known = set(self._by_video.get(video_id, ()))
        groups = await registers.scan(groups_prefix(video_id), wire.GroupRecord)
        if self.video(video_id) is None:
            return  # deleted here meanwhile: its groups may be gone, and nobody would drop them
        for group in groups:
            self.put_group(group.key, group.record, group.version)
        for key in known - {group.key for group in groups}:
            self.drop_group(key)

    def put_video(self, record: wire.VideoRecord) -> None:
        """Take note of a video's register."""
        self.videos[record.name] = record
        self.version += 1

    def drop_video(self, name: str) -> None:
        """Take note that a name is free."""
        self.videos.pop(name, None)
        self.version += 1

    def put_group(self, key: str, group: wire.GroupRecord, version: int) -> None:
        """Take note of a group's register, unless a later version is known."""
        known = self._groups.get(key)
        if known is not None and known.version >= version:
            return
        self.drop_group(key)
        totals = self._groups[key] = add_up(group, version)
        self.stored_bytes += totals.stored_bytes
        self.video_bytes += totals.video_bytes
        self._by_video[parse_group_key(key)[0]].add(key)
        for node in totals.nodes:
            self._by_node[node].add(key)
        self.version += 1

    def drop_group(self, key: str) -> None:
        """Take note that a group's register is gone."""
        totals = self._groups.pop(key, None)
        if totals is None:
            return
        self.stored_bytes -= totals.stored_bytes
        self.video_bytes -= totals.video_bytes
        _take_out(self._by_video, parse_group_key(key)[0], key)
        for node in totals.nodes:
            _take_out(self._by_node, node, key)
        self.version += 1

    def groups_on(self, node: str) -> list[str]:
        """Return the keys of the groups that have a fragment on a node, in order."""
        return sorted(self._by_node.get(node, ()))

    def holds_fragments(self, node: str) -> bool:
        """Whether any fragment is recorded on a node."""
        return bool(self._by_node.get(node))

    def totals(self, video_id: str) -> VideoTotals:
        """Return a video's groups added up."""
        groups = [self._groups[key] for key in self._by_video.get(video_id, ())]
        return VideoTotals(
            chunks=sum(group.chunks for group in groups),
            fragments=sum(group.fragments for group in groups),
            stored_bytes=sum(group.stored_bytes for group in groups),
        )

    def shapes(self, video_id: str) -> Iterable[ChunkShape]:
        """Return the shapes of a video's chunks."""
        return {
            shape for key in self._by_video.get(video_id, ()) for shape in self._groups[key].shapes
        }

    def groups_of(self, video_id: str) -> list[tuple[str, frozenset[ChunkShape]]]:
        """Return a video's groups in order, with the shapes of their chunks."""
        return [(key, self._groups[key].shapes) for key in sorted(self._by_video.get(video_id, ()))]

    def group_version(self, key: str) -> int:
        """Return the version of a group's register that is known; 0: none."""
        totals = self._groups.get(key)
        return totals.version if totals else 0

    def video(self, video_id: str) -> wire.VideoRecord | None:
        """Return a video's register by its id."""
        return next((each for each in self.videos.values() if each.id == video_id), None)

    def nodes_of(self, video_id: str) -> set[str]:
        """Return the nodes that hold fragments of a video."""
        return {
            node for key in self._by_video.get(video_id, ()) for node in self._groups[key].nodes
        }

    def names(self, ids: Iterable[str]) -> list[str]:
        """Return the names of videos by their ids, in order."""
        wanted = set(ids)
        return sorted(name for name, video in self.videos.items() if video.id in wanted)


@dataclass(frozen=True, slots=True)
class VideoHealth:
    """How well a video is stored right now."""

    losses_survived: int  # more nodes that may go, whichever; -1: some chunk cannot be read
    fewest_pieces: int  # of its worst chunk, on nodes that are at hand


def survey(library: Library, is_at_hand: Callable[[str], bool]) -> dict[str, VideoHealth]:
    """Return the health of every ready video that has chunks, by id.

    Each shape is judged once, however many chunks have it.
    """
    judged: dict[ChunkShape, VideoHealth] = {}

    def judge(shape: ChunkShape) -> VideoHealth:
        if shape not in judged:
            judged[shape] = VideoHealth(shape.losses_survived(is_at_hand), shape.pieces(is_at_hand))
        return judged[shape]

    found = {}
    for video in library.videos.values():
        chunks = [judge(shape) for shape in library.shapes(video.id)]
        if chunks and video.state == "ready":
            found[video.id] = VideoHealth(
                min(each.losses_survived for each in chunks),
                min(each.fewest_pieces for each in chunks),
            )
    return found


def _take_out(index: defaultdict[str, set[str]], name: str, key: str) -> None:
    index[name].discard(key)
    if not index[name]:
        del index[name]
