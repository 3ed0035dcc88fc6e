"""A chunk's fragments, made and remade: what ingest stores, and what repair puts back.

The same chunk, label and layout always give the same bytes, so a rebuilt fragment keeps its key.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

import numpy as np

from redundancy.buffers import ByteArray, ReadableBuffer, as_bytes
from redundancy.codec import Codec
from redundancy.errors import IntegrityMismatch, InvalidFragment
from redundancy.fragment_format import ChunkLabel, Footer
from redundancy.integrity import block_checksums, fragment_key, verify_chunk
from redundancy.rows import RowGeometry, assemble_rows_into, encode_chunk
from redundancy.scheme import Layout


@dataclass(frozen=True, slots=True)
class CodedPayload:
    """A fragment that is neither packed nor hashed yet."""

    payload: ByteArray
    footer: Footer


@dataclass(frozen=True, slots=True)
class Fragment:
    """A fragment ready to be stored: send ``parts`` one after the other under ``key``."""

    payload: ByteArray
    footer: Footer
    footer_bytes: bytes
    key: str  # SHA-256 of the parts, in hexadecimal

    @property
    def index(self) -> int:
        """Which of the chunk's fragments this is."""
        return self.footer.index

    @property
    def parts(self) -> tuple[memoryview, bytes]:
        """The fragment's bytes, without joining them."""
        return self.payload.data, self.footer_bytes

    @property
    def size_bytes(self) -> int:
        """Length of the whole fragment."""
        return self.payload.size + len(self.footer_bytes)


def code_chunk(
    chunk: ReadableBuffer,
    layout: Layout,
    codec: Codec,
    label: ChunkLabel,
    *,
    memory: ByteArray | None = None,
) -> list[CodedPayload]:
    """Return all fragments of a chunk in order of index, without their keys.

    The payloads of whole copies share one buffer, which may be ``chunk`` itself; the others lie
    in ``memory``, as for `rows.encode_chunk`.
    """
    view = as_bytes(chunk)
    payloads = encode_chunk(view, layout, codec, memory=memory)
    sha256 = hashlib.sha256(view.data).digest()
    of_coded: tuple[int, ...] = ()
    if layout.scheme.k > 1:
        of_coded = tuple(chain.from_iterable(map(block_checksums, payloads[: layout.scheme.n])))
    of_copy: tuple[int, ...] = ()
    if layout.is_copy(len(payloads) - 1):
        of_copy = block_checksums(payloads[-1])
    footers = [
        Footer(label, layout, index, view.size, sha256, of_copy if is_copy else of_coded)
        for index, is_copy in enumerate(map(layout.is_copy, range(len(payloads))))
    ]
    return list(map(CodedPayload, payloads, footers))


def build_fragments(
    chunk: ReadableBuffer, layout: Layout, codec: Codec, label: ChunkLabel
) -> list[Fragment]:
    """Return all fragments of a chunk in order of index, ready to be stored.

    Nearly all the time goes into SHA-256 over the stored bytes, about 0.6 ns a byte.
    """
    return [_finish(coded) for coded in code_chunk(chunk, layout, codec, label)]


def decode_chunk(footer: Footer, payloads: Mapping[int, ReadableBuffer], codec: Codec) -> ByteArray:
    """Return a whole chunk from whole payloads, verified against the footer's SHA-256.

    Args:
        footer: of any fragment of the chunk.
        payloads: index -> payload; one whole copy, or k coded fragments.
    Raises: InsufficientFragments: too few. IntegrityMismatch: the result is not the chunk.
    """
    layout = footer.layout
    _require_indices(layout, payloads)
    copies = [index for index in payloads if layout.is_copy(index)]
    geometry = RowGeometry(footer.chunk_bytes, layout.scheme.k)
    if copies:
        chunk = as_bytes(payloads[copies[0]])[: footer.chunk_bytes]
    else:
        chunk = np.empty(footer.chunk_bytes, dtype=np.uint8)
        assemble_rows_into(chunk, geometry, codec, payloads, first_row=0, rows=geometry.rows)
    verify_chunk(chunk, footer.chunk_sha256)
    return chunk


def rebuild_fragment(
    index: int, footer: Footer, payloads: Mapping[int, ReadableBuffer], codec: Codec
) -> Fragment:
    """Return fragment ``index`` as it was first stored, bit for bit.

    Args:
        footer: of any fragment of the chunk.
        payloads: index -> whole payload; k coded fragments or one whole copy. They need not have
            been verified: what is returned has been.
    Raises: InsufficientFragments: too few. IntegrityMismatch: some payload was not intact.
    """
    layout = footer.layout
    _require_indices(layout, [index, *payloads])
    coded = {i: payload for i, payload in payloads.items() if not layout.is_copy(i)}
    if footer.is_copy or layout.is_copy(index) or len(coded) < layout.scheme.k:
        chunk = decode_chunk(footer, payloads, codec)
        return _finish(code_chunk(chunk, layout, codec, footer.label)[index])
    # Straight from k coded fragments, without the detour over the chunk.
    payload = np.empty(footer.payload_bytes, dtype=np.uint8)
    codec.rebuild_into(coded, {index: payload})
    bad = footer.bad_blocks(index, payload, 0)
    if bad:
        raise IntegrityMismatch(
            f"the rebuilt fragment {index} is not the one that was stored",
            detail={"bad blocks": bad},
        )
    return _finish(CodedPayload(payload, _sibling(footer, index)))


def take_over_payload(index: int, payload: ReadableBuffer, footer: Footer) -> Fragment:
    """Return coded fragment ``index`` as ``footer``'s layout has it, from a payload that fits.

    Coded payloads do not depend on n or on copies, only what the footer says of them does.

    Args:
        payload: of coded fragment ``index`` under the same k.
        footer: of another coded fragment of the chunk in the new layout.
    Raises: IntegrityMismatch: the payload is not the one this footer speaks of.
    """
    view = as_bytes(payload)
    if view.size != footer.payload_bytes or footer.bad_blocks(index, view, 0):
        raise IntegrityMismatch(f"this is not the payload of fragment {index} of {footer.layout}")
    return _finish(CodedPayload(view, _sibling(footer, index)))


def _sibling(footer: Footer, index: int) -> Footer:
    return Footer(
        footer.label,
        footer.layout,
        index,
        footer.chunk_bytes,
        footer.chunk_sha256,
        footer.checksums,
    )


def _require_indices(layout: Layout, indices: Iterable[int]) -> None:
    for index in indices:
        if not 0 <= index < layout.fragments_total:
            raise InvalidFragment(f"there is no fragment {index} in {layout}")


def _finish(coded: CodedPayload) -> Fragment:
    footer_bytes = coded.footer.pack()
    key = fragment_key([coded.payload, footer_bytes])
    return Fragment(coded.payload, coded.footer, footer_bytes, key)
