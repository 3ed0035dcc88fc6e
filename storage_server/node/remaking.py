"""Fragments of a chunk from others of it, as an order says: bytes in, fragments out."""

from collections.abc import Mapping
from dataclasses import replace

from redundancy.backends import best_codec
from redundancy.buffers import ByteArray, as_bytes
from redundancy.errors import IntegrityMismatch, InvalidFragment
from redundancy.fragment_format import Footer, read_footer_at_end
from redundancy.fragments import (
    Fragment,
    build_fragments,
    decode_chunk,
    rebuild_fragment,
    take_over_payload,
)
from redundancy.scheme import Layout
from storage_server.orders import RebuildOrder, Wanted


def suffices(order: RebuildOrder, indices: set[int]) -> bool:
    """Whether the chunk can be read from these of its fragments."""
    layout = order.layout.to_layout()
    return any(map(layout.is_copy, indices)) or len(indices) >= layout.scheme.k


def remake(order: RebuildOrder, bodies: Mapping[int, bytes]) -> list[Fragment]:
    """Return the wanted fragments; of another layout, all of them, since their keys are asked for.

    Args:
        bodies: index -> a whole fragment as it was stored, enough of them.
    Raises: InvalidFragment: one of them is of another chunk. IntegrityMismatch: what comes out is
        not what was ordered. InsufficientFragments.
    """
    footers = {index: _footer_of(order, index, body) for index, body in bodies.items()}
    payloads: dict[int, ByteArray] = {
        index: as_bytes(body)[: footers[index].payload_bytes] for index, body in bodies.items()
    }
    # The footer of a coded fragment knows the checksums of all coded ones, so it goes before.
    footer = min(footers.values(), key=lambda each: each.is_copy)
    codec = best_codec(order.layout.to_layout().scheme)
    if order.into is None:
        made = [rebuild_fragment(each.index, footer, payloads, codec) for each in order.wanted]
    else:
        layout = order.into.to_layout()
        chunk = decode_chunk(footer, payloads, codec)
        label = replace(footer.label, generation=order.generation + 1)
        made = build_fragments(chunk, layout, best_codec(layout.scheme), label)
    return _checked(order, made)


def take_over(order: RebuildOrder, index: int, body: bytes, pattern: bytes) -> list[Fragment]:
    """Return one coded fragment in the new layout from the same one in the old.

    Args:
        body: the whole fragment in the old layout.
        pattern: the footer of a coded fragment in the new one.
    Raises: as ``remake``.
    """
    assert order.into is not None
    old, new = _footer_of(order, index, body), Footer.unpack(pattern)
    _require_same(order, new, order.into.to_layout(), order.generation + 1)
    if new.is_copy or old.is_copy:
        raise InvalidFragment("a pattern is a coded fragment")
    payload = as_bytes(body)[: old.payload_bytes]
    return _checked(order, [take_over_payload(index, payload, new)])


def _footer_of(order: RebuildOrder, index: int, body: bytes) -> Footer:
    footer = read_footer_at_end(body)
    if footer.index != index:
        raise InvalidFragment(f"the source said to be fragment {index} is {footer.index}")
    _require_same(order, footer, order.layout.to_layout(), order.generation)
    return footer


def _require_same(order: RebuildOrder, footer: Footer, layout: Layout, generation: int) -> None:
    label = footer.label
    found = (label.video_id.hex(), label.rendition, label.number, label.generation)
    facts = (footer.chunk_bytes, footer.chunk_sha256.hex(), footer.layout)
    ordered = (order.video_id, order.rendition, order.number, generation)
    if found != ordered or facts != (order.size, order.sha256, layout):
        raise InvalidFragment(f"fragment {footer.index} is of another chunk than the order's")


def _checked(order: RebuildOrder, made: list[Fragment]) -> list[Fragment]:
    keys = {fragment.index: fragment.key for fragment in made}
    for each in order.wanted:
        if each.key is not None and keys[each.index] != each.key:
            raise IntegrityMismatch(
                f"fragment {each.index} comes out as {keys[each.index]}, {each.key} was ordered"
            )
    return made


def wanted_keys(order: RebuildOrder) -> dict[int, bytes] | None:
    """Return index -> key of what is ordered; None if some key is not known yet."""
    keys = {each.index: _key(each) for each in order.wanted}
    return {i: key for i, key in keys.items() if key} if all(keys.values()) else None


def _key(wanted: Wanted) -> bytes:
    return bytes.fromhex(wanted.key or "")
