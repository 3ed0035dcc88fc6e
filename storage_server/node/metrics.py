"""What a node counts, and the Prometheus text format it is read in."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from storage_server.logs import lines_dropped
from storage_server.node.store import StoreFacts

# From a put on a fast SSD to one behind a full queue on a tired hard disk.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_BATCH_WRITES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Histogram:
    """Responsible for counting values in buckets with fixed upper bounds."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str) -> Iterable[str]:
        """Yield the metric's samples."""
        totals = list(accumulate(self._counts))
        for bound, total in zip((*self._bounds, float("inf")), totals, strict=True):
            text = "+Inf" if bound == float("inf") else f"{bound:g}"
            yield f'{name}_bucket{{le="{text}"}} {total}'
        yield f"{name}_sum {self._sum:.6f}"
        yield f"{name}_count {totals[-1]}"


class NodeMetrics:
    """Responsible for the counters of one node. Used from the event loop only."""

    def __init__(self) -> None:
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._put_seconds = Histogram(_SECONDS)
        self._commit_seconds = Histogram(_SECONDS)
        self._commit_writes = Histogram(_BATCH_WRITES)
        self.bytes_in = 0
        self.bytes_out = 0
        self.cold_reads = 0
        self.connections_refused = 0

    def count_request(self, method: str, route: str, status: int) -> None:
        """Count an answered request; ``route`` is a pattern of ours, never the peer's text."""
        self._requests[method, route, status] += 1

    def observe_put(self, took_s: float) -> None:
        """Count a stored fragment's time from its first body byte to its acknowledgement."""
        self._put_seconds.observe(took_s)

    def observe_commit(self, writes: int, took_s: float) -> None:
        """Count one group commit."""
        self._commit_writes.observe(writes)
        self._commit_seconds.observe(took_s)

    def render(self, facts: StoreFacts, gauges: Mapping[str, float]) -> str:
        """Return everything as Prometheus text, format 0.0.4."""
        lines = ["# TYPE evenflow_node_requests_total counter"]
        for (method, route, status), count in sorted(self._requests.items()):
            labels = f'method="{method}",route="{route}",status="{status}"'
            lines.append(f"evenflow_node_requests_total{{{labels}}} {count}")
        for name, counter in (
            ("received_bytes", self.bytes_in),
            ("sent_bytes", self.bytes_out),
            ("cold_reads", self.cold_reads),
            ("connections_refused", self.connections_refused),
            ("log_lines_dropped", lines_dropped()),
        ):
            lines.append(f"# TYPE evenflow_node_{name}_total counter")
            lines.append(f"evenflow_node_{name}_total {counter}")
        for name, histogram in (
            ("put_seconds", self._put_seconds),
            ("commit_seconds", self._commit_seconds),
            ("commit_writes", self._commit_writes),
        ):
            lines.append(f"# TYPE evenflow_node_{name} histogram")
            lines.extend(histogram.lines(f"evenflow_node_{name}"))
        for name, gauge in {**_store_gauges(facts), **gauges}.items():
            lines.append(f"# TYPE evenflow_node_{name} gauge")
            lines.append(f"evenflow_node_{name} {gauge:.12g}")
        return "\n".join(lines) + "\n"


def _store_gauges(facts: StoreFacts) -> dict[str, float]:
    return {
        "capacity_bytes": facts.capacity_bytes,
        "used_bytes": facts.used_bytes,
        "free_bytes": facts.free_bytes,
        "live_bytes": facts.live_bytes,
        "dead_bytes": facts.dead_bytes,
        "fragments": facts.fragments,
        "superblocks": facts.superblocks,
        "damaged": facts.damaged,
        "read_only": bool(facts.read_only_reason),
    }
