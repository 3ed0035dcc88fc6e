"""Where the commands that speak to a running coordinator find it."""

import argparse
import os
from dataclasses import dataclass, field
from pathlib import Path

from smart_client.config import ClientConfig
from storage_server.node.config import coordinator_urls, read_token

COORDINATOR_VARIABLE = "STORAGE_SERVER_COORDINATOR"
TOKEN_FILE_VARIABLE = "STORAGE_SERVER_TOKEN_FILE"


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """Whom to ask, and with what secret."""

    coordinators: tuple[str, ...]
    token: str | None = field(default=None, repr=False)

    @classmethod
    def from_args(cls, args: argparse.Namespace) -> "AdminConfig":
        """Build it: options, then the environment, then what ``smart-client`` is told here.

        Raises: ConfigError, OSError.
        """
        token = token_from_args(args)
        words = args.coordinator or os.environ.get(COORDINATOR_VARIABLE, "").split()
        if words and token:
            return cls(coordinators=coordinator_urls(words), token=token)
        client = ClientConfig.load({})
        return cls(
            coordinators=coordinator_urls(words or client.coordinator),
            token=token or client.token(),
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
        help=f"may be repeated; default: ${COORDINATOR_VARIABLE}, else as `smart-client config "
        "show` says",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help=f"the secret; default: ${TOKEN_FILE_VARIABLE}, else the client's",
    )
