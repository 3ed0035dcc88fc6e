"""What code played a session, as a short digest: other code may decide otherwise."""

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import redundancy
import smart_client

# 48 bits: enough to tell versions apart, short enough for every line.
DIGITS = 12

# What shows results or hands out work decides nothing.
_SHOWS = {"page.py", "report.py", "intervals.py", "batch.py", "ladder_batch.py", "sources.py"}


def sources_digest(more: Sequence[Path] = ()) -> str:
    """Return a digest of the session core, the simulator, the codes and ``more``.

    Of the sources, also where they run compiled. Raises: OSError.
    """
    digest = hashlib.sha256(_shipped())
    for path in more:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:DIGITS]


@cache
def _shipped() -> bytes:
    client = Path(smart_client.__file__).parent
    folders = (client / "core", client / "simulator", Path(redundancy.__file__).parent)
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            if path.name not in _SHOWS:
                digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.digest()
