"""Notices of a session as sentences for people and as records for programs."""

from collections.abc import Sequence

from redundancy.quantities import size_text
from smart_client.core.commands import Notice

EVENT_VERSION = 1


def clock(seconds: float) -> str:
    """Return a time as people write it: 1:05, 1:02:05."""
    whole = int(max(0.0, seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def duration_text(seconds: float) -> str:
    """Return a short span of time: 230 ms, 1.4 s."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


_TEXTS = {
    "playing": "playing after {for_}",
    "stalled": "STALLED at {at}",
    "resumed": "playing again after {for_}",
    "ended": "played to the end",
    "seek": "sought to {at}",
    "node_suspect": "{node} {why}: left alone for {for_}",
    "node_up": "{node} answers again after {for_}",
    "takeover": "{node} took {size} of chunk {chunk} over from {reason}",
    "reissued": "{size} of chunk {chunk} asked of others: {node} {why}",
    "corrupt": "{node} sent bytes that do not match their checksum (chunk {chunk})",
    "unplayable": "chunk {chunk} has too few usable fragments left ({reason})",
    "chunk_ready": "chunk {chunk} complete and verified",
    "chunk_recalled": "chunk {chunk} was still in the cache on this disk",
    "relocated": "fragments of {reason} chunks lie elsewhere now",
    "misplaced": "an answer of where fragments lie was ignored: {reason}",
}

_REASONS = {
    "silent": "fell silent",
    "refused": "refused the connection",
    "reset": "broke the connection",
    "unreachable": "cannot be reached",
    "busy": "is busy",
    "missing": "does not have the fragment",
    "corrupt": "sent wrong bytes",
    "protocol": "answered nonsense",
}

_SYMBOLS = {
    "playing": "▶",
    "resumed": "▶",
    "stalled": "■",
    "takeover": "◆",
    "reissued": "✖",
    "node_suspect": "✖",
    "corrupt": "✖",
    "unplayable": "✖",
    "node_up": "●",
}

# A quiet screen shows these; the others are for --events and logs.
WORTH_A_LINE = frozenset(_TEXTS) - {"chunk_ready", "chunk_recalled", "reissued"}


def reason_text(reason: str) -> str:
    """Return a failure's kind as the rest of a sentence that begins with the node."""
    return _REASONS.get(reason, reason)


def sentence(notice: Notice, nodes: Sequence[str]) -> str:
    """Return a notice as one line for people."""
    text = _TEXTS[notice.kind].format(
        node=nodes[notice.node] if notice.node >= 0 else "a node",
        chunk=notice.chunk,
        size=size_text(notice.bytes),
        for_=duration_text(notice.seconds),
        at=clock(notice.seconds),
        reason=notice.reason,
        why=reason_text(notice.reason),
    )
    return f"{_SYMBOLS.get(notice.kind, '·')} {text}"


def record(notice: Notice, nodes: Sequence[str], *, t_s: float, ts: float) -> dict[str, object]:
    """Return a notice as one record of ``--events``.

    Args:
        t_s: seconds since the session began.
        ts: Unix time.
    """
    out: dict[str, object] = {
        "v": EVENT_VERSION,
        "ts": round(ts, 3),
        "t": round(t_s, 4),
        "type": notice.kind,
    }
    if notice.node >= 0:
        out["node"] = nodes[notice.node]
    for name in ("reader", "chunk", "fragment"):
        if getattr(notice, name) >= 0:
            out[name] = getattr(notice, name)
    if notice.seconds:
        out["seconds"] = round(notice.seconds, 4)
    if notice.bytes:
        out["bytes"] = notice.bytes
    if notice.reason:
        out["reason"] = notice.reason
    return out
