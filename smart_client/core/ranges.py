"""Sorted spans of numbers that do not touch: what of a line is covered."""

from collections.abc import Sequence

Span = tuple[float, float]


def merged(spans: Sequence[Span], new: Span) -> list[Span]:
    """Return sorted spans with one more taken in; spans that touch become one."""
    first, last = new
    out: list[Span] = []
    for start, stop in spans:
        if stop < first or start > last:
            out.append((start, stop))
        else:
            first, last = min(first, start), max(last, stop)
    out.append((first, last))
    return sorted(out)


def covered(spans: Sequence[Span]) -> float:
    """Return the length of all spans."""
    return sum(stop - start for start, stop in spans)
