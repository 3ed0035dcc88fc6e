"""An upload from its announcement to the moment it can be played.

    create -> place, store a group, place, store a group, ... -> commit

Every step is one compare-and-set, so a crash of anybody between any two of them leaves an
unfinished upload that can be taken up again or deleted.
"""

import asyncio
import shlex
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

from msgspec import structs

from redundancy.errors import NoSpace, TooFewNodes
from redundancy.placement import Demand, Placement
from redundancy.rows import CHUNK_BYTES_MAX
from smart_client import wire
from smart_client.errors import Conflict, InvalidRequest, NameTaken, VideoNotFound
from storage_server.coordinator.layouts import (
    AUTO,
    ChunkShape,
    LayoutChoice,
    choose_layout,
    losses_demanded,
    part_for,
    too_few_nodes,
)
from storage_server.coordinator.library import Library
from storage_server.coordinator.membership import Membership
from storage_server.coordinator.registers import (
    Registers,
    Stored,
    group_key,
    groups_prefix,
    parse_group_key,
    video_key,
)
from storage_server.coordinator.videos import Videos

# Somebody else may announce the same name at the same moment; then there is something to look at.
_ATTEMPTS = 4


class Uploads:
    """Responsible for a video becoming ready only when all of it is durable."""

    def __init__(
        self,
        registers: Registers,
        videos: Videos,
        library: Library,
        *,
        members: Membership,
        placement: Placement,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._registers = registers
        self._videos = videos
        self._library = library
        self._members = members
        self._placement = placement
        self._wall_clock = wall_clock
        # Held while a group is checked and written, and by who removes a node at last: so no
        # group names a node that is gone.
        self.gate = asyncio.Lock()
        # What a policy would have for a new video; None: the default's rule, see ``layouts``.
        self.policy_choice: Callable[[], LayoutChoice | None] = lambda: None

    async def create(self, wish: wire.CreateVideo) -> wire.VideoRecord:
        """Announce an upload, or find the unfinished one of the same name and size.

        Raises: NameTaken, TooFewNodesUp, InvalidScheme, InvalidRequest, OutcomeUnknown.
        """
        for _ in range(_ATTEMPTS):
            stored = await self._registers.get(video_key(wish.name), wire.VideoRecord)
            if stored is not None and stored.record.state != "registered":
                return _resumed(stored.record, wish)
            record = self._announced(wish, stored.record if stored else None)
            try:
                key, version = video_key(wish.name), stored.version if stored else 0
                await self._registers.write(key, record, version)
            except Conflict:
                continue  # somebody else announced it first: look what
            self._library.put_video(record)
            return record
        raise Conflict(f"'{wish.name}' is made and deleted by others all the time")

    async def place(self, name: str, wish: wire.PlaceChunks) -> wire.Placements:
        """Propose nodes for some chunks of one group.

        With fewer nodes up than the layout has pieces the last pieces get no node: an upload under
        way goes on as long as its chunks survive a loss, and the keeper makes the rest.

        Raises: VideoNotFound, InvalidRequest, TooFewNodesUp, NoSpace.
        """
        video = await self._find(name, wish.video_id)
        number, first = divmod(wish.first_chunk, wire.GROUP_CHUNKS)
        if first + wish.count > wire.GROUP_CHUNKS:
            raise InvalidRequest(
                f"chunks {wish.first_chunk} to {wish.first_chunk + wish.count - 1} are not of one "
                f"group of {wire.GROUP_CHUNKS}"
            )
        layout = (wish.layout or video.layout).to_layout()
        # The size is known of the whole only; a node that fills up meanwhile refuses by itself.
        likely_bytes = min(CHUNK_BYTES_MAX, -(-max(wish.size or video.size, 1) // wish.count))
        demand = Demand(layout, first + wish.count, likely_bytes)
        group = f"{video.id}/{wish.rendition}/{number}"
        counts = self._members.counts()
        if counts.ready < layout.fragments_total:
            part = part_for(layout, counts.ready)
            if part is None:
                raise too_few_nodes(layout, counts)
            demand = replace(demand, layout=part)
        try:
            proposed = self._placement.choose(group, self._members.placement_nodes(), demand)
        except TooFewNodes as error:
            raise NoSpace(
                f"the {counts.ready} nodes that are up have too little room for "
                f"'{name}' as {layout}",
                hint="delete videos or add nodes, then run the same command again",
            ) from error
        chunks = tuple(
            wire.ChunkPlacement(nodes=each.nodes, spares=each.spares) for each in proposed[first:]
        )
        named = {node for chunk in chunks for node in chunk.nodes + chunk.spares}
        return wire.Placements(chunks=chunks, nodes=self._members.records_of(named))

    async def store_group(self, name: str, number: int, wish: wire.StoreGroup) -> int:
        """Record where a group's chunks lie; return the register's new version.

        The same group sent twice is stored once. A committed rendition's group may gain and move
        fragments, its chunks stay what they are.
        Raises: VideoNotFound, InvalidRequest, Conflict, OutcomeUnknown.
        """
        async with self.gate:
            video = await self._find(name, wish.video_id)
            self._check_group(video, number, wish.group)
            key = group_key(video.id, wish.rendition, number)
            there = await self._registers.get(key, wire.GroupRecord)
            if there is not None and there.record == wish.group:
                return there.version
            if video.layout_of(wish.rendition) is not None:
                _check_same_chunks(there, wish.group)
            version = await self._registers.write(key, wish.group, wish.expected_version)
            self._library.put_group(key, wish.group, version)
            await self._require_still_there(video)
            return version

    async def commit(self, name: str, wish: wire.CommitVideo) -> wire.VideoRecord:
        """Make an upload visible once every group of every rendition is there.

        A ready video may gain renditions; those it has stay what they are.

        Raises: VideoNotFound, InvalidRequest: something is missing or does not fit; Conflict.
        """
        stored = await self._videos.find(name)
        video = _same_video(stored.record, wish.video_id)
        ready = structs.replace(video, state="ready", media=wish.media, renditions=wish.renditions)
        if video.state == "ready":
            if video == ready:
                return video
            _check_only_more(video, ready)
        if wish.renditions[:1] and wish.renditions[0].name != "original":
            raise InvalidRequest("the first rendition is the original")
        if ready.rendition().size != video.size:
            raise InvalidRequest(
                f"'{name}' was announced with {video.size} bytes, and has {ready.rendition().size}"
            )
        await self._check_complete(ready, video)
        await self._registers.write(stored.key, ready, stored.version)
        self._library.put_video(ready)
        return ready

    async def set_layout(self, name: str, wish: str) -> wire.VideoRecord:
        """Say how a ready video is to be stored from now on; ``auto`` leaves it to the policy.

        Raises: VideoNotFound, InvalidScheme, InvalidRequest, TooFewNodesUp, Conflict.
        """
        video = await self._videos.find_ready(name)
        if wish == AUTO:
            return await self._lay_out(video, video.layout, video.reason, None)
        choice = choose_layout(wish, self._members.counts())
        layout = wire.LayoutRecord.of(choice.layout)
        return await self._lay_out(video, layout, choice.reason, layout)

    async def follow_policy(
        self, video: wire.VideoRecord, layout: wire.LayoutRecord, reason: str
    ) -> wire.VideoRecord:
        """Give a video the layout a policy wishes for it. Raises: as ``set_layout``."""
        return await self._lay_out(video, layout, reason, video.wish)

    async def _lay_out(
        self,
        video: wire.VideoRecord,
        layout: wire.LayoutRecord,
        reason: str,
        wish: wire.LayoutRecord | None,
    ) -> wire.VideoRecord:
        now_s = self._wall_clock()

        def change(there: wire.VideoRecord | None) -> wire.VideoRecord | None:
            if there is None or (there.id, there.state) != (video.id, "ready"):
                return there
            changed_at_s = there.laid_out_at_s if there.layout == layout else now_s
            return structs.replace(
                there, layout=layout, reason=reason, wish=wish, laid_out_at_s=changed_at_s
            )

        await self._registers.update(video_key(video.name), wire.VideoRecord, change)
        stored = await self._videos.find(video.name)
        self._library.put_video(stored.record)
        return stored.record

    # -- inside ----------------------------------------------------------------------------------

    async def _find(self, name: str, video_id: str) -> wire.VideoRecord:
        return _same_video((await self._videos.find(name)).record, video_id)

    def _announced(
        self, wish: wire.CreateVideo, registered: wire.VideoRecord | None
    ) -> wire.VideoRecord:
        advised = self.policy_choice() if wish.redundancy == AUTO else None
        choice = advised or choose_layout(wish.redundancy, self._members.counts())
        layout = wire.LayoutRecord.of(choice.layout)
        return wire.VideoRecord(
            id=registered.id if registered else uuid.uuid4().hex,
            name=wish.name,
            state="uploading",
            created_at_s=self._wall_clock(),
            layout=layout,
            reason=choice.reason,
            wish=None if wish.redundancy == AUTO else layout,
            size=wish.size,
            media=wish.media,
        )

    def _check_group(self, video: wire.VideoRecord, number: int, group: wire.GroupRecord) -> None:
        if not group.chunks or group.chunks[0].number != number * wire.GROUP_CHUNKS:
            raise InvalidRequest(f"group {number} begins with chunk {number * wire.GROUP_CHUNKS}")
        demanded = losses_demanded(video.layout.to_layout(), len(self._members.records))
        offset = group.chunks[0].offset
        for chunk in group.chunks:
            if chunk.offset != offset:
                raise InvalidRequest(f"chunk {chunk.number} does not follow the one before it")
            offset += chunk.size
            if chunk.layout != video.layout and video.state != "ready":
                raise InvalidRequest(
                    f"chunk {chunk.number} is {chunk.layout.to_layout()}, the video is "
                    f"{video.layout.to_layout()}"
                )
            self._check_nodes(chunk)
            if ChunkShape.of(chunk).losses_survived(lambda _: True) < demanded:
                raise InvalidRequest(
                    f"chunk {chunk.number} has {len(chunk.fragments)} fragments, too few to "
                    f"survive the loss of {demanded} (it is {chunk.layout.to_layout()})",
                    hint="store more of them before recording the group",
                )

    def _check_nodes(self, chunk: wire.ChunkRecord) -> None:
        nodes = [fragment.node for fragment in chunk.fragments]
        if len(set(nodes)) != len(nodes):
            raise InvalidRequest(f"chunk {chunk.number} has two fragments on one node")
        for node in nodes:
            if node not in self._members.records:
                raise InvalidRequest(f"chunk {chunk.number} names node '{node}', which is not here")
            if node in self._members.draining:
                raise Conflict(
                    f"node {node} is being removed: chunk {chunk.number} has to go elsewhere",
                    hint="ask for placements again",
                )

    async def _require_still_there(self, video: wire.VideoRecord) -> None:
        """Take the group back if its video was deleted while it was written."""
        there = await self._registers.get(video_key(video.name), wire.VideoRecord)
        if there is None or there.record.id != video.id:
            await self._videos.discard(video.id, video.name)
            raise VideoNotFound(f"video '{video.name}' was deleted meanwhile")

    async def _check_complete(self, ready: wire.VideoRecord, before: wire.VideoRecord) -> None:
        expected = set()
        for rendition in ready.renditions[len(before.renditions) :]:
            prefix = groups_prefix(ready.id, rendition.name)
            found = await self._registers.scan(prefix, wire.GroupRecord)
            groups_max = -(-rendition.chunk_count // wire.GROUP_CHUNKS)
            groups = [each for each in found if parse_group_key(each.key)[2] < groups_max]
            _check_rendition(rendition, groups)
            expected |= {each.key for each in groups}
            for left_over in found[len(groups) :]:
                # Of an attempt that was interrupted and cut or encoded otherwise.
                await self._registers.write(left_over.key, None, left_over.version)
                self._library.drop_group(left_over.key)
        if before.state == "ready":
            return  # others may be adding a rendition of their own
        everything = await self._registers.scan(groups_prefix(ready.id), wire.GroupRecord)
        if unused := sorted({each.key for each in everything} - expected):
            raise InvalidRequest(
                f"'{ready.name}' has groups of a rendition that is not committed",
                hint=f"delete it and upload it again: smart-client rm {shlex.quote(ready.name)}",
                detail={"groups": unused[:8]},
            )


def _resumed(there: wire.VideoRecord, wish: wire.CreateVideo) -> wire.VideoRecord:
    """Return the unfinished upload that the wish can go on with. Raises: NameTaken."""
    if there.state == "ready":
        raise NameTaken(
            f"video '{wish.name}' exists already",
            hint=f"choose another --name, or delete it: smart-client rm {shlex.quote(wish.name)}",
        )
    if there.size != wish.size:
        raise NameTaken(
            f"an unfinished upload of {there.size} bytes has the name '{wish.name}'; this one has "
            f"{wish.size}",
            hint=f"finish that one, or delete it: smart-client rm {shlex.quote(wish.name)}",
        )
    layout = str(there.layout.to_layout())
    if wish.redundancy not in (AUTO, layout):
        raise NameTaken(
            f"an unfinished upload of '{wish.name}' is stored as {layout}, not {wish.redundancy}",
            hint="go on without --redundancy, or delete it: "
            f"smart-client rm {shlex.quote(wish.name)}",
        )
    return there


def _same_video(video: wire.VideoRecord, video_id: str) -> wire.VideoRecord:
    if video.id != video_id:
        raise VideoNotFound(
            f"'{video.name}' is another video now; the one asked for was deleted",
            hint="begin the upload anew",
        )
    if video.state == "registered":
        raise InvalidRequest(f"'{video.name}' is only a name yet; announce the upload first")
    return video


def _check_only_more(video: wire.VideoRecord, ready: wire.VideoRecord) -> None:
    """Refuse to change what a ready video has. Raises: Conflict."""
    have = len(video.renditions)
    names = [each.name for each in ready.renditions]
    is_more = ready.renditions[:have] == video.renditions and len(set(names)) == len(names)
    if not is_more or ready.media != video.media:
        raise Conflict(f"video '{video.name}' is complete already, with other contents")


def _check_same_chunks(there: Stored[wire.GroupRecord] | None, group: wire.GroupRecord) -> None:
    """Refuse to change what a ready video consists of. Raises: Conflict."""

    def identity(chunk: wire.ChunkRecord) -> tuple[object, ...]:
        return (chunk.number, chunk.offset, chunk.size, chunk.sha256, chunk.start_s)

    before = [identity(chunk) for chunk in there.record.chunks] if there else []
    if before != [identity(chunk) for chunk in group.chunks]:
        raise Conflict("it is complete: its chunks stay what they are")


def _check_rendition(
    rendition: wire.RenditionRecord, groups: Sequence[Stored[wire.GroupRecord]]
) -> None:
    """See that the groups are all of the rendition and nothing else. Raises: InvalidRequest."""
    offset = count = 0
    for position, each in enumerate(groups):
        number = parse_group_key(each.key)[2]
        if number != position or count != number * wire.GROUP_CHUNKS:
            raise InvalidRequest(f"rendition '{rendition.name}' lacks chunk {count}")
        for chunk in each.record.chunks:
            if chunk.offset != offset:
                raise InvalidRequest(
                    f"rendition '{rendition.name}': chunk {chunk.number} begins at byte "
                    f"{chunk.offset}, expected {offset}"
                )
            offset += chunk.size
            count += 1
    if (count, offset) != (rendition.chunk_count, rendition.size):
        raise InvalidRequest(
            f"rendition '{rendition.name}' has {count} chunks with {offset} bytes; "
            f"{rendition.chunk_count} with {rendition.size} were committed"
        )
