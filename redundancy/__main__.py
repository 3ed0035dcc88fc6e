"""Where the command ``redundancy`` begins, also as ``python -m redundancy``."""

import sys

from redundancy.begin import begin


def main() -> int:
    """Run the command and return its exit code."""
    return begin("redundancy.cli")


if __name__ == "__main__":
    sys.exit(main())
