"""Files that only their owner may read."""

import os
import stat
from pathlib import Path

from redundancy.errors import ConfigError


def require_private(descriptor: int, path: Path) -> None:
    """Return if only its owner may read an open file. Raises: ConfigError."""
    if os.fstat(descriptor).st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            f"{path}: other users may read this secret", hint=f"run: chmod 600 {path}"
        )
