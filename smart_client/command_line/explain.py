"""explain: why a recorded session went as it did."""

import argparse
import shutil
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from redundancy.errors import ExitCode, UsageError
from redundancy.terminal import Terminal
from smart_client.core.explanation import Explainer
from smart_client.core.findings import AnyFinding, Belief, Stall
from smart_client.core.replay import RecordingHead, Step, new_session, replay
from smart_client.narration import clock
from smart_client.reasons import belief_lines, lines_of, moment, verdict
from smart_client.recording import Recording

# With --at, findings so near to it are told as well.
NEAR_S = 5.0


@dataclass(frozen=True, slots=True)
class Explained:
    """A recording that was replayed to its end, or to where it was asked about."""

    head: RecordingHead
    findings: list[AnyFinding]
    belief: Belief | None
    recorded_s: float
    steps: int
    stalls_known: bool
    how_it_ended: str


def explain(args: argparse.Namespace, terminal: Terminal) -> int:
    """Explain a recording."""
    told = follow(Path(args.recording), args.at)
    if args.at is not None and args.at > told.recorded_s:
        raise UsageError(
            f"the recording ends at {moment(told.recorded_s)}",
            hint="--at takes seconds or 1:05 on the session's clock",
        )
    lines = text_lines(told, args.at)
    if sys.stdout.isatty():
        lines = [part for line in lines for part in folded(line, shutil.get_terminal_size()[0])]
    terminal.result(payload(told, args.at), "\n".join(lines))
    return ExitCode.OK


def folded(line: str, columns: int) -> list[str]:
    """Return a line in parts no wider than the screen, the later ones indented below the first."""
    text = line.lstrip(" 0123456789:.")
    indent = len(line) - len(text) + 2
    if len(line) <= columns or indent >= columns // 2:
        return [line]
    return textwrap.wrap(line, columns, subsequent_indent=" " * indent, drop_whitespace=True)


def follow(path: Path, at_s: float | None = None) -> Explained:
    """Replay a recording and gather what there is to tell.

    Raises: InvalidRecording.
    """
    recording = Recording(path)
    try:
        session = new_session(recording.head)
        explainer = Explainer(session)
        beliefs: list[Belief] = []

        def steps() -> Iterator[Step]:
            """Look at the session just before the first step after ``at_s``."""
            for step in recording.steps():
                if at_s is not None and step.t > at_s and not beliefs:
                    beliefs.append(explainer.belief(at_s))
                yield step

        count = 0
        for now_s, event, issued in replay(session, steps()):
            explainer.observe(now_s, event, issued)
            count += 1
        if at_s == session.state.now_s:
            beliefs.append(explainer.belief(at_s))
        return Explained(
            recording.head,
            explainer.findings,
            beliefs[0] if beliefs else None,
            session.state.now_s,
            count,
            explainer.is_paced,
            recording.how_it_ended,
        )
    finally:
        recording.close()


def near(findings: list[AnyFinding], at_s: float | None) -> list[AnyFinding]:
    """Return all findings, or those about an instant."""
    if at_s is None:
        return findings
    return [
        finding
        for finding in findings
        if abs(finding.at_s - at_s) <= NEAR_S
        or (
            isinstance(finding, Stall) and finding.at_s <= at_s <= finding.at_s + _length_s(finding)
        )
    ]


def _length_s(stall: Stall) -> float:
    return float("inf") if stall.seconds is None else stall.seconds


def payload(told: Explained, at_s: float | None) -> dict[str, object]:
    """Return what ``--json`` prints."""
    return {
        "v": 1,
        "recording": {
            "video": told.head.video,
            "scheduler": told.head.scheduler,
            "program": told.head.program,
            "nodes": list(told.head.nodes),
            "chunks": len(told.head.chunks),
            "seconds": told.recorded_s,
            "steps": told.steps,
            "complete": told.how_it_ended == "closed",
        },
        "verdict": verdict(told.findings, stalls_known=told.stalls_known),
        "stalls_known": told.stalls_known,
        "findings": msgspec.to_builtins(near(told.findings, at_s)),
        "believed": None if told.belief is None else msgspec.to_builtins(told.belief),
    }


def text_lines(told: Explained, at_s: float | None) -> list[str]:
    """Return what is printed for people."""
    head = told.head
    layout = str(head.chunks[0].layout.to_layout()) if head.chunks else "nothing"
    lines = [
        f"'{head.video}', {layout}, {head.scheduler} scheduler, {len(head.nodes)} nodes, "
        f"{clock(told.recorded_s)} recorded"
    ]
    if told.how_it_ended == "overrun":
        lines.append("the disk was too slow for the recording; it is cut short")
    elif not told.how_it_ended:
        lines.append("the recording is cut off, as after kill -9; explained as far as it goes")
    for finding in near(told.findings, at_s):
        first, *rest = lines_of(finding, stalls_known=told.stalls_known)
        lines += [f"{moment(finding.at_s):>9}  {first}", *(f"{'':>9}  {line}" for line in rest)]
    if told.belief is not None and at_s is not None:
        lines += belief_lines(told.belief, at_s)
    return [*lines, verdict(told.findings, stalls_known=told.stalls_known)]
