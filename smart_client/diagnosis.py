"""Why a chunk cannot be read now: which of its fragments are where, and in what state."""

import shlex
from collections.abc import Mapping

from redundancy.errors import EvenflowError
from smart_client import wire
from smart_client.core.chunk_progress import ChunkProgress
from smart_client.core.state import SessionState
from smart_client.errors import FragmentsLost, TooFewNodesUp
from smart_client.narration import duration_text


def why_it_waits(
    state: SessionState,
    manifest: wire.Manifest,
    index: int,
    *,
    gave_up_after_s: float | None = None,
    failures: Mapping[int, str] | None = None,
) -> EvenflowError | None:
    """Return why this chunk cannot be had: for good, or for now when ``gave_up_after_s`` is given.

    None while there is hope, as long as it is being asked where missing fragments lie now.

    Args: failures: by the positions of nodes, why each last gave nothing.
    """
    chunk = state.chunks[index]
    name = manifest.video.name
    usable = chunk.usable_fragments()
    detail = fragment_states(state, chunk, failures or {})
    if usable < chunk.k and (gave_up_after_s is not None or index not in state.stale):
        return FragmentsLost(
            f"cannot read '{name}': chunk {index} has {usable} of the {chunk.k} fragments it needs",
            hint="bring the missing nodes back; see "
            f"`smart-client info {shlex.quote(name)} --chunks`",
            detail=detail,
        )
    if gave_up_after_s is None:
        return None
    return TooFewNodesUp(
        f"cannot read '{name}' now: no byte of chunk {index} came for "
        f"{duration_text(gave_up_after_s)}",
        hint="bring nodes back and run the same command; `smart-client doctor` asks each from here",
        detail=detail,
    )


def fragment_states(
    state: SessionState, chunk: ChunkProgress, failures: Mapping[int, str]
) -> dict[str, object]:
    """Return node -> what is known of its fragment of this chunk."""
    found: dict[str, object] = {}
    for fragment, node_index in sorted(chunk.node_of.items()):
        node = state.nodes[node_index]
        if fragment in chunk.bad_fragments:
            text = f"fragment {chunk.index}.{fragment} is missing or failed its checksum"
        elif node.is_suspect:
            text = f"no answer for {duration_text(state.now_s - node.suspect_since_s)}"
            if why := failures.get(node_index):
                text += f" ({why})"
        else:
            text = "ok"
        found[node.id] = text
    for index in range(chunk.layout.fragments_total):
        if index not in chunk.node_of:
            found[f"fragment {chunk.index}.{index}"] = "not stored anywhere"
    return found
