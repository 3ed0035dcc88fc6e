"""What a chunk of a video that is to have some layout needs, of whichever kind. Pure."""

from redundancy.placement import Placement
from smart_client import wire
from storage_server.coordinator.keeper.jobs import Job, View
from storage_server.coordinator.keeper.migration import plan_migration
from storage_server.coordinator.keeper.plan import Stuck, is_part_of, plan_chunk
from storage_server.coordinator.layouts import ChunkShape


def plan(
    key: str,
    chunk: wire.ChunkRecord,
    layout: wire.LayoutRecord | None,
    view: View,
    *,
    placement: Placement,
) -> Job | Stuck | None:
    """Return what a chunk of a rendition that is to have this layout needs.

    Args: layout: None: it is being uploaded; what is recorded is kept.
    """
    target = layout.to_layout() if layout else None
    if target is None or is_part_of(target, chunk.layout.to_layout()):
        return plan_chunk(key, chunk, target, view, placement=placement)
    return plan_migration(key, chunk, target, view, placement=placement)


def needs_work(shape: ChunkShape, layout: wire.LayoutRecord | None, view: View) -> bool:
    """Whether chunks of this shape need anything; ``plan`` says what."""
    has = (shape.k, len(shape.coded), len(shape.copies))
    if layout is not None and has != (layout.k, layout.n, layout.copies):
        return True
    return any(not view.is_staying(node) for node in shape.nodes)
