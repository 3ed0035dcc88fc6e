"""Allow ``python -m smart_client.lab``."""

import sys

from smart_client.lab.command import main

if __name__ == "__main__":
    sys.exit(main())
