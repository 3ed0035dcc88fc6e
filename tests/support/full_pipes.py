"""A pipe that takes nothing more, as one is whose reader went to lunch."""

import contextlib
import os


@contextlib.contextmanager
def full_pipe():
    """Yield (reading end, writing end, bytes in it); a plain write to it would wait for ever."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    filled = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            filled += os.write(writing, b"." * 512)
    os.set_blocking(writing, True)
    try:
        yield reading, writing, filled
    finally:
        for descriptor in (reading, writing):
            with contextlib.suppress(OSError):  # the test may have closed it
                os.close(descriptor)
