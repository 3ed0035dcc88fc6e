"""Small JSON files of a data directory, which may hold anything after a disk failed."""

import contextlib
import json
from typing import Any

from storage_server.node.disk import Disk

# What comes of bytes that are no JSON, or JSON of another shape: also numbers too large to be
# an int, and brackets nested deeper than the parser goes.
DAMAGED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


def read_json(disk: Disk, name: str) -> Any:
    """Return what a file holds. Raises: one of ``DAMAGED``, OSError."""
    with contextlib.closing(disk.open(name)) as file:
        return json.loads(file.read(0, file.size_bytes()))
