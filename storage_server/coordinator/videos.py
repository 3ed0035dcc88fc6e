"""Videos as they are: found, listed, described for players, deleted, counted."""

import difflib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import xxhash

from redundancy.placement import Demand, PlacementNode, RingPlacement
from redundancy.popularity import is_view
from redundancy.scheme import Layout, Scheme
from smart_client import wire
from smart_client.errors import InvalidRequest, NameTaken, TooFewNodesUp, VideoNotFound
from storage_server.coordinator.errors import RegisterDamaged
from storage_server.coordinator.library import Library, VideoHealth
from storage_server.coordinator.membership import Membership
from storage_server.coordinator.registers import (
    Registers,
    Stored,
    groups_prefix,
    parse_group_key,
    video_key,
)
from storage_server.coordinator.trash import TrashSweeper
from storage_server.coordinator.views import ViewCounter
from storage_server.read_keys import VIDEO_GRANT_S, ReadGrants

# What a name is registered with before anybody uploads to it.
_NOTHING_STORED = wire.LayoutRecord(k=1, n=1)

# On the ring of names every server counts the same, whatever it can hold.
_RING_WEIGHT_BYTES = 1 << 40


@dataclass(frozen=True, slots=True)
class ManifestBytes:
    """A manifest as it is sent."""

    body: bytes
    etag: str


def check_name(name: str) -> str:
    """Return the name if a video may have it. Raises: InvalidRequest."""
    return wire.decode(wire.encode(name), wire.Name)


class Videos:
    """Responsible for what may be asked of and done to a whole video."""

    def __init__(
        self,
        registers: Registers,
        library: Library,
        members: Membership,
        *,
        views: ViewCounter,
        trash: TrashSweeper,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._registers = registers
        self._library = library
        self._members = members
        self._views = views
        self._trash = trash
        self._wall_clock = wall_clock
        self._ring = RingPlacement()
        self.grants = ReadGrants()  # what manifests carry

    # -- reading ---------------------------------------------------------------------------------

    async def find(self, name: str) -> Stored[wire.VideoRecord]:
        """Return a video's register. Raises: VideoNotFound, which names the nearest spelling."""
        stored = await self._registers.get(video_key(name), wire.VideoRecord)
        if stored is not None:
            return stored
        near = difflib.get_close_matches(name, self._library.videos, n=1)
        guess = f" Did you mean '{near[0]}'?" if near else ""
        raise VideoNotFound(f"no video '{name}'.{guess}", hint="`smart-client ls` lists them")

    async def find_ready(self, name: str) -> wire.VideoRecord:
        """Return the register of a video that can be played. Raises: VideoNotFound."""
        record = (await self.find(name)).record
        if record.state == "uploading":
            raise VideoNotFound(
                f"video '{name}' is not complete: its upload is unfinished",
                hint="run the same `smart-client put` again, it goes on where it stopped",
            )
        if record.state == "registered":
            raise VideoNotFound(
                f"video '{name}' is only a name yet",
                hint=f"store a file under it: smart-client put FILE --name '{name}'",
            )
        return record

    async def summaries(self, health: Mapping[str, VideoHealth]) -> tuple[wire.VideoSummary, ...]:
        """Return one line for every video, by name."""
        stored = await self._registers.scan("video/", wire.VideoRecord)
        lines = [self._summary(each.record, health.get(each.record.id)) for each in stored]
        return tuple(sorted(lines, key=lambda line: line.name))

    async def groups(self, name: str, rendition: str) -> tuple[wire.StoredGroup, ...]:
        """Return the groups recorded so far, also of an unfinished upload."""
        video = (await self.find(name)).record
        return tuple(
            wire.StoredGroup(
                number=parse_group_key(each.key)[2], version=each.version, group=each.record
            )
            for each in await self._groups_of(video.id, rendition)
        )

    async def manifest(self, name: str, rendition: str) -> ManifestBytes:
        """Return all that is needed to play a rendition.

        Raises: VideoNotFound, RenditionNotFound, RegisterDamaged.
        """
        video = await self.find_ready(name)
        described = video.rendition(rendition)
        groups = await self._groups_of(video.id, rendition)
        chunks = tuple(chunk for each in groups for chunk in each.record.chunks)
        nodes = self._members.records_of(
            fragment.node for chunk in chunks for fragment in chunk.fragments
        )
        grant = self.grants.for_video(video.id)
        try:
            whole = wire.Manifest(
                video=video,
                rendition=described,
                chunks=chunks,
                nodes=nodes,
                read_grant=grant,
                read_grant_s=VIDEO_GRANT_S if grant else 0.0,
            )
        except ValueError as error:
            raise RegisterDamaged(f"the groups of '{name}' do not fit: {error}") from error
        body = wire.encode(whole)
        return ManifestBytes(body, xxhash.xxh3_128_hexdigest(body))

    # -- changing --------------------------------------------------------------------------------

    async def register(self, name: str) -> str:
        """Register a bare name; return the server that the ring gives it.

        A name that is there already stays as it is. Raises: InvalidRequest, TooFewNodesUp: there
        is no server.
        """
        server = self.server_of(check_name(name))
        wanted = wire.VideoRecord(
            id=uuid.uuid4().hex,
            name=name,
            state="registered",
            created_at_s=self._wall_clock(),
            layout=_NOTHING_STORED,
            reason="a registered name; nothing is stored",
        )

        def settle(there: wire.VideoRecord | None) -> wire.VideoRecord:
            if there is not None and there.state != "registered":
                raise NameTaken(f"video '{name}' exists already")
            return there or wanted

        await self._registers.update(video_key(name), wire.VideoRecord, settle)
        if name not in self._library.videos:
            self._library.put_video(wanted)
        return server

    async def delete(self, name: str) -> wire.Deleted:
        """Free a video's name now and drop its fragments by and by. Raises: VideoNotFound."""
        video = (await self.find(name)).record
        totals = self._library.totals(video.id)
        await self.discard(video.id, name)
        return wire.Deleted(name=name, fragments=totals.fragments, stored_bytes=totals.stored_bytes)

    async def discard(self, video_id: str, name: str) -> None:
        """Delete whatever there is of a video; its name only if it is still its own."""
        await self._trash.begin(video_id, name)
        await self._trash.free_name(name, video_id)
        self._views.forget(video_id)
        self._trash.wake()

    async def count_view(self, name: str, view: wire.CountView) -> tuple[bool, int]:
        """Count a playback once if it was long enough; return whether it was, and all views."""
        video = await self.find_ready(name)
        duration_s = max((each.duration_s for each in video.renditions), default=0.0)
        is_new = is_view(view.played_s, duration_s) and self._views.count(video.id, view.playback)
        return is_new, self._views.views(video.id)

    # -- servers of names ------------------------------------------------------------------------

    def server_of(self, name: str) -> str:
        """Return the server that the ring gives a name. Raises: TooFewNodesUp: there is none."""
        nodes = [
            PlacementNode(node, weight_bytes=_RING_WEIGHT_BYTES, free_bytes=_RING_WEIGHT_BYTES)
            for node in self._members.records
        ]
        if not nodes:
            raise TooFewNodesUp(
                "the ring is empty: there is no server to give a name to",
                hint="add one: POST /server/NAME, or storage-server node --coordinator URL",
            )
        demand = Demand(Layout(Scheme(1, 1)), 1)
        return self._ring.choose(f"video/{name}", nodes, demand)[0].nodes[0]

    def names_by_server(self) -> dict[str, list[str]]:
        """Return each server with the videos it holds and the bare names the ring gives it."""
        found: dict[str, list[str]] = {node: [] for node in sorted(self._members.records)}
        for name, video in sorted(self._library.videos.items()):
            holders = self._library.nodes_of(video.id)
            if not holders and found:
                holders = {self.server_of(name)}
            for node in holders:
                found.setdefault(node, []).append(name)
        return found

    def bare_names_of(self, node: str) -> int:
        """Return how many names without fragments the ring gives a server."""
        return sum(
            self.server_of(name) == node
            for name, video in self._library.videos.items()
            if not self._library.nodes_of(video.id) and self._members.records
        )

    # -- inside ----------------------------------------------------------------------------------

    async def _groups_of(self, video_id: str, rendition: str) -> list[Stored[wire.GroupRecord]]:
        prefix = groups_prefix(video_id, _check_rendition(rendition))
        return await self._registers.scan(prefix, wire.GroupRecord)

    def _summary(self, video: wire.VideoRecord, health: VideoHealth | None) -> wire.VideoSummary:
        totals = self._library.totals(video.id)
        original = video.renditions[0] if video.renditions else None
        return wire.VideoSummary(
            name=video.name,
            id=video.id,
            state=video.state,
            size=original.size if original else video.size,
            duration_s=original.duration_s if original else video.media.duration_s,
            layout=video.layout,
            stored_bytes=totals.stored_bytes,
            chunks=totals.chunks,
            views=self._views.views(video.id),
            views_per_week=self._views.views_per_week(video.id),
            reason=video.reason,
            is_wish=video.wish is not None,
            created_at_s=video.created_at_s,
            mime=original.mime if original else "",
            media=video.media,
            renditions=tuple(each.name for each in video.renditions),
            weakest_chunk_fragments_up=health.fewest_pieces if health else None,
        )


def _check_rendition(name: str) -> str:
    try:
        return check_name(name)
    except InvalidRequest as error:
        raise InvalidRequest(f"not a rendition's name: {name!r}") from error
