"""Buffers of any kind seen as flat arrays of bytes, so that nothing is copied to be looked at."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from redundancy.errors import InvalidBuffer

ByteArray = npt.NDArray[np.uint8]
ReadableBuffer = bytes | bytearray | memoryview | ByteArray
WritableBuffer = bytearray | memoryview | ByteArray


def as_bytes(buffer: ReadableBuffer) -> ByteArray:
    """Return a flat view of ``buffer``'s bytes; nothing is copied.

    Raises: InvalidBuffer: it has no buffer, or not one contiguous piece of memory.
    """
    try:
        return np.frombuffer(buffer, dtype=np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise InvalidBuffer(f"not a contiguous buffer of bytes: {error}") from error


def as_writable_bytes(buffer: WritableBuffer) -> ByteArray:
    """Return a flat, writable view of ``buffer``'s bytes.

    Raises: InvalidBuffer: it is read-only, or not one contiguous piece of memory.
    """
    view = as_bytes(buffer)
    if not view.flags.writeable:
        raise InvalidBuffer(f"an output buffer must be writable, got {type(buffer).__name__}")
    return view


class Span(NamedTuple):
    """A view and where its first byte lies; found once, because asking takes 1 us."""

    view: ByteArray
    address: int


def locate(view: ByteArray) -> Span:
    """Return ``view`` with its address."""
    return Span(view, view.ctypes.data)


def require_disjoint(inputs: Iterable[Span], outputs: Iterable[Span]) -> None:
    """Raise InvalidBuffer when an output shares memory with an input or with another output."""
    ranges = [(span.address, span.view.size, False) for span in inputs]
    ranges += [(span.address, span.view.size, True) for span in outputs]
    ranges.sort()
    # Swept in order of address: where the furthest output, and the furthest anything, so far ends.
    output_end = any_end = 0
    for start, size, is_output in ranges:
        if start < (any_end if is_output else output_end):
            raise InvalidBuffer("an output buffer overlaps another buffer of the same call")
        any_end = max(any_end, start + size)
        if is_output:
            output_end = max(output_end, start + size)
