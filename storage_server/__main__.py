"""Where the command ``storage-server`` begins, also as ``python -m storage_server``."""

import sys

from redundancy.begin import begin


def main() -> int:
    """Run the command and return its exit code."""
    return begin("storage_server.cli")


if __name__ == "__main__":
    sys.exit(main())
