"""A newer manifest beside what a session plays from: which chunks are stored otherwise by now."""

from collections.abc import Sequence

from smart_client import wire
from smart_client.core.events import PlacementKnown

# Chunks an event tells of. The largest (256 fragments) take 30 KB each as JSON, and no line of a
# recording is longer than 16 MiB.
CHUNKS_AT_ONCE = 256


def placement_events(
    known: Sequence[wire.ChunkRecord], newer: Sequence[wire.ChunkRecord], node_ids: Sequence[str]
) -> list[PlacementKnown]:
    """Return the answer to ``AskPlacement``: at least one event, in the order to post them.

    Args:
        known: the session's records; whether the newer ones are of the same chunks is its to judge.
        node_ids: all nodes, those of the session in their order first.
    """
    changed = [
        record
        for position, record in enumerate(newer)
        if position >= len(known) or record != known[position]
    ]
    starts = range(0, max(1, len(changed)), CHUNKS_AT_ONCE)
    return [
        PlacementKnown(
            tuple(changed[start : start + CHUNKS_AT_ONCE]),
            tuple(node_ids),
            more=start + CHUNKS_AT_ONCE < len(changed),
        )
        for start in starts
    ]
