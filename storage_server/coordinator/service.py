"""A coordinator's parts put together, and what runs beside its requests."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable

from redundancy.placement import RendezvousPlacement
from smart_client import wire
from storage_server.agreement_trace import Trace
from storage_server.catalogue.choice import start_options
from storage_server.catalogue.contract import Catalogue
from storage_server.catalogue.copying import where_moved
from storage_server.catalogue.watched import WatchedCatalogue
from storage_server.coordinator.emptying import NodeEmptier
from storage_server.coordinator.errors import CannotEmptyNode, CatalogueMoved
from storage_server.coordinator.failure_detector import (
    DetectorLimits,
    FailureDetector,
    NodeState,
)
from storage_server.coordinator.following import Follower
from storage_server.coordinator.keeper.advice import Advisor
from storage_server.coordinator.keeper.counsel import Counsel
from storage_server.coordinator.keeper.keeper import Keeper
from storage_server.coordinator.keeper.limits import KeeperLimits
from storage_server.coordinator.keeper.preview import Preview
from storage_server.coordinator.keeper.tools import Tools
from storage_server.coordinator.library import Library, VideoHealth, survey
from storage_server.coordinator.links import NodeLinks, Pinger
from storage_server.coordinator.membership import Membership
from storage_server.coordinator.registers import Registers
from storage_server.coordinator.storage_reports import StorageReporter
from storage_server.coordinator.trash import TrashSweeper
from storage_server.coordinator.uploads import Uploads
from storage_server.coordinator.uptimes import UptimeMeter
from storage_server.coordinator.verdicts import Verdicts
from storage_server.coordinator.videos import Videos
from storage_server.coordinator.views import FLUSH_INTERVAL_S, ViewCounter
from storage_server.read_keys import ReadGrants

log = logging.getLogger(__name__)

# How long a status may be out of date, so that many who ask cost no more than one.
STATUS_AGE_MAX_S = 1.0

# How soon a verdict is in the catalogue; the operator's own are before they are answered.
_WRITE_DOWN_EVERY_S = 1.0

# A background task that fails in an unforeseen way is begun again after this.
_RESTART_PAUSE_S = 1.0


class Coordinator:
    """Responsible for one catalogue's decisions; everything it must remember is in there."""

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        limits: DetectorLimits | None = None,
        keeper: KeeperLimits | None = None,
        token: str | None = None,
        grants: ReadGrants | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Put the parts together; call ``load`` before anything else.

        Args:
            token: shown to nodes that ask for one.
            grants: what readers are given, where reading is signed.
            clock: monotonic seconds.
        """
        self._clock = clock
        self._started_s = clock()
        self.url = ""
        if not isinstance(catalogue, WatchedCatalogue):
            catalogue = WatchedCatalogue(catalogue, Trace())
        self.catalogue: WatchedCatalogue = catalogue
        self.registers = Registers(self.catalogue)
        self.library = Library()
        detector = FailureDetector(limits or DetectorLimits(), clock())
        self.members = Membership(self.registers, detector, clock)
        self.verdicts = Verdicts(self.registers, self.members, clock)
        self.links = NodeLinks(self.members, token=token, grants=grants)
        self.pinger = Pinger(self.members, self.links, self.library.holds_fragments)
        self.views = ViewCounter(self.registers)
        self.trash = TrashSweeper(self.registers, self.library, self.members, self.links)
        placement = RendezvousPlacement()
        self.videos = Videos(
            self.registers, self.library, self.members, views=self.views, trash=self.trash
        )
        self.videos.grants = self.links.grants
        self.members.troubles.grants = self.links.grants
        self.uploads = Uploads(
            self.registers,
            self.videos,
            self.library,
            members=self.members,
            placement=placement,
        )
        tools = Tools(
            self.registers, self.library, self.members, self.links, keeper or KeeperLimits(), clock
        )
        self.keeper = Keeper(tools, placement)
        self.counsel = Counsel(
            self.library, self.members, self.views, limits=tools.limits, wall_clock=time.time
        )
        self.uploads.policy_choice = self.counsel.for_new
        advisor = Advisor(tools, uploads=self.uploads, counsel=self.counsel)
        self.keeper.advisor = advisor
        self.reporter = StorageReporter(self.library, self.members, self.counsel, advisor)
        self.uptimes = UptimeMeter(self.registers, self.members, wall_clock=time.time)
        self.preview = Preview(tools, self.keeper, placement)
        self.emptier = NodeEmptier(tools, self.keeper, uploads=self.uploads, placement=placement)
        self.follower = Follower(self.registers, self.library, self.members, self.views)
        self._surveyed: tuple[tuple[int, int], dict[str, VideoHealth]] = ((-1, -1), {})
        self._surveyed_at_s = float("-inf")

    async def load(self) -> None:
        """Read the catalogue. Deletions that were cut short will be finished.

        Raises: CatalogueMoved, RegisterDamaged, CatalogueError.
        """
        if where := await where_moved(self.catalogue):
            raise CatalogueMoved(
                f"this catalogue was moved to {where}",
                hint=f"start with {start_options(where)}",
            )
        await self.members.load()
        await self.verdicts.load()
        for video_id in await self.library.load(self.registers):
            log.warning("groups of a video that is not there, %s, will be deleted", video_id)
            await self.trash.begin(video_id, f"unknown-{video_id}")
        await self.views.load()
        await self.uptimes.load()

    async def require_no_catalogue_on(self, node: str) -> None:
        """Return if a node keeps no part of the catalogue: that does not move with its fragments.

        Raises: NodeNotFound, CannotEmptyNode.
        """
        urls = {url.rstrip("/") for url in self.members.record(node).urls}
        found = await self.catalogue.agreement()
        if any(each.url.rstrip("/") in urls for each in found.members if each.url):
            raise CannotEmptyNode(
                f"node {node} is one of {len(found.members)} that keep the catalogue; nothing was "
                "changed",
                hint=f"first let another do it: storage-server admin catalogue members replace "
                f"{node} OTHER",
            )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Do the background work while this is entered; write the last views on the way out."""
        tasks = [
            asyncio.create_task(_for_ever(work))
            for work in (
                self.pinger.run,
                self.trash.run,
                self.keeper.run,
                self._flush_views,
                self._watch_nodes,
                self._write_down,
                self.follower.run,
            )
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.views.flush()
            await self.uptimes.flush()
            await self.keeper.stop()
            await self.links.close()

    # -- the cluster at a glance -----------------------------------------------------------------

    def health(self) -> dict[str, VideoHealth]:
        """Return the health of every ready video by id, at most ``STATUS_AGE_MAX_S`` old.

        A video with a node that was not heard since the start is left out: nothing is known.
        """
        self.members.advance()
        versions = (self.library.version, self.members.state_version)
        now_s = self._clock()
        if versions != self._surveyed[0] and now_s - self._surveyed_at_s >= STATUS_AGE_MAX_S:
            self._surveyed = (versions, self._survey())
            self._surveyed_at_s = now_s
        return self._surveyed[1]

    def status(self) -> wire.ClusterStatus:
        """Return the cluster at a glance."""
        health = self.health()
        library = self.library
        unplayable = [key for key, each in health.items() if each.losses_survived < 0]
        fragile = [key for key, each in health.items() if each.losses_survived == 0]
        return wire.ClusterStatus(
            coordinator=self.url,
            catalogue=self.registers.catalogue.kind,
            uptime_s=self._clock() - self._started_s,
            nodes=self.members.statuses(),
            videos=sum(video.state == "ready" for video in library.videos.values()),
            uploading=sum(video.state == "uploading" for video in library.videos.values()),
            stored_bytes=library.stored_bytes,
            video_bytes=library.video_bytes,
            unplayable=tuple(library.names(unplayable)),
            fragile=tuple(library.names(fragile)),
            deleting=len(library.trash),
            keeper=self.keeper.status(),
        )

    def _survey(self) -> dict[str, VideoHealth]:
        states = {node: self.members.state(node) for node in self.members.records}
        found = survey(self.library, lambda node: states.get(node) is NodeState.UP)
        silent = {node for node, state in states.items() if state is NodeState.UNKNOWN}
        if not silent:
            return found
        return {key: each for key, each in found.items() if not self.library.nodes_of(key) & silent}

    # -- beside the requests ---------------------------------------------------------------------

    async def _flush_views(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_S)
            await self.views.flush()

    async def _watch_nodes(self) -> None:
        while True:
            self.members.advance()
            self.uptimes.tick(self._clock())
            await asyncio.sleep(self.members.seconds_to_next_advance())

    async def _write_down(self) -> None:
        """Keep what is known of nodes in the catalogue; a slow one must not deafen the watch."""
        while True:
            await self.verdicts.settle_and_look()
            await self.uptimes.flush_if_due(self._clock())
            await asyncio.sleep(_WRITE_DOWN_EVERY_S)


async def _for_ever(work: Callable[[], Awaitable[None]]) -> None:
    """Run a background task; begin it again if it fails."""
    while True:
        try:
            await work()
        except Exception:  # top of the task
            log.exception("background work failed in an unforeseen way; it begins again")
        await asyncio.sleep(_RESTART_PAUSE_S)
