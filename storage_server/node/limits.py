"""What keeps one peer, or all together, from taking too much: an upload cap and a put budget."""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

# One slice is one sendfile: large enough that the calls around it do not count (a 2 MiB reply
# costs 0.64 CPU s/GB in slices of 256 KiB, 0.57 in slices of 1 MiB), small enough that many
# readers share a slow disk fairly.
SLICE_BYTES = 1024 * 1024

# After a refusal the rest of the body is read and dropped for this long: closing at once would
# make the peer's kernel throw the answer away.
LINGER_S = 2.0

# Under a cap a slice is what the cap gives in this time, and all who wait get one slice within a
# round: a client takes 200 ms without a byte for the death of the node.
_CAPPED_SLICE_S = 0.02
_CAPPED_ROUND_S = 0.04

# Smaller slices are mostly TCP header; more of them a second (0.1 ms of processor each) would cost
# a tenth of a core.
_CAPPED_SLICE_BYTES_MIN = 512
_CAPPED_SLICE_S_MIN = 0.001

DELAY_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Shaping:
    """How much slower than it could be the node answers, on purpose."""

    upload_bytes_per_s: float | None = None  # over all responses together; None: no cap
    delay_s: float = 0.0  # before the first byte of each response

    def __post_init__(self) -> None:
        rate = self.upload_bytes_per_s
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise ValueError("upload_bytes_per_s must be a number above 0, or null")
        if not 0 <= self.delay_s <= DELAY_S_MAX:
            raise ValueError(f"delay_s must be from 0 to {DELAY_S_MAX:g}")

    def slice_bytes(self, readers: int) -> int:
        """Return how much is sent at once while so many readers wait for their turn."""
        if self.upload_bytes_per_s is None:
            return SLICE_BYTES
        fair_s = min(_CAPPED_SLICE_S, _CAPPED_ROUND_S / max(1, readers))
        steady = int(self.upload_bytes_per_s * max(_CAPPED_SLICE_S_MIN, fair_s))
        return min(SLICE_BYTES, max(_CAPPED_SLICE_BYTES_MIN, steady))


class TokenBucket:
    """Responsible for when the next bytes may go, at a mean rate with a small burst."""

    # A silent moment may be made up for, a silent second may not.
    BURST_S = 0.05

    def __init__(self, bytes_per_s: float, now_s: float) -> None:
        self.bytes_per_s = bytes_per_s
        self._paid_until_s = now_s

    def wait_s(self, now_s: float) -> float:
        """Return how long the next bytes have to wait; 0 if they may go."""
        return max(0.0, self._paid_until_s - now_s)

    def take(self, amount_bytes: int, now_s: float) -> None:
        """Book bytes that go now: those after them wait until these are paid for."""
        start_s = max(self._paid_until_s, now_s - self.BURST_S)
        self._paid_until_s = start_s + amount_bytes / self.bytes_per_s


class Pacer:
    """Responsible for holding responses back; the shaping may change while they wait."""

    def __init__(self, shaping: Shaping, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._bucket: TokenBucket | None = None
        self._readers = 0  # who wait for their turn
        self.shaping = shaping
        self.reshape(shaping)

    @property
    def is_capped(self) -> bool:
        """Whether responses are held back at all."""
        return self._bucket is not None

    @property
    def is_shaped(self) -> bool:
        """Whether anything at all is slower than it could be."""
        return self._bucket is not None or self.shaping.delay_s > 0

    def reshape(self, shaping: Shaping) -> None:
        """Use other limits from now on, also for responses under way."""
        self.shaping = shaping
        rate = shaping.upload_bytes_per_s
        self._bucket = None if rate is None else TokenBucket(rate, self._clock())
        self._changed.set()

    async def wait_for_first_byte(self) -> None:
        """Return when a response may start."""
        if self.shaping.delay_s:
            await asyncio.sleep(self.shaping.delay_s)

    async def wait_for_turn(self, wanted_bytes: int) -> int:
        """Return how many of the bytes wanted may be sent now; who came first goes first.

        Whoever wants more comes again: so all readers get the same, slice by slice.
        """
        if not self.is_capped:
            return min(wanted_bytes, SLICE_BYTES)
        self._readers += 1
        try:
            async with self._turn:
                while (bucket := self._bucket) is not None:
                    wait_s = bucket.wait_s(self._clock())
                    if wait_s <= 0:
                        granted = min(wanted_bytes, self.shaping.slice_bytes(self._readers))
                        bucket.take(granted, self._clock())
                        return granted
                    self._changed.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), wait_s)
                return min(wanted_bytes, SLICE_BYTES)
        finally:
            self._readers -= 1


class Budget:
    """Responsible for a bound on what is in memory at once."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self.taken_bytes = 0

    def take(self, amount_bytes: int) -> bool:
        """Book bytes if they fit; return whether they did."""
        if self.taken_bytes + amount_bytes > self._bytes_max:
            return False
        self.taken_bytes += amount_bytes
        return True

    def give_back(self, amount_bytes: int) -> None:
        """Undo a ``take``."""
        self.taken_bytes -= amount_bytes
        assert self.taken_bytes >= 0
