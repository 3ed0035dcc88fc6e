"""Work on the chunks of a file in threads: in order, and never many chunks in memory."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

# Coding and hashing release the interpreter; more threads than this only wait for the writer.
_WORKERS = 2
# One more than the workers, so that none waits while a result is being written.
_CHUNKS_IN_FLIGHT = _WORKERS + 1

_T = TypeVar("_T")
_R = TypeVar("_R")

Progress = Callable[[int], None]  # called with how many bytes of the file were just done


def say_nothing(_done_bytes: int) -> None:
    """Show no progress."""


def workers() -> ThreadPoolExecutor:
    """Return the threads for one file; leaving their block waits for them."""
    return ThreadPoolExecutor(_WORKERS, thread_name_prefix="chunks")


def in_order(
    pool: ThreadPoolExecutor, work: Callable[[_T], _R], items: Iterable[_T]
) -> Iterator[_R]:
    """Return ``work`` of each item, in order, a few at a time in other threads."""
    source = iter(items)
    running: list[Future[_R]] = [
        pool.submit(work, item) for item in islice(source, _CHUNKS_IN_FLIGHT)
    ]
    try:
        while running:
            result = running.pop(0).result()
            running += [pool.submit(work, item) for item in islice(source, 1)]
            yield result
    finally:
        for future in running:
            future.cancel()
