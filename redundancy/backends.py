"""Which engine codes: the fastest of those that are there and pass a self-test at first use.

``$REDUNDANCY_CODEC`` names one engine; ``$REDUNDANCY_ISAL`` names the ISA-L library to load.
Nothing is loaded or tested at import.
"""

import hashlib
import os
from collections.abc import Callable
from functools import cache, lru_cache

from redundancy.codec import CheckedCodec, Codec, Engine, NumpyEngine
from redundancy.errors import ConfigError, RedundancyError
from redundancy.scheme import Scheme

# The parity of `_sample_data`, as zfec 1.6 computes it: (k, n), size, SHA-256 of all parity.
_KNOWN_PARITY = (
    (Scheme(3, 5), 1037, "bd70690ec1156c7739a4ad18bda9efa84d9d4af97273a770a24d8f5015139d1f"),
    (Scheme(10, 14), 331, "7a879a624c472baca2fcdd640b365ebabbe90139de9d87e399cec85228920156"),
)


def _load_isal() -> Engine | None:
    from redundancy import isal  # noqa: PLC0415 - loaded only where it is chosen or listed

    path = os.environ.get("REDUNDANCY_ISAL") or None
    engine = isal.load(path)
    if path and engine is None:
        raise ConfigError(
            f"$REDUNDANCY_ISAL names no usable ISA-L library: {path}",
            hint="name libisal.so.2, or unset it to look in the usual places",
        )
    return engine


def _load_zfec() -> Engine | None:
    try:
        from redundancy.zfec_backend import ZfecEngine  # noqa: PLC0415 - takes 60 ms to import
    except ImportError:
        return None
    return ZfecEngine()


# In order of speed (measured, 2 MiB, (3, 5)): 25-38, 1.1-1.5 and 0.8-0.9 GB/s.
_LOADERS: dict[str, Callable[[], Engine | None]] = {
    "isal": _load_isal,
    "numpy": NumpyEngine,
    "zfec": _load_zfec,
}


@cache
def _engine(name: str) -> Engine | None:
    engine = _LOADERS[name]()
    return engine if engine is not None and passes_self_test(engine) else None


def _sample_data(k: int, size_bytes: int) -> list[bytes]:
    return [bytes((7 * i * i + 31 * j + i * j) % 251 for i in range(size_bytes)) for j in range(k)]


def passes_self_test(engine: Engine) -> bool:
    """Whether the engine gives the parity zfec gives, and brings lost data back from it."""
    try:
        return all(_reproduces(engine, *known) for known in _KNOWN_PARITY)
    except RedundancyError:
        return False


def _reproduces(engine: Engine, scheme: Scheme, size_bytes: int, parity_sha256: str) -> bool:
    codec = CheckedCodec(scheme, engine)
    data = _sample_data(scheme.k, size_bytes)
    parity = [bytearray(size_bytes) for _ in range(scheme.n - scheme.k)]
    codec.encode_into(data, parity)
    if hashlib.sha256(b"".join(parity)).hexdigest() != parity_sha256:
        return False
    lost = {index: bytearray(size_bytes) for index in range(len(parity))}
    fragments: dict[int, bytes | bytearray] = dict(enumerate([*data, *parity]))
    codec.decode_into({i: part for i, part in fragments.items() if i not in lost}, lost)
    return all(lost[index] == data[index] for index in lost)


def available_backends() -> tuple[str, ...]:
    """Return the names of the engines that work here, the fastest first."""
    return tuple(name for name in _LOADERS if _engine(name) is not None)


def codec_with(scheme: Scheme, backend: str) -> Codec:
    """Return a codec over the named engine.

    Raises: ConfigError: there is no such engine, or it does not work here.
    """
    engine = _engine(backend) if backend in _LOADERS else None
    if engine is None:
        raise ConfigError(
            f"codec backend {backend!r} is not available here",
            hint=f"there are: {', '.join(available_backends())}",
        )
    return CheckedCodec(scheme, engine)


@lru_cache(maxsize=256)
def best_codec(scheme: Scheme) -> Codec:
    """Return a codec over the fastest engine here, or over the one ``$REDUNDANCY_CODEC`` names."""
    chosen = os.environ.get("REDUNDANCY_CODEC")
    if chosen:
        return codec_with(scheme, chosen)
    return codec_with(scheme, next(name for name in _LOADERS if _engine(name) is not None))
