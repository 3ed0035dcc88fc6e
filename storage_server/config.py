"""Where the commands that speak to a running coordinator find it."""

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path

from storage_server.coordinator.config import DEFAULT_LISTEN
from storage_server.node.config import coordinator_urls, read_token

COORDINATOR_VARIABLE = "STORAGE_SERVER_COORDINATOR"
CLIENT_VARIABLE = "SMART_CLIENT_COORDINATOR"  # of the same user's client, where ours is not set
TOKEN_FILE_VARIABLE = "STORAGE_SERVER_TOKEN_FILE"


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """Whom to ask, and with what secret."""

    coordinators: tuple[str, ...]
    token: str | None = field(default=None, repr=False)

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> "AdminConfig":
        """Build it: an option goes before the environment, that before the default.

        Raises: ConfigError, OSError.
        """
        named = os.environ.get(COORDINATOR_VARIABLE) or os.environ.get(CLIENT_VARIABLE, "")
        words = args.coordinator or named.split()
        return cls(
            coordinators=coordinator_urls(words) or (f"http://{DEFAULT_LISTEN}",),
            token=token_from_args(args),
        )


def token_from_args(args: argparse.Namespace) -> str | None:
    """Return the secret that ``--token-file`` or the environment names. Raises: ConfigError."""
    token_file = args.token_file or os.environ.get(TOKEN_FILE_VARIABLE)
    return read_token(Path(token_file)) if token_file else None


def add_admin_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what ``AdminConfig.from_args`` reads."""
    parser.add_argument(
        "--coordinator",
        action="append",
        default=[],
        metavar="URL[,URL]",
        help=f"may be repeated; default: ${COORDINATOR_VARIABLE}, ${CLIENT_VARIABLE} or http://{DEFAULT_LISTEN}",
    )
    parser.add_argument(
        "--token-file", metavar="FILE", help=f"the secret; default: ${TOKEN_FILE_VARIABLE}"
    )
