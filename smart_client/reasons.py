"""Findings and beliefs as sentences for people."""

from collections.abc import Sequence

from redundancy.quantities import size_text
from smart_client.core.findings import (
    AnyFinding,
    Belief,
    Corrupt,
    Ended,
    Request,
    Returned,
    Sought,
    Stall,
    Started,
    Takeover,
    Trouble,
    Unplayable,
)
from smart_client.core.lanes import LATE_ANSWER_S, Cause, Lane, LaneState, Missing
from smart_client.core.metrics import NodeFigures
from smart_client.core.throughput import Throughput
from smart_client.narration import clock, duration_text, reason_text


def moment(seconds: float) -> str:
    """Return an instant to the hundredth: 1:05.20."""
    hundredths = int(max(0.0, seconds) * 100 + 0.5)
    return f"{clock(hundredths / 100)}.{hundredths % 100:02}"


def rate_text(bytes_per_s: float) -> str:
    """Return a rate as the dashboard gives it."""
    return f"{bytes_per_s * 8 / 1e6:.2f} Mbit/s"


def lines_of(finding: AnyFinding, *, stalls_known: bool) -> list[str]:
    """Return a finding as lines, the first of which can stand alone.

    Args:
        stalls_known: a reader of ours played, so that "no stall" can be said.
    """
    match finding:
        case Stall():
            return _stall_lines(finding)
        case Trouble():
            return [_trouble(finding) + _outcome(finding, stalls_known)]
        case Takeover():
            return [_takeover(finding) + _outcome(finding, stalls_known)]
        case Started():
            return [f"▶ playing after {duration_text(finding.seconds)}"]
        case Ended():
            return ["✓ played to the end"]
        case Sought():
            return [f"· sought to {clock(finding.media_s)}"]
        case Returned():
            return [f"● {finding.node} answers again after {duration_text(finding.seconds)}"]
        case Corrupt():
            who = finding.node or "somebody"
            return [
                f"✖ {who} sent bytes of chunk {finding.chunk} that do not match their checksum: "
                "none of them reached the player"
            ]
        case Unplayable():
            return [f"✖ chunk {finding.chunk} has too few usable fragments left ({finding.reason})"]


def _outcome(finding: Trouble | Takeover, stalls_known: bool) -> str:
    if finding.stall_at_s is not None:
        return f"; playback stalled on it at {moment(finding.stall_at_s)}"
    return "; no stall" if stalls_known else ""


def _trouble(finding: Trouble) -> str:
    what = reason_text(finding.reason)
    if finding.reason == "silent":
        what = "did not answer (no rows were asked of it)"
        if finding.quiet_s:
            what = f"sent nothing for {finding.quiet_s:.2f} s: silent"
    text = f"✖ {finding.node} {what}"
    if not finding.is_news:
        text = f"✖ {finding.node} once more {what}"
    if finding.left_alone_s:
        text += f", left alone for {duration_text(finding.left_alone_s)}"
    if finding.moved:
        names = ", ".join(move.node for move in finding.moved)
        moved = sum(move.bytes for move in finding.moved)
        text += f"; {size_text(moved)} moved to {names}"
    elif finding.bytes:
        text += f"; it owed {size_text(finding.bytes)}"
    return text


def _takeover(finding: Takeover) -> str:
    due = "" if finding.due_in_s is None else f" and they were due in {_span(finding.due_in_s)}"
    return (
        f"◆ {finding.node} took {size_text(finding.bytes)} of chunk {finding.chunk} over: "
        f"{finding.from_node} would have needed {_span(finding.needed_s)} more{due}"
    )


def _span(seconds: float) -> str:
    return duration_text(max(0.0, seconds))


def _stall_lines(stall: Stall) -> list[str]:
    lasted = f" for {duration_text(stall.seconds)}" if stall.seconds is not None else ", not over"
    blamed = list(dict.fromkeys(lane.node for lane in stall.blamed))
    who = f" ({', '.join(blamed)})" if blamed else ""
    flow = stall.flow
    lines = [
        f"■ STALL{lasted} at {clock(stall.media_s)} of the video: {stall.cause.value}{who}",
        *(f"    {line}" for line in missing_lines(stall.missing)),
        f"    {_flow(flow)}; the video takes {rate_text(flow.needed)}",
    ]
    if stall.cause is Cause.LINK:
        lines.append(
            f"    the most that ever came at once was {rate_text(flow.peak)}, although these nodes "
            f"had shown {rate_text(flow.alone)}, each for itself"
        )
    if stall.cause is Cause.TOTAL:
        lines.append(
            f"    none of them had shown more ({rate_text(flow.alone)} in all), so whether they or "
            "this machine's own link were full cannot be told"
        )
    if stall.troubles:
        lines.append(f"    these rows had been owed by {', '.join(stall.troubles)}")
    lines.append(f"    believed: {', '.join(_node(node) for node in stall.believed)}")
    return lines


def _flow(flow: Throughput) -> str:
    if not flow.sending:
        return "nothing had come in the last 2 s"
    return f"{_count(flow.sending, 'node')} had sent {rate_text(flow.recent)} in the last 2 s"


def _node(node: NodeFigures) -> str:
    if node.state != "up":
        return f"{node.id} {node.state}"
    return f"{node.id} {_rate(node)} {node.rtt_s * 1000:.0f} ms"


def missing_lines(missing: Missing) -> list[str]:
    """Return how it stands with a missing row."""
    rows = f"row {missing.first_row}"
    if missing.rows > 1:
        rows = f"rows {missing.first_row}-{missing.first_row + missing.rows - 1}"
    due = f", due in {missing.due_in_s:.2f} s" if missing.due_in_s else ""
    parts = ", ".join(f"{lane.node} {_lane(lane)}" for lane in missing.lanes)
    return [
        f"chunk {missing.chunk}, {rows} missing{due}: "
        f"{missing.here} of {missing.needed} fragments here",
        parts,
    ]


def _lane(lane: Lane) -> str:
    match lane.state:
        case LaneState.HERE:
            return "here"
        case LaneState.BAD:
            return "sent wrong bytes"
        case LaneState.FREE:
            return "not asked"
        case LaneState.SUSPECT:
            return f"suspect for {_span(lane.suspect_for_s)}"
        case LaneState.WAITING:
            return f"asked {_span(lane.asked_s_ago)} ago, no byte yet"
        case LaneState.COMING:
            pace = f"{rate_text(lane.bytes_per_s)} of a believed "
            pace += rate_text(lane.believed_bytes_per_s)
            if lane.quiet_s >= LATE_ANSWER_S:
                pace = f"nothing for {_span(lane.quiet_s)}"
            return (
                f"coming ({size_text(lane.received_bytes)} of {size_text(lane.asked_bytes)} in "
                f"{_span(lane.asked_s_ago)}, {pace})"
            )


def _rate(node: NodeFigures) -> str:
    return rate_text(node.bytes_per_s) if node.bytes_per_s else "unmeasured"


def node_lines(nodes: Sequence[NodeFigures]) -> list[str]:
    """Return what was believed of each node, one line each."""
    return [
        f"{node.id:<12} {node.state:<8} "
        f"rtt {node.rtt_s * 1000:4.0f} ms  {_rate(node):>14}  "
        f"{node.in_flight} in flight, {node.failures} failures"
        for node in nodes
    ]


def belief_lines(belief: Belief, at_s: float) -> list[str]:
    """Return what the session knew and believed at one instant."""
    shot = belief.snapshot
    lines = [
        f"at {moment(at_s)}: {shot.state} at {clock(shot.position_s)} of {clock(shot.end_s)}, "
        f"{shot.buffered_s:.1f} s buffered",
        *(f"  {line}" for line in node_lines(shot.nodes)),
    ]
    lines += [f"  {_request(request)}" for request in belief.requests]
    if not belief.requests:
        lines.append("  nothing in flight")
    if belief.urgent is not None:
        first, *rest = missing_lines(belief.urgent)
        lines += [f"  most urgent: {first}", *(f"    {line}" for line in rest)]
    return lines


def _request(request: Request) -> str:
    last = request.first_row + request.rows - 1
    return (
        f"{request.node:<12} asked for chunk {request.chunk} fragment {request.fragment} "
        f"rows {request.first_row}-{last}, {size_text(request.received_bytes)} of "
        f"{size_text(request.asked_bytes)} after {_span(request.asked_s_ago)}"
    )


def verdict(findings: Sequence[AnyFinding], *, stalls_known: bool) -> str:
    """Return the one line that sums a session up."""
    stalls = [finding for finding in findings if isinstance(finding, Stall)]
    news = [f for f in findings if isinstance(f, Trouble) and f.is_news]
    takeovers = sum(1 for finding in findings if isinstance(finding, Takeover))
    around = f"{_count(len(news), 'failed or silent node')}, {_count(takeovers, 'takeover')}"
    if not stalls_known:
        return f"{around}; whether the player stalled is not known here"
    if not stalls:
        return f"no stall; {around}"
    lost_s = sum(stall.seconds or 0.0 for stall in stalls)
    causes = list(dict.fromkeys(stall.cause.value for stall in stalls))
    total = f"{_count(len(stalls), 'stall')}, {duration_text(lost_s)} in all"
    return f"{total}: {'; '.join(causes)}; {around}"


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"
