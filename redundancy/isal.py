"""Intel's ISA-L through ctypes: the fastest engine, fed with zfec's matrix.

Three traps shape this file. The tables that ``ec_init_tables`` makes differ from one processor to
the next, so they never leave the process. A length is a C int, so long buffers go in spans. The
portable C kernel is slower than every other engine, so a library that would use it is refused.
"""

import ctypes
import importlib.util
import time
from array import array
from collections.abc import Iterator, Mapping
from functools import lru_cache
from math import inf
from pathlib import Path

import numpy as np

from redundancy.buffers import Span, locate
from redundancy.matrix import decode_matrix
from redundancy.scheme import Scheme

SPAN_BYTES_MAX = 1 << 30
_TABLE_BYTES_PER_COEFFICIENT = 32
_SYSTEM_NAMES = ("libisal.so.2", "libisal.so", "libisal.dylib")

# ISA-L's portable kernel codes 0.15-0.26 GB/s, its slowest SIMD kernel 8 GB/s (measured).
_RATE_BYTES_PER_S_MIN = 1.5e9


class IsalEngine:
    """Computes fragments with ``ec_encode_data``; ctypes releases the GIL around it."""

    name = "isal"

    def __init__(self, library: ctypes.CDLL, *, span_bytes: int = SPAN_BYTES_MAX) -> None:
        self._init_tables = library.ec_init_tables
        self._init_tables.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        self._init_tables.restype = None
        self._encode = library.ec_encode_data
        self._encode.argtypes = [
            *[ctypes.c_int, ctypes.c_int, ctypes.c_int],
            *[ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p],
        ]
        self._encode.restype = None
        self._span_bytes = span_bytes
        # At most 512 KiB each, for (128, 256); 0.2 KiB for (3, 5).
        self._tables = lru_cache(maxsize=256)(self._make_tables)

    def _make_tables(self, k: int, have: tuple[int, ...], want: tuple[int, ...]) -> Span:
        matrix = np.ascontiguousarray(decode_matrix(k, have, want))
        tables = locate(np.zeros(matrix.size * _TABLE_BYTES_PER_COEFFICIENT, dtype=np.uint8))
        self._init_tables(k, len(want), matrix.ctypes.data, tables.address)
        return tables

    def produce(self, scheme: Scheme, have: Mapping[int, Span], want: Mapping[int, Span]) -> None:
        """Fill ``want`` from the k fragments of ``have``."""
        tables = self._tables(scheme.k, tuple(have), tuple(want))
        size_bytes = next(iter(have.values())).view.size
        for start in range(0, size_bytes, self._span_bytes):
            sources = _pointers(have, start)
            targets = _pointers(want, start)
            self._encode(
                min(size_bytes - start, self._span_bytes),
                scheme.k,
                len(want),
                tables.address,
                sources.buffer_info()[0],
                targets.buffer_info()[0],
            )


def _pointers(spans: Mapping[int, Span], offset_bytes: int) -> "array[int]":
    return array("Q", [span.address + offset_bytes for span in spans.values()])


def load(path: str | None) -> IsalEngine | None:
    """Return an engine over the first usable library, or None where there is none.

    Args:
        path: the one library to use; None looks at the system's, then at the one inside the
            pyeclib wheel.
    """
    for candidate in [path] if path else _candidates():
        try:
            engine = IsalEngine(ctypes.CDLL(candidate))
        except (OSError, AttributeError):  # not there, or not ISA-L
            continue
        if _is_vectorised(engine):
            return engine
    return None


def _candidates() -> Iterator[str]:
    yield from _SYSTEM_NAMES
    spec = importlib.util.find_spec("pyeclib")  # found, not imported: that takes 50 ms
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent.parent / "pyeclib.libs"
        yield from map(str, sorted(bundled.glob("libisal*")))


def _is_vectorised(engine: IsalEngine) -> bool:
    """Whether the library runs a SIMD kernel here: its best of several short runs is fast."""
    scheme = Scheme(4, 6)
    size_bytes = 16 * 1024
    spans = [locate(np.zeros(size_bytes, dtype=np.uint8)) for _ in range(6)]
    have, want = dict(enumerate(spans[:4])), dict(enumerate(spans[4:], start=4))
    shortest_s = inf
    for _ in range(20):
        start_s = time.perf_counter()
        engine.produce(scheme, have, want)
        shortest_s = min(shortest_s, time.perf_counter() - start_s)
    return size_bytes * scheme.k / shortest_s >= _RATE_BYTES_PER_S_MIN
