"""One open video as screens and programs see it: figures, matrix, notices, players."""

import secrets
import time
from collections.abc import Sequence

import msgspec

from smart_client.core import events
from smart_client.core.commands import Command
from smart_client.core.events import Event
from smart_client.core.explanation import Explainer
from smart_client.core.findings import AnyFinding, Stall
from smart_client.core.ledger import Mark
from smart_client.core.metrics import Snapshot
from smart_client.gateway.audience import Audience, KnownPlayer
from smart_client.gateway.player_clock import PlayerClock
from smart_client.gateway.records import (
    ChunkMatrix,
    PlayerFigures,
    PlayerReport,
    SessionDetails,
    SessionFigures,
    SessionNotice,
)
from smart_client.mpv_ipc import MpvSaid
from smart_client.reasons import lines_of
from smart_client.stream import StreamReader, VideoStream

NOTICES_MAX = 100

# The explainer's own list is cut to so many when it has grown to twice that.
FINDINGS_MAX = 200

MPV, MPV_SOURCE = "mpv", "mpv-ipc"

_LETTERS = {
    Mark.NONE: ".",
    Mark.IN_FLIGHT: "f",
    Mark.USED: "u",
    Mark.RESCUED: "r",
    Mark.CANCELLED: "c",
    Mark.FAILED: "x",
}


# A player's last report of its position is so much before its end at most; one that ended earlier
# was told to (mpv's --length).
LAST_WORD_S = 3.0


class SessionAccount:
    """Responsible for what there is to tell of one open video; follows its session."""

    def __init__(self, stream: VideoStream, audience: Audience) -> None:
        self.id = secrets.token_hex(8)
        self.stream = stream
        self.audience = audience
        self.views = audience.views
        self.began_s = time.monotonic()
        self.player_bytes = 0
        stream.counts_reads = False  # what is sent is not yet shown
        self._explainer = Explainer(stream.session)
        self._told: list[tuple[int, AnyFinding | str, float]] = []
        self._next_notice = 0
        self._seen_findings = 0
        stream.driver.observe(self.observe)

    def observe(self, now_s: float, event: Event, issued: Sequence[Command]) -> None:
        """Take one step of the session in."""
        self._explainer.observe(now_s, event, issued)
        findings = self._explainer.findings
        for finding in findings[self._seen_findings :]:
            self._tell(finding, finding.at_s)
        self._seen_findings = len(findings)
        if len(findings) > 2 * FINDINGS_MAX:
            del findings[:-FINDINGS_MAX]
            self._seen_findings = len(findings)

    def _tell(self, what: AnyFinding | str, at_s: float) -> None:
        self._told.append((self._next_notice, what, at_s))
        self._next_notice += 1
        del self._told[:-NOTICES_MAX]

    @property
    def players(self) -> dict[str, KnownPlayer]:
        """The players that report and play this rendition now."""
        return self.audience.of(self.id)

    # -- players ---------------------------------------------------------------------------------

    def hear(self, report: PlayerReport, source: str, peer: str = "") -> KnownPlayer:
        """Take a player's report in.

        Args:
            peer: who sent it, as ``views`` knows those who take bytes.
        """
        player, told = self.audience.hear(report, source, self.id)
        clock = player.clock
        if told:
            self._player_did(told, clock)
        rate = 1.0 if clock.is_playing else 0.0
        self.stream.driver.post(events.PlayerTold(player.number, clock.position_s, rate))
        self.views.shown(report.player, peer, clock.shown_s)
        return player

    def hear_mpv(self, said: MpvSaid) -> None:
        """Take in what our own mpv says over its IPC; it starts with its first request."""
        self.views.ignores_bytes = True
        if MPV not in self.audience.players:
            first = PlayerReport(player=MPV, event="open", ts_ms=1000 * self.began_s)
            self.hear(first, MPV_SOURCE)
        report = PlayerReport(
            player=MPV,
            event=said.event,
            position_s=said.position_s,
            buffered_s=said.buffered_s,
            ts_ms=1000 * said.at_s,
            message=said.message,
        )
        self.hear(report, MPV_SOURCE)

    def _player_did(self, told: str, clock: PlayerClock) -> None:
        now_s = self.stream.driver.now_s()
        if told == "stalled":
            stall = self._explainer.player_stalled(clock.position_s, now_s)
            if stall is None:
                text = "■ the player stalled although all it was owed had been sent"
                self._tell(text, now_s)
            else:
                self._seen_findings += 1
                self._tell(stall, now_s)
        elif told == "resumed":
            self._explainer.player_resumed(clock.last_stall_s)
            self._tell(f"▶ the player goes on after {clock.last_stall_s:.2f} s", now_s)
        elif told == "started" and clock.startup_s is not None:
            self._tell(f"▶ the player shows a picture after {clock.startup_s:.2f} s", now_s)
        elif told == "seek":
            self._tell(f"· the player seeks to {clock.position_s:.1f} s", now_s)

    # -- figures ---------------------------------------------------------------------------------

    @property
    def amplification(self) -> float | None:
        """Bytes from nodes for each byte sent to a player; None before the first."""
        sent = self.player_bytes
        return round(self.stream.driver.wire_bytes / sent, 4) if sent else None

    def figures(self, readers: int) -> SessionFigures:
        """Return the session now."""
        manifest = self.stream.manifest
        now_s = time.monotonic()
        known = sorted(self.players.items(), key=lambda each: -each[1].heard_s)
        players = tuple(_figures(name, each, now_s) for name, each in known)
        return SessionFigures(
            id=self.id,
            video=manifest.video.name,
            rendition=manifest.rendition.name,
            layout=str(manifest.video.layout.to_layout()),
            readers=readers,
            snapshot=self.snapshot(),
            players=players,
            qoe_source=players[0].source if players else "none",
            node_bytes=self.stream.driver.wire_bytes,
            player_bytes=self.player_bytes,
            cached_bytes=self.stream.session.state.counters.recalled_bytes,
            amplification=self.amplification,
        )

    def snapshot(self, reader: StreamReader | None = None) -> Snapshot:
        """Return the session's figures; start, stalls and position are a player's own, if any."""
        shot = self.stream.snapshot(reader)
        player = max(self.players.values(), key=lambda each: each.heard_s, default=None)
        if player is None:
            return shot
        clock = player.clock
        age_s = max(0.0, time.monotonic() - player.heard_s)
        position_s = clock.position_s + (age_s if clock.is_playing else 0.0)
        if clock.state == "ended" and shot.end_s - position_s < LAST_WORD_S:
            position_s = max(position_s, shot.end_s)
        held_s = clock.position_s + clock.buffered_s
        return msgspec.structs.replace(
            shot,
            state=clock.state,
            position_s=position_s,
            buffered_s=max(0.0, self._ready_until_s(held_s) - position_s),
            startup_s=-1.0 if clock.startup_s is None else clock.startup_s,
            stalls=clock.stalls,
            stalled_s=clock.stalled_s(clock.at_s + age_s),
            playhead_chunk=self._chunk_at(clock.position_s),
        )

    def _ready_until_s(self, media_s: float) -> float:
        """Return how far all is ready here from what the player holds already, in media time."""
        state = self.stream.session.state
        end = state.buffer.ready_until(state.timeline.offset_at(media_s), state.chunks)
        return max(media_s, state.timeline.time_at(end))

    def _chunk_at(self, media_s: float) -> int:
        timeline = self.stream.session.state.timeline
        return timeline.chunk_at(timeline.offset_at(media_s))

    def details(self, readers: int) -> SessionDetails:
        """Return the session now with its matrix and notices."""
        return SessionDetails(
            **msgspec.structs.asdict(self.figures(readers)),
            matrix=self.matrix(),
            notices=tuple(_notice(*told) for told in self._told),
        )

    def matrix(self) -> ChunkMatrix:
        """Return what each node did for each chunk."""
        state = self.stream.session.state
        count = len(state.chunks)
        rows = [["."] * count for _ in state.nodes.nodes]
        for (node, chunk), mark in self.stream.ledger.marks().items():
            rows[node][chunk] = _LETTERS[mark]
        ready = "".join(
            "y" if chunk.decoded == chunk.all_rows else "p" if chunk.decoded else "."
            for chunk in state.chunks
        )
        return ChunkMatrix(
            nodes=tuple(node.id for node in state.nodes.nodes),
            chunks=count,
            playhead=self.snapshot().playhead_chunk,
            rows=tuple(map("".join, rows)),
            ready=ready,
        )


def player_figures(name: str, account: SessionAccount) -> PlayerFigures:
    """Return what a player has reported so far."""
    return _figures(name, account.audience.players[name], time.monotonic())


def _figures(name: str, player: KnownPlayer, now_s: float) -> PlayerFigures:
    clock = player.clock
    age_s = max(0.0, now_s - player.heard_s)
    return PlayerFigures(
        player=name,
        source=player.source,
        state=clock.state,
        position_s=round(clock.position_s, 3),
        buffered_s=round(clock.buffered_s, 3),
        startup_s=None if clock.startup_s is None else round(clock.startup_s, 3),
        stalls=clock.stalls,
        stalled_s=round(clock.stalled_s(clock.at_s + age_s), 3),
        seeks=clock.seeks,
        shown_s=round(clock.shown_s, 3),
        report_age_s=round(age_s, 1),
        error=clock.error,
    )


def _notice(number: int, what: AnyFinding | str, at_s: float) -> SessionNotice:
    if isinstance(what, str):
        return SessionNotice(id=number, t_s=round(at_s, 3), kind="player", text=what)
    lines = lines_of(what, stalls_known=isinstance(what, Stall))
    kind = type(what).__name__.lower()
    return SessionNotice(
        id=number, t_s=round(at_s, 3), kind=kind, text=lines[0], lines=tuple(lines[1:])
    )
