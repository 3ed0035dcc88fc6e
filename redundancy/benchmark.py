"""How fast the codecs are here, beside copying memory and beside each other."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf

import numpy as np

from redundancy.backends import available_backends, codec_with
from redundancy.buffers import ByteArray
from redundancy.codec import Codec
from redundancy.integrity import block_checksums, verify_blocks
from redundancy.rows import RowGeometry, assemble_rows_into, encode_chunk
from redundancy.scheme import Layout, Scheme

CHUNK_BYTES = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Rates:
    """What one backend does with one scheme, in bytes of the chunk per second."""

    scheme: str
    backend: str
    memcpy_bytes_per_s: float
    encode_bytes_per_s: float  # parity from data fragments
    decode_bytes_per_s: float  # as many data fragments as possible from parity
    chunk_bytes_per_s: float  # a whole chunk to all its payloads
    degraded_read_bytes_per_s: float  # verify k payloads, decode, one buffer with the chunk


def measure(schemes: Sequence[Scheme], *, seconds: float) -> list[Rates]:
    """Measure every backend on every scheme; about ``seconds`` in all, best of several runs."""
    backends = available_backends()
    slice_s = seconds / (len(schemes) * len(backends))
    return [_measure(codec_with(scheme, name), slice_s) for scheme in schemes for name in backends]


def _measure(codec: Codec, slice_s: float) -> Rates:
    scheme = codec.scheme
    chunk = np.random.default_rng(1).integers(0, 256, CHUNK_BYTES, dtype=np.uint8)
    target = np.empty_like(chunk)
    layout = Layout(scheme)
    payloads = [payload.copy() for payload in encode_chunk(chunk, layout, codec)]
    data, parity = payloads[: scheme.k], payloads[scheme.k :]
    memory = np.empty(scheme.n * payloads[0].size, dtype=np.uint8)
    lost = range(min(scheme.k, scheme.n - scheme.k))
    have = dict(list(enumerate(payloads))[len(lost) :][: scheme.k])
    want = {index: np.empty_like(data[index]) for index in lost}
    shortest = shortest_s(
        {
            "memcpy": lambda: np.copyto(target, chunk),
            "encode": lambda: codec.encode_into(data, parity),
            "decode": lambda: codec.decode_into(have, want),
            "chunk": lambda: encode_chunk(chunk, layout, codec, memory=memory),
            "degraded_read": _degraded_read(codec, have, target),
        },
        slice_s,
    )
    return Rates(
        scheme=f"({scheme.k}, {scheme.n})",
        backend=codec.backend,
        **{f"{what}_bytes_per_s": CHUNK_BYTES / run_s for what, run_s in shortest.items()},
    )


def _degraded_read(
    codec: Codec, have: Mapping[int, ByteArray], target: ByteArray
) -> Callable[[], None]:
    geometry = RowGeometry(CHUNK_BYTES, codec.scheme.k)
    checksums = {index: block_checksums(payload) for index, payload in have.items()}

    def read() -> None:
        for index, payload in have.items():
            if verify_blocks(payload, 0, checksums[index]):
                raise AssertionError("a block changed under the benchmark")
        assemble_rows_into(target, geometry, codec, have, first_row=0, rows=geometry.rows)

    return read


def shortest_s(works: Mapping[str, Callable[[], object]], slice_s: float) -> dict[str, float]:
    """Return the shortest run of each work; they take turns, so that a busy moment hurts all."""
    shortest = dict.fromkeys(works, inf)
    for work in works.values():  # fills caches, tables and memory
        work()
    end_s = time.perf_counter() + slice_s
    while True:
        for what, work in works.items():
            start_s = time.perf_counter()
            work()
            shortest[what] = min(shortest[what], time.perf_counter() - start_s)
        if time.perf_counter() >= end_s:
            return shortest


def to_json(rates: Sequence[Rates]) -> dict[str, object]:
    """Return the figures for programs."""
    return {"chunk_bytes": CHUNK_BYTES, "rates": [asdict(rate) for rate in rates]}


def to_table(rates: Sequence[Rates]) -> str:
    """Return the figures for people, each beside its ratio to memcpy."""
    head = f"{'scheme':<10} {'backend':<8} {'memcpy':>7}"
    for name in ("encode", "decode", "chunk", "degraded read"):
        head += f"  {name:>14}"
    lines = [f"GB/s of a {CHUNK_BYTES >> 20} MiB chunk (times memcpy)", head]
    for rate in rates:
        line = f"{rate.scheme:<10} {rate.backend:<8} {rate.memcpy_bytes_per_s / 1e9:>7.2f}"
        for value in (
            rate.encode_bytes_per_s,
            rate.decode_bytes_per_s,
            rate.chunk_bytes_per_s,
            rate.degraded_read_bytes_per_s,
        ):
            line += f"  {value / 1e9:>6.2f} ({value / rate.memcpy_bytes_per_s:4.2f})"
        lines.append(line)
    return "\n".join(lines)
