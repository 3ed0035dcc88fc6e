"""``storage-server consensus status|trace``: watching how coordinators come to their decisions."""

import argparse
import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from redundancy.errors import EvenflowError, ExitCode
from redundancy.terminal import Terminal
from smart_client.agreement import Agreement, Quantiles, TraceEvent
from smart_client.transport.coordinator import CoordinatorClient, ask_each
from storage_server.catalogue.member_plan import members_text
from storage_server.config import AdminConfig

# A question waits so long for news; then it is asked again.
_WAIT_S = 2

# A coordinator that does not answer within this is told as silent.
_PATIENCE_S = 5.0

_FAILURES_MAX = 5
_PAUSE_S = 0.5


def status(args: argparse.Namespace, terminal: Terminal) -> int:
    """Show how each coordinator's decisions are agreed on."""
    config = AdminConfig.from_args(args)
    found, silent = asyncio.run(_ask_all(config))
    texts = [*map(agreement_text, found), *silent]
    terminal.result({"consensus": msgspec.to_builtins(found), "silent": silent}, "\n\n".join(texts))
    is_whole = all(each.state == "up" for one in found for each in one.members)
    return ExitCode.OK if is_whole and not silent else ExitCode.PARTIAL


async def _ask_all(config: AdminConfig) -> tuple[list[Agreement], list[str]]:
    """Ask every coordinator; return the answers, and what became of the others.

    Raises: CoordinatorUnreachable: none answers.
    """
    answers = await ask_each(
        config.coordinators, CoordinatorClient.agreement, token=config.token, patience_s=_PATIENCE_S
    )
    found = [each for each in answers.values() if isinstance(each, Agreement)]
    errors = {url: each for url, each in answers.items() if isinstance(each, EvenflowError)}
    if not found:
        raise next(iter(errors.values()))
    silent = [f"coordinator {url}: does not answer" for url in errors]
    return found, silent


def agreement_text(found: Agreement) -> str:
    """Return one coordinator's answer for people."""
    rows = [
        f"coordinator {found.coordinator}, measured for {found.measured_s:.0f} s",
        members_text(found),
        f"{found.decisions} decided, {found.conflicts} conflicts, {found.unknown} unknown, "
        f"{found.failed} failed, {found.reads} reads",
    ]
    if found.writing.count:
        rows.append(f"writes: {_times(found.writing)}")
    if found.reading.count:
        rows.append(f"reads:  {_times(found.reading)}")
    if found.requests_per_decision is not None:
        rows.append(
            f"{found.requests_per_decision:.2f} requests a decision; {found.fast_rounds} in one "
            f"round trip, {found.slow_rounds} in more, {found.attempts_failed} attempts failed; "
            f"{found.requests} requests in {found.frames} frames"
        )
    return "\n".join(rows)


def _times(found: Quantiles) -> str:
    parts = (("half", found.p50), ("95 %", found.p95), ("99 %", found.p99), ("all", found.max))
    return ", ".join(f"{name} within {value * 1000:.1f} ms" for name, value in parts)


class _Tracer:
    """Responsible for the output, and for knowing when it is enough."""

    def __init__(self, args: argparse.Namespace, terminal: Terminal) -> None:
        self._args = args
        self._terminal = terminal
        self.counts: Counter[str] = Counter()
        self.missed = 0
        self.printed = 0
        self.enough = asyncio.Event()

    async def follow(self, url: str, token: str | None) -> None:
        """Print what one coordinator tells, until there is enough."""
        after: int | None = None
        failures = 0
        async with CoordinatorClient([url], token=token, timeout_s=10.0) as client:
            while True:
                try:
                    found = await client.agreement_trace(after, wait_s=_WAIT_S)
                except EvenflowError as error:
                    failures += 1
                    if failures > _FAILURES_MAX:
                        raise
                    self._terminal.note(f"{url}: {error.message}")
                    await asyncio.sleep(_PAUSE_S)
                    continue
                failures = 0
                if after is None and found.catalogue != "chunkpaxos":
                    self._terminal.note(
                        f"{url}: the catalogue is {found.catalogue}, so only outcomes are seen"
                    )
                after = found.next
                self.missed += found.missed
                for event in found.events:
                    self._take(url, event)

    def _take(self, url: str, event: TraceEvent) -> None:
        if self.enough.is_set() or self._args.key not in event.key:
            return
        if self._args.outcomes and event.kind != "outcome":
            return
        self.counts[event.what] += 1
        self.printed += 1
        self._terminal.result(
            {"coordinator": url, **msgspec.to_builtins(event)}, event_text(url, event)
        )
        if self._args.count is not None and self.printed >= self._args.count:
            self.enough.set()


def event_text(url: str, event: TraceEvent) -> str:
    """Return an event as one line."""
    at = time.strftime("%H:%M:%S", time.localtime(event.at_s))
    arrow = {"request": "->", "reply": "<-"}.get(event.kind, "==")
    parts = [
        f"{at}.{int(event.at_s * 1000) % 1000:03d}",
        url.rpartition(":")[2],
        f"{arrow} {event.member or '':<10}",
        f"{event.what:<9}",
        event.key or "-",
    ]
    if event.ballot:
        parts.append(f"ballot {event.ballot}")
    if event.version is not None:
        parts.append(f"version {event.version}")
    if event.took_s is not None:
        parts.append(f"{event.took_s * 1000:.1f} ms")
    if event.note:
        parts.append(f"({event.note})")
    return " ".join(parts)


def trace(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print events as they come; at the end, how many of each kind."""
    config = AdminConfig.from_args(args)
    tracer = asyncio.run(_trace(args, config.coordinators, config.token, terminal))
    parts = [f"{count} {what}" for what, count in tracer.counts.most_common()]
    terminal.note(", ".join(parts) or "nothing happened")
    if tracer.missed:
        terminal.note(f"{tracer.missed} events came faster than they could be shown")
    return ExitCode.OK


async def _trace(
    args: argparse.Namespace, urls: Sequence[str], token: str | None, terminal: Terminal
) -> _Tracer:
    tracer = _Tracer(args, terminal)
    tasks = [asyncio.create_task(tracer.follow(url, token)) for url in urls]
    enough = asyncio.create_task(tracer.enough.wait())
    try:
        done, _ = await asyncio.wait(
            [*tasks, enough], timeout=args.seconds, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.result()
    finally:
        for task in (*tasks, enough):
            task.cancel()
        await asyncio.gather(*tasks, enough, return_exceptions=True)
    return tracer
