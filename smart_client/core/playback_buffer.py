"""Readers: who wants which bytes by when.

    waiting ──enough buffered──▶ playing ──buffer empty──▶ stalled ──enough buffered──▶ playing
                                    └──────────────── end of the rendition ──────────▶ ended

A paced reader goes through these states by itself as time passes: it *is* the measuring player.
A reader that is not paced (a player over HTTP, a download) only has a position. If the player that
takes its bytes tells where it is (``PlayerTold``), deadlines follow that: the rest is buffer.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from math import inf
from types import MappingProxyType
from typing import Final

from smart_client.core.chunk_progress import ChunkProgress
from smart_client.core.commands import Notice
from smart_client.core.timeline import Timeline

# Two instants closer than this are one: floating-point time must not stall a reader.
EPSILON_S: Final = 1e-6

# Players tell their position at least once a second; after so long without, it is not believed.
TOLD_TRUSTED_S: Final = 5.0

# Bytes and times of a chunk are taken as proportional, and players begin at the keyframe before: so
# far from what a reader took a position may be and still be that of its player.
TOLD_SLACK_S: Final = 3.0


class ReaderState(StrEnum):
    """Where a paced reader stands; a pulling reader is always ``pulling``."""

    WAITING = "waiting"
    PLAYING = "playing"
    STALLED = "stalled"
    PAUSED = "paused"
    ENDED = "ended"
    PULLING = "pulling"


class ToldPosition:
    """Where a player says it is. Kept by the buffer, looked at by readers."""

    __slots__ = ("at_s", "media_s", "rate")

    def __init__(self, media_s: float, at_s: float, rate: float) -> None:
        self.media_s = media_s
        self.at_s = at_s
        self.rate = rate  # seconds of media a second; 0: it does not play

    def position_s(self, now_s: float) -> float:
        """Return where it is now; negative if it has not been heard of for too long."""
        age_s = now_s - self.at_s
        return self.media_s + self.rate * age_s if age_s <= TOLD_TRUSTED_S else -1.0


class Reader:
    """Responsible for one reader's position, how far it could read, and its stalls."""

    __slots__ = (
        "base_media_s",
        "base_s",
        "frontier",
        "frontier_s",
        "id",
        "offset",
        "opened_s",
        "paced",
        "players",
        "resume_state",
        "stall_started_s",
        "stalled_s",
        "stalls",
        "start_media_s",
        "startup_s",
        "state",
        "stop",
    )

    def __init__(
        self,
        number: int,
        offset: int,
        *,
        paced: bool,
        now_s: float,
        start_s: float,
        players: Mapping[int, ToldPosition] = MappingProxyType({}),
    ):
        self.id = number
        self.players = players
        self.start_media_s = start_s  # where it began, or jumped to
        self.paced = paced
        self.offset = offset  # everything before it was read (paced: where it started)
        self.stop = offset  # nothing from there on is wanted
        self.frontier = offset  # everything before it is ready
        self.frontier_s = start_s  # media time of the frontier
        self.base_s = now_s  # instant at which the media time was base_media_s
        self.base_media_s = start_s
        self.opened_s = now_s
        self.state = ReaderState.WAITING if paced else ReaderState.PULLING
        self.resume_state = self.state
        self.startup_s = -1.0  # -1: not started
        self.stalls = 0
        self.stalled_s = 0.0
        self.stall_started_s = 0.0

    def playhead_s(self, now_s: float) -> float:
        """Return the media time being played."""
        if self.state is ReaderState.PLAYING:
            return min(self.base_media_s + (now_s - self.base_s), self.frontier_s)
        if self.players and self.state is ReaderState.PULLING:
            return self._told_s(now_s)
        return self.base_media_s

    def _told_s(self, now_s: float) -> float:
        """Return where its player is: the nearest one behind what it took since it began."""
        earliest_s = self.start_media_s - TOLD_SLACK_S
        found_s = -1.0
        for player in self.players.values():
            position_s = player.position_s(now_s)
            if earliest_s <= position_s <= self.base_media_s + TOLD_SLACK_S:
                found_s = max(found_s, position_s)
        return self.base_media_s if found_s < 0 else min(found_s, self.base_media_s)

    def taken_s(self, now_s: float) -> float:
        """Return the media time up to which its player needs no more bytes."""
        return self.playhead_s(now_s) if self.paced else self.base_media_s

    def buffered_s(self, now_s: float) -> float:
        """Return how much media is ready ahead of the playhead."""
        return max(0.0, self.frontier_s - self.playhead_s(now_s))

    def runs_dry_s(self) -> float:
        """Return the instant at which a playing reader reaches its frontier."""
        return self.base_s + (self.frontier_s - self.base_media_s)


class PlaybackBuffer:
    """Responsible for all readers of one session."""

    __slots__ = ("_timeline", "players", "readers", "resume_buffer_s", "start_buffer_s")

    def __init__(self, timeline: Timeline, *, start_buffer_s: float, resume_buffer_s: float):
        self._timeline = timeline
        self.start_buffer_s = start_buffer_s
        self.resume_buffer_s = resume_buffer_s
        self.readers: dict[int, Reader] = {}
        self.players: dict[int, ToldPosition] = {}

    def tell(self, player: int, media_s: float, rate: float, now_s: float) -> None:
        """Take in where a player is; forget those that have long been silent."""
        self.players[player] = ToldPosition(media_s, now_s, rate)
        for number, told in list(self.players.items()):
            if now_s - told.at_s > TOLD_TRUSTED_S:
                del self.players[number]

    def gate_s(self, reader: Reader) -> float:
        """Return how much media must be ready before a waiting reader plays; 0 if it plays."""
        if reader.state is ReaderState.WAITING:
            return self.start_buffer_s
        if reader.state is ReaderState.STALLED:
            return self.resume_buffer_s
        return 0.0

    def open(self, number: int, offset: int, *, paced: bool, now_s: float) -> Reader:
        """Add a reader at a byte offset."""
        start_s = self._timeline.time_at(offset)
        reader = Reader(
            number, offset, paced=paced, now_s=now_s, start_s=start_s, players=self.players
        )
        self.readers[number] = reader
        return reader

    def move(self, reader: Reader, offset: int, now_s: float) -> bool:
        """Set a position; return whether it jumped instead of moving on through ready bytes."""
        jumped = not reader.offset <= offset <= reader.frontier
        reader.offset = offset
        if jumped or offset > reader.frontier:
            reader.frontier = offset
        media_s = self._timeline.time_at(offset)
        reader.frontier_s = max(media_s, self._timeline.time_at(reader.frontier))
        reader.base_media_s = media_s
        reader.base_s = now_s
        if jumped:
            reader.start_media_s = media_s
        if reader.paced and jumped:
            reader.state = ReaderState.WAITING if reader.startup_s < 0 else ReaderState.STALLED
            reader.stall_started_s = now_s
        return jumped

    def pause(self, reader: Reader, paused: bool, now_s: float) -> None:
        """Stop or restart a paced reader's clock."""
        if paused and reader.state is not ReaderState.PAUSED:
            reader.base_media_s = reader.playhead_s(now_s)
            reader.base_s = now_s
            reader.resume_state = reader.state
            reader.state = ReaderState.PAUSED
        elif not paused and reader.state is ReaderState.PAUSED:
            reader.base_s = now_s
            reader.state = reader.resume_state

    def extend(self, reader: Reader, chunks: Sequence[ChunkProgress]) -> None:
        """Move the frontier over rows that have become ready."""
        frontier = self.ready_until(reader.frontier, chunks)
        if frontier > reader.frontier:
            reader.frontier = frontier
            reader.frontier_s = self._timeline.time_at(frontier)

    def ready_until(self, offset: int, chunks: Sequence[ChunkProgress]) -> int:
        """Return the first byte from ``offset`` on that is not ready; all of it: the size."""
        timeline = self._timeline
        while offset < timeline.size:
            index = timeline.chunk_at(offset)
            chunk = chunks[index]
            row = chunk.geometry.row_at(timeline.byte_in(index, offset))
            ready = chunk.decoded >> row
            rows = (~ready & (ready + 1)).bit_length() - 1
            if rows == 0:
                break
            offset = timeline.offset_of(index, chunk.geometry.chunk_range(row, rows)[1])
        return offset

    def cut(self, offset: int) -> None:
        """Bytes from ``offset`` on are not ready after all."""
        for reader in self.readers.values():
            if reader.frontier > offset:
                reader.frontier = max(offset, reader.offset)
                reader.frontier_s = max(
                    self._timeline.time_at(reader.frontier), reader.base_media_s
                )

    def advance(self, now_s: float) -> list[Notice]:
        """Let time pass; return what paced readers did at which instant."""
        notices: list[Notice] = []
        for reader in self.readers.values():
            if reader.paced:
                self._advance(reader, now_s, notices)
        return notices

    def _advance(self, reader: Reader, now_s: float, notices: list[Notice]) -> None:
        at_end = reader.frontier >= self._timeline.size
        if reader.state is ReaderState.PLAYING and now_s >= reader.runs_dry_s() - EPSILON_S:
            dry_s = reader.runs_dry_s()
            reader.base_media_s, reader.base_s = reader.frontier_s, dry_s
            if at_end:
                reader.state = ReaderState.ENDED
                notices.append(Notice("ended", reader=reader.id, seconds=reader.frontier_s))
            else:
                reader.state = ReaderState.STALLED
                reader.stalls += 1
                reader.stall_started_s = dry_s
                notices.append(Notice("stalled", reader=reader.id, seconds=reader.frontier_s))
        if reader.state in (ReaderState.WAITING, ReaderState.STALLED):
            self._try_to_start(reader, now_s, notices, at_end=at_end)

    def _try_to_start(
        self, reader: Reader, now_s: float, notices: list[Notice], *, at_end: bool
    ) -> None:
        waiting = reader.state is ReaderState.WAITING
        need_s = self.start_buffer_s if waiting else self.resume_buffer_s
        if reader.frontier_s - reader.base_media_s < need_s - EPSILON_S and not at_end:
            return
        reader.base_s = now_s
        reader.state = ReaderState.PLAYING
        if waiting:
            reader.startup_s = now_s - reader.opened_s
            notices.append(Notice("playing", reader=reader.id, seconds=reader.startup_s))
            return
        lost_s = now_s - reader.stall_started_s
        reader.stalled_s += lost_s
        notices.append(Notice("resumed", reader=reader.id, seconds=lost_s))

    def next_wakeup_s(self) -> float:
        """Return when a paced reader will next change state by itself."""
        wake_s = inf
        for reader in self.readers.values():
            if reader.state is ReaderState.PLAYING:
                wake_s = min(wake_s, reader.runs_dry_s())
        return wake_s
