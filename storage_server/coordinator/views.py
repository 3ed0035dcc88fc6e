"""How often videos are watched: counted once per playback, written in batches."""

import logging
import time
import uuid
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from redundancy.errors import EvenflowError
from redundancy.popularity import Popularity
from storage_server.coordinator.registers import Registers, Views, views_key

log = logging.getLogger(__name__)

# A view may be reported again and again while it lasts; this many playbacks are remembered. An
# id takes about 150 bytes.
PLAYBACKS_REMEMBERED_MAX = 65_536

FLUSH_INTERVAL_S = 2.0


@dataclass(frozen=True, slots=True)
class _Addition:
    id: str
    count: int


class ViewCounter:
    """Responsible for every playback counting once, and for the counts reaching the catalogue.

    What was counted in the last seconds before a crash is lost; a count is never written twice.
    """

    def __init__(self, registers: Registers, wall_clock: Callable[[], float] = time.time) -> None:
        self._registers = registers
        self._wall_clock = wall_clock
        self._levels: dict[str, float] = {}
        self._playbacks: OrderedDict[str, None] = OrderedDict()
        self._written: dict[str, int] = {}
        self._pending: Counter[str] = Counter()
        self._additions: dict[str, _Addition] = {}  # begun, perhaps written, not yet confirmed

    async def load(self) -> None:
        """Read what is counted so far."""
        for stored in await self._registers.scan("views/", Views):
            video_id = stored.key.partition("/")[2]
            self._written[video_id] = stored.record.count
            if stored.record.level is not None:
                self._levels[video_id] = stored.record.level

    def count(self, video_id: str, playback: str) -> bool:
        """Count a playback; return whether it was new."""
        if playback in self._playbacks:
            self._playbacks.move_to_end(playback)
            return False
        self._playbacks[playback] = None
        if len(self._playbacks) > PLAYBACKS_REMEMBERED_MAX:
            self._playbacks.popitem(last=False)
        self._pending[video_id] += 1
        return True

    def views(self, video_id: str) -> int:
        """Return how often a video was watched."""
        return self._written.get(video_id, 0) + self._pending[video_id]

    def views_per_week(self, video_id: str) -> float:
        """Return how often a video is watched lately; see ``redundancy.popularity``."""
        level = self._levels.get(video_id)
        return Popularity(level).views_per_week(self._wall_clock()) if level is not None else 0.0

    def forget(self, video_id: str) -> None:
        """Drop a deleted video's count."""
        self._written.pop(video_id, None)
        self._levels.pop(video_id, None)
        self._pending.pop(video_id, None)
        self._additions.pop(video_id, None)

    async def flush(self) -> None:
        """Write what was counted since the last time; what fails is written the next time."""
        for video_id, count in list(self._pending.items()):
            addition = self._additions.setdefault(video_id, _Addition(uuid.uuid4().hex, count))
            try:
                await self._add(video_id, addition)
            except EvenflowError as error:
                log.warning("views of %s are not written yet: %s", video_id, error.message)

    async def _add(self, video_id: str, addition: _Addition) -> None:
        added = Popularity.of(addition.count, self._wall_clock())
        levels: list[float] = []

        def add(record: Views | None) -> Views:
            before = record or Views()
            if before.flush != addition.id:  # else it is our own write, whose answer got lost
                known = Popularity() if before.level is None else Popularity(before.level)
                count, level = before.count + addition.count, known.merged(added).level
                before = Views(count=count, level=level, flush=addition.id)
            levels[:] = [] if before.level is None else [before.level]
            return before

        await self._registers.update(views_key(video_id), Views, add)
        if self._additions.pop(video_id, None) is None:
            return  # the video was deleted meanwhile
        self._pending[video_id] -= addition.count
        if not self._pending[video_id]:
            del self._pending[video_id]
        self._written[video_id] = self._written.get(video_id, 0) + addition.count
        for level in levels:
            self._levels[video_id] = level
