"""Property tests try the same examples on every run; ``EVENFLOW_EXPLORE=1`` looks for new ones."""

import os
import signal

from hypothesis import settings

settings.register_profile("same", derandomize=True, deadline=None, print_blob=True)
settings.register_profile("explore", derandomize=False, deadline=None, print_blob=True)
settings.load_profile("explore" if os.environ.get("EVENFLOW_EXPLORE") else "same")

# A shell's background job ignores SIGINT, and so would every process a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
