"""Sizes as people write and read them."""

import re

from redundancy.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kKMGTP])(i?))?B?")
_PREFIXES = "KMGTP"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)")
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}


def parse_size(text: str) -> int:
    """Return the bytes in ``2MiB``, ``500kB`` or ``4096``.

    Raises: UsageError: anything else.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"not a size: {text!r}", hint="write it like 2MiB, 500MB or 4096")
    number, prefix, binary = found.groups()
    base = 1024 if binary else 1000
    return round(
        float(number) * float(base ** (_PREFIXES.index(prefix.upper()) + 1 if prefix else 0))
    )


def parse_duration_s(text: str) -> float:
    """Return the seconds in ``90s``, ``15m``, ``24h`` or ``7d``. Raises: UsageError."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"not a duration: {text!r}", hint="write it like 90s, 15m, 24h or 7d")
    return float(found[1]) * _SECONDS[found[2]]


def duration_text(duration_s: float) -> str:
    """Return a duration as people write it: 90 s, 15 min, 24 h, 7 d."""
    for unit, unit_s in (("d", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if duration_s >= 2 * unit_s or (duration_s >= unit_s and not duration_s % unit_s):
            return f"{duration_s / unit_s:.3g} {unit}"
    return f"{duration_s:.3g} s"


def size_text(size_bytes: float) -> str:
    """Return a number of bytes as people write it: 700 B, 1.4 MB."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def counted(count: int, noun: str) -> str:
    """Return a number with its noun, which forms its plural by an s: ``1 chunk``, ``2 chunks``."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
