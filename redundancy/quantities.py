"""Sizes as people write and read them."""

import re

from redundancy.errors import UsageError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kKMGTP])(i?))?B?")
_PREFIXES = "KMGTP"


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


def size_text(size_bytes: float) -> str:
    """Return a number of bytes as people write it: 700 B, 1.4 MB."""
    value = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"
