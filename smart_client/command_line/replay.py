"""dashboard --replay: a recorded session, watched again."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from redundancy.errors import ExitCode
from redundancy.terminal import Terminal
from smart_client.command_line.common import run_async
from smart_client.command_line.options import SPEED_MAX, SPEED_MIN
from smart_client.core.explanation import Explainer
from smart_client.core.ledger import Ledger
from smart_client.core.metrics import Snapshot, take_snapshot
from smart_client.core.replay import Step, new_session, replay
from smart_client.dashboard import Dashboard, EventLog
from smart_client.panels import DashboardView
from smart_client.reasons import verdict
from smart_client.recording import Recording

# The clock is looked at so often between two steps.
TICK_S = 0.02

SPEED_STEP = 2.0  # with each key press

KEYS = "q quit   space pause   + - speed   s save   ? help"


class ReplayedSession:
    """Responsible for a recorded session in virtual time, and for what a dashboard shows of it."""

    def __init__(self, recording: Recording) -> None:
        head = recording.head
        self.session = new_session(head)
        self.explainer = Explainer(self.session)
        self.ledger = Ledger()
        self.now_s = 0.0
        self.view = DashboardView(
            title=head.video,
            layout=str(head.chunks[0].layout.to_layout()) if head.chunks else "",
            url="",
            ledger=self.ledger,
            chunk_count=len(head.chunks),
            keys=KEYS,
        )
        self.log = EventLog(head.nodes, view=self.view)
        self._steps = recording.steps()
        self._ahead: Step | None = next(self._steps, None)
        self._replayed = replay(self.session, self._feed())

    def _feed(self) -> Iterator[Step]:
        while self._ahead is not None:
            step, self._ahead = self._ahead, next(self._steps, None)
            yield step

    @property
    def is_over(self) -> bool:
        """Whether everything recorded has been replayed."""
        return self._ahead is None

    def advance(self, until_s: float) -> None:
        """Replay every step up to an instant. Raises: InvalidRecording."""
        while self._ahead is not None and self._ahead.t <= until_s:
            now_s, event, issued = next(self._replayed)
            for observe in (self.ledger.observe, self.explainer.observe, self.log.observe):
                observe(now_s, event, issued)
        last_s = self.session.state.now_s
        self.now_s = last_s if self.is_over else max(last_s, until_s)

    def snapshot(self) -> Snapshot:
        """Return the session's figures at the replay's present instant."""
        return take_snapshot(self.session.state, self.now_s)


class ReplayClock:
    """Responsible for the replay's speed: virtual seconds for each real one."""

    def __init__(self, speed: float, real_s: Callable[[], float]) -> None:
        self.speed = speed
        self.is_paused = False
        self._real_s = real_s
        self._base_s = 0.0
        self._since_s = real_s()

    def now_s(self) -> float:
        """Return the virtual instant."""
        ran_s = 0.0 if self.is_paused else self._real_s() - self._since_s
        return self._base_s + ran_s * self.speed

    def change(self, *, factor: float = 1.0, pause: bool | None = None) -> None:
        """Go on from here at another speed, or stand still."""
        self._base_s, self._since_s = self.now_s(), self._real_s()
        self.speed = min(SPEED_MAX, max(SPEED_MIN, self.speed * factor))
        self.is_paused = self.is_paused if pause is None else pause


def dashboard(args: argparse.Namespace, terminal: Terminal) -> int:
    """Show a recorded session again."""
    recording = Recording(Path(args.replay))
    try:
        replayed = ReplayedSession(recording)
        if terminal.json or terminal.quiet:
            replayed.advance(float("inf"))
        else:
            live = sys.stdout.isatty()
            if not live:
                replayed.log = EventLog(recording.head.nodes, lines=sys.stdout)
            run_async(_run(replayed, args.speed, terminal, live=live))
        explainer = replayed.explainer
        text = verdict(explainer.findings, stalls_known=explainer.is_paced)
        shot = msgspec.to_builtins(replayed.snapshot())
        terminal.result({"v": 1, "verdict": text, "session": shot}, text)
        return ExitCode.OK
    finally:
        recording.close()


async def _run(
    replayed: ReplayedSession, speed: float | None, terminal: Terminal, *, live: bool
) -> None:
    """Replay at its speed on a screen; elsewhere as lines, at once unless a speed was given."""
    if not live and speed is None:
        replayed.advance(float("inf"))
        return
    clock = ReplayClock(speed or 1.0, asyncio.get_running_loop().time)
    if not live:
        await _follow(replayed, clock)
        return
    keys = {
        " ": lambda: clock.change(pause=not clock.is_paused),
        "+": lambda: clock.change(factor=SPEED_STEP),
        "-": lambda: clock.change(factor=1 / SPEED_STEP),
    }
    screen = Dashboard(replayed.snapshot, replayed.view, keys)
    shown = asyncio.create_task(screen.run(terminal.console()))
    followed = asyncio.create_task(_follow(replayed, clock))
    try:
        # At its end the last picture stays until it is quit, if there is a key to do so.
        stays = asyncio.ALL_COMPLETED if sys.stdin.isatty() else asyncio.FIRST_COMPLETED
        await asyncio.wait({shown, followed}, return_when=asyncio.FIRST_COMPLETED)
        if followed.done() and followed.exception() is None and not shown.done():
            replayed.view.events.append("the recording ends here")
            await asyncio.wait({shown, followed}, return_when=stays)
    finally:
        for task in (shown, followed):
            task.cancel()
        await asyncio.gather(shown, followed, return_exceptions=True)
    if not followed.cancelled() and followed.exception() is not None:
        followed.result()


async def _follow(replayed: ReplayedSession, clock: ReplayClock) -> None:
    while not replayed.is_over:
        replayed.advance(clock.now_s())
        await asyncio.sleep(TICK_S)
