"""``python -m storage_server``."""

import sys

from storage_server.cli import main

if __name__ == "__main__":
    sys.exit(main())
