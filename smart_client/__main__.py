"""Where the command ``smart-client`` begins, also as ``python -m smart_client``."""

import sys

from redundancy.begin import begin


def main() -> int:
    """Run the command and return its exit code."""
    return begin("smart_client.cli")


if __name__ == "__main__":
    sys.exit(main())
