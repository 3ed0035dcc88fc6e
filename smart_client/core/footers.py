"""Footers: which to fetch, so that blocks can be checked before they reach a reader.

Any one footer of a chunk checks the blocks of all its coded fragments, so one small request a chunk
is enough. When the chunk is needed soon two nodes are asked, and at the very start, when nothing is
known of any node, every holder of the first chunk: the first row waits for the fastest.
"""

from typing import Final

from smart_client.core.chunk_progress import ChunkProgress
from smart_client.core.node_table import NodeState
from smart_client.core.state import SessionState

# Needed sooner than this: ask two nodes, so that a silent one costs nothing.
URGENT_S: Final = 4.0

# A node that never answered ranks behind one that answers within this.
UNKNOWN_RTT_S: Final = 0.5


def plan_footers(state: SessionState) -> None:
    """Request the footers that chunks being fetched still lack."""
    for index in state.order:
        chunk = state.chunks[index]
        if not chunk.asked.by_fragment or (chunk.footer_coded and not chunk.has_copies):
            continue
        kinds = {chunk.is_copy[fragment] for fragment in chunk.asked.by_fragment}
        if False in kinds and not chunk.footer_coded:
            _request(state, chunk, is_copy=False)
        if True in kinds and not chunk.footer_copies:
            _request(state, chunk, is_copy=True)


def _request(state: SessionState, chunk: ChunkProgress, *, is_copy: bool) -> None:
    asked = {
        piece.node
        for piece in state.pieces.values()
        if piece.is_footer
        and piece.chunk == chunk.index
        and chunk.is_copy[piece.fragment] == is_copy
    }
    wish = _how_many(state, chunk)
    if len(asked) >= wish:
        return
    candidates = sorted(
        (_rank(node), fragment, node)
        for fragment, node_index in chunk.node_of.items()
        if chunk.is_copy[fragment] == is_copy
        and fragment not in chunk.bad_footers
        and node_index not in asked
        and (node := state.nodes[node_index]).may_ask(state.now_s)
        and not node.is_suspect
    )
    if not candidates and not asked:
        candidates = _on_trial(state, chunk, is_copy=is_copy)
    for _, fragment, node in candidates[: wish - len(asked)]:
        state.ask_footer(node, chunk, fragment)


def _on_trial(
    state: SessionState, chunk: ChunkProgress, *, is_copy: bool
) -> list[tuple[float, int, NodeState]]:
    """Return suspects whose pause is over, when nobody else is left to ask."""
    return [
        (0.0, fragment, state.nodes[node_index])
        for fragment, node_index in chunk.node_of.items()
        if chunk.is_copy[fragment] == is_copy
        and fragment not in chunk.bad_footers
        and state.nodes[node_index].may_ask(state.now_s)
    ]


def _how_many(state: SessionState, chunk: ChunkProgress) -> int:
    row = state.first_missing_row(chunk)
    if state.deadline_s(chunk.index, max(0, row)) > state.now_s + URGENT_S:
        return 1
    anyone_known = any(node.rtt.smoothed_s for node in state.nodes.nodes)
    return 2 if anyone_known else len(chunk.node_of)


def _rank(node: NodeState) -> float:
    return node.rtt.upper_s() if node.rtt.smoothed_s else UNKNOWN_RTT_S
