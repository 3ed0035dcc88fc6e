"""What a node could bring next of a chunk."""

from smart_client.core.chunk_progress import ChunkProgress
from smart_client.core.node_table import NodeState
from smart_client.core.state import SessionState


def helpful(chunk: ChunkProgress, node: NodeState) -> tuple[int, int]:
    """Return a fragment of the node and the open rows for which it would help; (-1, 0) if none."""
    for fragment in chunk.fragment_at_node.get(node.index, ()):
        open_rows = chunk.open_rows(fragment)
        if open_rows:
            return fragment, open_rows
    return -1, 0


def first_run(open_rows: int) -> tuple[int, int]:
    """Return the first of these rows (at least one) and how many follow each other from there."""
    first = (open_rows & -open_rows).bit_length() - 1
    run = open_rows >> first
    return first, (~run & (run + 1)).bit_length() - 1


def due_by(
    state: SessionState, chunk: ChunkProgress, first: int, *, rows: int, limit_s: float
) -> int:
    """Return how many of these rows are due by an instant, from the first on; at least 1."""
    while rows > 1 and state.deadline_s(chunk.index, first + rows - 1) > limit_s:
        rows -= 1
    return rows
