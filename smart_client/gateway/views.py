"""Which playbacks of an open video were views: 30 s or a quarter of it, really shown. Pure.

A player that reports is believed: what counts is the media it has shown, each second once. Of one
that only takes bytes two bounds are known: it has shown no more than it was sent, and no more than
the time its connections were open. The smaller one counts. So a player that swallows a whole film
in seconds, a download, or a media server that looks at the container is no view; a short clip that
a silent player takes at once is not counted either.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from redundancy.popularity import VIEW_SECONDS, is_view
from smart_client.wire import CountView

# A player that comes back later than this begins another playback.
PAUSE_S_MAX = 300.0

PEERS_MAX = 256


@dataclass(slots=True)
class _Playback:
    """What one peer without reports has taken."""

    playback: str
    sent_s: float = 0.0
    open_s: float = 0.0  # with a connection, up to ``seen_s``
    seen_s: float = 0.0
    connections: int = 0
    counted: bool = False


class ViewCounter:
    """Responsible for counting each playback of one video once."""

    def __init__(
        self,
        video_id: str,
        duration_s: float,
        *,
        has_time: bool,
        mint: Callable[[], str],
        report: Callable[[CountView], None],
    ) -> None:
        """Count the views of a video.

        Args:
            has_time: whether the duration is known; else it is nominal, and a quarter of it is
                told as enough seconds to count.
            mint: makes random ids of playbacks.
        """
        self._video_id = video_id
        self._duration_s = duration_s
        self._has_time = has_time
        self._mint = mint
        self._report = report
        self._peers: dict[str, _Playback] = {}
        self._reporting: set[str] = set()  # peers whose players report
        self._counted: set[str] = set()  # players
        self.ignores_bytes = False  # every player of this session reports

    def shown(self, player: str, peer: str, shown_s: float) -> None:
        """Take in how much a player has shown so far."""
        self._reporting.add(peer)
        if player not in self._counted and is_view(shown_s, self._duration_s):
            self._counted.add(player)
            # The same id if the stream is closed and opened again under a paused player.
            name = hashlib.sha256(f"{self._video_id}/{player}".encode()).hexdigest()[:32]
            self._tell(name, shown_s)

    def opened(self, peer: str, now_s: float) -> None:
        """A peer has opened a connection."""
        known = self._peers.get(peer)
        if known is None or (not known.connections and now_s - known.seen_s > PAUSE_S_MAX):
            self._forget_one()
            known = self._peers[peer] = _Playback(self._mint(), seen_s=now_s)
        if not known.connections:
            known.seen_s = now_s
        known.connections += 1

    def sent(self, peer: str, media_s: float, now_s: float) -> None:
        """Media was sent to a peer."""
        known = self._peers.get(peer)
        if known is None:
            return
        known.sent_s += media_s
        self._pass_time(known, now_s)

    def closed(self, peer: str, now_s: float) -> None:
        """A peer has closed a connection."""
        known = self._peers.get(peer)
        if known is not None:
            self._pass_time(known, now_s)
            known.connections -= 1

    def _pass_time(self, known: _Playback, now_s: float) -> None:
        known.open_s += max(0.0, now_s - known.seen_s)
        known.seen_s = now_s
        if known.counted or self.ignores_bytes or self._peers_reports(known):
            return
        shown_s = min(known.sent_s, known.open_s)
        if is_view(shown_s, self._duration_s):
            known.counted = True
            self._tell(known.playback, shown_s)

    def _peers_reports(self, known: _Playback) -> bool:
        return any(self._peers.get(peer) is known for peer in self._reporting)

    def _forget_one(self) -> None:
        if len(self._peers) >= PEERS_MAX:
            idle = [name for name, each in self._peers.items() if not each.connections]
            for name in idle[:1]:
                del self._peers[name]

    def _tell(self, playback: str, shown_s: float) -> None:
        least_s = 0.0 if self._has_time else VIEW_SECONDS
        self._report(CountView(playback=playback, played_s=max(shown_s, least_s)))
