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


def read_private(path: Path, characters_max: int) -> str:
    """Return what is in a secret file. Raises: ConfigError, OSError."""
    with path.open(encoding="ascii", errors="replace") as file:
        require_private(file.fileno(), path)
        text = file.read(characters_max + 1)
    if len(text) > characters_max:
        raise ConfigError(f"{path}: more than {characters_max} characters are no secret of ours")
    return text
