"""What a coordinator counts, as Prometheus text."""

from collections import Counter
from collections.abc import Iterable

from smart_client import wire
from storage_server.node.metrics import Histogram

# From an answer out of memory to one that waits for a full disk.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

_PREFIX = "evenflow_coordinator"


class CoordinatorMetrics:
    """Responsible for the counters of one coordinator. Used from the event loop only."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds = Histogram(_SECONDS)

    def count_request(self, method: str, route: str, status: int, *, took_s: float) -> None:
        """Count an answered request; ``route`` is a pattern of ours, never the peer's text."""
        self._requests[method, route, status] += 1
        self._seconds.observe(took_s)

    def render(self, status: wire.ClusterStatus, *, chunks_stuck: int) -> str:
        """Return everything as Prometheus text, format 0.0.4.

        Args: chunks_stuck: all of them; a status names a few.
        """
        lines = [f"# TYPE {_PREFIX}_requests_total counter"]
        for (method, route, code), count in sorted(self._requests.items()):
            labels = f'method="{method}",route="{route}",status="{code}"'
            lines.append(f"{_PREFIX}_requests_total{{{labels}}} {count}")
        lines.append(f"# TYPE {_PREFIX}_request_seconds histogram")
        lines.extend(self._seconds.lines(f"{_PREFIX}_request_seconds"))
        for name, value in [*_gauges(status), ("keeper_chunks_stuck", chunks_stuck)]:
            lines.append(f"# TYPE {_PREFIX}_{name} gauge")
            lines.append(f"{_PREFIX}_{name} {value:.12g}")
        if status.keeper is not None:
            lines.extend(_keeper_lines(status.keeper))
        lines.append(f"# TYPE {_PREFIX}_node_state gauge")
        for node in status.nodes:
            labels = f'node="{node.record.id}",state="{node.state}"'
            lines.append(f"{_PREFIX}_node_state{{{labels}}} 1")
        return "\n".join(lines) + "\n"


def _gauges(status: wire.ClusterStatus) -> Iterable[tuple[str, float]]:
    yield "videos", status.videos
    yield "videos_unplayable", len(status.unplayable)
    yield "videos_fragile", len(status.fragile)
    yield "videos_deleting", status.deleting
    yield "stored_bytes", status.stored_bytes
    yield "video_bytes", status.video_bytes
    yield "uptime_seconds", status.uptime_s
    if status.keeper is not None:
        yield "keeper_is_here", status.keeper.is_keeper
        yield "keeper_groups_left", status.keeper.groups_left
        yield "keeper_fragments_missing", status.keeper.fragments_missing
        yield "keeper_drops_waiting", status.keeper.drops_waiting
    for state in ("up", "suspect", "lost", "unknown"):
        yield f"nodes_{state}", sum(node.state == state for node in status.nodes)


def _keeper_lines(keeper: wire.KeeperStatus) -> Iterable[str]:
    yield f"# TYPE {_PREFIX}_keeper_chunks_total counter"
    for kind in ("repair", "move", "migrate", "trim"):
        yield f'{_PREFIX}_keeper_chunks_total{{kind="{kind}"}} {keeper.done.get(kind, 0)}'
    for name, value in (
        ("failed", keeper.failed),
        ("received_bytes", keeper.received_bytes),
        ("collected", keeper.collected),
    ):
        yield f"# TYPE {_PREFIX}_keeper_{name}_total counter"
        yield f"{_PREFIX}_keeper_{name}_total {value}"
