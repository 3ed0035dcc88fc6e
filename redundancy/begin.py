"""How a command begins: it loads where an interrupt is expected already."""

import sys
from importlib import import_module

from redundancy.errors import ExitCode


def begin(module: str) -> int:
    """Run the ``main`` of a module, and return its exit code.

    Loading takes a good part of a short command's time, so that is when it may be interrupted.
    """
    try:
        return int(import_module(module).main())
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return ExitCode.INTERRUPTED
