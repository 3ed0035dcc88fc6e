"""Who watches a video: the players that report, and those that only take bytes.

One audience for all renditions of a video: a player that changes the rendition stays one player,
with one start, its stalls added up, and one view.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from smart_client.gateway.player_clock import PlayerClock
from smart_client.gateway.records import PlayerReport
from smart_client.gateway.views import ViewCounter
from smart_client.stream import VideoStream
from smart_client.wire import CountView

PLAYERS_MAX = 32

# A player that has said nothing for so long makes room for others.
PLAYER_SILENT_S = 1800.0


@dataclass(slots=True)
class KnownPlayer:
    """A player that reports."""

    source: str
    number: int
    clock: PlayerClock = field(default_factory=PlayerClock)
    heard_s: float = 0.0  # on our clock
    session: str = ""  # of the rendition it plays now


class Audience:
    """Responsible for the players of one video."""

    def __init__(self, stream: VideoStream) -> None:
        timeline = stream.session.state.timeline
        self.players: dict[str, KnownPlayer] = {}
        self.report: Callable[[CountView], None] = stream.on_view
        self.views = ViewCounter(
            stream.manifest.video.id,
            timeline.end_s,
            has_time=timeline.has_time,
            mint=lambda: secrets.token_hex(16),
            report=self._report,
        )
        self._count = 0

    def hear(self, report: PlayerReport, source: str, session: str) -> tuple[KnownPlayer, str]:
        """Take a report in; return the player and what that tells (see ``PlayerClock.take``)."""
        now_s = time.monotonic()
        player = self.players.get(report.player)
        if player is None:
            self._make_room(now_s)
            self._count += 1
            player = self.players[report.player] = KnownPlayer(source, self._count)
        player.heard_s, player.session = now_s, session
        told = player.clock.take(
            report.event,
            report.ts_ms / 1000,
            report.position_s,
            report.buffered_s,
            report.message,
        )
        return player, told

    def of(self, session: str) -> dict[str, KnownPlayer]:
        """Return the players that play this rendition now."""
        return {name: each for name, each in self.players.items() if each.session == session}

    def _report(self, view: CountView) -> None:
        self.report(view)

    def _make_room(self, now_s: float) -> None:
        for name, player in list(self.players.items()):
            if now_s - player.heard_s > PLAYER_SILENT_S:
                del self.players[name]
        while len(self.players) >= PLAYERS_MAX:
            del self.players[min(self.players, key=lambda name: self.players[name].heard_s)]
