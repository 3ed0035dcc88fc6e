"""``python -m smart_client`` is ``smart-client``."""

import sys

from smart_client.cli import main

if __name__ == "__main__":
    sys.exit(main())
